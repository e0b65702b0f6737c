"""Metrics of avatars in cases with known results."""

import pytest
import torch

from stylemix.avatars.render import AppliedStyle, render
from stylemix.faces.attributes import MAX_LOG_ODDS, readings, smile_log_odds
from stylemix.faces.templates import NO_TEMPLATE
from stylemix.images.tensors import as_rgb
from stylemix.metrics import avatars as metrics_of_avatars
from stylemix.metrics.avatars import (
    edit_magnitude,
    harmonic_interval,
    harmonic_mean,
    interval,
    judge_avatars,
    read_avatars,
)
from stylemix.metrics.style_distance import image_statistics
from stylemix.models.checkpoint import load_model
from stylemix.networks.latents import map_latents
from stylemix.styles.style import load_style
from tests.support.models import tiny_model

STYLES = ("noir", "golden-hour")


@pytest.fixture(scope="module")
def model():
    return load_model("faces-64")


@pytest.fixture(scope="module")
def ws(model):
    z = torch.randn([12, model.generator.z_dim], generator=torch.Generator().manual_seed(5))
    return map_latents(model.generator, z, psi=0.9)


@pytest.fixture(scope="module")
def plain(model, ws):
    return render(model.generator, ws)


def styled(model, ws, strength=1.0):
    styles = [load_style(name, model) for name in STYLES]
    return torch.stack([render(model.generator, ws, [AppliedStyle(s, strength)]) for s in styles])


@pytest.fixture(scope="module")
def looks(model):
    """What the styles look like on other faces."""
    z = torch.randn([32, model.generator.z_dim], generator=torch.Generator().manual_seed(6))
    images = styled(model, map_latents(model.generator, z))
    return torch.stack([image_statistics(part).mean(dim=0) for part in images])


def judge(model, looks, photos, images):
    metrics = judge_avatars(read_avatars(model, photos, images), looks)
    return {key: float(value.mean()) for key, value in metrics.items()}


@pytest.mark.slow
def test_a_style_that_does_nothing(model, looks, plain):
    values = judge(model, looks, plain, plain.repeat(2, 1, 1, 1, 1))
    assert values["style accuracy"] == pytest.approx(0, abs=1e-5)
    assert values["style found"] < 0.1  # the nearest look is no style
    assert values["change found"] == 0
    assert values["identity found"] == 1
    assert values["identity"] == pytest.approx(1, abs=1e-4)
    assert values["expression kept"] == pytest.approx(1, abs=1e-4)
    moved = [values["pose moved"], values["landmarks moved"]]
    assert moved == pytest.approx([0, 0], abs=1e-6)


@pytest.mark.slow
def test_good_avatars(model, looks, ws, plain):
    values = judge(model, looks, plain, styled(model, ws))
    assert values["style accuracy"] > 0.4
    assert values["style found"] > 0.85
    assert values["change found"] > 0.95
    assert values["identity found"] > 0.9


@pytest.mark.slow
def test_shuffled_people_and_swapped_styles_are_at_chance(model, looks, ws, plain):
    images = styled(model, ws)
    strangers = judge(model, looks, plain, images.roll(1, dims=1))
    assert strangers["identity found"] < 0.15
    assert strangers["style found"] > 0.85
    swapped = judge(model, looks, plain, images.flip(0))
    assert swapped["style found"] < 0.1
    assert swapped["change found"] < 0.1
    assert swapped["identity found"] > 0.9


@pytest.mark.slow
def test_one_face_for_all_has_style_and_no_identity(model, looks, ws, plain):
    images = styled(model, ws)[:, 1:2].repeat(1, 12, 1, 1, 1)
    values = judge(model, looks, plain, images)
    assert values["identity found"] == pytest.approx(1 / 12, abs=0.01)
    assert values["style found"] == 1


@pytest.mark.slow
def test_metrics_follow_the_strength(model, looks, ws, plain):
    rows = [judge(model, looks, plain, styled(model, ws, strength)) for strength in (0.0, 0.5, 1.0)]
    accuracy = [row["style accuracy"] for row in rows]
    identity = [row["identity"] for row in rows]
    assert accuracy == sorted(accuracy)
    assert identity == sorted(identity, reverse=True)


def test_intervals():
    values = torch.tensor([[0.0, 1.0] * 50, [1.0, 1.0] * 50])
    mean, low, high = interval(values)
    assert mean == 0.75
    # The mean of 100 sources of .5 or 1 has a standard error of .025.
    assert (mean - low, high - mean) == pytest.approx((0.049, 0.049), abs=0.012)
    assert interval(values) == interval(values)
    metrics = {"identity found": values, "style found": torch.ones(2, 100)}
    mean, low, high = harmonic_interval(metrics)
    assert mean == pytest.approx(harmonic_mean(0.75, 1.0)) == pytest.approx(6 / 7)
    assert low < mean < high
    assert harmonic_mean(0.0, 1.0) == 0


def test_edit_magnitude_of_a_smile(model, ws):
    smile = load_style("smile", model)
    less, more = (render(model.generator, ws, [AppliedStyle(smile, s)]) for s in (-2.0, 2.0))
    assert float(edit_magnitude(model, less, more, "smile").mean()) > 2
    assert float(edit_magnitude(model, less, less, "smile").abs().max()) == 0


def test_edit_magnitude_of_confident_smiles(model, ws):
    smile = load_style("smile", model)
    less, more = (render(model.generator, ws, [AppliedStyle(smile, s)]) for s in (2.0, 3.0))
    before, after = (smile_log_odds(as_rgb(v), model.template) for v in (less, more))
    sure = (before > MAX_LOG_ODDS) & (after > MAX_LOG_ODDS)
    assert sure.sum() >= 2
    grown = edit_magnitude(model, less, more, "smile")
    torch.testing.assert_close(grown, after - before)
    assert float(grown[sure].max()) > 0.5
    capped = readings(as_rgb(less), model.template)["smile"][sure]
    assert torch.equal(capped, torch.full_like(capped, MAX_LOG_ODDS))


def test_a_change_counts_from_the_photo(monkeypatch):
    """Two people far apart: where they are says nothing of the style, where they go does."""
    monkeypatch.setattr(metrics_of_avatars, "image_statistics", lambda images: images.flatten(1))
    photos = torch.tensor([[0.0, 0.0], [10.0, 0.0]])
    moves = torch.tensor([[0.0, 3.0], [3.0, 0.0]])
    styled = photos + moves[:, None]
    images = (x[..., None, None] for x in (photos, styled))
    readings = read_avatars(tiny_model(template=NO_TEMPLATE), *images)
    values = judge_avatars(readings, photos.mean(0) + moves)
    assert values["change found"].tolist() == [[1, 1], [1, 1]]
    assert values["style found"].mean() < 1
