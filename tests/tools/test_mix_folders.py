"""`stylemix mix` with folders and zips: avatars of usable photos, one-line errors of others."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from stylemix.avatars import reader
from stylemix.cli import main
from stylemix.faces.alignment import align_photo
from stylemix.faces.templates import NO_TEMPLATE
from stylemix.images.read import load_image
from stylemix.inversion.latent import Latent, save_latent
from tests.support.models import saved, tiny_model, ws_of

PORTRAITS = Path(__file__).parents[1] / "data" / "portraits"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return saved(tiny_model(), tmp_path_factory.mktemp("model") / "base.safetensors")


@pytest.fixture
def photos(tmp_path):
    """Two portraits, a photo of a wall, and a text file."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("obama", "astronaut"):
        shutil.copy(PORTRAITS / f"{name}.jpg", folder)
    Image.new("RGB", (200, 200), "gray").save(folder / "wall.png")
    (folder / "notes.txt").write_text("not an image, and not meant as one")
    return folder


def run(model, *arguments):
    # Few steps: these tests ask who gets an image, not how alike it is.
    few = ["--w-steps", "4", "--steps", "2", "--refine-steps", "1"]
    return CliRunner().invoke(main, ["mix", "--model", model, *few, *map(str, arguments)])


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


@pytest.mark.slow
def test_an_unusable_photo_of_a_folder_does_not_stop_the_others(model, photos, tmp_path):
    out = tmp_path / "avatars"
    result = run(model, "--source", photos, "--style", "seed:2", "--output", out)
    assert result.exit_code == 2
    assert sorted(path.name for path in out.iterdir()) == ["astronaut.png", "obama.png"]
    first, last = [line for line in result.stderr.splitlines() if line.startswith("Error:")]
    assert "wall.png" in first
    assert "no face" in first
    assert "got no avatar from 1 of 3 sources" in last
    assert result.stdout.count("Wrote ") == 2
    assert np.abs(pixels(out / "obama.png") - pixels(out / "astronaut.png")).mean() > 1


@pytest.mark.slow
def test_a_folder_gives_the_same_as_each_photo(model, photos, tmp_path):
    (photos / "wall.png").unlink()
    out = tmp_path / "avatars"
    result = run(model, "--source", photos, "--style", "seed:2", "--output", out)
    assert result.exit_code == 0, result.output
    alone = tmp_path / "one.png"
    obama = ["--source", photos / "obama.jpg", "--style", "seed:2", "--output", alone]
    assert run(model, *obama).exit_code == 0
    own, other = (
        np.abs(pixels(alone) - pixels(out / f"{name}.png")).mean()
        for name in ("obama", "astronaut")
    )
    assert (
        own < 0.7 * other
    )  # not the same: photos that are projected together share random numbers


@pytest.mark.slow
def test_a_zip_and_more_sources_with_repeated_names(model, photos, tmp_path):
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.write(PORTRAITS / "obama.jpg", "first/obama.jpg")
        archive.write(PORTRAITS / "astronaut.jpg", "second/obama.jpg")
    (photos / "wall.png").unlink()
    out, many = tmp_path / "out", ["--source", tmp_path / "more.zip", "--source", "seed:1"]
    result = run(model, *many, "--source", photos, "--style", "seed:2", "--output", out)
    assert result.exit_code == 0, result.output
    names = sorted(path.name for path in out.iterdir())
    assert names == ["astronaut.png", "obama-2.png", "obama-3.png", "obama.png", "seed1.png"]


def test_a_folder_of_latents_is_read_as_latents_not_images(model, photos, tmp_path):
    for name, w in zip("ab", ws_of(tiny_model()), strict=True):
        save_latent(photos / f"{name}.latent.safetensors", Latent(w))
    out = tmp_path / "out"
    result = run(model, "--source", photos, "--style", "seed:2:0", "--output", out)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == ["a.png", "b.png"]
    latent = photos / "b.latent.safetensors"
    alone = ["--source", latent, "--style", "seed:2:0", "--output", tmp_path / "b.png"]
    assert run(model, *alone).exit_code == 0
    assert np.array_equal(pixels(tmp_path / "b.png"), pixels(out / "b.png"))


