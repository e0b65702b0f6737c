"""An edit on the photo itself: how the model's image moves, measured small and applied large.

A smile or a turned head moves what is there, so the photo can make the movement with every pixel
that it has. The movement is the optical flow between the model's images before and after the edit:
the smoothest one that takes one image to the other (Horn and Schunck 1981), found in blurred images
first. What the flow leaves over, such as light and creases, is a local change of colours, and only
what an opened mouth shows is drawn by the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from stylemix.avatars.drawing import crop_photo
from stylemix.avatars.finisher import enlarge
from stylemix.avatars.lift import (
    STRIP,
    ColorMap,
    apply_planes,
    crop_bounds,
    extend,
    fit_colors,
    lift,
    sample_planes,
)
from stylemix.faces.landmarks import landmarks
from stylemix.faces.templates import Template
from stylemix.faces.warp import paste_back, warp
from stylemix.images.filters import mirrored_blur
from stylemix.images.sources import open_image
from stylemix.images.tensors import to_pil, to_tensor
from stylemix.inversion.adam import Adam
from stylemix.inversion.portraits import AlignedPhoto
from stylemix.networks.student import luma_of

SIDE = 128  # px, in which the movements of larger models are measured
GRIDS = (4, 8, 16, 32)  # points along a side of the grids whose sum is the flow
BLURS = (3 / 64, 1.5 / 64, 0.7 / 64)  # of the images that are compared, in crop sides
STEPS, RATE = 30, 0.008  # of Adam at each of them; in crop sides
SMOOTH, SMOOTH_MOUTH = 5.0, 1.0  # weights of the curvature of the flow
SCALE, TORN = 0.4, 20.0  # of what the flow shows, at least; weight of what is stretched further
LOCAL = 5 / 64  # deviation of what counts as light rather than as a feature, in crop sides
WINDOW, FADE = 0.03, 0.12  # of the local colours, as in `fit_colors`
HUES = (0.06, 0.16)  # differences of colour beside lightness: light, and something else
SMEARED = (0.36, 0.62)  # scales that smear wholly, and up to which a little
NEW = (0.015, 0.04)  # errors in [-1, 1] from which on the mouth is drawn, a little and wholly
INWARDS = 5 / 64  # deviation of the colours that are continued into the mouth, in crop sides
# Among the landmarks: all but the jaw, the lips, and what is between them.
FEATURES, MOUTH, INSIDE = slice(17, 68), slice(48, 68), slice(60, 68)
WITHIN = -0.08  # of a crop, by which the ellipse of the features is smaller than they
MAX_ERROR = 0.15  # of a motion; beyond it the model shows what no movement of the photo can


@dataclass(frozen=True)
class Motion:
    """The change from an image of the model to another, for a photo to repeat; S px along a side.

    Attributes:
        flow: [1, 2, S, S], where each pixel comes from: x and y minus its own, in crop sides.
        colors: the change of colours after the movement.
        mouth: [1, 1, S, S], the share of each pixel that the model must draw.
        tone: [1, 3, S, S], in [-1, 1], is added to what it draws: the light of the photo around.
        error: of the image before, changed so, to that after; mean over the features of the face,
            in [-1, 1].
    """

    flow: Tensor
    colors: ColorMap
    mouth: Tensor
    tone: Tensor
    error: float

    def apply(self, photo: Image.Image, matrix: NDArray[np.float64], drawn: Tensor) -> Image.Image:
        """The whole photo after the change.

        `matrix` [3, 3] maps photo px to fractions of the crop, and `drawn` [1, 3, R, R] is the
        model's image after the change, enlarged.
        """
        side = self.flow.shape[2]
        to_map = np.diag([side, side, 1.0]) @ matrix
        photo = lift(move(photo, to_map, self.flow), to_map, self.colors)
        size = drawn.shape[2]
        mask, tone = (
            functional.interpolate(part, [size, size], mode="bilinear")
            for part in (self.mouth, self.tone)
        )
        to_drawn = np.diag([size, size, 1.0]) @ matrix
        drawn = drawn.float().cpu() + tone
        return paste_back(photo, to_pil(drawn), to_drawn, mask=to_pil(mask * 2 - 1))


def edit_photo(
    photo: AlignedPhoto, before: Tensor, after: Tensor, template: Template
) -> AlignedPhoto | None:
    """The photo after an edit, of which the model's images [1, 3, H, H] before and after are known.

    None where it cannot carry the edit: where too much in the face is new, or for a model of
    anything but coloured faces.
    """
    if template.eyes is None or after.shape[1] != 3:
        return None
    motion = fit_motion(before, after, template)
    if motion.error > MAX_ERROR:
        return None
    side, matrix = photo.image.shape[2], photo.alignment.matrix
    to_crop = np.diag([1 / side, 1 / side, 1.0]) @ matrix
    image = motion.apply(open_image(photo.source), to_crop, enlarge(after, template))
    return replace(photo, image=to_tensor(warp(image, matrix, side))[0], source=image)


def morph_photos(
    photos: Sequence[AlignedPhoto],
    images: Sequence[Tensor],
    t: float,
    template: Template,
    side: int,
) -> AlignedPhoto:
    """A photo between two, their crops in `side` px; `t` in [0, 1] is the share of the second.

    `images` [1, 3, H, H] are the model's of both, and what it shows in between. Both photos move to
    that, and one fades into the other (Beier and Neely 1992). Where a movement would smear a photo,
    such as long hair into a bare neck, the model's image takes its place.
    """
    *starts, middle = images
    drawn, to_crop = enlarge(middle, template), np.diag([1 / side, 1 / side, 1.0])
    large = functional.interpolate(drawn, [side, side], mode="bicubic").clamp(-1, 1).cpu()
    moved = []
    for photo, start in zip(photos, starts, strict=True):
        motion = fit_motion(start, middle, template)
        own = to_tensor(motion.apply(crop_photo(photo, side), to_crop, drawn))
        share = functional.interpolate(smear(motion.flow), [side, side], mode="bilinear")
        moved.append(own.lerp(large, share))
    image, first = to_pil(moved[0].lerp(moved[1], t)), photos[0]
    size = first.image.shape[2]
    matrix = np.diag([size / side, size / side, 1.0])
    alignment = replace(first.alignment, matrix=matrix)
    small = to_tensor(warp(image, matrix, size))[0]
    return replace(first, image=small, alignment=alignment, photo_size=image.size, source=image)


def fit_motion(before: Tensor, after: Tensor, template: Template) -> Motion:
    """The motion between two images [1, 3, H, H] of the model in [-1, 1]."""
    with torch.inference_mode(False):
        a, b = (_small(image) for image in (before, after))
        size = a.shape[2]
        points = torch.cat([landmarks(image, template) for image in (a, b)])
        mouth = ellipses(points[:, MOUTH], size).amax(dim=0, keepdim=True)
        face = ellipses(points[1:, FEATURES], size, grow=WITHIN)
        flow = estimate_flow(a, b, mouth)
        moved = follow(a, flow, "bicubic").clamp(-1, 1)
        lit = b.lerp(moved, other_content(moved, b, face))
        colors = fit_colors(moved, lit, WINDOW, FADE, torch.eye(3, 4))
        reached = apply_planes(colors.local[None], (moved + 1) / 2) + colors.remainder
        reached = reached.clamp(0, 1) * 2 - 1
        low, high = NEW
        tone = _inwards(reached - b, mouth)
        new = ((_errors(reached, b + tone) - low) / (high - low)).clamp(0, 1)
        new = mirrored_blur(functional.max_pool2d(new, 3, 1, 1), size / 64)
        between = ellipses(points[:, INSIDE], size)  # of the lips, before and after
        new = new * torch.maximum(follow(between[:1], flow), between[1:])
        error = float((_errors(reached, b) * face).sum() / face.sum())
        return Motion(flow, colors, new, tone, error)


def _inwards(differences: Tensor, mask: Tensor) -> Tensor:
    """Differences [1, 3, S, S] of colours around a mask [1, 1, S, S], continued smoothly into it.

    What the model draws in a mouth would otherwise be a patch where it draws another light than
    the photo can show.
    """
    around, sigma = 1 - mask, INWARDS * mask.shape[2]
    return mirrored_blur(differences * around, sigma) / (mirrored_blur(around, sigma) + 1e-3)


def _errors(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute differences [1, 1, S, S] of images [1, 3, S, S].

    Blurred, since sampling between pixels alone changes fine detail such as teeth.
    """
    return mirrored_blur(a - b, a.shape[2] / 64).abs().mean(dim=1, keepdim=True)


