"""Distances of looks."""

import pytest
import torch
from torch.nn import functional

from stylemix.metrics.style_distance import (
    JUDGED_WIDTH,
    StyleMeter,
    image_statistics,
    style_distance,
    style_statistics,
)
from stylemix.models.checkpoint import load_model
from stylemix.networks.latents import sample_ws
from stylemix.networks.sampling import sample_images
from tests.support.models import tiny_model


@pytest.mark.parametrize("resolution", [4, 8])
def test_looks_of_the_smallest_models_are_measured(resolution):
    """A discriminator of 4 px has no blocks, so its features are those of MobileNetV2."""
    meter = StyleMeter(tiny_model(resolution=resolution), count=4)
    rows = meter.describe(torch.stack([torch.zeros(3, resolution, resolution), torch.ones(3, 1, 1)
                                       .expand(3, resolution, resolution)]))  # fmt: skip
    assert rows.isfinite().all()
    assert (rows[0] - rows[1]).square().sum() > 0.1


@pytest.mark.slow
def test_distances_are_in_units_of_the_spread_over_the_models_own_faces():
    model = load_model("faces-64")
    meter, faces = StyleMeter(model, 64), sample_images(model.generator, range(12), 0.9)
    rows = meter.describe(faces)
    assert style_distance(rows, rows[0])[0] == 0
    assert 0.3 < float(style_distance(rows, rows.mean(dim=0)).mean()) < 2
    assert float(style_distance(rows, meter.look(-faces)).mean()) > 1.5
    assert torch.equal(rows, StyleMeter(model, 64).describe(faces))


def test_each_image_is_compared_by_itself_and_in_256_px():
    images = torch.rand([3, 3, 256, 256], generator=torch.Generator().manual_seed(0)) * 2 - 1
    rows = image_statistics(images)
    assert rows.shape == (3, JUDGED_WIDTH)
    for row, image in zip(rows, images, strict=True):
        torch.testing.assert_close(row, style_statistics(image[None]))  # of one image the same
    large = functional.interpolate(images, scale_factor=2, mode="nearest")
    halved = functional.interpolate(large, scale_factor=0.5, mode="bilinear", antialias=True)
    torch.testing.assert_close(image_statistics(large), image_statistics(halved))
    grey = images.mean(dim=1, keepdim=True)
    torch.testing.assert_close(image_statistics(grey), image_statistics(grey.expand(-1, 3, -1, -1)))


def test_strokes_that_64_px_do_not_show_are_seen():
    """Fine stripes of black on grey: the mean of what 64 px show of them."""
    stripes = torch.full([1, 3, 256, 256], 0.5)
    stripes[..., ::2] = -0.5
    plain = torch.zeros([1, 3, 256, 256])
    small = [functional.avg_pool2d(image, 4) for image in (stripes, plain)]
    assert torch.equal(*small)
    far = style_distance(image_statistics(stripes), image_statistics(plain)[0])
    assert float(far) > 0.5


def test_the_spread_is_that_of_as_many_faces_as_asked_for(monkeypatch):
    counts, usual = [], sample_ws
    monkeypatch.setattr(
        "stylemix.metrics.style_distance.sample_ws",
        lambda generator, count, rng: counts.append(count) or usual(generator, count, rng),
    )
    StyleMeter(tiny_model(resolution=8), count=40)
    assert counts == [32, 8]
