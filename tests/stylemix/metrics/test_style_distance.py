"""Distances of looks."""

import pytest
import torch

from stylemix.metrics import style_distance
from stylemix.metrics.style_distance import StyleMeter
from tests.support.models import tiny_model


@pytest.mark.parametrize("resolution", [4, 8])
def test_looks_of_the_smallest_models_are_measured(resolution):
    """A discriminator of 4 px has no blocks, so its features are those of MobileNetV2."""
    meter = StyleMeter(tiny_model(resolution=resolution), count=4)
    rows = meter.describe(torch.stack([torch.zeros(3, resolution, resolution), torch.ones(3, 1, 1)
                                       .expand(3, resolution, resolution)]))  # fmt: skip
    assert rows.isfinite().all()
    assert (rows[0] - rows[1]).square().sum() > 0.1


def test_the_spread_is_that_of_as_many_faces_as_asked_for(monkeypatch):
    counts, usual = [], style_distance.sample_ws
    monkeypatch.setattr(
        style_distance,
        "sample_ws",
        lambda generator, count, rng: counts.append(count) or usual(generator, count, rng),
    )
    StyleMeter(tiny_model(resolution=8), count=40)
    assert counts == [32, 8]
