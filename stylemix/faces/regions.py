"""Regions of an aligned face as soft masks: face, hair, background, or what somebody painted.

There is no parser of faces behind them. The face is what its landmarks enclose; hair and
background share what is outside it, by colour.
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
SIDE = 128  # px at which regions are found, whatever the model's size
FEATHER = 0.02  # standard deviation of the soft edge, in fractions of the side
FINE = 4  # outlines are drawn so many times larger, then averaged
JAW, BROWS, NOSE_BASE = slice(0, 17), slice(17, 27), 33  # among the landmarks
NECK = [4, 12]  # of the jaw
FOREHEAD = 0.9  # its height, in heights from brows to nose
# In distances of the eyes:
BROW_HEIGHT = 0.25  # above the eyes
RING = 0.22  # width of the band around the forehead where hair shows its colour
HAIR_REACH = 0.8  # how far hair reaches from the face
SPREAD = (6.0, 12.0)  # least and most spread of a colour, in Lab
NEAR = 2.5  # spreads within which a colour is the same


def region_mask(regions: Sequence[str], images: Tensor, template: Template) -> Tensor:
    """Soft masks [N, 1, H, W] of all named regions together in aligned images [N, C, H, W]."""
    wrong = [name for name in regions if name not in REGIONS]
    if wrong or not regions:
        raise StylemixError(
            f"got the region {', '.join(wrong) or 'none'!a}; expected {', '.join(REGIONS)} or a "
            "image that shows it white; change --region"
        )
    small = functional.interpolate(
        as_rgb(images).float(), (SIDE, SIDE), mode="bilinear", antialias=True
    )
    points = landmarks(small, template).cpu().numpy()
    face = _filled([_face_outline(one) for one in points]).to(small)
    masks = {"face": face}
    if set(regions) != {"face"}:
        neck = _filled([_neck_outline(one) for one in points]).to(small)
        masks |= _by_colour(to_lab(small), face, neck, template)
    whole = torch.stack([masks[name] for name in regions]).amax(dim=0)
    return _resized(feather(whole), images.shape[2:]).to(images)


def _resized(images: Tensor, size: Sequence[int]) -> Tensor:
    return functional.interpolate(images, list(size), mode="bilinear", antialias=True)


def _face_outline(points: Array) -> Array:
    """Jaw and an arched forehead, nearly as high as from brows to nose, of landmarks [68, 2]."""
    brows = points[BROWS]
    up = FOREHEAD * (brows.mean(axis=0) - points[NOSE_BASE])
    across = np.linspace(-1, 1, len(brows))[:, None]
    return np.concatenate([points[JAW], (brows + up * np.sqrt(1 - across**2))[::-1]])


def _neck_outline(points: Array) -> Array:
    """From the jaw straight down."""
    left, right = points[JAW][NECK]
    return np.array([left, [left[0], 1.5], [right[0], 1.5], right])


def _filled(outlines: Sequence[Array]) -> Tensor:
    """[N, 1, SIDE, SIDE] with 1 inside closed lines [K, 2] in fractions of the side."""
    masks = []
    for outline in outlines:
        image = Image.new("L", (SIDE * FINE, SIDE * FINE))
        corners = [(x, y) for x, y in (outline * SIDE * FINE).tolist()]
        ImageDraw.Draw(image).polygon(corners, fill=255)
        masks.append(np.array(image.reduce(FINE), dtype=np.float32) / 255)
    return torch.from_numpy(np.stack(masks))[:, None]


def _by_colour(lab: Tensor, face: Tensor, neck: Tensor, template: Template) -> dict[str, Tensor]:
    """Skin, hair and background [N, 1, SIDE, SIDE] of Lab images.

    Skin is the face with what has its colour beside it and below. Hair hangs together with a band
    around the forehead and has its colour. Background is the rest, without the neck.
    """
    assert template.eyes is not None  # landmarks were found
    (x0, y0), (x1, _) = template.eyes
    ring, near = (_grown(face, way * (x1 - x0)) > 0.5 for way in (RING, HAIR_REACH))
    rows = (torch.arange(SIDE, device=lab.device)[:, None] + 0.5) / SIDE
    above = ring & (face == 0) & (rows < y0 - BROW_HEIGHT * (x1 - x0))
    to_hair, to_skin = _colour_distance(lab, above), _colour_distance(lab, face == 1)
    outside = face < 0.5
    like_hair = ((to_hair < NEAR) & (to_hair < to_skin) & outside & near).to(lab)
    hair = like_hair * above
    for _ in range(SIDE):
        hair = torch.minimum(like_hair, functional.max_pool2d(hair, 3, 1, 1))
    below = neck > 0.5
    skin = (to_skin < NEAR) & (to_skin <= to_hair) & (ring | below)
    rest = outside & ~skin & ~below & (hair == 0)
    return {"skin": torch.maximum(face, skin.to(lab)), "hair": hair, "background": rest.to(lab)}


def _grown(masks: Tensor, way: float) -> Tensor:
    """Masks [N, 1, SIDE, SIDE] grown by a way in fractions of the side."""
    reach = round(way * SIDE)
    return functional.max_pool2d(masks, 2 * reach + 1, 1, reach)


def _colour_distance(lab: Tensor, where: Tensor) -> Tensor:
    """How far each pixel [N, 1, H, W] is from the middle colour of a place, in its spreads."""
    out = []
    for image, place in zip(lab, where, strict=True):
        colours = image[:, place[0]]
        if not colours.numel():
            out.append(torch.full_like(image[:1], torch.inf))
            continue
        middle = colours.median(dim=1).values
        spread = torch.linalg.vector_norm(colours - middle[:, None], dim=0).median()
        distance = torch.linalg.vector_norm(image - middle[:, None, None], dim=0, keepdim=True)
        out.append(distance / spread.clamp(*SPREAD))
    return torch.stack(out)


def feather(masks: Tensor) -> Tensor:
    """Masks [N, 1, H, W] with soft edges: a Gaussian of `FEATHER` of the side."""
    sigma = FEATHER * masks.shape[3]
    radius = max(1, round(3 * sigma))
    padded = functional.pad(masks, (radius,) * 4, mode="replicate")
    return gaussian_blur(padded, sigma, radius)


def painted_mask(
    image: Image.Image,
    size: tuple[int, int],
    matrix: Array | None = None,
    photo_size: tuple[int, int] | None = None,
    name: str = "--region",
) -> Tensor:
    """A mask [1, 1, H, W] from an RGBA image: white is 1; black and transparent are 0.

    An image of the shape of the crop, `size` (width, height), lies on the crop; one of the
    photo's size, or of another shape, on the photo, from where `matrix` leads to the crop.
    """
    grey = Image.composite(image.convert("L"), Image.new("L", image.size), image.getchannel("A"))
    width, height = size
    own = image.width * height == image.height * width
    if (own and image.size != photo_size) or width != height:
        laid = resize(grey, size)
    elif matrix is not None and photo_size in (None, image.size):
        laid = warp(grey, matrix, width).convert("L")
    else:
        photo = "" if photo_size is None else f" or {photo_size[0]} x {photo_size[1]} px"
        raise StylemixError(
            f"{name}: got a mask of {image.width} x {image.height} px; expected a square"
            f"{photo}, as the photo; paint it on the reconstruction, or on the photo itself"
        )
    return torch.from_numpy(np.array(laid, dtype=np.float32))[None, None] / 255
