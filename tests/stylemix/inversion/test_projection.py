"""Projection: latents of images whose latents are known, and what the search starts from."""

import gc
import itertools
import weakref
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.faces.templates import NO_TEMPLATE
from stylemix.inversion import prior as prior_module
from stylemix.inversion import schedule as pace_module
from stylemix.inversion.encoder import Encoder
from stylemix.inversion.loss import Similarity
from stylemix.inversion.prior import latent_prior
from stylemix.inversion.projection import project, seed_latent
from stylemix.inversion.settings import LATENTS, PRESETS, ProjectionSettings
from stylemix.networks.latents import map_latents
from tests.support.models import tiny_model, ws_of

pytestmark = pytest.mark.usefixtures("full_precision")
SETTINGS = ProjectionSettings(w_steps=15, plus_steps=40, refine_steps=0)
FEW = replace(SETTINGS, w_steps=2, plus_steps=3)


def errors(images: Tensor, targets: Tensor) -> Tensor:
    return (images - targets).square().mean(dim=(1, 2, 3))


@pytest.mark.slow
def test_a_picture_of_the_generator_is_found_again(model, pictures):
    found = project(model, pictures, SETTINGS)
    prior = latent_prior(model.generator)
    starts = prior.pictures[Similarity(model, pictures, SETTINGS).nearest(prior.pictures)]
    first, last = errors(starts, pictures), errors(found.image, pictures)
    assert (last < first / 3).all()
    assert (last < errors(found.image_start, pictures)).all()
    assert (errors(found.image_start, pictures) < first).all()
    for i, row in enumerate(found.metrics):
        assert list(row) == ["mse", "mse start"]  # no face, so nobody to know again
        assert row["mse start"] == pytest.approx(float(errors(found.image_start, pictures)[i]))
        assert row["mse"] == pytest.approx(float(last[i]))


@pytest.mark.slow
@pytest.mark.parametrize(("channels", "discriminator"), [(1, True), (4, False)])
def test_an_oblong_picture_of_any_channels_is_found_again(channels, discriminator):
    model = tiny_model(
        resolution=16, base=(6, 10), channels=channels, discriminator=discriminator,
        template=NO_TEMPLATE,
    )  # fmt: skip
    targets = model.generator.synthesis(ws_of(model, 1), noise_mode="const")
    assert targets.shape == (1, channels, 24, 40)
    found = project(model, targets, replace(SETTINGS, w_steps=5, plus_steps=15))
    assert found.image.shape == targets.shape
    average = model.generator.mapping.w_avg.expand_as(found.ws)
    plain = model.generator.synthesis(average, noise_mode="const")
    assert errors(found.image, targets) < errors(plain, targets) / 2
    with pytest.raises(StylemixError, match=rf"expected \[N, {channels}, 24, 40\]"):
        project(model, targets.mT, FEW)


def test_latents_and_images_belong_together(model, pictures):
    found = project(model, pictures, FEW)
    synthesis, layers = model.generator.synthesis, model.generator.num_ws
    assert found.ws.shape == (2, layers, 16)
    own = torch.cat([synthesis(ws[None], noise_mode="const") for ws in found.ws])
    assert torch.equal(found.image, own)
    assert found.details == [None, None]
    for tensor in (found.ws, found.image, found.image_start):
        assert not tensor.requires_grad


def test_the_best_latent_is_kept_not_the_last(model, pictures):
    """A rate that throws the search about cannot make the result worse than the start."""
    wild = replace(FEW, w_steps=0, plus_steps=12, lr=8.0)
    found = project(model, pictures, wild)
    start = project(model, pictures, replace(wild, plus_steps=0))
    assert (errors(found.image, pictures) <= errors(start.image, pictures) * 1.05).all()


def test_an_encoder_gives_the_start(model, pictures):
    encoder = Encoder(model.discriminator.config, model.generator.num_ws, 16)
    with torch.no_grad():
        wanted = encoder(pictures)
    found = project(model, pictures, replace(FEW, w_steps=50, plus_steps=0), encoder=encoder)
    assert torch.allclose(found.ws, wanted, atol=1e-5)  # no steps with one w


