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
from stylemix.training.adapt.draw_kit import (
    FILE,
    _align_drawing,
    is_kit,
    pair_images,
    read_kit,
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


def test_pairs_have_the_same_names(tmp_path):
    for folder, names in (("photos", ("a.png", "b.png", "x.png")), ("drawn", ("b.png", "a.png"))):
        (tmp_path / folder).mkdir()
        for name in names:
            Image.new("RGB", (20, 20)).save(tmp_path / folder / name)
    found = pair_images(tmp_path / "photos", tmp_path / "drawn")
    assert [(a.name, b.parent.name) for a, b in found] == [("a.png", "drawn"), ("b.png", "drawn")]
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


def test_drawings_for_an_oblong_model(tmp_path):
    model = tiny_model(template=NO_TEMPLATE, base=(4, 6))
    write_kit(model, tmp_path / "kit", 2)
    with Image.open(tmp_path / "kit" / "face-002.png") as image:
        ImageOps.invert(image).save(tmp_path / "kit" / "face-002.png")
    ws, drawings, large = read_kit(model, tmp_path / "kit")
    assert (len(ws), drawings.shape) == (1, (1, 3, 32, 48))
    assert large.shape == (1, 3, 256, 384)
    photo = Image.effect_noise((120, 100), 60).convert("RGB")
    photo.resize((240, 200)).save(tmp_path / "drawing.png")
    portrait = read_portrait(photo, model)
    drawn = _align_drawing(tmp_path / "drawing.png", portrait, model)
    assert drawn.shape == (1, 3, 32, 48)
    assert (drawn[0] - portrait.image).abs().mean() < 0.1
