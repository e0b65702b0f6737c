"""Distances of feature sets compared with closed forms and plain double loops in float64."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from stylemix.errors import StylemixError
from stylemix.metrics import distances
from stylemix.metrics.distances import (
    STUDENT_T,
    density_coverage,
    frechet,
    frechet_distance,
    frechet_interval,
    kernel_distance,
    precision_recall,
    squared_mmd,
    statistics,
)


def sets(seed=0, fakes=40, reals=50, size=4):
    """Two overlapping clouds, as feature networks give them: float32."""
    random = np.random.RandomState(seed)
    fake = random.randn(fakes, size) * 1.2 + 0.5
    return fake.astype(np.float32), random.randn(reals, size).astype(np.float32)


@pytest.fixture(params=[1, 130, 2**24], ids=["one row", "some rows", "one block"])
def blocks(request, monkeypatch):
    monkeypatch.setattr(distances, "BLOCK_ENTRIES", request.param)


def test_frechet_distance_values():
    # Independent coordinates: the sum of (m1 - m2)^2 + (s1 - s2)^2.
    one, two = np.diag([1.0, 4.0, 9.0]), np.diag([4.0, 4.0, 1.0])
    mean = np.array([0.0, 1.0, -2.0])
    assert frechet_distance(mean, one, mean, two) == pytest.approx(1 + 0 + 4)
    assert frechet_distance(mean, one, mean + 3, two) == pytest.approx(5 + 27)
    assert frechet_distance(mean, one, mean, one) == pytest.approx(0, abs=1e-9)
    zero = np.zeros((3, 3))  # a single point: the trace of the other
    assert frechet_distance(mean, zero, mean, one) == pytest.approx(14)


def test_frechet_distance_reference():
    random = np.random.RandomState(3)
    (a, b), means = random.randn(2, 20, 20), random.randn(2, 20)
    a, b = a @ a.T, b @ b.T
    root = sqrtm(a @ b)
    expected = np.sum((means[0] - means[1]) ** 2) + np.trace(a + b - 2 * root.real)
    assert frechet_distance(means[0], a, means[1], b) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(means[1], b, means[0], a) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_fewer_samples_than_dimensions():
    random = np.random.RandomState(4)
    a, b = (np.cov(random.randn(8, 30).T) for _ in range(2))
    distance = frechet_distance(np.zeros(30), a, np.zeros(30), b)
    assert 0 < distance < np.trace(a + b)


@pytest.mark.usefixtures("blocks")
def test_statistics_match_numpy_whatever_the_blocks():
    data = np.random.RandomState(0).randn(50, 6) * [1, 2, 3, 4, 5, 6] + 1e4
    mean, covariance = statistics(data)
    assert np.allclose(mean, data.mean(axis=0), rtol=1e-12)
    assert np.allclose(covariance, np.cov(data.T), rtol=1e-9)


def test_frechet_of_sets():
    fake, real = sets()
    assert frechet(real, real) == pytest.approx(0, abs=1e-9)
    x, y = fake.astype(np.float64), real.astype(np.float64)
    a, b = np.cov(x.T), np.cov(y.T)
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet(fake, real) == pytest.approx(expected, rel=1e-9)
    # A set twice as wide and moved by 1: (1 + mean)^2 a coordinate, and the trace once more.
    moved = np.sum((y.mean(0) + 1) ** 2) + np.trace(b)
    assert frechet(2 * y + 1, y) == pytest.approx(moved, rel=1e-9)


def test_frechet_interval_covers_distances_of_new_samples():
    samples = [sets(seed, fakes=300, reals=300) for seed in range(60)]
    distances = np.array([frechet(*sample) for sample in samples])
    intervals = np.array([frechet_interval(*sample) for sample in samples])
    assert (intervals[:, 0] < distances).all()
    assert (distances < intervals[:, 1]).all()
    # At this size the bias is small, so most intervals contain the mean of all samples.
    mean = distances.mean()
    coverage = ((intervals[:, 0] < mean) & (mean < intervals[:, 1])).mean()
    assert coverage > 0.85
    spread = np.median(intervals[:, 1] - intervals[:, 0]) / 2 / STUDENT_T
    assert spread == pytest.approx(distances.std(), rel=0.3)


def test_squared_mmd_is_the_unbiased_double_sum():
    x, y = sets(fakes=7, reals=9)

    def kernel(a, b):
        return (sum(float(p) * float(q) for p, q in zip(a, b, strict=True)) / 4 + 1) ** 3

    xx = sum(kernel(x[i], x[j]) for i in range(7) for j in range(7) if i != j) / (7 * 6)
    yy = sum(kernel(y[i], y[j]) for i in range(9) for j in range(9) if i != j) / (9 * 8)
    xy = sum(kernel(a, b) for a in x for b in y) / (7 * 9)
    assert squared_mmd(x, y) == pytest.approx(xx + yy - 2 * xy, rel=1e-12)


def test_kernel_distance_has_no_bias():
    random = np.random.RandomState(1)
    values = [squared_mmd(random.randn(10, 4), random.randn(10, 4)) for _ in range(1500)]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 3 * error  # the biased estimator lies 20 errors above 0
    assert np.std(values) > 0


def test_kernel_distance_over_subsets():
    fake, real = sets()
    whole = kernel_distance(fake[:30], real[:30], subsets=3)  # each subset is the whole set
    assert whole == (pytest.approx(squared_mmd(fake[:30], real[:30])), pytest.approx(0, abs=1e-12))
    mean, deviation = kernel_distance(fake, real, subsets=200, size=20)
    assert mean == pytest.approx(squared_mmd(fake, real), rel=0.1)
    assert deviation > 0.05
    assert kernel_distance(fake, real, 5, 20) == kernel_distance(fake, real, 5, 20)
    assert kernel_distance(fake, real, 5, 20) != kernel_distance(fake, real, 5, 20, seed=1)


def _radius(points, i, k):
    return sorted(np.linalg.norm(points[i] - other) for other in points)[k]


def brute_force(fake, real, k):
    """Precision, recall, density and coverage as their papers define them, pair by pair."""
    fake, real = fake.astype(np.float64), real.astype(np.float64)
    around_real = [_radius(real, i, k) for i in range(len(real))]
    around_fake = [_radius(fake, j, k) for j in range(len(fake))]
    gap = [[np.linalg.norm(f - r) for r in real] for f in fake]
    n, m = range(len(real)), range(len(fake))
    precision = np.mean([any(gap[j][i] <= around_real[i] for i in n) for j in m])
    recall = np.mean([any(gap[j][i] <= around_fake[j] for j in m) for i in n])
    density = sum(gap[j][i] < around_real[i] for i in n for j in m) / (k * len(fake))
    coverage = np.mean([any(gap[j][i] < around_real[i] for j in m) for i in n])
    return precision, recall, density, coverage


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize(("seed", "k"), [(0, 3), (1, 5), (2, 1)])
def test_neighbourhoods_agree_with_brute_force(seed, k):
    fake, real = sets(seed)
    values = (*precision_recall(fake, real, k), *density_coverage(fake, real, k))
    assert values == pytest.approx(brute_force(fake, real, k))
    assert min(values) > 0
    assert values[0] < 1


def test_neighbourhoods_by_hand():
    # On a line, k = 1: balls around the reals reach 1, 1, 2 and 10 far.
    real = np.array([[0.0], [1.0], [3.0], [13.0]])
    fake = np.array([[0.5], [1.5], [40.0], [41.0]])
    # Fakes .5 and 1.5 are inside; around fakes balls reach 1, 1, 1, 1: reals 0, 1 are inside.
    assert precision_recall(fake, real, k=1) == (0.5, 0.5)
    # .5 lies in the balls of 0 and 1; 1.5 in those of 1 and 3; no fake in that of 13.
    assert density_coverage(fake, real, k=1) == (1.0, 0.75)


def test_neighbourhoods_of_equal_and_of_distant_sets():
    _, real = sets()
    assert precision_recall(real, real) == (1, 1)
    assert density_coverage(real, real) == (pytest.approx(1), 1)
    shuffled = real[np.random.RandomState(0).permutation(len(real))]
    assert density_coverage(shuffled, real) == (pytest.approx(1), 1)
    assert precision_recall(real + 100, real) == (0, 0)
    assert density_coverage(real + 100, real) == (0, 0)


def test_a_collapsed_generator_has_precision_but_no_recall():
    _, real = sets(reals=200)
    collapsed = real[:1] + 1e-3 * np.random.RandomState(0).randn(200, 4)
    precision, recall = precision_recall(collapsed, real)
    density, coverage = density_coverage(collapsed, real)
    assert precision == 1
    assert recall < 0.02
    assert coverage < 0.1
    assert density > 0


@pytest.mark.parametrize("metric", [frechet, kernel_distance, precision_recall, density_coverage])
def test_invalid_sets_raise(metric):
    fake, real = sets()
    for wrong, message in (
        (real[:, :3], "expected \\[N, K\\] and \\[M, K\\]"),
        (real[:1], "got 40 generated and 1 real images; expected"),
        (np.full_like(real, np.nan), "got NaN or infinite features"),
    ):
        with pytest.raises(StylemixError, match=message):
            metric(fake, wrong)


def test_a_ball_does_not_hold_the_neighbour_that_defines_it():
    line = np.arange(10.0)[:, None]  # inside of each ball: the image itself, at the ends one more
    density, coverage = density_coverage(line, line, k=2)
    assert density == pytest.approx((8 * 1 + 2 * 2) / (2 * 10))
    assert coverage == 1
