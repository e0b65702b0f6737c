"""The choice of a method by the images, and of the layers of a style."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stylemix.avatars.finisher import enlarge
from stylemix.avatars.render import AppliedStyle, render
from stylemix.errors import StylemixError
from stylemix.faces.detector import load_detector
from stylemix.faces.templates import FACES128, NO_TEMPLATE
from stylemix.images.filters import mirrored_blur
from stylemix.images.sources import list_images
from stylemix.images.tensors import to_pil
from stylemix.models.checkpoint import load_model
from stylemix.networks.latents import map_latents
from stylemix.networks.student import tone_curve
from stylemix.styles.style import Style, load_style
from stylemix.training.adapt import method
from stylemix.training.adapt.method import (
    AdaptationPlan,
    Drawings,
    choose_images,
    choose_layers,
    choose_without_faces,
    distance_from_photos,
)
from tests.support.images import flat_drawings
from tests.support.models import tiny_model, ws_of


@pytest.fixture
def portraits():
    return Path(__file__).parents[2] / "data" / "portraits"


@pytest.fixture(scope="module")
def faces_64():
    return load_model("faces-64")


def faces(model, count=8):
    z = torch.randn([count, model.generator.z_dim], generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        return model.generator.synthesis(map_latents(model.generator, z), noise_mode="const")


@pytest.mark.slow
def test_photos_in_any_state_are_near_and_drawings_far(faces_64):
    rng = torch.Generator().manual_seed(1)
    generated = faces_64_px_256(faces_64)
    grey = generated.mean(dim=1, keepdim=True).repeat(1, 3, 1, 1)
    warm = generated * torch.tensor([1.1, 1.0, 0.8]).view(3, 1, 1) + torch.tensor(
        [0.2, 0.0, -0.2]
    ).view(3, 1, 1)
    photos = {
        "plain": generated,
        "black and white, hard": (grey * 1.5 - 0.1).clamp(-1, 1),
        "warm": warm.clamp(-1, 1),
        "pale": generated * 0.5 + 0.4,
        "blurred": mirrored_blur(generated, 2.0),
        "grainy": (generated + 0.15 * torch.randn(generated.shape, generator=rng)).clamp(-1, 1),
    }
    ink = load_style("ink")
    curve = tone_curve(generated)
    drawings = {
        "flat": flat_drawings(8, 256),
        "ink": torch.cat([
            ink.drawing(one[None], line[None])
            for one, line in zip(generated, curve, strict=True)
        ]),
    }  # fmt: skip
    near = {name: distance_from_photos(images) for name, images in photos.items()}
    far = {name: distance_from_photos(images) for name, images in drawings.items()}
    assert max(near.values()) < method.FAR_THRESHOLD < min(far.values()), (near, far)


def faces_64_px_256(model):
    return enlarge(faces(model), model.template)


@pytest.mark.parametrize(
    ("distance", "count", "expected"),
    [
        (0.2, 1, ("look", "offsets")),
        (0.2, 5000, ("look", "offsets")),
        (0.5, 1, ("look", "affine")),
        (0.5, 9, ("look", "affine")),
        (0.5, 10, ("transfer", "affine")),
        (0.5, 99, ("transfer", "affine")),
        (0.5, 100, ("transfer", "all")),
    ],
)
def test_without_faces_it_depends_on_distance_and_count(monkeypatch, distance, count, expected):
    monkeypatch.setattr(method, "domain_distance", lambda *_: distance)
    choice = choose_without_faces(tiny_model(), torch.zeros([1, 3, 32, 32]), count)
    assert (choice.method, choice.part) == expected
    assert choice.why.startswith(f"{count} image{'' if count == 1 else 's'}, ")
    assert str(distance) in choice.why


def test_without_a_discriminator_there_is_no_transfer(monkeypatch):
    monkeypatch.setattr(method, "domain_distance", lambda *_: 0.5)
    model = tiny_model(discriminator=False)
    choice = choose_without_faces(model, torch.zeros([1, 3, 32, 32]), 1000)
    assert choice == AdaptationPlan("look", "affine", None, choice.why)


@pytest.mark.parametrize(("distance", "expected"), [(0.1, "look"), (0.4, "drawing")])
def test_photos_become_a_look_and_drawings_a_drawing(
    monkeypatch, tmp_path, capsys, distance, expected
):
    monkeypatch.setattr(method, "distance_from_photos", lambda _: distance)
    Image.new("RGB", (80, 60), "red").save(tmp_path / "a.png")
    plan, dataset = choose_images("auto", [tmp_path / "a.png"], tiny_model(), None)
    assert plan.method == expected
    assert dataset.batch([0])[0].shape[2:] == ((512, 512) if expected == "drawing" else (32, 32))
    taken = capsys.readouterr().err.endswith(
        "no face is found, so the images are taken as they are\n"
    )
    assert taken == (expected == "look")
    assert str(plan).startswith(f"1 image, {'unlike' if distance > 0.2 else 'like'} photos (0.")


def test_drawings_need_a_model_of_faces():
    model = tiny_model(template=NO_TEMPLATE)
    with pytest.raises(StylemixError, match="got --method drawing for a model without faces; exp"):
        choose_images("drawing", [Image.new("RGB", (80, 60))], model, None)


def test_faces_of_drawings_are_where_students_know_them(portraits):
    """A photo stands for a drawing with a face; a plain picture is cropped at its centre."""
    photo = Image.open(portraits / "obama.jpg")
    plain = Image.new("RGB", (300, 200), "white")
    plain.paste("black", (100, 0, 200, 200))
    with_face, without = (Drawings(list_images([image]), None) for image in (photo, plain))
    found = to_pil(with_face.batch([0])[0][0].float() / 127.5 - 1)
    points = load_detector().detect(found)[0].points / 512
    np.testing.assert_allclose(points, np.array(FACES128.points), atol=0.06)
    pixels = without.batch([0])[0][0].float().mean(dim=0)
    assert pixels[:, 140:370].max() < 40
    assert pixels[:, :110].min() > 200
    assert (with_face.centred, without.centred) == (0, 1)
    with pytest.raises(StylemixError, match="face"):
        Drawings(list_images([plain]), True).batch([0])


@pytest.mark.parametrize("name", ["look", "drawing"])
def test_images_of_one_color_are_no_style(name):
    red = [Image.new("RGB", (80, 60), color) for color in ("red", "black")]
    with pytest.raises(StylemixError, match="got images of a single colour; expected drawings or"):
        method.read_examples(*choose_images(name, red, tiny_model(), False))
    half = Image.new("RGB", (80, 60), "red")
    half.paste("blue", (0, 0, 40, 60))
    plan, dataset = choose_images(name, [*red, half], tiny_model(), False)
    assert len(method.read_examples(plan, dataset)) == 3


def test_pictures_without_a_face_are_named(portraits, tmp_path, capsys):
    Image.new("RGB", (80, 60), "red").save(tmp_path / "sky.png")
    sources = list_images([tmp_path / "sky.png", portraits / "obama.jpg"])
    method.read_images(sources, tiny_model(), True).batch([0, 1])
    assert f"Left out: {tmp_path / 'sky.png'}: got no face in photo;" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "align"), [("auto", None), ("look", False), ("drawing", None)])
def test_a_broken_image_is_named_once_and_not_counted(
    portraits, tmp_path, capsys, monkeypatch, name, align
):
    """The image behind it, which is read in its place, counts once, too."""
    monkeypatch.setattr(method, "distance_from_photos", lambda _: 0.1)
    for number, color in enumerate(("red", "blue")):
        half = Image.new("RGB", (80, 60), color)
        half.paste("white", (0, 0, 40, 60))
        half.save(tmp_path / f"{2 * number}.png")
    (tmp_path / "1.png").write_bytes(b"nothing")
    model = tiny_model()
    plan, dataset = choose_images(name, [tmp_path], model, align)
    assert plan.why.startswith("2 images, " if name == "auto" else "as requested")
    assert len(method.read_examples(plan, dataset)) == 2
    method.judged_statistics(dataset, model)
    said = capsys.readouterr().err
    assert said.count("Left out: ") == 1
    assert ("in 2 of 2 images" in said) == (name == "drawing")


def test_drawings_without_a_face_are_counted(portraits, tmp_path, capsys):
    Image.new("RGB", (80, 60), "red").save(tmp_path / "sky.png")
    plan, dataset = choose_images(
        "drawing", [tmp_path / "sky.png", portraits / "obama.jpg"], tiny_model(), None
    )
    method.read_examples(plan, dataset)
    assert capsys.readouterr().err == (
        "Note: no face is found in 1 of 2 images; their centre is taken, for colours and strokes\n"
    )


@pytest.mark.slow
def test_harmful_layers_are_left_to_the_base():
    model = tiny_model(template=NO_TEMPLATE)
    names = dict(model.generator.synthesis.named_parameters())
    rng = torch.Generator().manual_seed(0)
    # The target change is in the block of 32 px; at 4 and 8 px the style only does harm.
    good = {"b32.torgb.bias": torch.tensor([0.8, -0.8, 0.0])}
    broken = {
        name: 5 * torch.randn(value.shape, generator=rng)
        for name, value in names.items()
        if name in ("b4.conv1.weight", "b8.conv0.weight", "b8.conv1.weight")
    }
    ws = ws_of(model, 16, seed=3)
    expected = render(model.generator, ws, [AppliedStyle(Style(model.fingerprint, weights=good))])
    style = Style(model.fingerprint, weights=good | broken)
    assert choose_layers(model, style, expected).layers == "16-32px"
    whole = Style(model.fingerprint, weights=good)
    assert choose_layers(model, whole, expected).layers == "all"
