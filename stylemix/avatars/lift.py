"""A look at the photo's own resolution: its change of colours, fitted small and applied large.

A look moves nothing, so the photo can carry it with every pixel that it has. Around each pixel of
the model's image the change from the photo to the avatar is an affine map of colours, fitted by
least squares in a window (guided image filtering, He, Sun, Tang 2013); its coefficients are smooth
and are scaled up in place of the image (bilateral guided upsampling, Chen et al. 2016).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from stylemix.avatars.render import AppliedStyle, render
from stylemix.faces.landmarks import LEFT_EYE, RIGHT_EYE, landmarks
from stylemix.faces.templates import Template
from stylemix.images.filters import mirrored_blur
from stylemix.images.tensors import as_rgb
from stylemix.models.model import Model
from stylemix.networks.latents import sample_ws
from stylemix.networks.student import LUMA, luma_of

WINDOW = 0.12  # deviation of the window in parts of the crop's side
ENDS = 0.03  # weight of black and white that stay, in parts of the crop
RIDGE = 0.004  # pulls a window without contrast towards the map of the whole crop
FADE = 0.22  # of the crop's side, over which the local map becomes that of the whole crop
REMAINDER = 0.5  # share of what the affine maps leave over that is added, blurred
# Distance of a colour from grey, from which a look makes it stronger less and less, and never.
STRONG, STRONGEST = 0.3, 0.42
NO_COLORS = (0.1, 0.25)  # saturation at which a look counts as colourless, wholly and not at all
MAX_GAIN = 2.5  # of a local map: noise in dark places is not amplified further
MAX_MOVEMENT = 0.035  # of landmarks, in distances of the eyes; looks stay below it
STILL = 0.02  # movement of a photo's landmarks that drawn styles exceed on nearly every photo
FACES, PSI = 8, 0.7  # generated faces on which a style's movement is measured, and their truncation
COARSE = 4  # photo px between the places where coefficients are sampled
REACH = 0.5  # crop sides beyond the crop, over which what is at its border fades
STRIP = 256  # rows of the photo that are computed at once

Faces = Callable[[], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class ColorMap:
    """Affine maps of colours in [0, 1]: [12, S, S] around each pixel of the crop, and one for all.

    The first nine planes are a 3x3 matrix, row by row, the last three its offset. `remainder`
    [3, S, S] is what they leave over.
    """

    local: Tensor
    whole: Tensor
    remainder: Tensor


@torch.no_grad()
def movement(plain: Tensor, styled: Tensor, template: Template) -> float:
    """How far a style moves the landmarks of a face, in distances of the eyes.

    The mean over the points inside the face (17 to 67) of images [N, C, H, H] in [-1, 1], and of N
    faces the median; 1 for templates without eyes, where nobody can say.
    """
    if template.eyes is None:
        return 1.0
    before, after = (landmarks(as_rgb(images), template) for images in (plain, styled))
    eyes = before[:, RIGHT_EYE].mean(dim=1) - before[:, LEFT_EYE].mean(dim=1)
    distances = (after - before)[:, 17:].norm(dim=2).mean(dim=1)
    return float((distances / eyes.norm(dim=1)).median())


@torch.no_grad()
def on_faces(
    model: Model, edits: Sequence[AppliedStyle], applied: Sequence[AppliedStyle]
) -> tuple[Tensor, Tensor]:
    """Faces of the model [FACES, C, H, W] in the edits among styles, and in all of them."""
    ws = sample_ws(model.generator, FACES, 0, PSI)
    return render(model.generator, ws, edits), render(model.generator, ws, applied)


def moves_face(
    plain: Tensor, styled: Tensor, faces: Faces, template: Template, still: float = STILL
) -> bool:
    """Whether styles move a face so far that a photo of it cannot carry them.

    `plain` and `styled` [1, C, H, H] are the person after the edits among the styles, and in all of
    them. If landmarks move by at most `still`, the photo carries the styles. Otherwise the model's
    `faces` (`on_faces`) decide: landmarks of a dark or grainy photo are noise in part.
    """
    if movement(plain, styled, template) <= still:
        return False
    return movement(*faces(), template) > MAX_MOVEMENT


def style_saturation(plain: Tensor, styled: Tensor, faces: Faces) -> float:
    """The chroma that styles leave, in parts of that without them; arguments of `moves_face`.

    What a latent keeps of its photo beside w brings colours of its own into a black and white look,
    so unless styles strengthen colours, the model's faces decide.
    """
    ratio = chroma_ratio(plain, styled)
    return ratio if ratio > 1 else chroma_ratio(*faces())


@torch.no_grad()
def fit_colors(
    crop: Tensor,
    styled: Tensor,
    window: float = WINDOW,
    fade: float = FADE,
    whole: Tensor | None = None,
    saturation: float | None = None,
) -> ColorMap:
    """The change of colours from a photo's crop to its avatar, both [1, 3, S, S] in [-1, 1].

    They may lie on any device; the map, which is for the photo, is on the CPU. `window` is the
    deviation of the window and `fade` the width of the border, in parts of the crop's side; `whole`
    [3, 4] is the map beyond the crop, fitted to all colours of the crop by default. `saturation` is
    that of the look (`style_saturation`), by default that of this avatar.
    """
    a, b = ((image.float().cpu().clamp(-1, 1) + 1) / 2 for image in (crop, styled))
    size = a.shape[2]
    saturation = min(1.0, chroma_ratio(crop, styled) if saturation is None else saturation)
    # A look without colours has none in the rest of the photo either.
    colorless = min(1.0, max(0.0, (NO_COLORS[1] - saturation) / (NO_COLORS[1] - NO_COLORS[0])))
    b = b.lerp(luma_of(b).expand_as(b), colorless)
    b = limit_strength(b, a)
    if whole is None:
        whole = _fit_whole(a, b, saturation * (1 - colorless))

    def blur(values: Tensor, sigma: float = window * size) -> Tensor:
        return mirrored_blur(values, sigma)

    mean_a, mean_b = blur(a), blur(b)
    aa = blur((a[:, :, None] * a[:, None]).flatten(1, 2)) - _outer(mean_a, mean_a)
    ab = blur((a[:, :, None] * b[:, None]).flatten(1, 2)) - _outer(mean_a, mean_b)
    covariance = aa.unflatten(1, (3, 3)).permute(0, 3, 4, 1, 2)
    cross = ab.unflatten(1, (3, 3)).permute(0, 3, 4, 1, 2)
    prior = RIDGE * torch.eye(3)
    matrix = torch.linalg.solve(covariance + prior, cross + prior @ whole[:, :3].T)
    matrix = matrix.mT.clamp(-MAX_GAIN, MAX_GAIN)  # [1, S, S, 3, 3]
    offset = mean_b.permute(0, 2, 3, 1) - (matrix @ mean_a.permute(0, 2, 3, 1)[..., None])[..., 0]
    local = torch.cat([matrix.flatten(3), offset], dim=3).permute(0, 3, 1, 2)
    local = blur(local, window * size / 2)
    fitted = apply_planes(local, a)
    remainder = REMAINDER * blur(b - fitted, size / 64)
    flat = torch.cat([whole[:, :3].flatten(), whole[:, 3]])
    weight = _fade(size, fade)
    return ColorMap(
        (flat.view(12, 1, 1) + weight * (local[0] - flat.view(12, 1, 1))), flat,
        weight * remainder[0],
    )  # fmt: skip


def limit_strength(styled: Tensor, photo: Tensor) -> Tensor:
    """Colours [N, 3, H, W] that are no stronger than STRONGEST, unless the photo's are.

    A warm look would make warm skin orange, and lids and lips red.
    """
    grey = luma_of(styled)
    colors = styled - grey
    strength = colors.norm(dim=1, keepdim=True)
    room = STRONGEST - STRONG
    soft = STRONG + room * ((strength - STRONG) / room).clamp(min=0).tanh()
    own = (photo - luma_of(photo)).norm(dim=1, keepdim=True)
    limit = torch.minimum(strength, torch.maximum(soft, own))
    limited: Tensor = grey + colors * (limit / strength.clamp(min=1e-3)).clamp(max=1)
    return limited


def chroma_ratio(plain: Tensor, styled: Tensor) -> float:
    """Deviation of colours [N, 3, H, W] beside their lightness, in parts of that of `plain`."""
    before, after = (
        float((image - luma_of(image)).std(dim=(2, 3)).norm())
        for image in (plain.float().cpu().clamp(-1, 1), styled.float().cpu().clamp(-1, 1))
    )
    return after / max(before, 2e-3)


def _fit_whole(a: Tensor, b: Tensor, saturation: float) -> Tensor:
    """One affine map [3, 4] of all colours, for what the crop does not show as well.

    Colours that the crop lacks change in saturation as those that it has, and black and white
    stay what they are, as far as the crop leaves that open.
    """
    grey = torch.tensor(LUMA).expand(3, 3)
    prior = torch.cat([grey + saturation * (torch.eye(3) - grey), torch.zeros(3, 1)], dim=1)
    count = a[0, 0].numel()
    x = torch.cat([a, torch.ones_like(a[:, :1])], dim=1).flatten(2)[0]
    ends = torch.tensor([[0.0, 0, 0, 1], [1, 1, 1, 1]]).T
    x = torch.cat([x, math.sqrt(ENDS * count) * ends], dim=1).double()
    y = torch.cat([b.flatten(2)[0], math.sqrt(ENDS * count) * ends[:3]], dim=1).double()
    ridge = RIDGE * count * torch.diag(torch.tensor([1.0, 1, 1, 0])).double()
    fitted: Tensor = torch.linalg.solve(x @ x.T + ridge, x @ y.T + ridge @ prior.T.double())
    return fitted.T.float()


def _outer(x: Tensor, y: Tensor) -> Tensor:
    return (x[:, :, None] * y[:, None]).flatten(1, 2)


def _fade(size: int, width: float) -> Tensor:
    """[1, S, S]: 1 in the middle of the crop, 0 at its border, smooth in between."""
    steps = (torch.arange(size) + 0.5) / size
    edge = (torch.minimum(steps, 1 - steps) / width).clamp(0, 1)
    smooth = edge * edge * (3 - 2 * edge)
    return (smooth[:, None] * smooth)[None]


def apply_planes(planes: Tensor, colors: Tensor) -> Tensor:
    """Colours [N, 3, H, W] in [0, 1] through maps [N, 12, H, W]."""
    rows = [
        sum(planes[:, 3 * i + j] * colors[:, j] for j in range(3)) + planes[:, 9 + i]
        for i in range(3)
    ]
    return torch.stack(rows, dim=1)  # type: ignore[arg-type]


@torch.no_grad()
def lift(photo: Image.Image, matrix: NDArray[np.float64], colors: ColorMap) -> Image.Image:
    """The whole photo in the look; `matrix` [3, 3] maps photo px to px of the crop.

    Outside the crop, and towards its border, the map of the whole crop applies, so no box shows.
    """
    flat = colors.whole.tolist()
    rows = [[*flat[3 * i : 3 * i + 3], 255 * flat[9 + i]] for i in range(3)]
    out = photo.convert("RGB", tuple(value for row in rows for value in row))
    left, top, right, bottom = crop_bounds(matrix, colors.local.shape[2], photo.size)
    if right <= left or bottom <= top:
        return out
    inside = torch.from_numpy(np.asarray(photo.crop((left, top, right, bottom))).copy())
    planes = torch.cat([colors.local, colors.remainder])[None]
    for start in range(0, bottom - top, STRIP):
        strip = inside[start : start + STRIP].permute(2, 0, 1)[None].float() / 255
        box = (left, top + start, strip.shape[3], strip.shape[2])
        sampled = sample_planes(planes, matrix, box)
        values = apply_planes(sampled[:, :12], strip) + sampled[:, 12:]
        pixels = (values[0].clamp(0, 1) * 255 + 0.5).to(torch.uint8).permute(1, 2, 0)
        inside[start : start + STRIP] = pixels
    out.paste(Image.fromarray(inside.numpy()), (left, top))
    return out


@torch.no_grad()
def photo_mask(
    mask: Tensor, matrix: NDArray[np.float64], size: tuple[int, int], beyond: float
) -> Image.Image:
    """A mask [1, 1, S, S] of the crop for a whole photo of this size (width, height).

    `matrix` [3, 3] maps photo px to px of the crop, and `beyond` is the mask far from it.
    """
    planes, matrix = extend(mask.float().cpu() - beyond, matrix)
    values = sample_planes(planes, matrix, (0, 0, *size))[0, 0] + beyond
    return Image.fromarray((values.clamp(0, 1) * 255 + 0.5).to(torch.uint8).numpy())


def extend(planes: Tensor, matrix: NDArray[np.float64]) -> tuple[Tensor, NDArray[np.float64]]:
    """Planes [1, C, S, S] of a crop with more around it, and the matrix [3, 3] from photo px to it.

    The values of the border go on beyond the crop, and fade to 0.
    """
    size = planes.shape[2]
    margin = round(REACH * size)
    steps = ((torch.arange(size + 2 * margin) + 0.5 - margin) / size - 0.5).abs() - 0.5
    fade = (1 - steps / REACH).clamp(0, 1)
    fade = fade * fade * (3 - 2 * fade)
    larger = functional.pad(planes, [margin] * 4, mode="replicate") * (fade[:, None] * fade)
    return larger, np.array([[1, 0, margin], [0, 1, margin], [0, 0, 1.0]]) @ matrix


def crop_bounds(
    matrix: NDArray[np.float64], size: int, photo: tuple[int, int]
) -> tuple[int, int, int, int]:
    """The box of the photo, in px, that holds the crop."""
    corners = np.array([[0, 0, 1], [size, 0, 1], [0, size, 1], [size, size, 1]]).T
    x, y = (np.linalg.inv(matrix) @ corners)[:2]
    return (
        max(0, int(np.floor(x.min()))), max(0, int(np.floor(y.min()))),
        min(photo[0], int(np.ceil(x.max()))), min(photo[1], int(np.ceil(y.max()))),
    )  # fmt: skip


def sample_planes(
    planes: Tensor, matrix: NDArray[np.float64], box: tuple[int, int, int, int]
) -> Tensor:
    """Planes [1, C, S, S] of the crop at the pixels of a box (x, y, width, height) of the photo.

    Sampled at every fourth pixel and scaled up: the planes are smooth, and it is ten times faster.
    """
    x, y, width, height = box
    size = planes.shape[2]
    columns, lines = -(-width // COARSE) + 1, -(-height // COARSE) + 1
    px = torch.tensor(matrix, dtype=torch.float32)
    across = x + COARSE * torch.arange(columns) + 0.5
    down = y + COARSE * torch.arange(lines) + 0.5
    u = px[0, 0] * across + px[0, 1] * down[:, None] + px[0, 2]
    v = px[1, 0] * across + px[1, 1] * down[:, None] + px[1, 2]
    grid = torch.stack([u, v], dim=2)[None] / size * 2 - 1
    coarse = functional.grid_sample(planes, grid, padding_mode="border", align_corners=False)
    # The samples lie at the first pixel of each cell, so pixel i lies at i / COARSE.
    target = ((columns - 1) * COARSE + 1, (lines - 1) * COARSE + 1)
    fine = functional.interpolate(coarse, target[::-1], mode="bilinear", align_corners=True)
    return fine[:, :, :height, :width]
