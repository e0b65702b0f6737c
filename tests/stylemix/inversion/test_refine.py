"""Refinement of a photo: weights, features, and what must not change."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from stylemix.avatars.render import render
from stylemix.inversion import projection
from stylemix.inversion.adam import Adam
from stylemix.inversion.projection import project
from stylemix.inversion.refine import FEATURE_SHARE, RATE_INPUTS, _Best, _relative_rate, unknown
from stylemix.inversion.residual import Residual
from stylemix.inversion.settings import ProjectionSettings
from stylemix.networks.latents import map_latents

pytestmark = pytest.mark.usefixtures("full_precision")
SETTINGS = ProjectionSettings(w_steps=15, plus_steps=40, refine_steps=0)
FEW = replace(SETTINGS, w_steps=2, plus_steps=3)


def errors(images: Tensor, targets: Tensor) -> Tensor:
    return (images - targets).square().mean(dim=(1, 2, 3))


@pytest.mark.slow
def test_refined_photos_are_rendered_with_their_residuals(model, images):
    target = images.clone()
    target[:, :, 4:12, 20:28] = 0.9  # a patch that no latent reproduces
    plain = project(model, target, SETTINGS)
    result = project(model, target, replace(SETTINGS, refine_steps=25))
    assert torch.equal(result.ws, plain.ws)  # refinement does not change the latents
    assert (errors(result.image, target) < 0.6 * errors(plain.image, target)).all()
    for i, detail in enumerate(result.details):
        rendered = render(model.generator, result.ws[i : i + 1], detail=detail)
        assert torch.allclose(rendered, result.image[i : i + 1], atol=1e-5)
        assert detail.mask[0, 3:5, 11:13].min() > 0.9 * FEATURE_SHARE  # 16 px: where the patch is
        assert detail.mask.max() <= FEATURE_SHARE
        # The coarse blocks, which control pose and shape, are not tuned.
        assert {name.split(".")[0] for name in detail.weights} == {"b16", "b32"}


def test_photos_are_refined_together_and_each_as_if_alone(model, images, monkeypatch):
    settings = replace(FEW, refine_steps=4)
    together = project(model, images, settings)
    monkeypatch.setattr(projection, "MAX_WEIGHTS", 1)
    calls: list[tuple[int, int, float]] = []
    alone = project(model, images, settings, lambda *call: calls.append(call))
    assert calls[-1][:2] == (13, 13)  # 2 + 3 + 4 + 4
    assert torch.allclose(together.image, alone.image, atol=1e-3)
    assert (together.image[0] - together.image[1]).abs().max() > 0.1


@pytest.mark.slow
def test_every_setting_of_a_refinement_has_an_effect(model, images):
    settings = replace(FEW, refine_steps=6)
    target = images[:1].clone()
    target[:, :, 4:12, 20:28] = 0.9
    usual = project(model, target, settings).image
    for change in (
        {"refine_lr": 0.001}, {"feature_lr": 0.5}, {"refine_pixel_weight": 1000.0},
        {"local_weight": 50.0},
    ):  # fmt: skip
        changed = project(model, target, replace(settings, **change))
        assert (changed.image - usual).abs().max() > 0.01, change


def test_unknown_regions_of_a_photo():
    image = torch.zeros(2, 3, 32, 32)
    target = image + 0.1  # below the threshold
    target[0, :, 8:12, 20:24] = 0.9
    target[1, :, :24] = 0.9  # above the maximum share
    mask = unknown(image, target)
    assert mask.shape == (2, 1, 32, 32)
    assert mask[0, 0, 8:12, 20:24].min() > 0.9
    assert mask[0, 0, :, :12].max() == 0
    assert mask[0].mean() < 0.15
    assert mask[1].mean() < 0.75


@pytest.mark.slow
def test_a_given_mask_is_used(model, images):
    settings = replace(SETTINGS, refine_steps=3)
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 16:] = 1
    result = project(model, images[:1], settings, mask=mask)
    assert result.details[0].mask[..., :7].max() == 0
    assert result.details[0].mask[..., 9:].min() == 1


@pytest.mark.slow
def test_other_latents_keep_their_images_while_a_photo_is_refined(model, images):
    """The locality term (PTI) limits the change of other latents' images."""
    target = images[:1].flip(3)

    def drift(weight: float) -> float:
        settings = replace(FEW, refine_steps=20, local_weight=weight)
        result = project(model, target, settings)
        z = torch.randn([16, 16], generator=torch.Generator().manual_seed(9))
        direction = map_latents(model.generator, z, psi=0.5) - result.ws
        ws = result.ws + direction * 2 / direction.norm(dim=2, keepdim=True)
        before = render(model.generator, ws)
        after = render(model.generator, ws, detail=Residual(result.details[0].weights))
        return float((before - after).square().mean())

    assert drift(0.1) < 0.6 * drift(0.0)


