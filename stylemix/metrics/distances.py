"""Distances between two sets of images by their features [N, K] and [M, K].

Frechet and kernel distance compare the distributions; precision, recall, density and coverage
compare the neighbourhoods of single images.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from stylemix.errors import StylemixError

Array = NDArray[np.float64]
Features = NDArray[np.float32] | NDArray[np.float64]

BLOCK_ENTRIES = 2**24  # distances in memory at a time, 128 MiB
JACKKNIFE_GROUPS = 10
INTERVAL_IMAGES = 2 * JACKKNIFE_GROUPS  # of each set, at least
STUDENT_T = 2.262  # two-sided 95 % with JACKKNIFE_GROUPS - 1 degrees of freedom
ROUNDING = 1e-10  # relative rounding error; smaller squared distances are set to zero


def frechet_distance(mean1: Array, covariance1: Array, mean2: Array, covariance2: Array) -> float:
    """Returns the squared Frechet distance of two Gaussians (Dowson & Landau 1982).

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), with means [K] and covariances [K, K]. The trace of
    the square root is computed from symmetric eigenproblems, real even if C1 C2 is singular.
    """
    root = _symmetric_root(covariance1)
    eigenvalues = np.linalg.eigvalsh(root @ covariance2 @ root)
    cross = np.sqrt(np.maximum(eigenvalues, 0)).sum()
    distance = np.sum((mean1 - mean2) ** 2)
    distance += np.trace(covariance1) + np.trace(covariance2) - 2 * cross
    return float(max(distance, 0.0))


def _symmetric_root(matrix: Array) -> Array:
    """Returns the symmetric square root of a positive semidefinite matrix [K, K]."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    root: Array = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return root


def frechet(fake: Features, real: Features) -> float:
    """Returns the Frechet distance of Gaussians fitted to two sets (Heusel et al. 2017).

    Biased: it is larger for fewer images.
    """
    _check(fake, real, 2)
    return frechet_distance(*statistics(fake), *statistics(real))


def statistics(features: Features) -> tuple[Array, Array]:
    """Returns mean [K] and unbiased covariance [K, K] of features [N, K], in float64."""
    mean = features.mean(axis=0, dtype=np.float64)
    products = np.zeros((len(mean), len(mean)))
    for rows in _blocks(len(features), len(mean)):
        centred = features[rows] - mean
        products += centred.T @ centred
    return mean, products / (len(features) - 1)


def frechet_interval(fake: Features, real: Features) -> tuple[float, float]:
    """Returns the 95 % interval of `frechet` at this number of images, by a jackknife of 10 groups.

    It estimates the variance over other images, not the bias. A bootstrap would add bias, since
    repeated images reduce the covariances.
    """
    _check(fake, real, INTERVAL_IMAGES)
    leave_one_out = [
        frechet(*(part[np.arange(len(part)) % JACKKNIFE_GROUPS != group] for part in (fake, real)))
        for group in range(JACKKNIFE_GROUPS)
    ]
    error = math.sqrt((JACKKNIFE_GROUPS - 1) * np.var(leave_one_out))
    distance = frechet(fake, real)
    return max(distance - STUDENT_T * error, 0.0), distance + STUDENT_T * error


