"""Residuals of photos, mixed with those of another photo or with a style of weights."""

import pytest
import torch
from torch import Tensor

from stylemix.avatars.derived_styles import person_style
from stylemix.avatars.render import AppliedStyle, layer_indices, prepare, render
from stylemix.inversion.latent import Latent
from stylemix.inversion.residual import Residual
from stylemix.models.model import Model
from stylemix.styles.style import Style
from tests.stylemix.avatars.test_render import everything
from tests.support.models import tiny_model, ws_of


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model(resolution=64)


@pytest.fixture(scope="module")
def ws(model) -> Tensor:
    return ws_of(model)


def detailed(model: Model, w: Tensor, seed: int, px: int = 16) -> Latent:
    """A latent whose residual changes every weight and the features at `px`."""
    rng = torch.Generator().manual_seed(seed)
    named = dict(model.generator.synthesis.named_parameters())
    changes = {k: 0.05 * torch.randn(v.shape, generator=rng) for k, v in named.items()}
    channels = model.generator.config.channels(px)
    features = torch.randn([channels, px, px], generator=rng)
    mask = (torch.rand([1, px, px], generator=rng) > 0.5).float()
    return Latent(w, model.fingerprint, detail=Residual(changes, features, mask))


def crossed(model: Model, person: Latent, other: Latent, layers: str) -> Tensor:
    style = person_style(model.generator, "base", person, other)
    part = AppliedStyle(style, 1.0, layers, toward=other.detail or Residual())
    return render(model.generator, person.w[None], [part], person.detail)


def test_all_layers_of_another_photo_are_its_reconstruction(model, ws):
    one, two = detailed(model, ws[0], 1), detailed(model, ws[1], 2)
    bare = Latent(ws[1], model.fingerprint)
    for person, other in ((one, two), (one, bare), (bare, one)):
        expected = render(model.generator, other.w[None], (), other.detail)
        assert torch.allclose(crossed(model, person, other, "all"), expected, atol=1e-3)


@pytest.mark.parametrize(
    ("layers", "first", "last", "features"),
    [
        ("64px", 7, 9, "own"),  # layers after the features at 16 px
        ("32-64px", 5, 9, "own"),
        ("8-64px", 1, 9, "none"),  # some layers before the features are of each person
        ("4-16px", 0, 4, "theirs"),
        ("all", 0, 9, "theirs"),
    ],
)
def test_layers_of_another_photo_bring_its_residual(model, ws, layers, first, last, features):
    one, two = detailed(model, ws[0], 1), detailed(model, ws[1], 2)
    where = layer_indices(model.generator)

    def theirs(name: str) -> bool:
        block, kind = name.split(".")[:2]
        index = where[block].get(kind, where["b4"]["conv1"])
        return first <= index <= last

    weights = {k: (two if theirs(k) else one).detail.weights[k] for k in one.detail.weights}
    w = one.w.clone()
    w[first : last + 1] = two.w[first : last + 1]
    detail = Residual(weights)
    if features != "none":
        source = (one if features == "own" else two).detail
        detail = Residual(weights, source.features, source.mask)
    expected = render(model.generator, w[None], (), detail)
    assert torch.allclose(crossed(model, one, two, layers), expected, atol=1e-3)


def test_half_of_another_photo_has_half_of_both_features(model, ws):
    one, two = detailed(model, ws[0], 1), detailed(model, ws[1], 2)
    style = person_style(model.generator, "base", one, two)
    part = AppliedStyle(style, 0.5, "all", toward=two.detail)
    got = render(model.generator, one.w[None], [part], one.detail)
    half = Residual.lerp(one.detail, two.detail, 0.5, model.generator.synthesis)
    expected = render(model.generator, (one.w + two.w)[None] / 2, (), half)
    assert torch.allclose(got, expected, atol=1e-3)


def test_a_style_of_weights_fades_the_features_of_a_photo(model, ws):
    person, style = detailed(model, ws[0], 1), everything(model)
    bare = Residual(person.detail.weights)
    half = Residual(bare.weights, person.detail.features, 0.5 * person.detail.mask)
    offsets = Style("base", offsets=style.offsets)
    for parts, detail in (
        ([AppliedStyle(style, 1.0)], bare),
        ([AppliedStyle(style, 0.5)], half),
        ([AppliedStyle(style, 1.0, "fine")], person.detail),  # above the features
        ([AppliedStyle(offsets, 1.0)], person.detail),
    ):
        got = render(model.generator, ws[:1], parts, person.detail)
        prepared = prepare(model.generator, ws[:1], parts, bare)
        prepared.override = detail.override(ws)
        assert torch.allclose(got, prepared.draw(), atol=1e-4)
