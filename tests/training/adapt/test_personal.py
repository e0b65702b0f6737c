"""Personal styles."""

import copy

import pytest
import torch

from stylemix.avatars.render import AppliedStyle, render
from stylemix.faces.templates import NO_TEMPLATE
from stylemix.inversion.settings import ProjectionSettings
from stylemix.training.adapt import personal
from stylemix.training.adapt.personal import learn_personal
from tests.support.models import tiny_model, ws_of


@pytest.fixture(scope="module")
def model():
    return tiny_model(template=NO_TEMPLATE)


@pytest.fixture(scope="module")
def learned(model, photos):
    quick = ProjectionSettings(w_steps=15, plus_steps=15, refine_steps=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(personal, "LATENTS", quick)
        return learn_personal(model, photos, steps=60)


@pytest.fixture
def style(learned):
    return copy.copy(learned)


@pytest.fixture(scope="module")
def photos(model):
    """Five images of nearly one latent, a little darker than the model generates them."""
    ws = ws_of(model, 1, seed=4)
    near = ws + 0.05 * torch.randn([5, 1, 16], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model.generator.synthesis(near, noise_mode="const") * 0.8 - 0.1


def error(images, photos):
    return float((images - photos.mean(dim=0)).square().mean())


@pytest.mark.slow
def test_at_full_strength_every_face_becomes_the_person(model, style, photos):
    ws = ws_of(model, 3, seed=9)
    plain, half, whole = (
        render(model.generator, ws, [AppliedStyle(style, strength)]) for strength in (0, 0.5, 1)
    )
    assert torch.allclose(whole, whole[:1].expand_as(whole), atol=1e-4)
    assert error(whole, photos) < error(half, photos) < error(plain, photos)
    assert error(whole, photos) < 0.1 * error(plain, photos)


@pytest.mark.slow
def test_weights_improve_on_the_latents(model, style, photos):
    ws = ws_of(model, 1)
    whole = error(render(model.generator, ws, [AppliedStyle(style)]), photos)
    style.weights = {}
    assert whole < 0.7 * error(render(model.generator, ws, [AppliedStyle(style)]), photos)


def test_the_style_is_of_its_base_and_noise_stays(model, style):
    assert style.base == model.fingerprint
    assert style.psi == 0
    assert style.check(model) is style
    assert not any("noise_strength" in name for name in style.weights)
