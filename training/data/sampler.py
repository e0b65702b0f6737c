"""The sampling order of the images: endless, and a function of seed and position only."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

Order = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


@lru_cache(maxsize=4)
def epoch_order(count: int, seed: int, epoch: int) -> Order:
    """Returns the order of one epoch over `count` images; depends only on its arguments."""
    order = np.random.default_rng([seed, epoch]).permutation(count)
    order.flags.writeable = False  # callers share it
    return order


def shard_order(shard_of: Order, span: int, seed: int, epoch: int) -> Order:
    """Returns the order of one epoch over images of which the n-th is in shard `shard_of[n]`.

    The shards are shuffled, then each image moves forward by up to `span` shards, cyclically. So
    images of `span` shards are mixed at any time, and the next shard is opened when one is done.
    With no more shards than `span`, the order is a plain shuffle.
    """
    random = np.random.default_rng([seed, epoch])
    shards = int(shard_of.max()) + 1
    position = random.permutation(shards)[shard_of]
    moved = (position + min(span, shards) * random.random(len(position))) % shards
    order = np.argsort(moved, kind="stable")
    order.flags.writeable = False
    return order


def walk(position: int, batch: int, count: int, order: Callable[[int], Order]) -> list[int]:
    """Returns `batch` indices after `position` images, where `order` gives that of an epoch."""
    indices: list[int] = []
    while len(indices) < batch:
        epoch, start = divmod(position + len(indices), count)
        indices += order(epoch)[start : start + batch - len(indices)].tolist()
    return indices


def indices_at(position: int, batch: int, count: int, seed: int) -> list[int]:
    """Returns the indices of a batch after `position` images, endless and reproducible."""
    return walk(position, batch, count, lambda epoch: epoch_order(count, seed, epoch))