def other_content(moved: Tensor, after: Tensor, face: Tensor) -> Tensor:
    """The share [1, 1, S, S] of each pixel of images [1, 3, S, S] that is no change of light.

    Light keeps colours, roughly, and outside of the `face` [1, 1, S, S] changes smoothly. Else the
    model draws something else, such as a wall in place of an ear or a cheek, and a photo that took
    its colour would have a stain.
    """
    size = moved.shape[2]
    differences = (moved - after) / 2
    light = luma_of(differences)
    light = mirrored_blur(light, LOCAL * size).lerp(light, face)
    distance = mirrored_blur(differences - light, size / 64).norm(dim=1, keepdim=True)
    low, high = HUES
    share = ((distance - low) / (high - low)).clamp(0, 1)
    return mirrored_blur(functional.max_pool2d(share, 3, 1, 1), size / 64)


def _small(image: Tensor) -> Tensor:
    image = image.float().cpu().clamp(-1, 1).clone()  # a clone can be differentiated
    if image.shape[2] <= SIDE:
        return image
    return functional.interpolate(image, [SIDE, SIDE], mode="bilinear", antialias=True)


def ellipses(points: Tensor, size: int, grow: float = 1 / 64) -> Tensor:
    """Soft masks [N, 1, S, S]: 1 around points [N, K, 2] in crop sides, and `grow` beyond."""
    low, high = points.amin(dim=1), points.amax(dim=1)
    middle, radius = (low + high) / 2, 0.55 * (high - low) + grow
    places = (torch.arange(size) + 0.5) / size
    x, y = (((places - middle[:, i, None]) / radius[:, i, None]).square() for i in (0, 1))
    distance = (x[:, None, None, :] + y[:, None, :, None]).sqrt()
    return (3 - 2 * distance).clamp(0, 1)