def test_a_damaged_latent_of_a_folder_is_skipped(model, tmp_path):
    folder = tmp_path / "latents"
    folder.mkdir()
    save_latent(folder / "a.latent.safetensors", Latent(ws_of(tiny_model())[0]))
    (folder / "b.latent.safetensors").write_bytes(b"damaged")
    out = tmp_path / "out"
    result = run(model, "--source", folder, "--style", "seed:2", "--output", out)
    assert result.exit_code == 2
    assert "b.latent.safetensors" in result.stderr
    assert [path.name for path in out.iterdir()] == ["a.png"]


@pytest.mark.slow
def test_a_grid_shows_the_usable_photos(model, photos, tmp_path):
    out, style = tmp_path / "sheet.png", ["--style", "seed:2", "--grid", "--output-size", 40]
    result = run(model, "--source", photos, *style, "--output", out)
    assert result.exit_code == 2
    assert "1 of 3 sources" in result.stderr
    assert 2 * 40 < pixels(out).shape[0] < 3 * 40 + 30


def test_a_folder_without_any_face_writes_nothing(model, photos, tmp_path):
    for name in ("obama", "astronaut"):
        (photos / f"{name}.jpg").unlink()
    for more in ([], ["--strip"]):
        out = tmp_path / ("out.png" if more else "out")
        result = run(model, "--source", photos, "--style", "seed:2", *more, "--output", out)
        assert result.exit_code == 2
        assert "got no avatar from 1 of 1 sources" in result.stderr
        assert not out.exists()


@pytest.mark.slow
def test_an_unusable_photo_of_a_style_is_skipped(model, photos, tmp_path):
    out = tmp_path / "out.png"
    command = ["--source", "seed:1", "--style", photos, "--output", out]
    result = run(model, *command)
    assert result.exit_code == 0, result.output
    assert "wall.png" in result.stderr
    with_wall = pixels(out)
    (photos / "wall.png").unlink()
    result = run(model, *command)
    assert "Error" not in result.stderr
    assert np.array_equal(pixels(out), with_wall)


def test_a_style_without_any_face_is_refused(model, photos, tmp_path):
    for name in ("obama", "astronaut"):
        (photos / f"{name}.jpg").unlink()
    out = tmp_path / "out.png"
    result = run(model, "--source", "seed:1", "--style", photos, "--output", out)
    assert result.exit_code == 2
    assert "wall.png" in result.stderr
    assert not out.exists()


