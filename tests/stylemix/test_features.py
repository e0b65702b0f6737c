"""MobileNetV2 features: shapes, an answer known from the full network, and Frechet distances."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.linalg import sqrtm

from stylemix.errors import StylemixError
from stylemix.features import (
    CHANNELS,
    STAGES,
    FeatureStatistics,
    frechet_distance,
    load_feature_network,
)
from stylemix.images import to_tensor

PORTRAITS = Path(__file__).parent.parent / "data" / "portraits"

# Pooled features of the astronaut's head from the published fp32 weights, batch normalisation
# explicit: four spread over the 1280 and the four largest, and the mean of all.
INDICES = [0, 160, 320, 480, 615, 718, 625, 16]
VALUES = [1.6687, 0.2940, 0.4845, 0.2414, 2.7754, 2.4753, 2.3138, 2.2658]
MEAN = 0.52557


def test_maps_shapes():
    maps = load_feature_network().maps(torch.zeros(2, 3, 64, 96))
    assert [tuple(each.shape) for each in maps] == [
        (2, 16, 32, 48), (2, 24, 16, 24), (2, 32, 8, 12), (2, 96, 4, 6), (2, 320, 2, 3)
    ]  # fmt: skip
    assert len(STAGES) == len(maps)


def test_maps_come_in_the_order_asked_for():
    network = load_feature_network()
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    late, early = network.maps(image, (6, 1))
    assert torch.equal(early, network.maps(image, (1,))[0])
    assert torch.equal(late, network.maps(image, (6,))[0])


def test_pooled_matches_the_published_network():
    image = Image.open(PORTRAITS / "astronaut.jpg").convert("RGB").crop((96, 16, 320, 240))
    pooled = load_feature_network().pooled(to_tensor(image))[0]
    assert pooled.shape == (CHANNELS,)
    assert torch.allclose(pooled[INDICES], torch.tensor(VALUES), atol=0.02)
    assert pooled.mean().item() == pytest.approx(MEAN, abs=0.002)


def test_gradients_reach_the_image():
    image = torch.zeros(1, 3, 64, 64, requires_grad=True)
    sum(each.square().mean() for each in load_feature_network().maps(image)).backward()
    assert image.grad is not None
    assert image.grad.isfinite().all()
    assert image.grad.abs().max() > 0


@pytest.mark.parametrize("shape", [(1, 3, 16, 64), (1, 1, 64, 64), (3, 64, 64)])
def test_odd_images_are_one_line(shape):
    with pytest.raises(StylemixError, match="got images of shape"):
        load_feature_network().maps(torch.zeros(shape))


@pytest.mark.parametrize("stages", [(), (19,), (-1,)])
def test_odd_stages_are_one_line(stages):
    with pytest.raises(StylemixError, match="expected numbers from 0 to 18"):
        load_feature_network().maps(torch.zeros(1, 3, 64, 64), stages)


def test_statistics_match_numpy_whatever_the_batches():
    data = np.random.RandomState(0).randn(50, 6) * [1, 2, 3, 4, 5, 6] + 1e4
    for cuts in ([50], [1, 20, 29], [10] * 5):
        statistics, start = FeatureStatistics(6), 0
        for count in cuts:
            statistics.add(data[start : start + count])
            start += count
        assert np.allclose(statistics.mean, data.mean(axis=0), rtol=1e-12)
        assert np.allclose(statistics.covariance, np.cov(data.T), rtol=1e-9)


def test_statistics_refuse_what_would_spoil_them():
    statistics = FeatureStatistics(3)
    for batch in (np.zeros((2, 4)), np.full((2, 3), np.nan), np.zeros(3)):
        with pytest.raises(StylemixError, match="got features of shape"):
            statistics.add(batch)
    with pytest.raises(StylemixError, match="got 0 pictures"):
        _ = statistics.mean
    statistics.add(torch.ones(1, 3))
    assert statistics.mean.tolist() == [1, 1, 1]
    with pytest.raises(StylemixError, match="got 1 pictures for statistics; expected 2"):
        _ = statistics.covariance


def test_frechet_values():
    # Independent coordinates: the sum of (m1 - m2)^2 + (s1 - s2)^2.
    one, two = np.diag([1.0, 4.0, 9.0]), np.diag([4.0, 4.0, 1.0])
    mean = np.array([0.0, 1.0, -2.0])
    assert frechet_distance(mean, one, mean, two) == pytest.approx(1 + 0 + 4)
    assert frechet_distance(mean, one, mean + 3, two) == pytest.approx(5 + 27)
    assert frechet_distance(mean, one, mean, one) == pytest.approx(0, abs=1e-9)
    zero = np.zeros((3, 3))  # a single point: the trace of the other
    assert frechet_distance(mean, zero, mean, one) == pytest.approx(14)


def test_frechet_reference():
    random = np.random.RandomState(3)
    (a, b), means = random.randn(2, 20, 20), random.randn(2, 20)
    a, b = a @ a.T, b @ b.T
    root = sqrtm(a @ b)
    expected = np.sum((means[0] - means[1]) ** 2) + np.trace(a + b - 2 * root.real)
    assert frechet_distance(means[0], a, means[1], b) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(means[1], b, means[0], a) == pytest.approx(expected, rel=1e-9)


def test_frechet_of_fewer_samples_than_dimensions():
    random = np.random.RandomState(4)
    a, b = (np.cov(random.randn(8, 30).T) for _ in range(2))
    distance = frechet_distance(np.zeros(30), a, np.zeros(30), b)
    assert 0 < distance < np.trace(a + b)


def test_frechet_grows_with_a_shift_of_samples():
    samples = np.random.RandomState(5).randn(400, 4)
    first, second = FeatureStatistics(4), FeatureStatistics(4)
    first.add(samples[:200])
    second.add(samples[:200] * 2 + 1)
    found = frechet_distance(first.mean, first.covariance, second.mean, second.covariance)
    exact = np.sum((samples[:200].mean(axis=0) + 1) ** 2) + np.trace(np.cov(samples[:200].T))
    assert found == pytest.approx(exact)