def estimate_flow(before: Tensor, after: Tensor, mouth: Tensor) -> Tensor:
    """The flow [1, 2, S, S] with before(x + flow(x)) = after(x), images [1, 3, S, S] in [-1, 1].

    In crop sides. Colours count less than their local differences, so that a change of light moves
    nothing. `mouth` [1, 1, S, S] is where the flow may be rougher, since lips part.
    """
    size = before.shape[2]
    smooth = SMOOTH + (SMOOTH_MOUTH - SMOOTH) * mouth[:, :, 1:-1, 1:-1]
    weight = 1 + 1.5 * mouth
    grids = [torch.zeros(1, 2, n, n, requires_grad=True) for n in GRIDS]

    def flow() -> Tensor:
        parts = [functional.interpolate(g, [size, size], mode="bicubic") for g in grids]
        return torch.stack(parts).sum(dim=0)

    with torch.enable_grad():
        for sigma in BLURS:
            a, b = (_features(image, sigma) for image in (before, after))
            adam = Adam([(grids, RATE)])
            for _ in range(STEPS):
                now = flow()
                # the root of squares bears what only one image shows (Charbonnier's penalty)
                errors = ((follow(a, now) - b).square().sum(dim=1, keepdim=True) + 1e-3).sqrt()
                loss = (weight * errors).mean() + (smooth * _curvature(now)).mean()
                loss = loss + TORN * (SCALE - smallest_scale(now)).clamp(min=0).square().mean()
                adam.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                adam.step()
        return flow().detach()


def _features(image: Tensor, sigma: float) -> Tensor:
    image = mirrored_blur(image, sigma * image.shape[2])
    return torch.cat(
        [0.5 * image, 1.5 * (image - mirrored_blur(image, LOCAL * image.shape[2]))], dim=1
    )


