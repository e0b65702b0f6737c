"""Projection: latents of images whose latents are known, and the start of the search."""

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
from stylemix.inversion import projection as projection_module
from stylemix.inversion import schedule as pace_module
from stylemix.inversion.encoder import Encoder
from stylemix.inversion.loss import Similarity
from stylemix.inversion.prior import latent_prior
from stylemix.inversion.projection import project
from stylemix.inversion.settings import LATENTS, PRESETS, ProjectionSettings
from stylemix.models.loading import adjust
from stylemix.networks.latents import map_latents
from tests.support.models import tiny_model, ws_of

pytestmark = pytest.mark.usefixtures("full_precision")
SETTINGS = ProjectionSettings(w_steps=15, plus_steps=40, refine_steps=0)
FEW = replace(SETTINGS, w_steps=2, plus_steps=3)


def errors(images: Tensor, targets: Tensor) -> Tensor:
    return (images - targets).square().mean(dim=(1, 2, 3))


@pytest.mark.slow
def test_a_generated_image_is_projected(model, images):
    result = project(model, images, SETTINGS)
    prior = latent_prior(model.generator)
    starts = prior.images[Similarity(model, images, SETTINGS).nearest(prior.images)]
    first, last = errors(starts, images), errors(result.image, images)
    assert (last < first / 3).all()
    assert (last < errors(result.image_start, images)).all()
    assert (errors(result.image_start, images) < first).all()
    for i, row in enumerate(result.metrics):
        assert list(row) == ["mse", "mse start"]  # no face template, so no identity
        assert row["mse start"] == pytest.approx(float(errors(result.image_start, images)[i]))
        assert row["mse"] == pytest.approx(float(last[i]))


@pytest.mark.slow
@pytest.mark.parametrize(("channels", "discriminator"), [(1, True), (4, False)])
def test_an_oblong_image_of_any_channels_is_projected(channels, discriminator):
    model = tiny_model(
        resolution=16, base=(6, 10), channels=channels, discriminator=discriminator,
        template=NO_TEMPLATE,
    )  # fmt: skip
    targets = model.generator.synthesis(ws_of(model, 1), noise_mode="const")
    assert targets.shape == (1, channels, 24, 40)
    result = project(model, targets, replace(SETTINGS, w_steps=5, plus_steps=15))
    assert result.image.shape == targets.shape
    average = model.generator.mapping.w_avg.expand_as(result.ws)
    plain = model.generator.synthesis(average, noise_mode="const")
    assert errors(result.image, targets) < errors(plain, targets) / 2
    with pytest.raises(StylemixError, match=rf"expected \[N, {channels}, 24, 40\]"):
        project(model, targets.mT, FEW)


def test_latents_and_images_belong_together(model, images):
    result = project(model, images, FEW)
    synthesis, layers = model.generator.synthesis, model.generator.num_ws
    assert result.ws.shape == (2, layers, 16)
    images_of_ws = torch.cat([synthesis(ws[None], noise_mode="const") for ws in result.ws])
    assert torch.equal(result.image, images_of_ws)
    assert result.details == [None, None]
    for tensor in (result.ws, result.image, result.image_start):
        assert not tensor.requires_grad


def test_the_latent_of_lowest_loss_is_returned(model, images):
    """A diverging learning rate cannot make the result worse than the start."""
    diverging = replace(FEW, w_steps=0, plus_steps=12, lr=8.0)
    result = project(model, images, diverging)
    start = project(model, images, replace(diverging, plus_steps=0))
    assert (errors(result.image, images) <= errors(start.image, images) * 1.05).all()


def test_an_encoder_gives_the_start(model, images):
    encoder = Encoder(model.discriminator.config, model.generator.num_ws, 16)
    with torch.no_grad():
        expected = encoder(images)
    result = project(model, images, replace(FEW, w_steps=50, plus_steps=0), encoder=encoder)
    assert torch.allclose(result.ws, expected, atol=1e-5)  # no steps in W


