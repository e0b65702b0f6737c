"""The statistics of audits: against formulas by hand, and where the answer is known."""

import math
import tracemalloc

import numpy as np
import pytest

from stylemix.errors import StylemixError
from stylemix.metrics import memorization
from stylemix.metrics.memorization import (
    auc,
    binomial,
    bootstrap,
    cell_centres,
    copy_rate,
    copying_test,
    mann_whitney_z,
    nearest,
    pair_threshold,
    relative_gap,
)


def gaussians(count, seed, width=8, scale=1.0):
    """Four clusters, so that cells have something to find."""
    rng = np.random.default_rng(seed)
    centres = 6 * np.eye(4, width)
    return centres[rng.integers(4, size=count)] + scale * rng.standard_normal((count, width))


TRAIN, HELD_OUT = gaussians(2000, 1), gaussians(600, 2)


def test_nearest_by_hand():
    distances, indices = nearest(np.array([[0.0, 0], [3, 4]]), np.array([[0.0, 1], [3, 4], [9, 9]]))
    assert distances.tolist() == [1, 0]
    assert indices.tolist() == [0, 1]
    same = np.array([[0.0], [1], [3]])
    distances, indices = nearest(same, same, own=range(3))
    assert (distances.tolist(), indices.tolist()) == ([1, 1, 2], [1, 0, 1])


def test_nearest_in_blocks_agrees_with_all_differences(monkeypatch):
    monkeypatch.setattr(memorization, "_BLOCK_ENTRIES", 5000)
    differences = np.linalg.norm(HELD_OUT[:, None] - TRAIN[None], axis=2)
    distances, indices = nearest(HELD_OUT, TRAIN)
    assert indices.tolist() == differences.argmin(axis=1).tolist()
    np.testing.assert_allclose(distances, differences.min(axis=1), rtol=1e-12)


def test_a_copy_in_float32_far_from_zero_has_the_distance_0():
    train = (TRAIN + 1e4).astype(np.float32)
    assert nearest(train[:50], train)[0].tolist() == [0.0] * 50


def test_features_of_two_extractors():
    with pytest.raises(StylemixError, match=r"got features of shapes \[600, 8\] and \[2000, 7\]"):
        nearest(HELD_OUT, TRAIN[:, 1:])


def test_mann_whitney_against_all_pairs():
    rng = np.random.default_rng(0)
    x, y = rng.integers(6, size=40).astype(float), rng.integers(7, size=31).astype(float)  # ties
    u = sum((a > b) + 0.5 * (a == b) for a in x for b in y)
    expected = (u - 40 * 31 / 2) / math.sqrt(40 * 31 * 72 / 12)
    assert mann_whitney_z(x, y) == pytest.approx(expected, rel=1e-14)
    assert auc(x, y) == pytest.approx(u / (40 * 31), rel=1e-14)


