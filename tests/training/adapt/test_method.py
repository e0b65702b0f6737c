"""The choice of a method by the images, and of the layers of a style."""

import pytest
import torch

from stylemix.avatars.render import AppliedStyle, render
from stylemix.faces.templates import NO_TEMPLATE
from stylemix.models.checkpoint import load_model
from stylemix.networks.latents import map_latents
from stylemix.styles.style import Style
from stylemix.training.adapt import method
from stylemix.training.adapt.method import (
    AdaptationPlan,
    choose_layers,
    choose_method,
    domain_distance,
)
from tests.support.images import flat_drawings
from tests.support.models import tiny_model, ws_of


@pytest.fixture(scope="module")
def faces_64():
    return load_model("faces-64")


def faces(model, count=8):
    z = torch.randn([count, model.generator.z_dim], generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        return model.generator.synthesis(map_latents(model.generator, z), noise_mode="const")


@pytest.mark.slow
def test_faces_in_another_light_are_near_and_drawings_far(faces_64):
    generated = faces(faces_64)
    graded = generated.mean(dim=1, keepdim=True).repeat(1, 3, 1, 1) * 1.2
    drawn = flat_drawings(8, 64)
    distances = [domain_distance(faces_64, images) for images in (generated, graded, drawn)]
    assert distances[0] < 0.1
    assert distances[1] < method.FAR_THRESHOLD < distances[2]


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
def test_the_method_depends_on_distance_and_count(monkeypatch, distance, count, expected):
    monkeypatch.setattr(method, "domain_distance", lambda *_: distance)
    choice = choose_method(tiny_model(), torch.zeros([1, 3, 32, 32]), count)
    assert (choice.method, choice.part) == expected
    assert f"{count} images" in choice.why
    assert str(distance) in choice.why


def test_without_a_discriminator_there_is_no_transfer(monkeypatch):
    monkeypatch.setattr(method, "domain_distance", lambda *_: 0.5)
    model = tiny_model(discriminator=False)
    choice = choose_method(model, torch.zeros([1, 3, 32, 32]), 1000)
    assert choice == AdaptationPlan("look", "affine", None, choice.why)


@pytest.mark.parametrize(("away", "expected"), [(0.4, "near"), (0.6, None)])
def test_few_drawings_start_from_the_nearest_style(monkeypatch, away, expected):
    model, pictures = tiny_model(), torch.zeros([1, 3, 32, 32])
    distances = {"far": 0.9, "near": away}
    monkeypatch.setattr(method, "shipped_transfers", lambda _: {k: k for k in distances})
    monkeypatch.setattr(method, "with_style", lambda _, style: style)
    monkeypatch.setattr(method, "domain_distance", lambda m, _: distances.get(str(m), 0.5))
    assert choose_method(model, pictures, 8).start == expected
    assert choose_method(model, pictures, 50).start == expected
    assert choose_method(model, pictures, 100).start is None  # enough images to train all weights


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
