"""Drawn avatars: students redraw a photo, or the model's image where there is none.

Students know faces of one size. So the canvas that they draw on is the photo in that size: the
crop of the face, or the whole photo; the drawing is twice as large.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from stylemix.avatars.finisher import enlarge
from stylemix.avatars.lift import ColorMap, apply_planes
from stylemix.avatars.render import AppliedStyle
from stylemix.faces.caricature import exaggerate
from stylemix.faces.landmarks import landmarks
from stylemix.faces.teeth import close_gaps
from stylemix.faces.templates import Template
from stylemix.faces.warp import transform_points, warp
from stylemix.images.hands import BOLD
from stylemix.images.sources import open_image
from stylemix.images.tensors import as_rgb, resize, to_pil, to_tensor
from stylemix.inversion.portraits import AlignedPhoto
from stylemix.networks.student import SCALE, tone_curve
from stylemix.styles.style import check_strength

EYES_PX = 93.44  # distance of the eyes in what students draw: 256 px crops of faces128
MAX_SIDE = 1600  # px of a photo as a canvas; where faces are smaller than that, it is coarser
SMALL = 0.75  # of the size that students know: smaller faces lose their eyes, and are drawn apart
SEAM = 0.2  # of the side of a portrait, over which it fades into the rest of the photo
PORTRAIT, LOWER = 2.0, 0.55  # side of a portrait, and its middle from the top, in crops

Rectangle = tuple[int, int, int, int]  # left, top, right, bottom


@dataclass(frozen=True)
class Canvas:
    """What students draw: an image [1, 3, H, W] in [-1, 1] with a face.

    Attributes:
        curve: tone curve that evens out the face's light.
        points: landmarks [68, 2] in px.
    """

    image: Tensor
    curve: Tensor
    points: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the drawing in px."""
        return SCALE * self.image.shape[2], SCALE * self.image.shape[3]


def canvas_side(template: Template) -> int:
    """The px of an aligned crop in which eyes are as far apart as students know it."""
    assert template.eyes is not None
    left, right = template.eyes
    return round(EYES_PX / math.dist(left, right))


def image_canvas(image: Tensor, template: Template) -> Canvas:
    """A canvas of an aligned image [1, C, H, H] of the model."""
    side = canvas_side(template)
    rgb = as_rgb(enlarge(image, template)).float().clamp(-1, 1)
    larger = functional.interpolate(rgb, [side, side], mode="bicubic", antialias=True).clamp(-1, 1)
    return Canvas(larger, tone_curve(larger), landmarks(larger, template)[0] * side)


def photo_canvas(photo: AlignedPhoto, template: Template) -> Canvas:
    """A canvas of the crop of a photo, with all the details that it has."""
    side = canvas_side(template)
    image = to_tensor(crop_photo(photo, side))
    return Canvas(image, tone_curve(image), landmarks(image, template)[0] * side)


def box_canvas(photo: AlignedPhoto, template: Template, box: Rectangle) -> Canvas:
    """A canvas of a box of a photo in the light of its face."""
    face = photo_canvas(photo, template)
    side, matrix = face.image.shape[2], photo.alignment.matrix
    image = open_image(photo.source)
    left, top, right, bottom = box
    scale = side / crop_px(photo)
    scale = min(scale, MAX_SIDE / max(right - left, bottom - top))
    size = (round(scale * (right - left)), round(scale * (bottom - top)))
    points = face.points.numpy(force=True) * photo.image.shape[2] / side
    inverse = np.linalg.inv(matrix).astype(np.float64)
    points = scale * (transform_points(inverse, points) - (left, top))
    part = to_tensor(image.resize(size, Image.Resampling.LANCZOS, (left, top, right, bottom)))
    return Canvas(part, face.curve, torch.from_numpy(points).float())


def crop_photo(photo: AlignedPhoto, side: int) -> Image.Image:
    """The aligned crop of a photo, its longer side in px, with all the details that it has."""
    height, width = photo.image.shape[1:]
    zoom = side / max(height, width)
    matrix = np.diag([zoom, zoom, 1.0]) @ photo.alignment.matrix
    square = warp(open_image(photo.source), matrix, side)
    return square.crop((0, 0, round(zoom * width), round(zoom * height)))


def crop_px(photo: AlignedPhoto) -> int:
    """The side of the aligned crop in px of the photo."""
    scale = float(np.hypot(*photo.alignment.matrix[:2, 0]))  # crop px per photo px
    return max(round(photo.image.shape[2] / scale), 1)


