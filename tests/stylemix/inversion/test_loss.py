"""The losses of projections by their values."""

import pytest
import torch

from stylemix.inversion.loss import Similarity
from stylemix.inversion.prior import latent_prior
from stylemix.inversion.projection import _Search
from stylemix.inversion.refine import NEIGHBOUR_DISTANCE, _drift, _neighbours, unknown
from stylemix.inversion.schedule import Stages
from stylemix.inversion.settings import RATES_AND_WEIGHTS, ProjectionSettings
from tests.support.models import ws_of

pytestmark = pytest.mark.usefixtures("full_precision")
NOTHING = dict.fromkeys(RATES_AND_WEIGHTS, 0.0)


def search(model, images, **settings):
    chosen = ProjectionSettings(**{**NOTHING, **settings})
    return _Search(model, Similarity(model, images, chosen), chosen, Stages([1]))


def test_features_count_relative_to_those_of_the_target(model, images):
    similarity = Similarity(model, images, ProjectionSettings(feature_weight=3, pixel_weight=0))
    maps = [2 * each for each in similarity.maps]
    losses = similarity._distance(maps, similarity.pixels, slice(None))
    torch.testing.assert_close(losses, torch.full([len(images)], 3.0), rtol=1e-3, atol=0)


def test_pixels_count_alike_at_all_scales(model, images):
    similarity = Similarity(model, images, ProjectionSettings(feature_weight=0, pixel_weight=7))
    losses = similarity.appearance(images + 0.1)
    torch.testing.assert_close(losses, torch.full([len(images)], 0.07), rtol=1e-3, atol=0)


def test_deltas_are_in_deviations_of_w(model, images):
    ws = ws_of(model, len(images)) + torch.randn([len(images), model.generator.num_ws, 1])
    w_std = latent_prior(model.generator).w_std
    losses = search(model, images, delta_weight=2).loss_plus(ws, 0.5, True)
    squares = ((ws - ws.mean(dim=1, keepdim=True)) / w_std).square().sum(dim=2)
    torch.testing.assert_close(losses, 2 * squares.mean(dim=1))


def test_the_noise_on_w_fades(model, images, monkeypatch):
    ws, drawn = ws_of(model, len(images)), []
    for t in (0, 0.375, 0.75):
        one = search(model, images, exploration=1)
        monkeypatch.setattr(one, "_generate", lambda ws: drawn.append(ws) or images)
        one.loss_w(ws, t, True)
    first, half, none = (each - ws for each in drawn)
    assert first.std() == pytest.approx(latent_prior(model.generator).w_std, rel=0.6)
    torch.testing.assert_close(half, first / 4, rtol=1e-3, atol=1e-5)
    assert none.abs().max() == 0


def test_neighbours_have_their_distance(model):
    ws = ws_of(model, 2)
    distance = (_neighbours(model, ws, 0) - ws[:, None]).norm(dim=3)
    expected = NEIGHBOUR_DISTANCE * latent_prior(model.generator).w_std
    torch.testing.assert_close(distance, torch.full_like(distance, expected), rtol=1e-3, atol=0)


def test_drift_is_the_sum_over_three_scales():
    images = torch.rand([2, 3, 8, 8])
    torch.testing.assert_close(_drift(images + 0.1, images), torch.full([2], 10 * 3 * 0.01))


def test_no_more_than_a_share_of_a_photo_is_unknown():
    error = (torch.arange(80.0) / 80 + 1).expand(1, 3, 80, 80)  # from left to right
    mask = unknown(error, torch.zeros_like(error))[0, 0, 40]
    assert mask[:43].max() == 0
    assert mask[50:].min() == 1
