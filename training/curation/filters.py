"""What decides which images of a collection stay: near duplicates, sharpness, and who they show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from scipy.fft import dctn

HASH_BITS = 64
_THUMBNAIL = 32  # px a side of what is transformed
_KEPT = 8  # lowest frequencies in each direction
_BLOCK = 2048  # images compared at a time; 16 MB for each 2048 that are kept
MEASURED_SIDE = 256  # px; larger images are shrunk first, so that one limit serves every size
# Sharp portraits reach 60 and more at 256 px, and after a blur of 2 px (sigma) 8 to 17; of 1,337
# crops of 128 px that were chosen for sharpness one in a thousand is below 10.
BLURRED = 10.0
# Not the 0.6 that serves for comparing two photos: among many people everyone has a stranger
# within 0.6. Of 700 faces of strangers 0.6 makes 24 groups, 0.5 makes 258, 0.4 makes 673.
SAME_PERSON_IN_CROWD = 0.4


def perceptual_hash(image: Image.Image) -> int:
    """Return 64 bits that resizing, recompression and slight changes of light leave alone.

    The 8 x 8 lowest frequencies of the cosine transform of a 32 px thumbnail, each compared with
    their median (pHash, Zauner 2010). An image of one colour gives 0.
    """
    small = image.convert("L").resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS)
    low = dctn(np.asarray(small, dtype=np.float64), norm="ortho")[:_KEPT, :_KEPT].ravel()
    bits = low > np.median(low[1:]) + 1e-6
    bits[0] = False  # the mean brightness, which tells nothing
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def hamming_distance(a: int, b: int) -> int:
    """Return the number of bits in which two hashes differ."""
    return (a ^ b).bit_count()


def find_duplicates(hashes: Sequence[int], distance: int) -> NDArray[np.int64]:
    """Return for each hash the index of the earlier one that it repeats, -1 for those to keep.

    Give the best images first: one is left out when it is within `distance` bits of one that is
    kept, so that two different images are never tied through a third.
    """
    signs = _signs(hashes)
    least = HASH_BITS - 2 * distance  # the product of two sign vectors is 64 - 2 x distance
    same = np.full(len(signs), -1, dtype=np.int64)
    kept = np.zeros(0, dtype=np.int64)
    for start in range(0, len(signs), _BLOCK):
        block = signs[start : start + _BLOCK]
        best = np.full(len(block), -HASH_BITS - 1, dtype=np.float32)
        for group in np.array_split(kept, -(-len(kept) // _BLOCK)) if len(kept) else []:
            product = block @ signs[group].T
            nearest = product.argmax(axis=1)
            value = product[np.arange(len(block)), nearest]
            better = (value > best) & (value >= least)
            same[start : start + len(block)][better] = group[nearest[better]]
            best = np.maximum(best, value)
        within = block @ block.T >= least
        for row in range(len(block)):
            if same[start + row] < 0:
                after = same[start + row + 1 : start + len(block)]
                after[within[row, row + 1 :] & (after < 0)] = start + row
        fresh = np.arange(start, start + len(block))
        kept = np.concatenate([kept, fresh[same[fresh] < 0]])
    return same


def _signs(hashes: Sequence[int]) -> NDArray[np.float32]:
    """Return hashes as rows [N, 64] of -1 and 1, whose products float32 holds exactly."""
    octets = np.array(hashes, dtype=">u8").view(np.uint8).reshape(-1, 8)
    return np.unpackbits(octets, axis=1).astype(np.float32) * 2 - 1


def sharpness(image: Image.Image) -> float:
    """Return the variance of the Laplacian over the middle half of each side, in grey levels.

    The middle, since a face in focus before a blurred wall is sharp and the opposite is not.
    Images whose shorter side is above 256 px are shrunk to that.
    """
    grey = image.convert("L")
    scale = MEASURED_SIDE / min(grey.size)
    if scale < 1:
        size = (round(grey.width * scale), round(grey.height * scale))
        grey = grey.resize(size, Image.Resampling.BOX)
    width, height = grey.size
    box = (width // 4, height // 4, width - width // 4, height - height // 4)
    x = np.asarray(grey.crop(box), dtype=np.float64)
    around = x[:-2, 1:-1] + x[2:, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:]
    return float((around - 4 * x[1:-1, 1:-1]).var())


def group_people(
    descriptors: ArrayLike, distance: float = SAME_PERSON_IN_CROWD
) -> NDArray[np.int64]:
    """Return the group [N] of each descriptor [N, D], numbered in the order of appearance.

    Greedy: a face joins the group whose mean is nearest, if that is within `distance`, and moves
    that mean; else it starts a group. Give the best faces first, since they make the groups.
    """
    faces = np.asarray(descriptors, dtype=np.float32)
    means = np.zeros_like(faces)
    counts = np.zeros(len(faces), dtype=np.int64)
    groups = np.zeros(len(faces), dtype=np.int64)
    used = 0
    for index, face in enumerate(faces):
        group = used
        if used:
            squares = np.square(means[:used] - face).sum(axis=1)
            nearest = int(squares.argmin())
            group = nearest if squares[nearest] < distance**2 else used
        used = max(used, group + 1)
        counts[group] += 1
        means[group] += (face - means[group]) / counts[group]
        groups[index] = group
    return groups