def shrink_photo(photo: AlignedPhoto, side: int) -> AlignedPhoto:
    """The photo so small that its crop has `side` px; the photo itself if it is not larger."""
    return scale_photo(photo, side / crop_px(photo))


def scale_photo(photo: AlignedPhoto, scale: float) -> AlignedPhoto:
    """The same aligned face with a smaller photo behind it; itself for scales from 1 on."""
    if scale >= 1:
        return photo
    image = open_image(photo.source)
    width, height = (max(1, round(scale * length)) for length in image.size)
    scales = np.diag([image.width / width, image.height / height, 1.0])
    alignment = replace(photo.alignment, matrix=photo.alignment.matrix @ scales)
    small = image.resize((width, height), Image.Resampling.LANCZOS)
    return replace(photo, alignment=alignment, photo_size=small.size, source=small)


def portrait_box(photo: AlignedPhoto) -> Rectangle:
    """The square of a photo, in px, with head and shoulders, as far as the photo has them."""
    width, height = photo.photo_size
    middle = photo.image.shape[2] / 2
    inverse = np.linalg.inv(photo.alignment.matrix).astype(np.float64)
    (x, y), crop = transform_points(inverse, np.array([[middle, middle]]))[0], crop_px(photo)
    side = min(round(PORTRAIT * crop), width, height)
    left = min(max(round(x - side / 2), 0), width - side)
    top = min(max(round(y - (0.5 - LOWER) * crop - side / 2), 0), height - side)
    return left, top, left + side, top + side


def draw_whole(
    photo: AlignedPhoto, template: Template, parts: Sequence[AppliedStyle], device: torch.device
) -> Image.Image:
    """The whole photo in its own size, drawn; head and shoulders apart where they are small."""

    def draw(box: Rectangle) -> Image.Image:
        drawing = draw_students(box_canvas(photo, template, box), parts, device)[0]
        return resize(to_pil(drawing), (box[2] - box[0], box[3] - box[1]))

    out, box = draw((0, 0, *photo.photo_size)), portrait_box(photo)
    if MAX_SIDE / max(photo.photo_size) < SMALL * canvas_side(template) / crop_px(photo):
        out.paste(draw(box), box[:2], _seam(box, photo.photo_size))
    return out


def _seam(box: Rectangle, photo: tuple[int, int]) -> Image.Image:
    """A mask of a box of a photo: 0 along its sides, but for those that are the photo's."""
    left, top, right, bottom = box
    ramps = []
    for start, stop, end in ((left, right, photo[0]), (top, bottom, photo[1])):
        width = stop - start
        steps = (np.arange(width) + 0.5) / (SEAM * width)
        before = steps if start > 0 else np.ones(width)
        after = steps[::-1] if stop < end else np.ones(width)
        edge = np.minimum(before, after).clip(0, 1)
        ramps.append(edge * edge * (3 - 2 * edge))
    return Image.fromarray((255 * ramps[1][:, None] * ramps[0] + 0.5).astype(np.uint8))


@torch.inference_mode()
def draw_students(
    canvas: Canvas,
    parts: Sequence[AppliedStyle],
    device: torch.device,
    colors: ColorMap | None = None,
) -> tuple[Tensor, Tensor]:
    """The drawing [1, 3, 2H, 2W] of a canvas, and the canvas in that size, both in [-1, 1].

    Several styles are averaged with their strengths as weights. Where they sum to less than 1,
    the rest is the photo, in the drawing's shape. `colors` are those of looks: they apply to the
    drawing, so that a black and white look makes a drawing black and white.
    """
    for part in parts:
        check_strength(part.amount)
    drawings = [(part.style, max(part.amount, 0.0)) for part in parts]
    total = sum(amount for _, amount in drawings)
    share = min(total, 1.0)
    image = canvas.image.to(device)
    plain = out = _enlarged(image, canvas.size)
    for number, (style, amount) in enumerate(drawings if total else ()):
        assert style.student is not None
        base, large = image, plain
        if style.hand in BOLD:
            base = close_gaps(image, canvas.points)
        if style.shape:
            base = exaggerate(base, canvas.points, style.shape, share).clamp(-1, 1)
            large = _enlarged(base, canvas.size)
        style.student.to(device)
        drawn = large.lerp(style.drawing(base, canvas.curve), share)
        out = drawn * (amount / total) + (out if number else 0)
    if colors is not None:
        planes = functional.interpolate(colors.local[None].to(out), canvas.size, mode="bilinear")
        out = apply_planes(planes, (out + 1) / 2).clamp(0, 1) * 2 - 1
    return out, plain


def _enlarged(image: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(image, size, mode="bicubic").clamp(-1, 1)
