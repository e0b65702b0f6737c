"""Soft masks for regions of an aligned face: face, skin, hair, background, or a painted mask.

They need no segmentation network. The face is the outline of its landmarks; hair and background
are separated by colour.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional

from stylemix.errors import StylemixError
from stylemix.faces.landmarks import landmarks
from stylemix.faces.templates import Template
from stylemix.faces.warp import Array, warp
from stylemix.images.filters import gaussian_blur
from stylemix.images.lab import to_lab
from stylemix.images.tensors import as_rgb, resize

REGIONS = ("face", "skin", "hair", "background")
SIDE = 128  # px, the resolution of the segmentation for models of any size
FEATHER = 0.02  # standard deviation of the soft edge, in fractions of the side
SUPERSAMPLING = 4  # of outlines, for antialiasing
JAW, BROWS, NOSE_BASE = slice(0, 17), slice(17, 27), 33  # among the landmarks
NECK = [4, 12]  # indices of the jaw points at the sides of the neck
FOREHEAD_HEIGHT = 0.9  # in distances from the brows to the base of the nose
# In eye distances:
BROW_HEIGHT = 0.25  # above the eyes
HAIR_BAND_WIDTH = 0.22  # of the band around the forehead that gives the colour of the hair
MAX_HAIR_DISTANCE = 0.8  # of hair from the face
# In Lab units:
SPREAD_RANGE = (6.0, 12.0)  # minimum and maximum spread of a colour
COLOR_THRESHOLD = 2.5  # spreads; colours within it are the same


def region_mask(regions: Sequence[str], images: Tensor, template: Template) -> Tensor:
    """Returns soft masks [N, 1, H, W] of the union of regions in aligned images [N, C, H, W]."""
    wrong = [name for name in regions if name not in REGIONS]
    if wrong or not regions:
        raise StylemixError(
            f"got the region {', '.join(wrong) or 'none'!a}; expected {', '.join(REGIONS)} or an "
            "image file with a white mask; change --region"
        )
    small = functional.interpolate(
        as_rgb(images).float(), (SIDE, SIDE), mode="bilinear", antialias=True
    )
    points = landmarks(small, template).cpu().numpy()
    face = _filled([_face_outline(each) for each in points]).to(small)
    masks = {"face": face}
    if set(regions) != {"face"}:
        neck = _filled([_neck_outline(each) for each in points]).to(small)
        masks |= _segment(to_lab(small), face, neck, template)
    union = torch.stack([masks[name] for name in regions]).amax(dim=0)
    size = images.shape[2:]
    mask = functional.interpolate(feather(union), size, mode="bilinear", antialias=True)
    return mask.to(images)


def _face_outline(points: Array) -> Array:
    """Returns the outline [K, 2] of jaw and an arched forehead from landmarks [68, 2]."""
    brows = points[BROWS]
    up = FOREHEAD_HEIGHT * (brows.mean(axis=0) - points[NOSE_BASE])
    across = np.linspace(-1, 1, len(brows))[:, None]
    return np.concatenate([points[JAW], (brows + up * np.sqrt(1 - across**2))[::-1]])


def _neck_outline(points: Array) -> Array:
    """Returns the outline [4, 2] from the jaw straight down beyond the image."""
    left, right = points[JAW][NECK]
    return np.array([left, [left[0], 1.5], [right[0], 1.5], right])


def _filled(outlines: Sequence[Array]) -> Tensor:
    """Returns masks [N, 1, SIDE, SIDE] of the polygons [K, 2] in fractions of the side."""
    masks = []
    for outline in outlines:
        size = SIDE * SUPERSAMPLING
        image = Image.new("L", (size, size))
        corners = [(x, y) for x, y in (outline * size).tolist()]
        ImageDraw.Draw(image).polygon(corners, fill=255)
        masks.append(np.array(image.reduce(SUPERSAMPLING), dtype=np.float32) / 255)
    return torch.from_numpy(np.stack(masks))[:, None]


def _segment(lab: Tensor, face: Tensor, neck: Tensor, template: Template) -> dict[str, Tensor]:
    """Returns masks of skin, hair and background [N, 1, SIDE, SIDE] for Lab images, by colour.

    Skin is the face and the pixels of its colour beside and below it. Hair is connected to a band
    around the forehead and has its colour. Background is the rest, without the neck.
    """
    assert template.eyes is not None  # `landmarks` raises otherwise
    (x0, y0), (x1, _) = template.eyes
    eye_distance = x1 - x0
    ring = _dilated(face, HAIR_BAND_WIDTH * eye_distance) > 0.5
    near = _dilated(face, MAX_HAIR_DISTANCE * eye_distance) > 0.5
    rows = (torch.arange(SIDE, device=lab.device)[:, None] + 0.5) / SIDE
    band = ring & (face == 0) & (rows < y0 - BROW_HEIGHT * eye_distance)
    to_hair, to_skin = _color_distance(lab, band), _color_distance(lab, face == 1)
    outside = face < 0.5
    like_hair = ((to_hair < COLOR_THRESHOLD) & (to_hair < to_skin) & outside & near).to(lab)
    hair = like_hair * band
    for _ in range(SIDE):
        hair = torch.minimum(like_hair, functional.max_pool2d(hair, 3, 1, 1))
    below = neck > 0.5
    skin = (to_skin < COLOR_THRESHOLD) & (to_skin <= to_hair) & (ring | below)
    rest = outside & ~skin & ~below & (hair == 0)
    return {"skin": torch.maximum(face, skin.to(lab)), "hair": hair, "background": rest.to(lab)}


def _dilated(masks: Tensor, distance: float) -> Tensor:
    """Dilates masks [N, 1, SIDE, SIDE] by a distance in fractions of the side."""
    radius = round(distance * SIDE)
    return functional.max_pool2d(masks, 2 * radius + 1, 1, radius)


def _color_distance(lab: Tensor, masks: Tensor) -> Tensor:
    """Returns the distance [N, 1, H, W] to the median colour within a mask, in its spreads."""
    out = []
    for image, mask in zip(lab, masks, strict=True):
        colors = image[:, mask[0]]
        if not colors.numel():
            out.append(torch.full_like(image[:1], torch.inf))
            continue
        median = colors.median(dim=1).values
        spread = torch.linalg.vector_norm(colors - median[:, None], dim=0).median()
        distance = torch.linalg.vector_norm(image - median[:, None, None], dim=0, keepdim=True)
        out.append(distance / spread.clamp(*SPREAD_RANGE))
    return torch.stack(out)


def feather(masks: Tensor) -> Tensor:
    """Blurs masks [N, 1, H, W] by a Gaussian of `FEATHER` of the side."""
    sigma = FEATHER * masks.shape[3]
    radius = max(1, round(3 * sigma))
    padded = functional.pad(masks, (radius,) * 4, mode="replicate")
    return gaussian_blur(padded, sigma, radius)


def painted_grey(image: Image.Image) -> Image.Image:
    """The grey image of a painted RGBA mask, in which transparent pixels are black."""
    return Image.composite(image.convert("L"), Image.new("L", image.size), image.getchannel("A"))


def painted_mask(
    image: Image.Image,
    size: tuple[int, int],
    matrix: Array | None = None,
    photo_size: tuple[int, int] | None = None,
    name: str = "--region",
) -> Tensor:
    """Returns a mask [1, 1, H, W] from an RGBA image: white is 1; black and transparent are 0.

    An image with the aspect ratio of the crop, `size` (width, height), is a mask of the crop. An
    image of the photo's size, or of another aspect ratio, is a mask of the photo and is warped to
    the crop by `matrix`.
    """
    grey = painted_grey(image)
    width, height = size
    same_ratio = image.width * height == image.height * width
    if (same_ratio and image.size != photo_size) or width != height:
        mask = resize(grey, size)
    elif matrix is not None and photo_size in (None, image.size):
        mask = warp(grey, matrix, width).convert("L")
    else:
        photo = "" if photo_size is None else f" or {photo_size[0]} x {photo_size[1]} px"
        raise StylemixError(
            f"{name}: got a mask of {image.width} x {image.height} px; expected a square"
            f"{photo}, as the photo; paint it on the reconstruction, or on the photo itself"
        )
    return torch.from_numpy(np.array(mask, dtype=np.float32))[None, None] / 255
