"""Drawing kits: what is written, what comes back, what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from stylemix.errors import StylemixError
from stylemix.faces.templates import NO_TEMPLATE
from stylemix.images.tensors import to_pil
from stylemix.inversion.portraits import read_portrait
from stylemix.inversion.settings import ProjectionSettings
from stylemix.training.adapt.draw_kit import (
    FILE,
    _align_drawing,
    is_kit,
    pair_images,
    read_kit,
    read_pairs,
    write_kit,
)
from stylemix.training.adapt.scores import resized
from tests.support.models import tiny_model, trained_on


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture
def kit(model, tmp_path):
    write_kit(model, tmp_path / "kit", 5, seed=3)
    return tmp_path / "kit"


def redraw(kit, number, folder=None):
    """An artist's version of a face: its negative, in another size and format."""
    with Image.open(kit / f"face-{number:03d}.png") as face:
        drawing = ImageOps.invert(face.convert("RGB")).resize((300, 300))
    place = kit if folder is None else folder
    place.mkdir(exist_ok=True)
    drawing.save(place / f"face-{number:03d}.png")


def test_a_kit_is_faces_to_draw_on(model, kit):
    names = sorted(path.name for path in kit.iterdir())
    assert names == [*(f"face-{n:03d}.png" for n in range(1, 6)), FILE]
    with Image.open(kit / "face-002.png") as face:
        assert face.size == (512, 512)
    assert is_kit(kit)
    assert not is_kit(kit.parent)


def test_what_was_drawn_comes_back_with_its_latents(model, kit):
    for number in (2, 5):
        redraw(kit, number)
    ws, drawings, large = read_kit(model, kit)
    assert ws.shape[0] == drawings.shape[0] == 2
    images = model.generator.synthesis(ws, noise_mode="const")
    for image, drawing in zip(images, drawings, strict=True):
        inverted = np.asarray(ImageOps.invert(to_pil(image))).astype(int)
        assert np.abs(np.asarray(to_pil(drawing)).astype(int) - inverted).mean() < 12
    assert large.shape == (2, 3, 256, 256)  # to be seen as avatars are
    assert float((resized(large, drawings.shape[2:]) - drawings).abs().mean()) < 0.03


def test_drawings_may_lie_in_a_folder_of_their_own(model, kit):
    for number in (1, 3, 4):
        redraw(kit, number, kit / "drawings")
    (kit / "drawings" / "notes.png").write_bytes((kit / "face-001.png").read_bytes())
    ws, *_ = read_kit(model, kit)
    assert len(ws) == 3


def test_mistakes_with_kits(model, kit, tmp_path):
    with pytest.raises(StylemixError, match=r"got no drawing; expected face-001\.png"):
        read_kit(model, kit)
    with pytest.raises(StylemixError, match="holds a kit already"):
        write_kit(model, kit, 5)
    with pytest.raises(StylemixError, match="got 0 faces for a kit"):
        write_kit(model, tmp_path / "none", 0)
    redraw(kit, 1)
    with pytest.raises(StylemixError, match="got a kit of the model"):
        read_kit(trained_on(tiny_model()), kit)


SHAPES = [{"base": (3, 5)}, {"base": (4, 1)}, {"channels": 4}, {"channels": 1}, {"head": "haar"}]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_kit_of_a_model_of_any_shape(shape, tmp_path):
    model = tiny_model(resolution=16, template=NO_TEMPLATE, **shape)
    write_kit(model, tmp_path, 3)
    with pytest.raises(StylemixError, match="got no drawing"):  # faces as they were
        read_kit(model, tmp_path)
    white = Image.new("RGB", (200, 200), "white")
    white.save(tmp_path / "face-002.png")
    ws, drawings, large = read_kit(model, tmp_path)
    assert min(large.shape[2:]) == 256
    assert len(ws) == 1
    assert drawings.shape == model.generator.synthesis(ws).shape
    assert bool((drawings == 1).all())


@pytest.mark.parametrize("shape", SHAPES)
def test_pairs_for_a_model_of_any_shape(shape, tmp_path, monkeypatch):
    """A drawing is cropped as its photo is; transparent places stay so where the model has them."""
    model = tiny_model(resolution=16, template=NO_TEMPLATE, **shape)
    settings = ProjectionSettings(w_steps=0, plus_steps=0, refine_steps=0)
    monkeypatch.setattr("stylemix.training.adapt.draw_kit.LATENTS", settings)
    colors = np.random.RandomState(0).randint(0, 255, (5, 7, 4), np.uint8)
    picture = Image.fromarray(colors, "RGBA").resize((140, 100), Image.Resampling.NEAREST)
    for folder in ("photos", "drawings"):
        (tmp_path / folder).mkdir()
        for name in "abcd":
            picture.save(tmp_path / folder / f"{name}.png")
    ws, drawings, large = read_pairs(model, tmp_path / "photos", tmp_path / "drawings")
    assert min(large.shape[2:]) == 256
    assert drawings.shape == model.generator.synthesis(ws).shape
    photo = read_portrait(tmp_path / "photos" / "a.png", model).image
    assert torch.equal(drawings[0], photo)


def test_too_few_pairs_are_not_projected(model, tmp_path):
    """Neither image is a face, which would be the error of reading them."""
    for folder in ("photos", "drawings"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (20, 20)).save(tmp_path / folder / "a.png")
    with pytest.raises(StylemixError, match="got 1 faces and 1 drawings; expected as many of"):
        read_pairs(model, tmp_path / "photos", tmp_path / "drawings")


def test_pairs_have_the_same_names(tmp_path, capsys):
    for folder, names in (("photos", ("a.png", "b.png", "x.png")), ("drawn", ("b.png", "a.png"))):
        (tmp_path / folder).mkdir()
        for name in names:
            Image.new("RGB", (20, 20)).save(tmp_path / folder / name)
    found = pair_images(tmp_path / "photos", tmp_path / "drawn")
    assert [(a.name, b.parent.name) for a, b in found] == [("a.png", "drawn"), ("b.png", "drawn")]
    said = "Note: 2 of 3 photos and 2 drawings have a partner of the same name; the others are "
    assert capsys.readouterr().err == f"{said}left out\n"
    (tmp_path / "drawn" / "a.png").unlink()
    (tmp_path / "drawn" / "b.png").rename(tmp_path / "drawn" / "y.png")
    with pytest.raises(StylemixError, match="images of the same names in both"):
        pair_images(tmp_path / "photos", tmp_path / "drawn")


def test_the_same_seed_gives_the_same_faces(model, kit, tmp_path):
    write_kit(model, tmp_path / "again", 5, seed=3)
    write_kit(model, tmp_path / "other", 5, seed=4)
    same, again, other = (
        np.asarray(Image.open(folder / "face-001.png"))
        for folder in (kit, tmp_path / "again", tmp_path / "other")
    )
    assert (same == again).all()
    assert (same != other).any()


def test_a_drawing_is_cropped_alike_in_every_size(model):
    portrait = Path(__file__).parents[2] / "data" / "portraits" / "obama.jpg"
    photo = read_portrait(portrait, model)
    small, large = (_align_drawing(portrait, photo, model, smallest) for smallest in (0, 256))
    assert large.shape == (1, 3, 256, 256)
    torch.testing.assert_close(small, photo.image[None])
    assert float((resized(large, (32, 32)) - small).abs().mean()) < 0.02
