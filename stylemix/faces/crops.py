"""Inputs and weights of the face networks: crops aligned by the eyes, and 8-bit weights."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional

from stylemix.errors import StylemixError
from stylemix.faces.templates import Template

MEAN_COLOR = (122.782, 117.001, 104.298)  # RGB, of the training set of the networks
Eyes = tuple[tuple[float, float], tuple[float, float]]


def crop_box(template: Template, eyes: Eyes) -> tuple[float, float, float]:
    """Returns side, left and top of the crop with the eyes at `eyes`, in fractions of the image.

    The image is aligned to `template`. Raises StylemixError for a template without eyes.
    """
    if template.eyes is None:
        raise StylemixError(
            f"got alignment template {template.name!r}, which has no eye positions; expected "
            "one for faces; use a model of faces, or say --template faces128 or ffhq if it is one"
        )
    (x0, y0), (x1, y1) = template.eyes
    (left, top), (right, _) = eyes
    side = math.hypot(x1 - x0, y1 - y0) / (right - left)
    return side, (x0 + x1 - (left + right) * side) / 2, (y0 + y1) / 2 - top * side


def crop_faces(images: Tensor, template: Template, eyes: Eyes, size: int, outside: str) -> Tensor:
    """Crops images [N, 3, H, H] in [-1, 1], aligned to `template`, to [N, 3, size, size] in 0..255.

    The eyes are placed at `eyes`, in fractions of the crop. `outside` is the padding, "border" or
    "reflection". Differentiable.
    """
    side, left, top = crop_box(template, eyes)
    # The eyes of every template are level, so no rotation is needed.
    rows = [[side, 0, 2 * left + side - 1], [0, side, 2 * top + side - 1]]
    theta = images.new_tensor(rows).expand(len(images), 2, 3)
    grid = functional.affine_grid(theta, [len(images), 3, size, size], align_corners=False)
    if side * images.shape[3] > size:  # grid_sample alone would alias when it downsamples
        width = math.ceil(size / side)
        images = functional.interpolate(
            images, (width, width), mode="bilinear", align_corners=False, antialias=True
        )
    crops = functional.grid_sample(
        images, grid, mode="bilinear", padding_mode=outside, align_corners=False
    )
    return (crops + 1) * 127.5


def dequantise(weights: dict[str, Tensor], name: str) -> Tensor:
    """Converts weights stored as 8-bit values, scale and minimum to float32."""
    scale, low = weights[f"{name}.range"]
    values: Tensor = weights[f"{name}.raw"].float() * scale + low
    return values
