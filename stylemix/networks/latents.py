"""Latents z, w, W+ and style space: sampling, truncation, style mixing by layers.

Layers are numbered by the w that they read (StyleGAN2, arXiv 1912.04958): one at 4 px, two at each
higher resolution, and one more for the last torgb.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from stylemix.errors import StylemixError, check_range, check_seed, shown

if TYPE_CHECKING:  # the mapping network truncates with `truncate`
    from stylemix.networks.generator import Generator

MAX_COARSE_PX = 8  # coarse layers: pose and shape of the head
MAX_MIDDLE_PX = 32  # middle layers: facial features and hair; fine layers: colours and texture
MAX_PSI = 100.0
MIN_FINE_LAYERS = 2  # of any network, even below 64 px

Styles = dict[str, dict[str, Tensor]]  # style space: {"b8": {"conv0": [N, C], ...}, ...}

_RANGE_PX = re.compile(r"(\d{1,5})(?:px)?-(\d{1,5})px|(\d{1,5})px")
_RANGE = re.compile(r"(\d{1,3})(?:-(\d{1,3}))?")


def z_from_seed(seed: int, z_dim: int) -> Tensor:
    """Returns z [1, z_dim] in float64 for a seed, the same as in the public StyleGAN2 tools."""
    number = check_seed(seed)
    return torch.from_numpy(np.random.RandomState(number).randn(1, z_dim))


def check_psi(psi: float) -> None:
    """Raises StylemixError for a truncation psi that is no number, or makes no image any more."""
    check_range("--truncation", psi, -MAX_PSI, MAX_PSI, ", 0 to 1 for good images")


def map_latents(generator: Generator, z: Tensor, psi: float = 1.0) -> Tensor:
    """Maps z [N, z_dim] to ws [N, L, w_dim], truncated by `psi`.

    Raises StylemixError for a conditional generator that is not at a label (`labels.at_label`).
    """
    z = z.to(generator.device, generator.dtype)
    return generator.mapping(z, None, truncation_psi=psi)  # type: ignore[no-any-return]


def sample_ws(
    generator: Generator, count: int, seed: int | torch.Generator, psi: float = 1.0
) -> Tensor:
    """Samples ws [count, L, w_dim] from Gaussian z, truncated by `psi`.

    The same integer `seed` gives the same latents; a torch.Generator continues from its state. The
    latents of a conditional generator that is not at a label are of random classes.
    """
    rng = torch.Generator().manual_seed(seed) if isinstance(seed, int) else seed
    z = torch.randn([count, generator.z_dim], generator=rng)
    if not generator.needs_label:
        return map_latents(generator, z, psi)
    classes = torch.randint(generator.c_dim, [count], generator=rng)
    c = one_hot(classes, generator.c_dim).to(generator.device, generator.dtype)
    z = z.to(generator.device, generator.dtype)
    return generator.mapping(z, c, truncation_psi=psi)  # type: ignore[no-any-return]


def truncate(w: Tensor, w_avg: Tensor, psi: float, cutoff: int | None = None) -> Tensor:
    """Truncates w [..., L, w_dim]: w_avg + psi * (w - w_avg), for layers below `cutoff` or all.

    psi 1 returns w, 0 returns w_avg [w_dim].
    """
    if psi == 1:
        return w
    head = w_avg.to(w).lerp(w[..., :cutoff, :], psi)
    return head if cutoff is None else torch.cat([head, w[..., cutoff:, :]], dim=-2)


def mix(
    w_a: Tensor, w_b: Tensor, layers: Collection[int] | None = None, strength: float = 1.0
) -> Tensor:
    """Interpolates `layers` (None: all) of w_a [..., L, w_dim] towards w_b by `strength`.

    Strength 0 returns w_a, 1 takes the layers of w_b (style mixing), more extrapolates. Raises
    StylemixError for latents of different models.
    """
    if w_a.shape[-2:] != w_b.shape[-2:]:
        raise StylemixError(
            f"got latents of shapes {list(w_a.shape)} and {list(w_b.shape)}; expected the same "
            "layers and width; use latents of one model"
        )
    w_a, w_b = torch.broadcast_tensors(w_a, w_b.to(w_a))
    mixed = w_b if strength == 1 else w_a.lerp(w_b, strength)
    pairs = enumerate(zip(w_a.unbind(-2), mixed.unbind(-2), strict=True))
    rows = [b if layers is None or i in layers else a for i, (a, b) in pairs]
    return torch.stack(rows, dim=-2)


def nest_styles(flat: Mapping[str, Tensor]) -> Styles:
    """Converts styles by name, {"b8.conv0": ...}, to styles by block and layer."""
    nested: Styles = {}
    for name, value in flat.items():
        block, _, layer = name.partition(".")
        nested.setdefault(block, {})[layer] = value
    return nested


def flatten_styles(styles: Styles) -> dict[str, Tensor]:
    """Converts styles by block and layer to styles by name, the inverse of `nest_styles`."""
    return {
        f"{block}.{layer}": value
        for block, layers in styles.items()
        for layer, value in layers.items()
    }


def layer_resolutions(img_resolution: int) -> list[int]:
    """Returns the resolution in px of each w: [4, 8, 8, 16, 16, ..., img_resolution]."""
    if img_resolution < 4 or img_resolution & (img_resolution - 1):
        raise StylemixError(
            f"got resolution {img_resolution}; expected a power of two of 4 or more; choose one"
        )
    steps = int(math.log2(img_resolution))
    inner = [1 << step for step in range(3, steps + 1) for _ in range(2)]
    return [4, *inner, img_resolution]


def bands(img_resolution: int) -> dict[str, tuple[int, ...]]:
    """Returns the layers of "coarse" (to 8 px), "middle" (16 to 32 px) and "fine" (the rest).

    The last two layers are always fine, even in networks of 32 px or less.
    """
    pixels = layer_resolutions(img_resolution)
    first_fine = min(
        next((i for i, px in enumerate(pixels) if px > MAX_MIDDLE_PX), len(pixels)),
        len(pixels) - MIN_FINE_LAYERS,
    )
    first_middle = min(sum(px <= MAX_COARSE_PX for px in pixels), first_fine)
    return {
        "coarse": tuple(range(first_middle)),
        "middle": tuple(range(first_middle, first_fine)),
        "fine": tuple(range(first_fine, len(pixels))),
    }


def parse_layers(text: str, img_resolution: int) -> tuple[int, ...]:
    """Parses a list of layers of a generator of `img_resolution` px; returns their sorted numbers.

    Accepts "all", "coarse", "middle", "fine", pixels ("8px", "16-64px") and numbers ("0-3", "7"),
    separated by commas.
    """
    if not isinstance(text, str):
        raise StylemixError(
            f'got layers {shown(text)}; expected text, as in "fine", "16-64px" or "0-3,7"; '
            "change them"
        )
    layers: set[int] = set()
    for part in text.lower().replace(" ", "").split(","):
        layers.update(_parse_part(part, img_resolution))
    return tuple(sorted(layers))


def _parse_part(part: str, img_resolution: int) -> Sequence[int]:
    pixels = layer_resolutions(img_resolution)
    named = bands(img_resolution)
    if part == "all":
        return range(len(pixels))
    if part in named:
        return named[part]
    if match := _RANGE_PX.fullmatch(part):
        low, high = int(match[1] or match[3]), int(match[2] or match[3])
        layers = [i for i, px in enumerate(pixels) if low <= px <= high]
        if not layers:
            raise StylemixError(
                f"got layers {part!r}; expected pixels from 4 to {img_resolution}, in powers of "
                "two, the smaller one first; change --layers"
            )
        return layers
    if match := _RANGE.fullmatch(part):
        first, last = int(match[1]), int(match[2] or match[1])
        if first <= last < len(pixels):
            return range(first, last + 1)
        raise StylemixError(
            f"got layers {part!r}; expected numbers from 0 to {len(pixels) - 1} for a model of "
            f"{img_resolution} px, the smaller one first; change --layers"
        )
    raise StylemixError(
        f"got layers {part!a}; expected all, coarse, middle, fine, pixels such as 16-64px or "
        "numbers such as 0-3, separated by commas; change --layers"
    )