def test_a_budget_limits_the_time_of_all_stages(model, images, monkeypatch):
    clock = itertools.count(0.0, 0.05)  # seconds: every reading advances the clock
    monkeypatch.setattr(pace_module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    calls: list[tuple[int, int, float]] = []
    settings = replace(SETTINGS, refine_steps=30, budget=1.0)
    result = project(model, images, settings, lambda *call: calls.append(call))
    assert next(clock) == pytest.approx(len(images), abs=0.5)
    assert calls[-1][0] == calls[-1][1] == 15 + 40 + 30
    assert (errors(result.image, images) < errors(result.image_start, images)).all()


def test_presets_are_in_order():
    fast, balanced, best = (PRESETS[name] for name in ("fast", "balanced", "best"))
    assert 0 < fast.refine_steps < balanced.refine_steps < best.refine_steps
    assert fast.plus_steps < balanced.plus_steps < best.plus_steps
    assert balanced == ProjectionSettings()
    assert LATENTS.refine_steps == 0 < LATENTS.plus_steps


def test_a_seed_decides_everything(model, images):
    first, again = project(model, images, FEW), project(model, images, FEW)
    other = project(model, images, replace(FEW, seed=1))
    assert torch.equal(first.ws, again.ws)
    assert not torch.equal(first.ws, other.ws)


def test_photos_do_not_depend_on_those_beside_them(model, images):
    together, alone = project(model, images, FEW), project(model, images[1:], FEW)
    assert torch.allclose(together.ws[1:], alone.ws, atol=1e-3)
    assert (together.ws[:1] - alone.ws).abs().max() > 0.1


def test_starts_from_the_nearest_cached_latent(model):
    prior = latent_prior(model.generator)
    chosen = [40, 0, 17]
    result = project(model, prior.images[chosen], replace(FEW, w_steps=0, plus_steps=0))
    assert torch.equal(result.ws, prior.centres[chosen].unsqueeze(1).repeat(1, 8, 1))
    nearly = prior.images[chosen] + 0.05
    assert Similarity(model, nearly, FEW).nearest(prior.images).tolist() == chosen


@pytest.mark.slow
def test_every_weight_has_an_effect(model, images):
    usual = project(model, images[:1], FEW).ws
    for change in (
        {"lr": 0.05}, {"exploration": 0.1}, {"pixel_weight": 40.0}, {"feature_weight": 5.0},
        {"delta_weight": 5.0}, {"prior_weight": 5.0},
    ):  # fmt: skip
        changed = project(model, images[:1], replace(FEW, **change)).ws
        assert (changed - usual).abs().max() > 1e-3, change


def test_the_delta_penalty_reduces_the_spread_of_layers(model, images):
    def spread(**change: float) -> float:
        ws = project(model, images, replace(FEW, w_steps=0, plus_steps=10, **change)).ws
        return float((ws - ws.mean(dim=1, keepdim=True)).square().sum())

    assert spread(delta_weight=100.0) < 0.3 * spread(delta_weight=0.0)


def test_identity_is_compared_where_the_model_has_faces(images):
    model = tiny_model()
    result = project(model, images[:1], replace(FEW, w_steps=0, plus_steps=1))
    assert list(result.metrics[0]) == ["mse", "identity", "mse start", "identity start"]
    assert 0 < result.metrics[0]["identity start"] <= 1
    similarity = Similarity(model, images, SETTINGS)
    assert similarity.person(images).tolist() == [0, 0]
    assert (similarity.person(images.flip(0)) > 0).all()
    assert similarity.measure(images) == [
        {"mse": 0.0, "identity": pytest.approx(1, abs=1e-5)} for _ in images
    ]


@pytest.mark.slow
def test_a_model_without_discriminator_uses_the_shipped_features(images):
    model = tiny_model(template=NO_TEMPLATE, discriminator=False)
    result = project(model, images[:1], replace(FEW, plus_steps=6))
    start = project(model, images[:1], replace(FEW, w_steps=0, plus_steps=0))
    assert result.metrics[0]["mse"] < 0.8 * start.metrics[0]["mse start"]


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
    result = project(model, targets, replace(FEW, identity_weight=0.0, lr=0.03))
    assert result.metrics[0]["mse"] < result.metrics[0]["mse start"]


def test_progress_counts_all_stages(model, images):
    calls: list[tuple[int, int, float]] = []
    settings = replace(FEW, refine_steps=2)
    project(model, images, settings, lambda *call: calls.append(call))
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
    # One direction of these latents has so little variance that its eigenvalue is clamped.
    assert covariance[0, 0] < 0.6
    assert (covariance.diag()[1:] - 1).abs().max() < 0.1
    assert (covariance - covariance.diag().diag()).abs().max() < 0.1
    assert float(prior.penalty(ws).mean()) == pytest.approx(1, abs=0.05)
    spread = (ws - ws.mean(dim=0)).square().sum(dim=2).mean().sqrt()
    assert prior.w_std == pytest.approx(float(spread), rel=0.02)
    assert (prior.penalty(3 * ws) > prior.penalty(ws)).all()


def test_prior_has_the_mean_first_and_images_of_all_centres(model):
    prior = latent_prior(model.generator)
    assert prior.centres.shape == (prior_module.STARTS, 16)
    assert torch.allclose(prior.centres[0], model.generator.mapping.w_avg, atol=0.2)
    own = model.generator.synthesis(
        prior.centres[5].expand(1, model.generator.num_ws, -1), noise_mode="const"
    )
    assert torch.allclose(prior.images[5:6], own, atol=1e-5)
    assert torch.isfinite(prior.centres).all()


def test_prior_is_cached_while_its_generator_exists():
    model = tiny_model(resolution=4)
    prior = weakref.ref(latent_prior(model.generator))
    assert latent_prior(model.generator) is prior()
    del model
    gc.collect()
    assert prior() is None


def test_a_prior_of_another_device_is_computed_again(monkeypatch):
    generator, devices = tiny_model().generator, []

    def compute(generator):
        devices.append(generator.device.type)
        return SimpleNamespace(mean=generator.mapping.w_avg)

    monkeypatch.setattr(prior_module, "_compute_prior", compute)
    for device in ("cpu", "cpu", "meta"):
        assert latent_prior(generator.to(device)).mean.device.type == device
    assert devices == ["cpu", "meta"]


@pytest.mark.slow
def test_photos_of_several_classes_are_projected_at_theirs(monkeypatch):
    model = tiny_model(classes=3)
    targets = torch.rand([3, 3, 32, 32], generator=torch.Generator().manual_seed(2)) * 2 - 1
    found = [2, 0, 2]
    monkeypatch.setattr(projection_module, "nearest_classes", lambda *_: found)
    few = ProjectionSettings(w_steps=2, plus_steps=2, refine_steps=1)
    mask = torch.zeros([3, 1, 32, 32])
    together = project(model, targets, few, mask=mask)
    assert together.labels == [(0, 0, 1), (1, 0, 0), (0, 0, 1)]
    for number, rows in ((0, [1]), (2, [0, 2])):
        alone = project(adjust(model, None, number), targets[rows], few, mask=mask[rows])
        for name in ("ws", "image", "image_start"):
            assert torch.equal(getattr(together, name)[rows], getattr(alone, name))
        assert [together.metrics[i] for i in rows] == alone.metrics
        assert alone.labels == [together.labels[i] for i in rows]


@pytest.mark.parametrize(("dtype", "full"), [(torch.float32, 256), (torch.bfloat16, 1024)])
def test_large_models_take_fewer_steps_on_a_cpu(monkeypatch, dtype, full):
    """Above 256 px in fp32, and above 1024 px where bf16 is fast; a GPU makes all."""
    monkeypatch.setattr("stylemix.inversion.settings.search_dtype", lambda _device: dtype)
    cpu = torch.device("cpu")
    settings = ProjectionSettings(w_steps=60, plus_steps=101, refine_steps=100)
    assert settings.at(full, cpu) == settings
    large = settings.at(4 * full, cpu)
    assert (large.w_steps, large.plus_steps, large.refine_steps) == (9, 16, 30)
    assert (large.lr, large.feature_lr) == pytest.approx((0.15, 0.12))
    assert large.refine_lr == settings.refine_lr
    latents = replace(settings, refine_steps=0).at(4 * full, cpu)
    assert (latents.w_steps, latents.plus_steps, latents.refine_steps) == (15, 26, 0)
    assert settings.at(4 * full, torch.device("cuda")) == settings
    exact = replace(settings, fewer_when_large=False)
    assert exact.at(4 * full, cpu) == exact


def test_a_large_model_is_projected_with_fewer_steps(monkeypatch):
    monkeypatch.setattr("stylemix.inversion.settings.full_steps_px", lambda _device: 8)
    model = tiny_model(resolution=32)
    calls: list[int] = []
    settings = ProjectionSettings(w_steps=4, plus_steps=8, refine_steps=4)
    image = model.generator(torch.randn(1, 16), noise_mode="const")
    project(model, image, settings, lambda _step, steps, _loss: calls.append(steps))
    assert set(calls) == {1 + 2 + 1}


def test_a_large_model_is_compared_in_shipped_features(monkeypatch):
    model = tiny_model(resolution=32)
    images = torch.zeros([1, 3, 32, 32])
    assert Similarity(model, images, ProjectionSettings()).discriminator is not None
    monkeypatch.setattr("stylemix.inversion.loss.OWN_FEATURES_PX", 16)
    assert Similarity(model, images, ProjectionSettings()).discriminator is None
