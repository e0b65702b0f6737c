"""The fingerprint of a dataset: equal for equal content, different for any change."""

import hashlib
import json
import os
import shutil
import zipfile

import pytest
from PIL import Image

from stylemix import progress
from stylemix.images.sources import ImageSource
from stylemix.training.data import fingerprints
from stylemix.training.data.dataset import ImageDataset


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STYLEMIX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "checksums"


@pytest.fixture
def folder(tmp_path):
    """Six images, one of them in a folder below, saved long ago."""
    path = tmp_path / "pictures"
    (path / "more").mkdir(parents=True)
    for i in range(6):
        name = f"more/{i}.png" if i == 5 else f"{i}.png"
        Image.new("RGB", (16, 16), (i, 2 * i, 255 - i)).save(path / name)
        os.utime(path / name, (1e9, 1e9))
    return path


def _zip(folder, path, prefix="", compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, prefix + file.relative_to(folder).as_posix())
    return path


def _print(path, size=8, **more):
    return ImageDataset(path, size, **more).fingerprint()


def test_values(tmp_path):
    """The definition: SHA-256 of "size CRC-32" of each image, then of the two settings."""
    (tmp_path / "a.png").write_bytes(b"123456789")  # the CRC-32 of which is in every textbook
    text = b"9 3421780262\n\n11 3 8 8 False\n0 "
    assert _print(tmp_path / "a.png") == hashlib.sha256(text).hexdigest()[:16]


def test_a_folder_and_its_zips_are_the_same(folder, tmp_path):
    first = _print(folder)
    assert first == _print(_zip(folder, tmp_path / "a.zip"))
    assert first == _print(_zip(folder, tmp_path / "b.zip", "images/", zipfile.ZIP_DEFLATED))


def test_place_and_date_do_not_matter(folder, tmp_path):
    first = _print(folder)
    for file in folder.rglob("*.png"):
        os.utime(file, (1.1e9, 1.1e9))
    assert _print(folder) == first
    folder.rename(tmp_path / "renamed")
    assert _print(tmp_path / "renamed") == first


def test_every_change_matters(folder, tmp_path):
    copy = tmp_path / "copy"
    seen = [_print(folder)]
    seen += [_print(folder, 16), _print(folder, (8, 16)), _print(folder, (16, 8))]
    seen += [_print(folder, channels=1), _print(folder, mirror=True)]
    for labels in ([0, 1, 2, 0, 1, 2], [0, 1, 2, 0, 1, 1]):
        names = ["0.png", "1.png", "2.png", "3.png", "4.png", "more/5.png"]
        table = {"labels": list(zip(names, labels, strict=True))}
        (folder / "dataset.json").write_text(json.dumps(table))
        seen.append(_print(folder, use_labels=True))
    shutil.copytree(folder, copy)
    (copy / "3.png").unlink()
    seen.append(_print(copy))
    data = bytearray((folder / "0.png").read_bytes())
    data[-20] ^= 1
    (copy / "0.png").write_bytes(data)
    seen.append(_print(copy))
    shutil.copy(folder / "1.png", copy / "0.png")
    shutil.copy(folder / "0.png", copy / "1.png")
    seen.append(_print(copy))
    assert len(set(seen)) == len(seen)


def hashed(path):
    return hashlib.blake2b(os.fsencode(path), digest_size=16).hexdigest()


def test_files_are_read_once(folder, cache, monkeypatch):
    first = _print(folder)
    (store,) = cache.iterdir()
    assert b"png" not in store.read_bytes()  # names of photos are not kept
    assert len(json.loads(store.read_text())) == 6
    read = []
    real = fingerprints._checksum
    monkeypatch.setattr(fingerprints, "_checksum", lambda s: read.append(s.name) or real(s))
    assert _print(folder) == first
    assert read == []
    Image.new("RGB", (16, 16), (9, 9, 9)).save(folder / "2.png")
    assert _print(folder) != first
    assert read == ["2.png"]


def test_a_file_modified_just_now_is_read_again(folder, cache):
    """Changed twice within a tick of its clock, a file keeps its date, and perhaps its size."""
    (folder / "2.png").write_bytes(b"first ")
    stamp = os.stat(folder / "2.png")
    first = _print(folder)
    (folder / "2.png").write_bytes(b"second")
    os.utime(folder / "2.png", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert _print(folder) != first
    (store,) = cache.iterdir()
    assert json.loads(store.read_text()).keys().isdisjoint([hashed(folder / "2.png")])
    assert hashed(folder / "1.png") in json.loads(store.read_text())


@pytest.mark.parametrize("text", ["", "[]", '{"x": 1}', "\0" * 99])
def test_a_damaged_cache_is_ignored(folder, cache, text):
    first = _print(folder)
    (store,) = cache.iterdir()
    store.write_text(text)
    assert _print(folder) == first


def test_no_cache_is_fine_too(folder, tmp_path, monkeypatch):
    first = _print(folder)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STYLEMIX_CACHE", str(tmp_path / "file"))
    assert _print(folder) == first


def test_unreadable_files_count(folder, monkeypatch):
    first = _print(folder)
    shutil.rmtree(os.environ["STYLEMIX_CACHE"])

    real = ImageSource.checksum

    def refuse(self):
        if self.name == "3.png":
            raise PermissionError(13, "no")
        return real(self)

    with monkeypatch.context() as patch:
        patch.setattr(ImageSource, "checksum", refuse)
        assert _print(folder) != first
    assert _print(folder) == first


def test_progress_is_shown_where_it_takes_long(folder, monkeypatch, capsys):
    assert _print(folder)
    assert capsys.readouterr().err == ""
    shutil.rmtree(os.environ["STYLEMIX_CACHE"])
    monkeypatch.setattr(fingerprints, "SHOW_AFTER", 0)
    monkeypatch.setattr(progress, "on_terminal", lambda: True)
    assert _print(folder)
    assert "Reading: " in capsys.readouterr().err