def test_rates_fall_with_the_width_of_a_layer():
    """The change of an output stays the same: rate times square root of the inputs."""
    assert _relative_rate(torch.zeros(8, RATE_INPUTS, 3, 3)) == 1
    assert _relative_rate(torch.zeros(8, 4 * RATE_INPUTS, 3, 3)) == 0.5
    assert _relative_rate(torch.zeros(8, 9 * RATE_INPUTS)) == pytest.approx(1 / 3)
    assert _relative_rate(torch.zeros(512)) == 1  # biases


def test_the_best_parameters_of_each_photo_are_kept():
    weights = torch.tensor([[1.0], [2.0], [3.0], [4.0]], requires_grad=True)  # two photos, two rows
    best = _Best([weights], photos=2)
    best.keep(torch.tensor([5.0, 7.0]))
    with torch.no_grad():
        weights += 10
    best.keep(torch.tensor([6.0, 4.0]))  # only the second photo improved
    assert best.losses.tolist() == [5.0, 4.0]
    with torch.no_grad():
        weights += 100
    assert best.diverged(torch.tensor([39.9, 31.9])) == []
    assert best.diverged(torch.tensor([39.9, 32.1])) == [1]
    assert best.diverged(torch.tensor([torch.nan, 1.0])) == [0]
    adam = Adam([([weights], 0.1)], parts=2)
    weights.sum().backward()
    adam.step()
    best.restore([1], adam)
    assert weights.flatten().tolist() == pytest.approx([110.9, 111.9, 13, 14])
    assert adam.factors == [1, 0.5]
    assert [len(state) for state in adam.state] == [1, 0]


def test_a_photo_that_diverges_does_not_change_the_others(model, images, monkeypatch):
    settings = replace(FEW, refine_steps=6)
    usual = project(model, images, settings).image
    measured: list[Tensor] = []

    def third_step_of_the_first_photo(_best: _Best, losses: Tensor) -> list[int]:
        measured.append(losses)
        return [0] if len(measured) == 3 else []

    monkeypatch.setattr(_Best, "diverged", third_step_of_the_first_photo)
    together = project(model, images, settings).image
    measured.clear()
    alone = project(model, images[:1], settings).image
    assert torch.equal(together[1], usual[1])
    assert torch.allclose(together[0], alone[0], atol=1e-3)
    assert (together[0] - usual[0]).abs().max() > 0.01


@pytest.mark.parametrize("rate", [0.006, 3.0])
def test_a_refinement_ends_no_worse_than_it_began(model, images, rate):
    """A rate that is 500 times too high diverges at once; what it did is undone."""
    plain = project(model, images, FEW)
    settings = replace(FEW, refine_steps=6, refine_lr=rate)
    losses: list[float] = []
    result = project(model, images, settings, lambda _step, _steps, loss: losses.append(loss))
    assert (errors(result.image, images) < 1.05 * errors(plain.image, images)).all()
    assert max(losses[5:]) < 10 * losses[5]