def test_an_unusable_photo_passed_by_name_is_an_error(model, photos, tmp_path):
    both = ["--source", photos / "wall.png", "--source", photos / "obama.jpg"]
    result = run(model, *both, "--style", "seed:2", "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_mask_of_the_photo_follows_its_face(model, photos, tmp_path):
    """The left half of the face, painted on the photo, is the left half of the crop."""
    photo = load_image(photos / "obama.jpg")
    points = align_photo(photo, tiny_model().template, 32)
    left, top = np.linalg.inv(points.matrix)[:2] @ [0, 0, 1]
    right, bottom = np.linalg.inv(points.matrix)[:2] @ [16, 32, 1]
    mask = Image.new("L", photo.size)
    mask.paste(255, tuple(round(float(v)) for v in (left, top, right, bottom)))
    mask.save(tmp_path / "mask.png")
    out, images = tmp_path / "out.png", []
    for more in (["--strength", 0], [], ["--region", tmp_path / "mask.png"]):
        style = ["--style", "seed:2", "--layers", "all", *more, "--output-size", 32, "--overwrite"]
        result = run(model, "--source", photos / "obama.jpg", *style, "--output", out)
        assert result.exit_code == 0, result.output
        images.append(pixels(out))
    plain, full, half = images
    assert np.abs(half - full)[:, :8].mean() < 0.5 * np.abs(half - plain)[:, :8].mean()
    assert np.abs(half - plain)[:, 24:].mean() < 0.5 * np.abs(half - full)[:, 24:].mean()


@pytest.mark.slow
def test_a_photo_is_projected_once_for_two_commands(model, photos, tmp_path, monkeypatch):
    source = ["--source", photos / "obama.jpg", "--output-size", 32]
    first = run(model, *source, "--style", "seed:2", "--output", tmp_path / "a.png")
    assert first.exit_code == 0, first.output

    def refuse(*_, **__):
        raise AssertionError("projected again")

    monkeypatch.setattr(reader, "project_portraits", refuse)
    again = run(model, *source, "--style", "seed:2", "--output", tmp_path / "b.png")
    assert again.exit_code == 0, again.output
    assert (pixels(tmp_path / "a.png") == pixels(tmp_path / "b.png")).all()
    with pytest.raises(AssertionError, match="projected again"):
        CliRunner().invoke(
            main,
            ["mix", "--model", model, *map(str, source), "--style", "seed:2", "--no-cache"],
            catch_exceptions=False,
        )


@pytest.fixture(scope="module")
def faceless(tmp_path_factory):
    """A model of any images, which no detector needs to look at."""
    model = tiny_model(template=NO_TEMPLATE)
    return saved(model, tmp_path_factory.mktemp("model") / "base.safetensors")


@pytest.fixture
def crowd(tmp_path, monkeypatch):
    """A folder with five images, and a reader that projects two at once."""
    folder = tmp_path / "crowd"
    folder.mkdir()
    for number in range(5):
        Image.new("RGB", (32, 32), (50 * number, 90, 40)).save(folder / f"{number}.png")
    monkeypatch.setattr(reader, "PHOTOS_AT_ONCE", 2)
    monkeypatch.setenv("STYLEMIX_CACHE", str(tmp_path / "cache"))
    return folder


def count_batches(monkeypatch, on_batch):
    """Replaces the projection by latents of zeros; `on_batch` gets the number of each batch."""
    sizes = []

    def projected(portraits, model, settings, progress, encoder):
        del settings, progress, encoder
        sizes.append(len(portraits))
        on_batch(len(sizes))
        ws = torch.zeros([model.generator.num_ws, model.generator.w_dim])
        return None, [Latent(ws, model.fingerprint) for _ in portraits]

    monkeypatch.setattr(reader, "project_portraits", projected)
    return sizes


def test_an_interruption_loses_one_batch(faceless, crowd, tmp_path, monkeypatch):
    def interrupt(number):
        if number == 2:
            raise KeyboardInterrupt

    out = tmp_path / "avatars"
    arguments = ["--source", crowd, "--style", "seed:2:0", "--output", out]
    sizes = count_batches(monkeypatch, interrupt)
    result = run(faceless, *arguments)
    assert result.exit_code == 130
    assert sorted(path.name for path in out.iterdir()) == ["0.png", "1.png"]
    assert sizes == [2, 2]
    sizes = count_batches(monkeypatch, lambda _: None)
    assert run(faceless, *arguments).exit_code == 0
    assert len(list(out.iterdir())) == 5
    assert sizes == [2, 1]  # those of the first batch are kept


def test_batches_are_full_where_photos_are_unusable(faceless, crowd, tmp_path, monkeypatch):
    for name in ("1", "3"):
        (crowd / f"{name}.png").write_text("not an image")
    sizes = count_batches(monkeypatch, lambda _: None)
    out = tmp_path / "avatars"
    result = run(faceless, "--source", crowd, "--style", "seed:2:0", "--output", out, "--no-cache")
    assert result.exit_code == 2
    assert sizes == [2, 1]
    assert sorted(path.name for path in out.iterdir()) == ["0.png", "2.png", "4.png"]


@pytest.mark.parametrize(
    ("source", "style", "message"),
    [
        ("missing.jpg", "seed:2", "missing.jpg: got no such file"),
        ("seed:x", "seed:2", "got 'seed:x'; expected seed: and a number"),
        ("seed:1", "missing.pkl", "got the style missing.pkl; expected a file or a shipped style"),
        ("seed:1", "nior", "got the style nior; expected a file or a shipped style"),
    ],
)
def test_bad_names_are_reported_before_the_model_is_loaded(source, style, message):
    result = CliRunner().invoke(
        main, ["mix", "--model", "broken.pkl", "--source", source, "--style", style]
    )
    assert result.exit_code == 2
    assert message in result.stderr