def test_c_t_against_its_definition_cell_by_cell():
    """The formula of the paper, written with loops over images in float64."""
    generated = gaussians(500, 3, scale=1.1)
    centres = cell_centres(TRAIN, len(HELD_OUT))
    assert len(centres) == 600 // memorization.IMAGES_PER_CELL == 4

    def cell(row):
        return int(np.argmin([np.sum((row - centre) ** 2) for centre in centres]))

    def distance(row):
        return min(np.sqrt(np.sum((TRAIN - row) ** 2, axis=1)))

    total = weights = 0.0
    for number in range(len(centres)):
        ours = [distance(row) for row in generated if cell(row) == number]
        theirs = [distance(row) for row in HELD_OUT if cell(row) == number]
        n, m = len(ours), len(theirs)
        u = sum((a > b) + 0.5 * (a == b) for a in ours for b in theirs)
        z = (u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
        total += m / len(HELD_OUT) * z
        weights += m / len(HELD_OUT)
    assert copying_test(generated, HELD_OUT, TRAIN) == pytest.approx(total / weights, rel=1e-9)


def test_c_t_of_generators_whose_answer_is_known():
    rng = np.random.default_rng(0)
    copies = TRAIN[rng.integers(2000, size=600)] + 0.05 * rng.standard_normal((600, 8))
    assert copying_test(copies, HELD_OUT, TRAIN) < -10
    fair = [copying_test(gaussians(600, seed), HELD_OUT, TRAIN) for seed in range(10, 20)]
    assert max(map(abs, fair)) < 2
    assert copying_test(gaussians(600, 3, scale=1.5), HELD_OUT, TRAIN) > 5


def test_c_t_finds_copies_of_one_cluster():
    """A whole-set test would miss them: the other three clusters are too far away instead."""
    generated = gaussians(800, 4, scale=1.4)
    first = np.linalg.norm(generated - 6 * np.eye(4, 8)[0], axis=1) < 4.5
    near_first = TRAIN[np.linalg.norm(TRAIN - 6 * np.eye(4, 8)[0], axis=1) < 4.5]
    generated[first] = near_first[: first.sum()]
    distances = nearest(generated, TRAIN)[0], nearest(HELD_OUT, TRAIN)[0]
    whole = mann_whitney_z(*distances)
    parts = copying_test(generated, HELD_OUT, TRAIN, distances)
    assert whole > 0
    assert parts < whole


def test_c_t_of_too_few_images():
    assert copying_test(TRAIN[:19], HELD_OUT, TRAIN) is None
    assert copying_test(TRAIN[:600], HELD_OUT[:19], TRAIN) is None


def test_binomial_intervals_of_tables():
    """Clopper and Pearson's limits for 0, 1 and 5 of 10, as tables print them."""
    for count, low, high in [(0, 0, 0.3085), (1, 0.0025, 0.4450), (5, 0.1871, 0.8129)]:
        share = binomial(count, 10)
        assert share.value == count / 10
        assert (share.low, share.high) == pytest.approx((low, high), abs=5e-5)
    assert binomial(10, 10).high == 1
    with pytest.raises(ValueError, match="got 3 of 2"):
        binomial(3, 2)


def test_copy_rate_by_hand():
    held_out = np.arange(1.0, 201)  # one percent: the distances 1 and 2
    rate = copy_rate(np.array([0.0, 2, 2.1, 50]), held_out)
    assert (rate.threshold, rate.generated.value, rate.held_out.value) == (2, 0.5, 0.01)
    assert not rate.passes
    assert copy_rate(np.array([2.5] * 100), held_out).passes
    few = copy_rate(np.array([5.0]), np.array([7.0, 6.0, 9.0]))
    assert (few.threshold, few.generated.value) == (6, 1)


def test_copy_rate_of_generators_whose_answer_is_known():
    rng = np.random.default_rng(0)
    held_out = nearest(HELD_OUT, TRAIN)[0]
    fair = copy_rate(nearest(gaussians(2000, 5), TRAIN)[0], held_out)
    assert 0.003 < fair.generated.value < 0.025
    copies = gaussians(1000, 6)
    copies[:300] = TRAIN[rng.integers(2000, size=300)]
    rate = copy_rate(nearest(copies, TRAIN)[0], held_out)
    assert rate.generated.value == pytest.approx(0.3, abs=0.02)
    assert rate.generated.low > rate.held_out.high


def test_threshold_of_pairs():
    points = np.array([[0.0], [1], [3], [7], [15]])  # distances 1 2 3 4 6 7 8 12 14 15
    assert [pair_threshold(points, share) for share in (1e-5, 0.1, 0.2, 0.5)] == [1, 1, 2, 6]


def test_a_threshold_needs_no_memory_for_all_pairs(monkeypatch):
    points = gaussians(600, 7)
    expected = np.sort(np.linalg.norm(points[:, None] - points, axis=2)[np.triu_indices(600, 1)])
    monkeypatch.setattr(memorization, "_BLOCK_ENTRIES", 2**14)
    tracemalloc.start()
    threshold = pair_threshold(points, 0.001)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert threshold == pytest.approx(expected[179])  # of 179,700 pairs
    assert peak < 600 * 600 * 8


def test_auc_and_its_interval():
    rng = np.random.default_rng(0)
    same = bootstrap(auc, rng.standard_normal(500), rng.standard_normal(500))
    assert same.low <= 0.5 <= same.high
    assert same.high - same.low == pytest.approx(0.072, abs=0.01)  # 4 sqrt(1 / 12 (1/n + 1/m)) / 2
    shifted = bootstrap(auc, rng.standard_normal(500) + 1, rng.standard_normal(500))
    assert shifted.low <= 0.7602 <= shifted.high  # Phi(1 / sqrt 2)
    assert not shifted.low <= 0.5 <= shifted.high
    assert auc(np.array([2.0, 3]), np.array([1.0])) == 1


def test_relative_gap():
    assert relative_gap(np.array([1.0, 2, 4]), np.array([4.0, 4, 4])) == pytest.approx(0.5)
    none = bootstrap(relative_gap, np.arange(1.0, 40), np.arange(1.0, 40))
    assert none.low <= 0 <= none.high
