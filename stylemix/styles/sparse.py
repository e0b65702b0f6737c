"""Offsets of which most are zero, stored as the values and positions of the others."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate

import torch
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.io.atomic import Json
from stylemix.models.container import to_float

VALUES, INDICES = "sparse.values", "sparse.indices"
MAX_CHANNELS = 2**15  # of all layers together: positions are int16


def pack_offsets(offsets: Mapping[str, Tensor]) -> tuple[dict[str, Json], dict[str, Tensor]] | None:
    """Returns the channels of each layer, and the values and positions of what is not zero.

    `offsets` are those of each layer, [C] in fp16. Positions count through all layers. None where
    that is no smaller than the offsets themselves.
    """
    flat = torch.cat(list(offsets.values())) if offsets else torch.zeros([0])
    indices = flat.nonzero()[:, 0]
    if 2 * len(indices) >= len(flat) or len(flat) > MAX_CHANNELS:
        return None
    channels: dict[str, Json] = {layer: len(value) for layer, value in offsets.items()}
    return channels, {VALUES: flat[indices], INDICES: indices.to(torch.int16)}


def unpack_offsets(channels: object, tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Returns the offsets of `pack_offsets` in fp32; StylemixError if they are damaged.

    `tensors` are those of a file, `name` is its name for messages.
    """
    counts = channels if isinstance(channels, dict) else {}
    sizes = list(counts.values())
    valid = all(type(size) is int and size > 0 for size in sizes)
    valid = valid and sum(sizes) <= MAX_CHANNELS and {VALUES, INDICES} <= set(tensors)
    if valid:
        values, indices = tensors[VALUES], tensors[INDICES]
        valid = indices.dtype == torch.int16 and indices.ndim == 1
        valid = valid and indices.shape == values.shape
    if valid and len(indices):
        ends = (int(indices[0]), int(indices[-1]))
        valid = ends[0] >= 0 and ends[1] < sum(sizes) and bool((indices.diff() > 0).all())
    if not valid:
        raise StylemixError(
            f"{name}: got damaged sparse offsets; expected channels of layers, and values at "
            "ascending positions; get the file again from its author"
        )
    flat = torch.zeros([sum(sizes)])
    flat[indices.long()] = to_float(values, VALUES, name)
    starts = accumulate(sizes, initial=0)
    pieces = zip(counts, starts, sizes, strict=False)
    return {layer: flat[start : start + size].clone() for layer, start, size in pieces}
