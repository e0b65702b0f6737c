"""Hands: filters that make drawings of painted images in even light.

Lines are differences of Gaussians with a soft threshold (Winnemoeller, Kyprianidis, Olsen 2012,
"XDoG"), planes are levels of lightness in CIE L*a*b*, and tones between black and paper are
strokes, as wide as the tone is dark. Widths are in px of a face of 512 px. All are made of
convolutions and pointwise functions, so they fit images of any size, and ONNX.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from stylemix.images.filters import gaussian_blur
from stylemix.images.lab import from_lab, to_lab
from stylemix.networks.student import even_light, soften_curve

WIDEN = 1.7  # ratio of the two Gaussians of a line
PERIOD = 128  # px after which strokes repeat
NIGHT = (0.11, 0.07, 0.32)  # colours of `pop`, from dark to light
POP = ((0.86, 0.10, 0.38), (1.0, 0.55, 0.20), (1.0, 0.92, 0.62))
POP_BORDERS = (35.0, 55.0, 74.0)  # of lightness between them


def draw_photo(
    name: str, paint: Callable[[Tensor], Tensor], images: Tensor, curve: Tensor
) -> Tensor:
    """Drawings [N, 3, 2H, 2W] of images [N, 3, H, W] in [-1, 1], by a hand if it has a name.

    `paint` doubles the size of images; `curve` [N, 3] is the `tone_curve` of their faces.
    """
    if not name:
        return paint(even_light(images, curve)).clamp(-1, 1)
    even = even_light(images, soften_curve(curve, LIGHT[name]))
    return draw_by_hand(name, paint_for(name, paint, even).clamp(-1, 1))


def draw_by_hand(name: str, painted: Tensor) -> Tensor:
    """Drawings of painted images [N, 3, H, W] in [-1, 1] by one of `HANDS`, in the same form."""
    lab = to_lab(painted)
    return HANDS[name](lab[:, :1], lab[:, 1:]).clamp(0, 1) * 2 - 1


def paint_for(name: str, paint: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """What a hand draws of: images [N, 3, H, W] painted in twice their size, [N, 3, 2H, 2W].

    `paint` doubles the size. For a hand of `COARSE` it sees half of it.
    """
    if name not in COARSE:
        return paint(images)
    half = functional.interpolate(images, scale_factor=0.5, mode="bilinear")
    size = [2 * images.shape[2], 2 * images.shape[3]]
    return functional.interpolate(paint(half), size, mode="bilinear")


def _illustration(light: Tensor, chroma: Tensor) -> Tensor:
    """Few planes without lines: navy shadows, golden light."""
    tone = 0.9 * _levels(_blur(light, 2.4), 23, 8) + 0.1 * light
    lit = ((tone - 20) / 54).clamp(0, 1)
    tint = (1 - lit) * _color(light, (2, -44)) + lit * _color(light, (-2, 16))
    return _rgb(tone * 0.94 + 6, chroma * (0.6 + 0.65 * lit) + tint)


def _comic(light: Tensor, chroma: Tensor) -> Tensor:
    """Hard planes, lively colours, bold lines, dots of print in the shadows, and black below."""
    tone = _blur(light, 2.0)
    planes = _rgb(_levels(tone, 21, 8) * 1.05 + 2, chroma * 1.3)
    grid = _waves(light, (1, 1), 10, uneven=0) * _waves(light, (1, -1), 10, uneven=0)
    wide = 0.9 - 1.1 * ((54 - tone) / 40).clamp(0, 1)
    dots = torch.sigmoid((grid - wide) / 0.12) * _below(tone, 54, 2.0)
    strong = (_blur(chroma.square().sum(dim=1, keepdim=True), 2.0).sqrt() - 18).clamp(0, 30)
    black = _below(_blur(light, 1.6) + 0.9 * strong, 31, 1.0)  # but not dark blue cloth
    inked = _paper(light, 2.0, 1.2) * (1 - 0.8 * black)
    return planes * (1 - 0.3 * dots) * (0.05 + 0.95 * inked)


def _ink(light: Tensor, _chroma: Tensor) -> Tensor:
    """Pen and brush: black, lines, a grey wash that is hatched, and hatched twice where dark."""
    tone = _blur(light, 2.4)
    wash = 1 - 0.3 * ((78 - tone) / 40).clamp(0, 1)
    wash = wash * (0.65 + 0.35 * _strokes(tone, 78, 40, (1, 1)))
    wash = wash * (0.2 + 0.8 * _strokes(tone, 50, 30, (1, -1)))
    drawn = _paper(light, 1.9, 1.0, 2.2) * (1 - _below(_blur(light, 1.6), 24, 0.8)) * wash
    cream, black = _color(light, (0.985, 0.96, 0.91)), _color(light, (0.06, 0.06, 0.10))
    return black.lerp(cream, drawn)


def _pop(light: Tensor, _chroma: Tensor) -> Tensor:
    """Four flat colours by lightness."""
    smooth, image, darker = _blur(light, 2.6), _color(light, NIGHT), _color(light, NIGHT)
    for values, border in zip(POP, POP_BORDERS, strict=True):
        color = _color(light, values)
        image = image + (color - darker) * (1 - _below(smooth, border, 0.7))
        darker = color
    return _color(light, NIGHT).lerp(image, _paper(light, 1.8, 1.5))


def _pencil(light: Tensor, _chroma: Tensor) -> Tensor:
    """Graphite on paper: edges by dodging, shading in slanted strokes."""
    grey = _blur(light, 0.7) / 100 + 0.02
    dodged = (grey / _blur(grey, 7.0)).clamp(0, 1) ** 3.0
    shade = ((78 - _blur(light, 1.8)) / 78).clamp(0, 1)
    shade = shade * (0.81 + 0.19 * _waves(light, (2, 1), 6))
    value = dodged * (1 - 0.95 * shade) * (0.45 + 0.55 * _paper(light, 1.1, 1.1, 1.0))
    graphite, sheet = _color(light, (0.17, 0.17, 0.20)), _color(light, (0.985, 0.975, 0.955))
    return graphite.lerp(sheet, value.clamp(0, 1))


def _toon(light: Tensor, chroma: Tensor) -> Tensor:
    """Bright and flat, with plum lines and violet darks; skin in shade keeps its own hue."""
    soft, colors = _blur(light, 2.4), _blur(chroma, 2.5)
    bright = torch.minimum(soft + 15, soft * 0.7 + 32)
    tone = 0.85 * _levels(bright, 17, 9) + 0.15 * bright
    vivid = (colors.square().sum(dim=1, keepdim=True).sqrt() - 6).clamp(0, 10) / 10
    warm = (colors[:, 1:] - 4).clamp(0, 8) / 8
    skin = vivid * warm * ((80 - soft) / 30).clamp(0, 1)  # without the tint, brown is not rosy
    dark = ((50 - soft) / 30).clamp(0, 1)
    tint = _color(light, (13, -9)).lerp(_color(light, (26, -30)), dark)
    color = _rgb(tone.clamp(0, 98), colors * (1.36 - 0.3 * skin) + tint * (1 - skin))
    return _color(light, (0.38, 0.13, 0.25)).lerp(color, _paper(_blur(light, 1.2), 2.2, 2.0, 1.7))


def _plain(light: Tensor, chroma: Tensor) -> Tensor:
    """What is painted: the hand of students that learned drawings themselves."""
    return _rgb(light, chroma)


PLAIN = "plain"
# How far the light of a photo is evened out before: where lightness alone makes the drawing, all of
# it; where skin has its colour, half.
LIGHT = {"illustration": 0.5, "comic": 0.5, "ink": 1.0, "pop": 1.0, "pencil": 1.0, "toon": 0.5,
         PLAIN: 0.5}  # fmt: skip
# Hands whose painter sees the photo in half its size: larger planes, and no wrinkles.
COARSE = ("toon",)
# Hands of bold black lines, which between teeth look like gaps.
BOLD = ("comic", "ink")
HANDS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "illustration": _illustration,
    "comic": _comic,
    "ink": _ink,
    "pop": _pop,
    "pencil": _pencil,
    "toon": _toon,
    PLAIN: _plain,
}


def _blur(planes: Tensor, sigma: float) -> Tensor:
    """A Gaussian blur of planes [N, C, H, W]."""
    radius = max(1, round(3 * sigma))
    return gaussian_blur(functional.pad(planes, [radius] * 4, mode="replicate"), sigma, radius)


def _waves(like: Tensor, way: tuple[int, int], width: float, uneven: float = 1.0) -> Tensor:
    """Waves [1, 1, H, W] from -1 to 1 across a direction, `width` px long, uneven as by hand."""
    rows, columns = (torch.arange(n, device=like.device) % PERIOD for n in like.shape[2:])
    y, x = (n.to(like) * (2 * math.pi / PERIOD) for n in (rows[:, None], columns[None]))
    across, along = way[0] * x + way[1] * y, way[1] * x - way[0] * y
    count = round(PERIOD / width / math.hypot(*way))
    wobble = 0.7 * torch.sin(along) + 0.4 * torch.sin(2 * x + 3 * y)
    return torch.sin(count * across + uneven * wobble)[None, None]


def _strokes(tone: Tensor, border: float, span: float, way: tuple[int, int]) -> Tensor:
    """1 for paper, 0 for strokes: none above a border of lightness, all at `span` below it."""
    dark = ((border - tone) / span).clamp(0, 1)
    return torch.sigmoid((_waves(tone, way, 7) + 1.85 - 2.85 * dark) / 0.2)


def _levels(lightness: Tensor, step: float, hardness: float) -> Tensor:
    """Lightness in steps, with soft borders."""
    part = lightness / step
    whole = part.floor()
    edge = torch.tanh(hardness * (part - whole - 0.5))
    limit = float(torch.tanh(torch.tensor(hardness / 2)))
    return (whole + 0.5 + 0.5 * edge / limit) * step


def _below(values: Tensor, border: float, softness: float) -> Tensor:
    """1 where values are below a border, 0 above it."""
    return torch.sigmoid((border - values) / softness)


def _paper(lightness: Tensor, sigma: float, threshold: float, hardness: float = 1.6) -> Tensor:
    """1 for paper, 0 for lines, of lightness [N, 1, H, W] in 0..100."""
    difference = _blur(lightness, sigma) - _blur(lightness, WIDEN * sigma)
    return _blur(1 - _below(difference, -threshold, 0.5 / hardness), 0.6)


def _rgb(lightness: Tensor, chroma: Tensor) -> Tensor:
    """Colours [N, 3, H, W] in 0..1 of L* [N, 1, H, W] and a*, b* [N, 2, H, W]."""
    return (from_lab(torch.cat([lightness, chroma], dim=1)) + 1) / 2


def _color(like: Tensor, values: tuple[float, ...]) -> Tensor:
    return like.new_tensor(values).view(1, -1, 1, 1)