def test_a_budget_is_kept_and_shared(model, pictures, monkeypatch):
    clock = itertools.count(0.0, 0.05)  # seconds: every look at it finds that a step has passed
    monkeypatch.setattr(pace_module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    calls: list[tuple[int, int, float]] = []
    settings = replace(SETTINGS, refine_steps=30, budget=1.0)
    found = project(model, pictures, settings, lambda *call: calls.append(call))
    assert next(clock) == pytest.approx(len(pictures), abs=0.5)
    assert calls[-1][0] == calls[-1][1] == 15 + 40 + 30
    assert (errors(found.image, pictures) < errors(found.image_start, pictures)).all()


def test_presets_are_in_order():
    fast, balanced, best = (PRESETS[name] for name in ("fast", "balanced", "best"))
    assert 0 < fast.refine_steps < balanced.refine_steps < best.refine_steps
    assert fast.plus_steps < balanced.plus_steps < best.plus_steps
    assert balanced == ProjectionSettings()
    assert LATENTS.refine_steps == 0 < LATENTS.plus_steps


def test_a_seed_decides_everything(model, pictures):
    first, again = project(model, pictures, FEW), project(model, pictures, FEW)
    other = project(model, pictures, replace(FEW, seed=1))
    assert torch.equal(first.ws, again.ws)
    assert not torch.equal(first.ws, other.ws)


def test_photos_do_not_depend_on_those_beside_them(model, pictures):
    together, alone = project(model, pictures, FEW), project(model, pictures[1:], FEW)
    assert torch.allclose(together.ws[1:], alone.ws, atol=1e-3)
    assert (together.ws[:1] - alone.ws).abs().max() > 0.1


def test_starts_from_the_cached_latent_that_looks_most_alike(model):
    prior = latent_prior(model.generator)
    chosen = [40, 0, 17]
    found = project(model, prior.pictures[chosen], replace(FEW, w_steps=0, plus_steps=0))
    assert torch.equal(found.ws, prior.centres[chosen].unsqueeze(1).repeat(1, 8, 1))
    nearly = prior.pictures[chosen] + 0.05
    assert Similarity(model, nearly, FEW).nearest(prior.pictures).tolist() == chosen


def test_every_weight_has_an_effect(model, pictures):
    usual = project(model, pictures[:1], FEW).ws
    for change in (
        {"lr": 0.05}, {"exploration": 0.1}, {"pixel_weight": 40.0}, {"feature_weight": 5.0},
        {"delta_weight": 5.0}, {"prior_weight": 5.0},
    ):  # fmt: skip
        changed = project(model, pictures[:1], replace(FEW, **change)).ws
        assert (changed - usual).abs().max() > 1e-3, change


def test_penalties_hold_the_latents_together(model, pictures):
    def spread(**change: float) -> float:
        ws = project(model, pictures, replace(FEW, w_steps=0, plus_steps=10, **change)).ws
        return float((ws - ws.mean(dim=1, keepdim=True)).square().sum())

    assert spread(delta_weight=100.0) < 0.3 * spread(delta_weight=0.0)


def test_identity_is_compared_where_the_model_has_faces(pictures):
    model = tiny_model()
    found = project(model, pictures[:1], replace(FEW, w_steps=0, plus_steps=1))
    assert list(found.metrics[0]) == ["mse", "identity", "mse start", "identity start"]
    assert 0 < found.metrics[0]["identity start"] <= 1
    alike = Similarity(model, pictures, SETTINGS)
    assert alike.person(pictures).tolist() == [0, 0]
    assert (alike.person(pictures.flip(0)) > 0).all()
    assert alike.measure(pictures) == [
        {"mse": 0.0, "identity": pytest.approx(1, abs=1e-5)} for _ in pictures
    ]


@pytest.mark.slow
def test_a_model_without_discriminator_uses_the_shipped_features(pictures):
    model = tiny_model(template=NO_TEMPLATE, discriminator=False)
    found = project(model, pictures[:1], replace(FEW, plus_steps=6))
    start = project(model, pictures[:1], replace(FEW, w_steps=0, plus_steps=0))
    assert found.metrics[0]["mse"] < 0.8 * start.metrics[0]["mse start"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "sizes",
    [
        {"channels": 1},
        {"channels": 1, "discriminator": False},
        {"classes": 3},
        {"resolution": 4, "template": NO_TEMPLATE},
        {"resolution": 8, "template": NO_TEMPLATE, "architecture": "resnet"},
    ],
)
def test_models_of_every_kind(sizes):
    model = tiny_model(**sizes)
    targets = model.generator.synthesis(ws_of(model, 1), noise_mode="const")
    found = project(model, targets, replace(FEW, identity_weight=0.0, lr=0.03))
    assert found.metrics[0]["mse"] < found.metrics[0]["mse start"]


def test_progress_counts_all_stages(model, pictures):
    calls: list[tuple[int, int, float]] = []
    settings = replace(FEW, refine_steps=2)
    project(model, pictures, settings, lambda *call: calls.append(call))
    # The two photos are refined together.
    assert [call[:2] for call in calls] == [(i, 7) for i in range(1, 8)]
    assert all(call[2] > 0 for call in calls)


@pytest.mark.parametrize("shape", [[3, 32, 32], [1, 3, 16, 16], [1, 1, 32, 32], [1, 3, 32, 64]])
def test_wrong_shapes_are_one_line(model, shape):
    with pytest.raises(StylemixError) as caught:
        project(model, torch.zeros(shape))
    assert str(caught.value) == (
        f"got images of shape {shape}; expected [N, 3, 32, 32]; align them to the model"
    )


def test_prior_whitens_mapped_latents(model):
    prior = latent_prior(model.generator)
    z = torch.randn([5000, 16], generator=torch.Generator().manual_seed(3))
    ws = map_latents(model.generator, z)[:, :1]
    v = (torch.nn.functional.leaky_relu(ws[:, 0], 5.0) - prior.mean) @ prior.whiten
    covariance = torch.cov(v.t())
    # One direction of these latents has so little variance that its noise is held back.
    assert covariance[0, 0] < 0.6
    assert (covariance.diag()[1:] - 1).abs().max() < 0.1
    assert (covariance - covariance.diag().diag()).abs().max() < 0.1
    assert float(prior.penalty(ws).mean()) == pytest.approx(1, abs=0.05)
    spread = (ws - ws.mean(dim=0)).square().sum(dim=2).mean().sqrt()
    assert prior.w_std == pytest.approx(float(spread), rel=0.02)
    assert (prior.penalty(3 * ws) > prior.penalty(ws)).all()


def test_prior_has_the_average_first_and_pictures_of_all_centres(model):
    prior = latent_prior(model.generator)
    assert prior.centres.shape == (prior_module.STARTS, 16)
    assert torch.allclose(prior.centres[0], model.generator.mapping.w_avg, atol=0.2)
    own = model.generator.synthesis(
        prior.centres[5].expand(1, model.generator.num_ws, -1), noise_mode="const"
    )
    assert torch.allclose(prior.pictures[5:6], own, atol=1e-5)
    assert torch.isfinite(prior.centres).all()


def test_prior_is_kept_as_long_as_its_generator():
    model = tiny_model(resolution=4)
    prior = weakref.ref(latent_prior(model.generator))
    assert latent_prior(model.generator) is prior()
    del model
    gc.collect()
    assert prior() is None


def test_seed_latent(model):
    ws = seed_latent(model.generator, 7)
    average = model.generator.mapping.w_avg
    full = seed_latent(model.generator, 7, psi=1.0)
    assert ws.shape == (1, 8, 16)
    assert torch.allclose(ws, average + 0.7 * (full - average), atol=1e-6)
    assert not torch.allclose(ws, seed_latent(model.generator, 8))
    with pytest.raises(StylemixError, match="got seed -1"):
        seed_latent(model.generator, -1)
