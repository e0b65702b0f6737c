"""The order of the images: endless, and a function of seed and position alone."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

Order = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


@lru_cache(maxsize=4)
def epoch_order(count: int, seed: int, epoch: int) -> Order:
    """The order of one pass over `count` images; depends on nothing but its arguments."""
    order = np.random.default_rng([seed, epoch]).permutation(count)
    order.flags.writeable = False  # callers share it
    return order


def shard_order(shard_of: Order, span: int, seed: int, epoch: int) -> Order:
    """The order of one pass over images of which the n-th lies in shard `shard_of[n]`.

    The shards are shuffled, then each image moves up to `span` shards further, from the last one
    on to the first. So images of `span` shards come mixed at any moment, and the next shard is
    opened when one is done. With no more shards than that, the order is a plain shuffle.
    """
    random = np.random.default_rng([seed, epoch])
    shards = int(shard_of.max()) + 1
    place = random.permutation(shards)[shard_of]
    moved = (place + min(span, shards) * random.random(len(place))) % shards
    order = np.argsort(moved, kind="stable")
    order.flags.writeable = False
    return order


def walk(position: int, batch: int, count: int, order: Callable[[int], Order]) -> list[int]:
    """`batch` images from `position` images on, where `order` gives the order of an epoch."""
    found: list[int] = []
    while len(found) < batch:
        epoch, start = divmod(position + len(found), count)
        found += order(epoch)[start : start + batch - len(found)].tolist()
    return found


def indices_at(position: int, batch: int, count: int, seed: int) -> list[int]:
    """The images shown from `position` images on: an endless, reproducible walk in epochs."""
    return walk(position, batch, count, lambda epoch: epoch_order(count, seed, epoch))
