"""Similarity transforms of images: fitting, cropping and pasting back.

Coordinates are continuous pixels: (0, 0) is the outer corner of the top left pixel, whose centre
is (0.5, 0.5). A matrix maps photo pixels to crop pixels, as column vectors (x, y, 1).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter

from stylemix.errors import StylemixError

Array = NDArray[np.float64]

FEATHER = 0.1  # width of the soft edge of a crop that is pasted back, in parts of its shorter side


def similarity(source: Array, target: Array) -> Array:
    """Returns the least-squares similarity [3, 3] from source [K, 2] to target [K, 2]."""
    p = source[:, 0] + 1j * source[:, 1]
    q = target[:, 0] + 1j * target[:, 1]
    p_mean, q_mean = p.mean(), q.mean()
    spread = np.sum(np.abs(p - p_mean) ** 2)
    if not spread > 0:
        raise StylemixError(
            "got face points that coincide; expected distinct points for eyes, nose and mouth; "
            "use another photo"
        )
    a = np.sum(np.conj(p - p_mean) * (q - q_mean)) / spread
    b = q_mean - a * p_mean
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag], [0, 0, 1]])


def centre_matrix(width: int, height: int, size: int) -> Array:
    """Returns the matrix [3, 3] that maps the largest centred square of a photo to a crop."""
    side = min(width, height)
    scale = size / side
    x, y = (width - side) / 2, (height - side) / 2
    return np.array([[scale, 0, -x * scale], [0, scale, -y * scale], [0, 0, 1]])


def crop_rectangle(
    image: Image.Image, rectangle: tuple[float, float, float, float]
) -> tuple[Image.Image, tuple[int, int]]:
    """Crops x, y, width and height of a photo of any mode, padded by mirroring beyond the photo.

    Returns the crop and its left top corner in the photo; sides are rounded to pixels.
    """
    x, y = round(rectangle[0]), round(rectangle[1])
    right, bottom = x + max(1, round(rectangle[2])), y + max(1, round(rectangle[3]))
    inside = image.crop((max(x, 0), max(y, 0), min(right, image.width), min(bottom, image.height)))
    across = (max(-x, 0), max(right - image.width, 0))
    down = (max(-y, 0), max(bottom - image.height, 0))
    if not any((*across, *down)):
        return inside, (x, y)
    pixels = np.asarray(inside)
    pads = (down, across) if pixels.ndim == 2 else (down, across, (0, 0))
    return Image.fromarray(np.pad(pixels, pads, mode="symmetric")), (x, y)


def transform_points(matrix: Array, points: Array) -> Array:
    """Transforms points [K, 2] by an affine matrix [3, 3]."""
    moved: Array = np.asarray(points, dtype=np.float64) @ matrix[:2, :2].T + matrix[:2, 2]
    return moved


def warp(image: Image.Image, matrix: Array, size: int, blend: bool = False) -> Image.Image:
    """Crops a photo to a square by a matrix [3, 3], with antialiasing and mirrored padding.

    With `blend` the padding fades into blur and the median colour, as in FFHQ.
    """
    inverse = _inverse(matrix)
    scale = math.sqrt(abs(np.linalg.det(inverse[:2, :2])))  # photo pixels per crop pixel
    side = scale * size  # of the crop, in photo pixels
    source, offset = _padded_region(image.convert("RGB"), inverse, size, side, blend)
    inverse = _translation(-offset[0], -offset[1]) @ inverse
    factor = int(scale / 2)
    if factor > 1:  # a large photo is first downsampled by averaging blocks of pixels
        source = source.reduce(factor)
        inverse = np.diag([1 / factor, 1 / factor, 1]) @ inverse
        scale /= factor
    samples = max(1, math.ceil(scale - 0.01))
    data = inverse @ np.diag([1 / samples, 1 / samples, 1])
    warped = source.transform(
        (size * samples, size * samples),
        Image.Transform.AFFINE,
        tuple(float(value) for value in data[:2].ravel()),
        Image.Resampling.BICUBIC,
    )
    return warped.reduce(samples) if samples > 1 else warped


def _inverse(matrix: Array) -> Array:
    return np.linalg.inv(matrix).astype(np.float64)


def _translation(x: float, y: float) -> Array:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], dtype=np.float64)


def _padded_region(
    image: Image.Image, inverse: Array, size: int, side: float, blend: bool
) -> tuple[Image.Image, tuple[int, int]]:
    """Returns the region of the photo under the crop, padded beyond the photo, and its origin."""
    corners = transform_points(inverse, np.array([[0, 0], [size, 0], [0, size], [size, size]]))
    margin = max(round(0.1 * side), 4)
    low = np.floor(corners.min(axis=0)).astype(int)
    high = np.ceil(corners.max(axis=0)).astype(int)
    target = (low[0] - margin, low[1] - margin, high[0] + margin, high[1] + margin)
    box = (
        max(min(target[0], image.width - 1), 0),
        max(min(target[1], image.height - 1), 0),
        min(max(target[2], 1), image.width),
        min(max(target[3], 1), image.height),
    )
    pads = [int(abs(t - b)) for t, b in zip(target, box, strict=True)]
    beyond = (-low[0], -low[1], high[0] - image.width, high[1] - image.height)
    if blend:  # at least 0.3 of the side where the crop exceeds the photo
        min_pad = round(0.3 * side)
        pads = [max(p, min_pad) if b > 0 else p for p, b in zip(pads, beyond, strict=True)]
    region = image.crop(box)
    if not any(pads):
        return region, (box[0], box[1])
    left, top, right, bottom = pads
    pixels = np.pad(np.asarray(region), ((top, bottom), (left, right), (0, 0)), mode="symmetric")
    if blend and max(beyond) > 0:
        mirrored = [p if b > 0 else 0 for p, b in zip(pads, beyond, strict=True)]
        pixels = _fade(pixels, mirrored, side)
    return Image.fromarray(pixels), (box[0] - left, box[1] - top)


def _fade(pixels: NDArray[np.uint8], pads: list[int], side: float) -> NDArray[np.uint8]:
    """Fades the padding of pixels [H, W, 3] into blur and the median colour, as in FFHQ."""
    height, width = pixels.shape[:2]
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    left, top, right, bottom = (max(pad, 1e-3) for pad in pads)
    across = 1 - np.minimum(x / left, (width - x) / right)
    down = 1 - np.minimum(y / top, (height - y) / bottom)
    mask = np.maximum(across[None, :], down[:, None])[:, :, None].astype(np.float32)
    blurred = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(0.02 * side))
    result = pixels.astype(np.float32)
    result += (np.asarray(blurred, dtype=np.float32) - result) * np.clip(3 * mask + 1, 0, 1)
    result += (np.median(result, axis=(0, 1)) - result) * np.clip(mask, 0, 1)
    return np.clip(np.rint(result), 0, 255).astype(np.uint8)


def paste_back(
    photo: Image.Image,
    crop: Image.Image,
    matrix: Array,
    mask: Image.Image | None = None,
) -> Image.Image:
    """Pastes an edited crop into the photo by the matrix [3, 3] from photo px to crop px.

    For a crop of the size of the alignment, `matrix` is that of the alignment. `mask` is of the
    crop's size and white where the crop shows; None for all of it, with a soft edge. Where the crop
    is transparent, the photo shows.
    """
    mask = _soft_edges(*crop.size) if mask is None else mask.convert("L")
    if crop.mode == "RGBA":
        mask = ImageChops.multiply(mask, crop.getchannel("A"))
    photo, crop = photo.convert("RGB"), crop.convert("RGB")
    scale = math.sqrt(abs(np.linalg.det(matrix[:2, :2])))  # crop pixels per photo pixel
    if scale >= 2:
        factor = int(scale)
        crop, mask = crop.reduce(factor), mask.reduce(factor)
        matrix = np.diag([1 / factor, 1 / factor, 1]) @ matrix
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * crop.size
    corners = transform_points(_inverse(matrix), corners)
    low = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int)
    high = np.minimum(np.ceil(corners.max(axis=0)), photo.size).astype(int)
    if (high <= low).any():
        return photo
    data = matrix @ _translation(float(low[0]), float(low[1]))
    target = (int(high[0] - low[0]), int(high[1] - low[1]))
    coefficients = tuple(float(value) for value in data[:2].ravel())
    affine, bicubic = Image.Transform.AFFINE, Image.Resampling.BICUBIC
    patch = crop.transform(target, affine, coefficients, bicubic)
    alpha = mask.transform(target, affine, coefficients, Image.Resampling.BILINEAR)
    result = photo.copy()
    result.paste(patch, (int(low[0]), int(low[1])), alpha)
    return result


def _soft_edges(width: int, height: int) -> Image.Image:
    """A white rectangle that fades to black towards its edges."""
    ramps = []
    for side in (height, width):
        edge = np.minimum(np.arange(side) + 0.5, side - np.arange(side) - 0.5)
        ramp = np.clip(edge / (FEATHER * min(width, height)), 0, 1)
        ramps.append(ramp * ramp * (3 - 2 * ramp))
    return Image.fromarray(np.rint(255 * np.outer(*ramps)).astype(np.uint8))