def _curvature(flow: Tensor) -> Tensor:
    """Squared second differences [N, 1, S - 2, S - 2] of a flow, as in px of a crop of 64."""
    px = flow * flow.shape[2] ** 2 / 64
    across, down = px.diff(n=2, dim=3)[:, :, 1:-1], px.diff(n=2, dim=2)[:, :, :, 1:-1]
    both = px.diff(dim=2).diff(dim=3)[:, :, 1:, 1:]
    squares = across.square() + down.square() + 2 * both.square()
    return squares.sum(dim=1, keepdim=True)


def smallest_scale(flow: Tensor) -> Tensor:
    """How far [N, S - 1, S - 1] the place that is shown moves with each pixel, where least.

    1 where nothing is stretched, near 0 where a smear shows, negative where something shows twice,
    once mirrored: the smaller singular value of the Jacobian, with the sign of its determinant.
    """
    px = flow * flow.shape[2]
    (a, c), (b, d) = (
        px.diff(dim=dim)[:, :, : flow.shape[2] - 1, : flow.shape[3] - 1].unbind(1) for dim in (3, 2)
    )
    a, d = 1 + a, 1 + d
    similar, other = (a + d).square() + (b - c).square(), (a - d).square() + (b + c).square()
    return ((similar + 1e-6).sqrt() - (other + 1e-6).sqrt()) / 2


def smear(flow: Tensor) -> Tensor:
    """The share [1, 1, S, S] of each pixel of a flow [1, 2, S, S] that is smeared or mirrored."""
    low, high = SMEARED
    share = ((high - smallest_scale(flow)) / (high - low)).clamp(0, 1)
    share = functional.pad(share[:, None], [0, 1, 0, 1], mode="replicate")
    return mirrored_blur(functional.max_pool2d(share, 5, 1, 2), flow.shape[2] / 40)


def follow(images: Tensor, flow: Tensor, mode: str = "bilinear") -> Tensor:
    """Images [N, C, S, S] moved by a flow [N, 2, S, S] in crop sides."""
    places = (torch.arange(flow.shape[2], device=flow.device) + 0.5) / flow.shape[2]
    y, x = torch.meshgrid(places, places, indexing="ij")
    grid = 2 * (torch.stack([x, y]) + flow).permute(0, 2, 3, 1) - 1
    return functional.grid_sample(images, grid, mode, "reflection", align_corners=False)


@torch.no_grad()
def move(photo: Image.Image, matrix: NDArray[np.float64], flow: Tensor) -> Image.Image:
    """The photo moved by a flow [1, 2, S, S]; `matrix` [3, 3] maps photo px to px of the crop.

    Beyond the crop the movement of its border fades.
    """
    size = flow.shape[2]
    flow, matrix = extend(flow, matrix)
    left, top, right, bottom = crop_bounds(matrix, flow.shape[2], photo.size)
    if right <= left or bottom <= top:
        return photo
    linear = torch.tensor(np.linalg.inv(matrix[:2, :2]) * size, dtype=torch.float32)
    box = photo.convert("RGB").crop((left, top, right, bottom))
    pixels = torch.from_numpy(np.asarray(box).copy())
    source = pixels.permute(2, 0, 1)[None].float()
    width, height = box.size
    for start in range(0, height, STRIP):
        rows = min(STRIP, height - start)
        shift = sample_planes(flow, matrix, (left, top + start, width, rows))[0]
        x = torch.arange(width) + 0.5 + linear[0, 0] * shift[0] + linear[0, 1] * shift[1]
        y = torch.arange(start, start + rows)[:, None] + 0.5
        y = y + linear[1, 0] * shift[0] + linear[1, 1] * shift[1]
        grid = torch.stack([2 * x / width - 1, 2 * y / height - 1], dim=2)[None]
        moved = functional.grid_sample(
            source, grid, mode="bicubic", padding_mode="reflection", align_corners=False
        )
        pixels[start : start + rows] = (moved[0].clamp(0, 255) + 0.5).byte().permute(1, 2, 0)
    out = photo.convert("RGB")
    out.paste(Image.fromarray(pixels.numpy()), (left, top))
    return out
