"""Styles from pairs: they draw a face as its drawing, also faces that were in no pair."""

import pytest
import torch

from stylemix.avatars.render import AppliedStyle, render
from stylemix.errors import StylemixError
from stylemix.networks.latents import sample_ws
from stylemix.training.adapt.pairs import PairSettings, learn_pairs
from tests.support.models import tiny_model

TINTS = torch.tensor([0.9, -0.6, 0.2]).view(3, 1, 1)


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def pairs(model, count, seed=1):
    """Latents, plain images, and drawings: inverted and tinted."""
    ws = sample_ws(model.generator, count, seed)
    plain = model.generator.synthesis(ws, noise_mode="const")
    return ws, plain, (TINTS - plain).clamp(-1, 1)


def error(model, ws, drawings, style=None):
    applied = [] if style is None else [AppliedStyle(style)]
    images = torch.cat([render(model.generator, w[None], applied) for w in ws])
    return float((images - drawings).square().mean())


@pytest.mark.slow
@pytest.mark.parametrize("count", [8, 30])
def test_drawings_of_other_faces_are_learned_too(model, count):
    ws, _, drawings = pairs(model, count)
    steps = []
    settings = PairSettings(steps=60, lr=0.01)
    style = learn_pairs(model, ws, drawings, settings, lambda *step: steps.append(step))
    assert steps[-1][:2] == (60, 60)
    others, _, theirs = pairs(model, 8, seed=2)
    assert error(model, ws, drawings, style) < 0.4 * error(model, ws, drawings)
    assert error(model, others, theirs, style) < 0.6 * error(model, others, theirs)
    # Few pairs change the affine layers and the last block alone.
    convolutions = [name for name in style.weights if name.startswith("b8.conv")]
    assert any(".affine" not in name for name in convolutions) == (count >= 24)


@pytest.mark.slow
def test_many_pairs_are_learned_against_a_discriminator(model):
    ws, _, drawings = pairs(model, 64)
    settings = PairSettings(steps=3, r1_interval=2)
    with_critic = learn_pairs(model, ws, drawings, settings)
    without = learn_pairs(model, ws, drawings, PairSettings(steps=3, adversarial_weight=0.0))
    name = "b8.conv0.weight"
    assert not torch.equal(with_critic.weights[name], without.weights[name])
    again = learn_pairs(model, ws, drawings, settings)
    assert all(torch.equal(again.weights[k], v) for k, v in with_critic.weights.items())


def test_the_callers_random_numbers_stay(model, monkeypatch):
    ws, _, drawings = pairs(model, 4)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    monkeypatch.setattr(torch, "manual_seed", None)  # seeds every GPU as well
    learn_pairs(model, ws, drawings, PairSettings(steps=1))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(("faces", "drawn"), [(3, 3), (5, 4), (0, 0)])
def test_too_few_or_unequal_pairs_are_refused(model, faces, drawn):
    ws, _, drawings = pairs(model, 5)
    with pytest.raises(StylemixError, match=f"got {faces} faces and {drawn} drawings"):
        learn_pairs(model, ws[:faces], drawings[:drawn])
