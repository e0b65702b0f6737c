"""Statistics of audits: are generated images nearer to the training images than new ones are?

All of them compare sets of features [N, K] or scores [N]; where they come from is up to the
caller. Everything is computed in float64.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2
from scipy.special import betaincinv

from stylemix.errors import StylemixError
from stylemix.metrics.distances import Array, Features

COPY_QUANTILE = 0.01  # share of held-out images that are as near to a training image as a copy
MIN_IN_CELL = 20  # images of each set that a cell of C_T needs
IMAGES_PER_CELL = 130  # held-out images of a cell of C_T, on average
RESAMPLES = 1000  # of a bootstrap
_BLOCK_ENTRIES = 2**24  # distances in memory at a time, 128 MiB


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


def nearest(
    features: Features, others: Features, own: Sequence[int] | None = None
) -> tuple[Array, NDArray[np.int64]]:
    """Returns the distance [N] of each feature [N, K] to the nearest of `others` [M, K], and which.

    `own` has the number of each feature among the others, which is left out there.
    """
    if features.ndim != 2 or others.ndim != 2 or features.shape[1] != others.shape[1]:
        raise StylemixError(
            f"got features of shapes {list(features.shape)} and {list(others.shape)}; expected "
            "[N, K] and [M, K]; use one extractor"
        )
    mean = others.mean(axis=0, dtype=np.float64)  # centred, to reduce rounding errors
    a, b = features - mean, others - mean
    squares = (b * b).sum(axis=1)
    distances, indices = np.empty(len(a)), np.empty(len(a), np.int64)
    step = max(1, _BLOCK_ENTRIES // len(b))
    for start in range(0, len(a), step):
        part = a[start : start + step]
        block = (part * part).sum(axis=1)[:, None] + squares - 2 * (part @ b.T)
        if own is not None:
            block[np.arange(len(part)), own[start : start + step]] = np.inf
        best = block.argmin(axis=1)
        indices[start : start + step] = best
        # From the difference itself: a copy has the distance 0, without the error of the product.
        distances[start : start + step] = np.linalg.norm(part - b[best], axis=1)
    return distances, indices


def mann_whitney_z(x: Array, y: Array) -> float:
    """Returns the z-score of the Mann-Whitney U test: negative where x [N] are less than y [M].

    U counts the pairs with x > y, ties half; for equal distributions its mean is N M / 2 and its
    variance N M (N + M + 1) / 12 (Mann & Whitney 1947).
    """
    n, m = len(x), len(y)
    u = _wins(x, y)
    return (u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)


def _wins(x: Array, y: Array) -> float:
    """Returns the number of pairs with x > y, ties half."""
    ordered = np.sort(y)
    below = np.searchsorted(ordered, x, "left").sum()
    return float(below + np.searchsorted(ordered, x, "right").sum()) / 2


def cell_centres(train: Features, held_out: int) -> Array:
    """Returns the centres [k, K] of a k-means partition of features [T, K].

    There is one cell for `IMAGES_PER_CELL` of the `held_out` images.
    """
    count = max(1, min(held_out // IMAGES_PER_CELL, len(train) // MIN_IN_CELL))
    data = train.astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an empty cell is left out
        centres: Array = kmeans2(data, count, minit="++", seed=0)[0]
    return centres


def copying_test(
    generated: Features,
    held_out: Features,
    train: Features,
    distances: tuple[Array, Array] | None = None,
) -> float | None:
    """Returns C_T of Meehan, Chaudhuri & Dasgupta 2020 (arXiv 2004.05675, section 4).

    In each cell of a k-means partition of the training features, the z-score of the distances of
    generated to training features against those of held-out to training features; its mean is
    weighted by the share of held-out features in a cell. Below -3: the generator copies training
    images; about 0: its images are as far from them as new images are; above 3: further away,
    which is underfitting.

    Args:
        generated: features [N, K].
        held_out: features [M, K] of images that were not trained on.
        train: features [T, K].
        distances: those of `nearest` of both, if they are known.

    Returns:
        C_T; None where no cell has `MIN_IN_CELL` of each set.
    """
    if distances is None:
        distances = nearest(generated, train)[0], nearest(held_out, train)[0]
    centres = cell_centres(train, len(held_out))
    ours, theirs = nearest(generated, centres)[1], nearest(held_out, centres)[1]
    total = weights = 0.0
    for cell in range(len(centres)):
        mine, new = distances[0][ours == cell], distances[1][theirs == cell]
        if min(len(mine), len(new)) < MIN_IN_CELL:
            continue
        weight = len(new) / len(held_out)
        total += weight * mann_whitney_z(mine, new)
        weights += weight
    return total / weights if weights else None


def binomial(count: int, total: int) -> Estimate:
    """Returns a share with its exact interval (Clopper & Pearson 1934)."""
    if not 0 <= count <= total or total < 1:
        raise ValueError(f"got {count} of {total}; expected 0 <= count <= total, total > 0")
    low = 0.0 if count == 0 else float(betaincinv(count, total - count + 1, 0.025))
    high = 1.0 if count == total else float(betaincinv(count + 1, total - count, 0.975))
    return Estimate(count / total, low, high)


@dataclass(frozen=True)
class Closeness:
    """How many generated and held-out images are within a distance of a training image.

    Attributes:
        threshold: the distance.
        generated: the share of generated images.
        held_out: the share of held-out images.
    """

    threshold: float
    generated: Estimate
    held_out: Estimate

    @property
    def passes(self) -> bool:
        """Whether generated images are so near no more often than held-out ones, within chance."""
        return self.generated.low <= self.held_out.value


def closeness(generated: Array, held_out: Array, threshold: float) -> Closeness:
    """Returns the shares of distances [N] and [M] to the nearest training image within another."""
    shares = [binomial(int((part <= threshold).sum()), len(part)) for part in (generated, held_out)]
    return Closeness(threshold, *shares)


def copy_rate(generated: Array, held_out: Array) -> Closeness:
    """Returns the copy rate of distances [N] and [M] to the nearest training image.

    An image counts as a copy if it is at most as far away as the nearest
    ceil(COPY_QUANTILE M) of the held-out images, whose own rate is that for this reason.
    """
    place = math.ceil(COPY_QUANTILE * len(held_out)) - 1
    return closeness(generated, held_out, float(np.sort(held_out)[max(0, place)]))


def pair_threshold(features: Features, share: float) -> float:
    """Returns the distance that a share of all pairs of features [N, K] are below.

    With faces of different people it is the threshold of recognition at this false match rate.
    """
    data = features.astype(np.float64)
    squares, count = (data * data).sum(axis=1), len(data)
    place = max(0, math.ceil(share * (count * (count - 1) // 2)) - 1)
    least = np.empty(0)  # squared distances up to that place
    step = max(1, _BLOCK_ENTRIES // count)
    for start in range(0, count, step):
        part = slice(start, start + step)
        block = squares[part, None] + squares[start:] - 2 * (data[part] @ data[start:].T)
        # Each pair once, and no image with itself.
        least = np.concatenate([least, block[np.triu(np.ones(block.shape, bool), 1)]])
        if len(least) > place + 1:
            least = np.partition(least, place)[: place + 1]
    return math.sqrt(max(least[place], 0.0))


def auc(members: Array, others: Array) -> float:
    """Returns the area under the ROC curve: the share of pairs in which the member scores more."""
    return _wins(members, others) / (len(members) * len(others))


def bootstrap(
    statistic: Callable[[Array, Array], float], x: Array, y: Array, seed: int = 0
) -> Estimate:
    """Returns a statistic of two samples [N] and [M] with its interval, of percentiles."""
    rng = np.random.default_rng(seed)
    values = [
        statistic(x[rng.integers(len(x), size=len(x))], y[rng.integers(len(y), size=len(y))])
        for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(values, [0.025, 0.975])
    return Estimate(statistic(x, y), float(low), float(high))


def relative_gap(members: Array, others: Array) -> float:
    """Returns by how much members' errors are below those of others, in shares of these.

    It compares geometric means, since few large errors would outweigh all others.
    """
    return float(1 - np.exp(np.log(members).mean() - np.log(others).mean()))
