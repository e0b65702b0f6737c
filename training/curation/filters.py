"""Filters for a collection of images: near duplicates, sharpness, and identity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from scipy.fft import dctn

HASH_BITS = 64
_THUMBNAIL = 32  # px, side of the transformed image
_FREQUENCIES = 8  # lowest frequencies in each direction that are used
_BLOCK = 2048  # images compared at a time; 16 MB for each block of kept images
MEASURED_SIDE = 256  # px; larger images are downsampled, so that one limit fits every size
# Sharp portraits reach 60 and more at 256 px, and after a blur of 2 px (sigma) 8 to 17; of 1,337
# crops of 128 px that were chosen for sharpness one in a thousand is below 10.
BLURRED = 10.0
# Stricter than the 0.6 for comparing two photos: among many people everyone has a stranger within
# 0.6. 700 faces of different people give 24 groups at 0.6, 258 at 0.5, and 673 at 0.4.
SAME_PERSON_IN_CROWD = 0.4


def perceptual_hash(image: Image.Image) -> int:
    """Returns a 64-bit hash that is robust to resizing, recompression and slight light changes.

    The 8 x 8 lowest frequencies of the cosine transform of a 32 px thumbnail are compared with
    their median (pHash, Zauner 2010). An image of one colour gives 0.
    """
    small = image.convert("L").resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS)
    low = dctn(np.asarray(small, dtype=np.float64), norm="ortho")[:_FREQUENCIES, :_FREQUENCIES]
    low = low.ravel()
    bits = low > np.median(low[1:]) + 1e-6
    bits[0] = False  # the mean brightness carries no information
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def hamming_distance(a: int, b: int) -> int:
    """Returns the number of bits in which two hashes differ."""
    return (a ^ b).bit_count()


def find_duplicates(hashes: Sequence[int], distance: int) -> NDArray[np.int64]:
    """Returns for each hash the index of the earlier hash that it duplicates, -1 for no duplicate.

    Pass the best images first: an image is a duplicate when it is within `distance` bits of a
    kept image, so that two different images are never linked through a third.
    """
    signs = _signs(hashes)
    min_product = HASH_BITS - 2 * distance  # the product of sign vectors is 64 - 2 x distance
    same = np.full(len(signs), -1, dtype=np.int64)
    kept = np.zeros(0, dtype=np.int64)
    for start in range(0, len(signs), _BLOCK):
        block = signs[start : start + _BLOCK]
        best = np.full(len(block), -HASH_BITS - 1, dtype=np.float32)
        for group in np.array_split(kept, -(-len(kept) // _BLOCK)) if len(kept) else []:
            product = block @ signs[group].T
            nearest = product.argmax(axis=1)
            value = product[np.arange(len(block)), nearest]
            better = (value > best) & (value >= min_product)
            same[start : start + len(block)][better] = group[nearest[better]]
            best = np.maximum(best, value)
        within = block @ block.T >= min_product
        for row in range(len(block)):
            if same[start + row] < 0:
                after = same[start + row + 1 : start + len(block)]
                after[within[row, row + 1 :] & (after < 0)] = start + row
        fresh = np.arange(start, start + len(block))
        kept = np.concatenate([kept, fresh[same[fresh] < 0]])
    return same


def _signs(hashes: Sequence[int]) -> NDArray[np.float32]:
    """Returns hashes as rows [N, 64] of -1 and 1, whose products are exact in float32."""
    octets = np.array(hashes, dtype=">u8").view(np.uint8).reshape(-1, 8)
    return np.unpackbits(octets, axis=1).astype(np.float32) * 2 - 1


def sharpness(image: Image.Image) -> float:
    """Returns the variance of the Laplacian over the central half of each side, in grey levels.

    Only the centre counts, since the face must be in focus and not the background. Images whose
    shorter side is above 256 px are downsampled to 256 px.
    """
    grey = image.convert("L")
    scale = MEASURED_SIDE / min(grey.size)
    if scale < 1:
        size = (round(grey.width * scale), round(grey.height * scale))
        grey = grey.resize(size, Image.Resampling.BOX)
    width, height = grey.size
    box = (width // 4, height // 4, width - width // 4, height - height // 4)
    x = np.asarray(grey.crop(box), dtype=np.float64)
    neighbours = x[:-2, 1:-1] + x[2:, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:]
    return float((neighbours - 4 * x[1:-1, 1:-1]).var())


def group_people(
    descriptors: ArrayLike, distance: float = SAME_PERSON_IN_CROWD
) -> NDArray[np.int64]:
    """Returns the person's index [N] for each descriptor [N, D], in order of appearance.

    Greedy clustering: a face joins the group with the nearest mean, if that is within `distance`,
    and updates that mean; else it starts a group. Pass the best faces first: they start groups.
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
