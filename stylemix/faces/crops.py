"""What the networks that look at faces take: crops that the eyes decide, and 8-bit weights."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional

from stylemix.errors import StylemixError
from stylemix.faces.templates import Template

MEAN_COLOUR = (122.782, 117.001, 104.298)  # of the faces that the networks were trained on
Eyes = tuple[tuple[float, float], tuple[float, float]]


def crop_box(template: Template, eyes: Eyes) -> tuple[float, float, float]:
    """Side, left and top of a crop with level `eyes`, in fractions of an image in a template.

    Raises StylemixError for a template without eyes.
    """
    if template.eyes is None:
        raise StylemixError(
            f"got alignment template {template.name!r}, which says nothing about eyes; expected "
            "one for faces; choose faces128 or ffhq with --template"
        )
    (x0, y0), (x1, y1) = template.eyes
    (left, top), (right, _) = eyes
    side = math.hypot(x1 - x0, y1 - y0) / (right - left)
    return side, (x0 + x1 - (left + right) * side) / 2, (y0 + y1) / 2 - top * side


def crop_faces(images: Tensor, template: Template, eyes: Eyes, size: int, outside: str) -> Tensor:
    """Crops [N, 3, size, size] in 0..255 of images [N, 3, H, H] in [-1, 1] in a template.

    Eyes go to `eyes`, in fractions of the crop. `outside` is "border" or "reflection", what lies
    beyond the image. Gradients reach the images.
    """
    side, left, top = crop_box(template, eyes)
    # The eyes of every template are level, so scale and shift are enough.
    rows = [[side, 0, 2 * left + side - 1], [0, side, 2 * top + side - 1]]
    theta = images.new_tensor(rows).expand(len(images), 2, 3)
    grid = functional.affine_grid(theta, [len(images), 3, size, size], align_corners=False)
    if side * images.shape[3] > size:  # grid_sample takes too few pixels to downsample
        width = math.ceil(size / side)
        images = functional.interpolate(
            images, (width, width), mode="bilinear", align_corners=False, antialias=True
        )
    crops = functional.grid_sample(
        images, grid, mode="bilinear", padding_mode=outside, align_corners=False
    )
    return (crops + 1) * 127.5


def dequantise(weights: dict[str, Tensor], name: str) -> Tensor:
    """Weights in float32 that a file holds as 8-bit values, scale and lowest value."""
    scale, low = weights[f"{name}.range"]
    values: Tensor = weights[f"{name}.raw"].float() * scale + low
    return values
