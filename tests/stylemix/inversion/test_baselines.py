"""Published inversions, with their published settings."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from stylemix.avatars.render import render
from stylemix.faces.templates import NO_TEMPLATE
from stylemix.inversion import baselines
from stylemix.inversion.baselines import _noise_regularisation
from stylemix.inversion.projection import project
from stylemix.inversion.settings import METHODS, ProjectionSettings
from tests.support.models import tiny_model

pytestmark = pytest.mark.usefixtures("full_precision")
SETTINGS = ProjectionSettings(w_steps=15, plus_steps=40, refine_steps=0)
FEW = replace(SETTINGS, w_steps=2, plus_steps=3)


def errors(images: Tensor, targets: Tensor) -> Tensor:
    return (images - targets).square().mean(dim=(1, 2, 3))


@pytest.mark.slow
@pytest.mark.parametrize("method", [m for m in METHODS if m != "hybrid"])
def test_published_methods(model, images, monkeypatch, method):
    for name, steps in (("STEPS", 40), ("PIVOT_STEPS", 30), ("TUNE_STEPS", 15)):
        monkeypatch.setattr(baselines, name, steps)
    calls: list[tuple[int, int, float]] = []
    settings = replace(SETTINGS, method=method)
    result = project(model, images, settings, lambda *call: calls.append(call))
    assert len(calls) == calls[-1][1] == (60 if method == "pti" else 40)
    assert (errors(result.image, images) < 0.7 * errors(result.image_start, images)).all()
    spread = (result.ws - result.ws.mean(dim=1, keepdim=True)).abs().max()
    assert (spread > 0.01) == (method == "w+")  # w and the pivot are the same for all layers
    for i, detail in enumerate(result.details):
        assert bool(detail.weights) == (method == "pti")
        start = 0  # each noise map has mean 0 and standard deviation 1
        for size in (16, 64, 64, 256, 256, 1024, 1024):
            row = detail.noise[start : start + size]
            assert abs(float(row.mean())) < 0.01
            assert float(row.square().mean()) == pytest.approx(1, abs=0.01)
            start += size
        rendered = render(model.generator, result.ws[i : i + 1], detail=detail)
        assert torch.allclose(rendered, result.image[i : i + 1], atol=1e-5)


def test_published_settings():
    """StyleGAN2 (appendix D): 1000 steps at .1; pivotal tuning: 450 at .01 and 350 at 3e-4."""
    b = baselines
    assert (b.STEPS, b.RATE, b.PIVOT_STEPS, b.PIVOT_RATE) == (1000, 0.1, 450, 0.01)
    assert (b.TUNE_STEPS, b.TUNE_RATE, b.NOISE_WEIGHT) == (350, 3e-4, 1e5)


def test_smooth_noise_is_penalised():
    model = tiny_model(template=NO_TEMPLATE)
    network = model.generator.synthesis
    white = torch.randn([1, network.noise_size], generator=torch.Generator().manual_seed(0))
    smooth = white.clone()
    ramp = torch.linspace(-1.7, 1.7, 32).repeat(32, 1)
    smooth[:, -1024:] = ramp.flatten()
    cost = baselines._noise_regularisation(network, torch.cat([white, smooth]))
    assert cost[1] > 3 * cost[0]


def test_noise_is_regularised_down_to_8_px():
    """The squared correlation of neighbours, in both directions, at every halving."""
    network = tiny_model(resolution=16).generator.synthesis
    noise = torch.zeros([2, network.noise_size])
    layer = network.b16.conv1
    map_ = torch.randn([2, 16, 16])
    noise[:, layer.noise_start : layer.noise_start + 256] = map_.flatten(1)
    half = map_.unflatten(1, (8, 2)).unflatten(3, (8, 2)).mean(dim=(2, 4))
    expected = sum(
        (rows * rows.roll(1, dim)).mean(dim=(1, 2)).square()
        for rows in (map_, half)
        for dim in (1, 2)
    )
    torch.testing.assert_close(_noise_regularisation(network, noise), expected)
