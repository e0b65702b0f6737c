"""Latents kept between commands: found by what they depend on, few, and the user's alone."""

import os
import shutil
import stat
from dataclasses import replace

import numpy as np
import pytest
import torch

from stylemix.faces.alignment import Alignment
from stylemix.images.sources import ImageSource
from stylemix.inversion import cache as module
from stylemix.inversion.cache import LatentCache, forget, forget_all
from stylemix.inversion.latent import Latent
from stylemix.inversion.portraits import AlignedPhoto
from stylemix.inversion.settings import ProjectionSettings
from stylemix.models.loading import use_model
from tests.support.models import tiny_model, trained_on, ws_of

SETTINGS = ProjectionSettings()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "cache_folder", lambda name: tmp_path / name)
    return tmp_path / "latents"


def photo_of(seed, matrix=None):
    image = torch.rand([3, 32, 32], generator=torch.Generator().manual_seed(seed))
    matrix = np.eye(3) if matrix is None else matrix
    return AlignedPhoto(
        f"photos/of-me/{seed}.jpg", image, Alignment(None, matrix, np.zeros((5, 2)), 1)
    )


@pytest.fixture(scope="module")
def latent(model):
    return Latent(ws_of(model)[0], model.fingerprint)


def test_what_was_saved_is_found_by_its_content(model, latent, folder):
    LatentCache(model, SETTINGS).save(photo_of(1), latent)
    again = LatentCache(model, SETTINGS).load(replace(photo_of(1), name="elsewhere/copy.png"))
    assert torch.equal(again.w, latent.w)
    assert again.model is model


def test_other_photos_settings_and_models_are_not(model, latent, folder):
    LatentCache(model, SETTINGS).save(photo_of(1), latent)
    assert LatentCache(model, SETTINGS).load(photo_of(2)) is None
    assert LatentCache(model, SETTINGS).load(photo_of(1, np.diag([2.0, 2, 1]))) is None
    assert LatentCache(model, replace(SETTINGS, seed=1)).load(photo_of(1)) is None
    assert LatentCache(trained_on(tiny_model()), SETTINGS).load(photo_of(1)) is None


def test_another_label_or_template_is_another_projection(folder):
    model = tiny_model(classes=2)
    latent = Latent(ws_of(model)[0], model.fingerprint, template=model.template)
    LatentCache(model, SETTINGS).save(photo_of(1), latent)
    assert LatentCache(model, SETTINGS).load(photo_of(1)) is not None
    assert LatentCache(use_model(model, label=1), SETTINGS).load(photo_of(1)) is None
    assert LatentCache(use_model(model, template="none"), SETTINGS).load(photo_of(1)) is None


def test_nobody_else_reads_them_and_names_say_nothing(model, latent, folder):
    LatentCache(model, SETTINGS).save(photo_of(1), latent)
    (file,) = folder.iterdir()
    assert "me" not in file.stem.strip("0123456789abcdef")
    assert b"of-me" not in file.read_bytes()
    if os.name == "posix":
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.fixture
def passphrase(monkeypatch):
    pytest.importorskip("cryptography")
    monkeypatch.setattr("stylemix.io.encryption._COST", 2**4)
    monkeypatch.setenv("STYLEMIX_PASSPHRASE", "correct horse")
    return monkeypatch


def test_with_a_passphrase_they_are_encrypted(model, latent, folder, passphrase, capsys):
    passphrase.delenv("STYLEMIX_PASSPHRASE")
    LatentCache(model, SETTINGS).save(photo_of(1), latent)
    (plain,) = folder.iterdir()
    values = latent.w.numpy().tobytes()[:32]
    assert values in plain.read_bytes()
    passphrase.setenv("STYLEMIX_PASSPHRASE", "correct horse")
    cache = LatentCache(model, SETTINGS)
    assert cache.load(photo_of(1)) is None  # what is plain does not count, and goes
    cache.save(photo_of(1), latent)
    (sealed,) = folder.iterdir()
    assert sealed != plain
    for part in (values, b"stylemix-latent", b"metrics"):
        assert part not in sealed.read_bytes()
    assert torch.equal(cache.load(photo_of(1)).w, latent.w)
    assert capsys.readouterr().err == ""
    if os.name == "posix":
        assert stat.S_IMODE(sealed.stat().st_mode) == 0o600


def test_another_passphrase_is_none(model, latent, folder, passphrase, capsys):
    LatentCache(model, SETTINGS).save(photo_of(1), latent)
    passphrase.setenv("STYLEMIX_PASSPHRASE", "wrong horse")
    cache = LatentCache(model, SETTINGS)
    assert cache.load(photo_of(1)) is None
    assert capsys.readouterr().err == (
        "Note: STYLEMIX_PASSPHRASE does not open the kept latent of a photo; it is made again\n"
    )
    cache.save(photo_of(1), latent)
    assert cache.load(photo_of(1)) is not None
    passphrase.delenv("STYLEMIX_PASSPHRASE")
    assert LatentCache(model, SETTINGS).load(photo_of(1)) is None