def kernel_distance(
    fake: Features, real: Features, subsets: int = 100, size: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Returns mean and standard deviation of the kernel distance over random subsets.

    (Binkowski et al. 2018.) Unbiased for any number of images, so it may be slightly negative.
    """
    _check(fake, real, 2)
    size = min(size, len(fake), len(real))
    random = np.random.RandomState(seed)
    values = []
    for _ in range(subsets):
        x, y = (part[random.choice(len(part), size, replace=False)] for part in (fake, real))
        values.append(squared_mmd(x, y))
    return float(np.mean(values)), float(np.std(values))


def squared_mmd(x: Features, y: Features) -> float:
    """Returns the unbiased squared maximum mean discrepancy of x [N, K] and y [M, K].

    (Gretton et al. 2012.) With the cubic polynomial kernel (x.y / K + 1)^3.
    """
    x, y = x.astype(np.float64), y.astype(np.float64)

    def kernel(a: Array, b: Array) -> Array:
        return np.asarray((a @ b.T / a.shape[1] + 1) ** 3)

    def within(a: Array) -> float:
        k = kernel(a, a)  # the diagonal is excluded, since it causes the bias
        return float((k.sum() - np.trace(k)) / (len(a) * (len(a) - 1)))

    return within(x) + within(y) - 2 * float(kernel(x, y).mean())


def precision_recall(fake: Features, real: Features, k: int = 3) -> tuple[float, float]:
    """Returns improved precision and recall (Kynkaanniemi et al. 2019).

    Precision is the fraction of fakes in a ball around any real image, whose radius is the distance
    to its `k`-th nearest real neighbour. Recall is the same with the sets exchanged.
    """
    fake, real = _centred(fake, real, k + 1)
    # Closed balls: the neighbour that defines a ball must be in it despite rounding errors.
    around_real = _squared_radii(real, k) * (1 + ROUNDING)
    around_fake = _squared_radii(fake, k) * (1 + ROUNDING)
    precise, recalled = 0, np.zeros(len(real), dtype=bool)
    for rows in _blocks(len(fake), len(real)):
        distances = _squared_distances(fake[rows], real)
        precise += int((distances <= around_real).any(axis=1).sum())
        recalled |= (distances <= around_fake[rows, None]).any(axis=0)
    return precise / len(fake), float(recalled.mean())


def density_coverage(fake: Features, real: Features, k: int = 5) -> tuple[float, float]:
    """Returns density and coverage (Naeem et al. 2020).

    Density is the mean number of balls around reals that contain a fake, divided by `k`; it is 1
    for equal distributions and has no upper bound. Coverage is the fraction of balls with a fake.
    """
    fake, real = _centred(fake, real, k + 1)
    # Open balls, so that a set has density 1 with itself.
    around_real = _squared_radii(real, k) * (1 - ROUNDING)
    inside, covered = 0, np.zeros(len(real), dtype=bool)
    for rows in _blocks(len(fake), len(real)):
        close = _squared_distances(fake[rows], real) < around_real
        inside += int(close.sum())
        covered |= close.any(axis=0)
    return inside / (k * len(fake)), float(covered.mean())


def _squared_radii(features: Array, k: int) -> Array:
    """Returns the squared distance [N] of each vector to its `k`-th neighbour in the set [N, K]."""
    radii = np.empty(len(features))
    for rows in _blocks(len(features), len(features)):
        distances = _squared_distances(features[rows], features)
        radii[rows] = np.partition(distances, k, axis=1)[:, k]  # the first is the vector itself
    return radii


def _squared_distances(a: Array, b: Array) -> Array:
    """Returns squared Euclidean distances [N, M] of a [N, K] and b [M, K]; 0 for equal vectors."""
    squares = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)
    distances: Array = squares - 2 * (a @ b.T)
    distances[distances < ROUNDING * squares] = 0
    return distances


def _blocks(count: int, others: int) -> Iterator[slice]:
    """Yields slices of rows of a [count, others] matrix, of up to `BLOCK_ENTRIES` entries each."""
    step = max(1, BLOCK_ENTRIES // others)
    return (slice(start, start + step) for start in range(0, count, step))


def _centred(fake: Features, real: Features, min_count: int) -> tuple[Array, Array]:
    """Returns both sets in float64, centred at the mean of the reals to reduce rounding errors."""
    _check(fake, real, min_count)
    mean = real.mean(axis=0, dtype=np.float64)
    return fake - mean, real - mean


def _check(fake: Features, real: Features, min_count: int) -> None:
    shapes = f"{list(fake.shape)} and {list(real.shape)}"
    if fake.ndim != 2 or real.ndim != 2 or fake.shape[1] != real.shape[1]:
        raise StylemixError(
            f"got features of shapes {shapes}; expected [N, K] and [M, K]; use one extractor"
        )
    if min(len(fake), len(real)) < min_count:
        raise StylemixError(
            f"got {len(fake)} generated and {len(real)} real images; expected {min_count} or more "
            "of each; add images"
        )
    if not (np.isfinite(fake).all() and np.isfinite(real).all()):
        raise StylemixError(
            f"got NaN or infinite features of shapes {shapes}; expected finite values; check the "
            "images"
        )
