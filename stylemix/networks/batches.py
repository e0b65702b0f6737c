"""How many images are generated at once: as many as a task asks for, within the free memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from stylemix.devices import free_memory
from stylemix.networks.generator import Generator
from stylemix.ops.backend import is_compiled

SHARE = 0.25  # of the free memory that a batch may take
MOST_BYTES = 2**30  # that a batch takes, however much is free: larger ones are no faster
FLOAT = 4  # bytes
# Measured from 64 to 1024 px, in tensors of a block's size after its last convolution:
LIVE = 6  # of the finest block, at once, while an image is generated
SAVED = 6  # of all blocks, that the gradients of an image need with the compiled ops
SAVED_PLAIN = 10  # and with the plain ones, which keep the steps of an activation

_chosen: int | None = None


def batch_size(generator: Generator, most: int, gradients: bool = False) -> int:
    """The number of images, from 1 to `most`, that are generated at once, `gradients` included.

    They may take a quarter of the free memory of the generator's device, and at most 1 GiB, so
    that small models always get `most`. `use_batch` overrules this.
    """
    if _chosen is not None:
        return _chosen
    free = free_memory(generator.device)
    room = MOST_BYTES if free is None else min(MOST_BYTES, SHARE * free)
    return max(1, min(most, int(room / image_bytes(generator, gradients))))


@contextmanager
def use_batch(size: int | None) -> Iterator[None]:
    """Uses batches of `size` images in all tasks of the context; None for those of `batch_size`."""
    global _chosen
    before, _chosen = _chosen, size
    try:
        yield
    finally:
        _chosen = before


def image_bytes(generator: Generator, gradients: bool = False) -> int:
    """Bytes of the features of one image while it is generated, and kept for `gradients`."""
    config = generator.config
    sizes = [(side, *config.block_size(side)) for side in config.resolutions]
    features = [config.channels(side) * height * width for side, height, width in sizes]
    saved = SAVED if is_compiled(generator.device.type) else SAVED_PLAIN
    return FLOAT * (LIVE * max(features) + (saved * sum(features) if gradients else 0))