def test_encrypted_latents_are_forgotten_without_the_passphrase(
    model, latent, folder, passphrase, tmp_path
):
    (tmp_path / "me.jpg").write_bytes(b"me")
    mine = replace(photo_of(1), source=tmp_path / "me.jpg")
    LatentCache(model, SETTINGS).save(mine, latent)
    LatentCache(model, SETTINGS).save(photo_of(2), latent)
    passphrase.delenv("STYLEMIX_PASSPHRASE")
    assert forget([tmp_path / "me.jpg"]) == 1
    assert forget_all() == 1
    assert list(folder.iterdir()) == []


def test_what_is_kept_of_a_photo_is_forgotten(model, latent, folder, tmp_path):
    """All its faces and settings, under any name, and nothing else."""
    (tmp_path / "me.jpg").write_bytes(b"me")
    (tmp_path / "copy.jpg").write_bytes(b"me")
    (tmp_path / "you.jpg").write_bytes(b"you")
    mine, yours = (replace(photo_of(1), source=tmp_path / name) for name in ("me.jpg", "you.jpg"))
    for photo, settings in (
        (mine, SETTINGS),
        (mine, replace(SETTINGS, seed=1)),
        (replace(mine, alignment=photo_of(1, np.diag([2.0, 2, 1])).alignment), SETTINGS),
        (yours, SETTINGS),
    ):
        LatentCache(model, settings).save(photo, latent)
    assert len(list(folder.iterdir())) == 4
    assert forget([ImageSource("copy.jpg", tmp_path / "copy.jpg")]) == 3
    assert LatentCache(model, SETTINGS).load(mine) is None
    assert LatentCache(model, SETTINGS).load(yours) is not None
    assert forget([tmp_path / "me.jpg"]) == 0
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "a.safetensors").write_bytes(b"")
    assert forget_all() == 2
    assert list(folder.iterdir()) == []
    assert (tmp_path / "me.jpg").exists()


def test_what_a_killed_process_has_begun_is_forgotten(model, latent, folder, tmp_path):
    (tmp_path / "me.jpg").write_bytes(b"me")
    mine = replace(photo_of(1), source=tmp_path / "me.jpg")
    LatentCache(model, SETTINGS).save(mine, latent)
    (file,) = folder.iterdir()
    begun = folder / f".{file.stem[:40]}.0123456789ab.tmp.safetensors"  # as `atomic_write` names it
    shutil.copy(file, begun)
    assert forget([tmp_path / "me.jpg"]) == 2
    shutil.copyfile(tmp_path / "me.jpg", begun)
    LatentCache(model, SETTINGS).save(photo_of(1), latent)
    assert begun.exists()  # another process may be writing it
    os.utime(begun, (1000, 1000))
    LatentCache(model, SETTINGS).save(photo_of(1), latent)
    assert not begun.exists()


def test_downloaded_shards_are_forgotten(tmp_path, folder):
    """They are images, too."""
    kept = folder.parent / "shards" / "0a"
    kept.mkdir(parents=True)
    (kept / "1b.tar").write_bytes(b"photos")
    assert forget_all() == 1
    assert not (kept / "1b.tar").exists()


def test_the_oldest_go(model, latent, folder, monkeypatch):
    monkeypatch.setattr(module, "MAX_FILES", 3)
    cache = LatentCache(model, SETTINGS)
    for seed in range(3):
        cache.save(photo_of(seed), latent)
        for age, file in enumerate(sorted(folder.iterdir(), key=lambda f: f.stat().st_mtime)):
            os.utime(file, (1000 + age, 1000 + age))
    assert cache.load(photo_of(0)) is not None  # used, so it stays
    cache.save(photo_of(3), latent)
    assert [cache.load(photo_of(seed)) is not None for seed in range(4)] == [
        True, False, True, True,
    ]  # fmt: skip


def test_damage_and_full_disks_only_cost_time(model, latent, folder, monkeypatch):
    cache = LatentCache(model, SETTINGS)
    cache.save(photo_of(1), latent)
    (file,) = folder.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    assert cache.load(photo_of(1)) is None

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_bytes", refuse)
    cache.save(photo_of(2), latent)
    monkeypatch.setattr(module, "cache_folder", lambda name: None)  # a user without a home
    homeless = LatentCache(model, SETTINGS)
    homeless.save(photo_of(1), latent)
    assert homeless.load(photo_of(1)) is None
    monkeypatch.setattr(module, "cache_folder", lambda name: folder / ("x" * 300))
    locked = LatentCache(model, SETTINGS)  # such as in the home of another user
    locked.save(photo_of(1), latent)
    assert locked.load(photo_of(1)) is None
