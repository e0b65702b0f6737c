"""Training that is initialized from a style."""

import pytest
import torch

from stylemix.avatars.render import AppliedStyle, render
from stylemix.errors import StylemixError
from stylemix.faces.templates import NO_TEMPLATE
from stylemix.networks.latents import flatten_styles
from stylemix.styles.style import Style, load_style
from stylemix.training.adapt.base_style import rebased, with_style
from tests.support.models import tiny_model, ws_of


@pytest.fixture(scope="module")
def model():
    return tiny_model(template=NO_TEMPLATE)


def a_style(model, **more):
    rng = torch.Generator().manual_seed(5)
    names = dict(model.generator.synthesis.named_parameters())
    offsets = {name: 0.3 * torch.randn(size, generator=rng) for name, size in sizes(model)}
    weights = {
        name: 0.1 * torch.randn(names[name].shape, generator=rng)
        for name in ("b8.conv1.weight", "b16.conv0.affine.bias", "b32.torgb.bias")
    }
    return Style(model.fingerprint, offsets=offsets, weights=weights, **more)


def sizes(model):
    average = model.generator.mapping.w_avg.expand(1, model.generator.num_ws, -1)
    styles = flatten_styles(model.generator.synthesis.styles(average))
    return [(name, len(styles[name][0])) for name in ("b16.conv0", "b32.torgb")]


@pytest.mark.parametrize("more", [{}, {"strength": 0.5}, {"layers": "16-32px"}])
def test_a_start_generates_the_images_of_its_style(model, more):
    style, ws = a_style(model, **more), ws_of(model, 4)
    started = with_style(model, style)
    expected = render(model.generator, ws, [AppliedStyle(style)])
    with torch.no_grad():
        images = started.generator.synthesis(ws, noise_mode="const")
        plain = model.generator.synthesis(ws, noise_mode="const")
    assert torch.allclose(images, expected, atol=1e-5)
    assert not torch.allclose(images, plain, atol=1e-2)
    assert (started.template, started.discriminator) == (model.template, model.discriminator)


def test_a_learned_style_is_added_to_its_start(model):
    started = with_style(model, a_style(model))
    rng = torch.Generator().manual_seed(6)
    learned = Style(
        started.fingerprint,
        psi=0.9,
        offsets={name: 0.2 * torch.randn(size, generator=rng) for name, size in sizes(model)},
        weights={"b8.conv1.weight": torch.full([32, 32, 3, 3], 0.05)},
    )
    total, ws = rebased(model, started, learned, 0.7), ws_of(model, 4)
    assert (total.base, total.psi) == (model.fingerprint, 0.7)
    total.psi = learned.psi = 1.0  # only the effect of weights and offsets is compared here
    expected = render(started.generator, ws, [AppliedStyle(learned)])
    assert torch.allclose(render(model.generator, ws, [AppliedStyle(total)]), expected, atol=1e-4)
    untouched = set(dict(model.generator.synthesis.named_parameters())) - set(total.weights)
    assert "b4.conv1.weight" in untouched


def test_a_style_that_redraws_photos_cannot_be_a_start(model):
    with pytest.raises(StylemixError, match="got a style that redraws photos and leaves"):
        with_style(model, load_style("comic"))


def test_a_style_that_shifts_latents_cannot_be_a_start(model):
    style = Style(model.fingerprint, shift=torch.zeros([model.generator.num_ws, 16]))
    with pytest.raises(StylemixError, match="got a start that shifts latents; expected"):
        with_style(model, style)
