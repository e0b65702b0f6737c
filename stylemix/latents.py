"""Latents: z from seeds, truncation, style mixing by layers, and latent files.

Layers are numbered as the synthesis network takes its w (StyleGAN2, arXiv 1912.04958): one at 4 px,
two at each resolution above, and one more for the colours of the last.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from stylemix.alignment import Template
from stylemix.errors import StylemixError
from stylemix.files import atomic_write
from stylemix.generator import Generator
from stylemix.model import Model
from stylemix.model_header import parse_json, parse_template
from stylemix.npz import read_npy, read_npz
from stylemix.safe_pickle import load
from stylemix.sniff import sniff

FORMAT = "stylemix-latent"
VERSION = "1"
COARSE_PX = 8  # up to here pose and shape of the head
MIDDLE_PX = 32  # up to here features and hair; above, colours and texture
FINE_LAYERS = 2  # small networks end below 64 px; their last layers are fine all the same
MAX_LAYERS = 64
MAX_W_DIM = 8192

_RANGE_PX = re.compile(r"(\d{1,5})(?:px)?-(\d{1,5})px|(\d{1,5})px")
_RANGE = re.compile(r"(\d{1,3})(?:-(\d{1,3}))?")


def z_from_seed(seed: int, z_dim: int) -> Tensor:
    """Return z [1, z_dim] in float64 for a seed, the same as the public tools draw for it."""
    if not 0 <= seed < 2**32:
        raise StylemixError(f"got seed {seed}; expected 0 to {2**32 - 1}; choose another")
    return torch.from_numpy(np.random.RandomState(seed).randn(1, z_dim))


def map_latents(generator: Generator, z: Tensor, psi: float = 1.0) -> Tensor:
    """Return ws [N, L, w_dim] of z [N, z_dim], truncated by `psi`.

    A conditional generator gets no class: what is common to all of them.
    """
    z = z.to(generator.mapping.w_avg)
    c = torch.zeros([len(z), generator.c_dim], device=z.device) if generator.c_dim else None
    return generator.mapping(z, c, truncation_psi=psi)  # type: ignore[no-any-return]


def truncate(w: Tensor, w_avg: Tensor, psi: float, cutoff: int | None = None) -> Tensor:
    """Return w [..., L, w_dim] moved towards w_avg [w_dim], to psi of the distance.

    psi 1 leaves w, 0 gives the average face; only layers below `cutoff` move (None: all).
    """
    if psi == 1:
        return w
    head = w_avg.to(w).lerp(w[..., :cutoff, :], psi)
    return head if cutoff is None else torch.cat([head, w[..., cutoff:, :]], dim=-2)


def mix(
    w_a: Tensor, w_b: Tensor, layers: Sequence[int] | None = None, strength: float = 1.0
) -> Tensor:
    """Return w_a [..., L, w_dim] with `layers` (None: all) moved towards w_b by `strength`.

    Strength 0 leaves w_a, 1 takes the layers of w_b, more goes beyond them.
    """
    if w_a.shape[-2:] != w_b.shape[-2:]:
        raise StylemixError(
            f"got latents of shapes {list(w_a.shape)} and {list(w_b.shape)}; expected the same "
            "layers and width; use latents of one model"
        )
    own, other = torch.broadcast_tensors(w_a, w_b.to(w_a))
    chosen = list(range(w_a.shape[-2])) if layers is None else list(layers)
    mixed: Tensor = own.clone()
    mixed[..., chosen, :] = own[..., chosen, :].lerp(other[..., chosen, :], strength)
    return mixed


def layer_resolutions(img_resolution: int) -> list[int]:
    """Return the resolution in px of every w: [4, 8, 8, 16, 16, ..., img_resolution]."""
    if img_resolution < 4 or img_resolution & (img_resolution - 1):
        raise StylemixError(
            f"got resolution {img_resolution}; expected a power of two from 4 on; choose one"
        )
    steps = int(math.log2(img_resolution))
    inner = [1 << step for step in range(3, steps + 1) for _ in range(2)]
    return [4, *inner, img_resolution]


def bands(img_resolution: int) -> dict[str, tuple[int, ...]]:
    """Return the layers of "coarse" (to 8 px), "middle" (16 to 32 px) and "fine" (the rest).

    The last two layers are always fine, also in networks that end at 32 px or below.
    """
    pixels = layer_resolutions(img_resolution)
    first_fine = min(
        next((i for i, px in enumerate(pixels) if px > MIDDLE_PX), len(pixels)),
        len(pixels) - FINE_LAYERS,
    )
    first_middle = min(sum(px <= COARSE_PX for px in pixels), first_fine)
    return {
        "coarse": tuple(range(first_middle)),
        "middle": tuple(range(first_middle, first_fine)),
        "fine": tuple(range(first_fine, len(pixels))),
    }


def parse_layers(text: str, img_resolution: int) -> tuple[int, ...]:
    """Return the sorted layers that a text names, for a generator of `img_resolution` px.

    Takes "all", "coarse", "middle", "fine", pixels ("8px", "16-64px") and numbers ("0-3", "7"),
    combined with commas.
    """
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
    if found := _RANGE_PX.fullmatch(part):
        low, high = int(found[1] or found[3]), int(found[2] or found[3])
        chosen = [i for i, px in enumerate(pixels) if low <= px <= high]
        if not chosen:
            raise StylemixError(
                f"got layers {part!r}; expected pixels from 4 to {img_resolution}, in powers of "
                "two, the smaller one first; change --layers"
            )
        return chosen
    if found := _RANGE.fullmatch(part):
        first, last = int(found[1]), int(found[2] or found[1])
        if first <= last < len(pixels):
            return range(first, last + 1)
        raise StylemixError(
            f"got layers {part!r}; expected numbers from 0 to {len(pixels) - 1} for a model of "
            f"{img_resolution} px, the smaller one first; change --layers"
        )
    raise StylemixError(
        f"got layers {part!a}; expected all, coarse, middle, fine, pixels such as 16-64px or "
        "numbers such as 0-3, with commas between; change --layers"
    )


@dataclass
class Latent:
    """A w code [L, w_dim] with the model that it belongs to and how its photo was aligned.

    `base` is the model's fingerprint, None for files of other programs; `matrix` maps photo px to
    crop px [3, 3].
    """

    w: Tensor
    base: str | None = None
    matrix: NDArray[np.float64] | None = None
    template: Template | None = None
    metrics: dict[str, float] = field(default_factory=dict)


def save_latent(path: str | os.PathLike[str], latent: Latent) -> None:
    """Write a latent file (safetensors with a JSON header), atomically."""
    w = latent.w.detach().to("cpu", torch.float32).contiguous().clone()
    if w.ndim != 2 or not bool(torch.isfinite(w).all()):
        raise StylemixError(
            f"cannot write {path}: got w of shape {list(w.shape)} or NaN values; expected "
            "[layers, w_dim] numbers; project the photo again"
        )
    tensors = {"w": w}
    if latent.matrix is not None:
        tensors["matrix"] = torch.from_numpy(np.array(latent.matrix, dtype=np.float64))
    config = {
        "base": latent.base,
        "template": None if latent.template is None else latent.template.to_json(),
        "metrics": {key: float(value) for key, value in latent.metrics.items()},
    }
    metadata = {"format": FORMAT, "version": VERSION, "config": json.dumps(config)}
    with atomic_write(path) as temporary:
        save_file(tensors, temporary, metadata)


def load_latent(path: str | os.PathLike[str], model: Model | None = None) -> Latent:
    """Return the latent of a file; with `model`, checked against and brought to its layers.

    Reads our own files, `.npz` (array "w") and `.npy` of the public projectors, and `.pt` or `.pkl`
    latents. StylemixError when it belongs to another model, or holds none or several.
    """
    file = Path(path).expanduser()
    kind = sniff(file)
    if kind == "safetensors":
        latent = _load_own(file)
    elif kind == "npz":
        latent = Latent(_code(_pick(dict(read_npz(file)), file), file))
    elif kind == "npy":
        latent = Latent(_code(read_npy(file), file))
    else:
        latent = Latent(_code(_pick(load(file), file), file))
    return latent if model is None else _for_model(latent, model, file)


def _load_own(file: Path) -> Latent:
    try:
        with safe_open(file, framework="pt") as handle:
            metadata = handle.metadata() or {}
            _check_format(metadata, file)
            config = parse_json(metadata.get("config"), str(file))
            names = set(handle.keys())
            w = _code(handle.get_tensor("w") if "w" in names else None, file)
            matrix = handle.get_tensor("matrix").numpy() if "matrix" in names else None
    except SafetensorError as error:
        raise StylemixError(
            f"{file}: got a truncated or damaged latent file; expected a whole one; copy it again"
        ) from error
    if not isinstance(config, dict):
        config = {}
    base, template, metrics = (config.get(key) for key in ("base", "template", "metrics"))
    if matrix is not None and (matrix.shape != (3, 3) or not np.isfinite(matrix).all()):
        raise StylemixError(
            f"{file}: got an alignment of shape {list(matrix.shape)}; expected a finite 3 by 3 "
            "matrix; project the photo again"
        )
    return Latent(
        w,
        base if isinstance(base, str) else None,
        None if matrix is None else matrix.astype(np.float64),
        None if template is None else parse_template(template, str(file)),
        {
            str(key): float(value)
            for key, value in (metrics if isinstance(metrics, dict) else {}).items()
            if isinstance(value, (int, float))
        },
    )


def _check_format(metadata: dict[str, str], file: Path) -> None:
    found = metadata.get("format")
    if found != FORMAT:
        what = {"stylemix-model": "a model file", "stylemix-style": "a style file"}
        raise StylemixError(
            f"{file}: got {what.get(str(found), 'weights of another program')}; expected a latent "
            "file; make one with stylemix project"
        )
    if metadata.get("version") != VERSION:
        raise StylemixError(
            f"{file}: got a newer version of the latent format; expected {VERSION}; "
            "upgrade stylemix"
        )


def _pick(data: object, file: Path) -> object:
    """Return the one array of w values in what other programs save."""
    for _ in range(3):  # projectors write {name of the photo: {"latent": ...}}
        if not isinstance(data, dict):
            break
        known = [key for key in ("w", "latent", "latents", "projected_w") if key in data]
        if not known and len(data) != 1:
            keys = ", ".join(ascii(str(key)[:20]) for key in list(data)[:5]) or "nothing"
            raise StylemixError(
                f"{file}: got a file that holds {keys}; expected one latent named w or latent; "
                "use stylemix project"
            )
        data = data[known[0]] if known else next(iter(data.values()))
    return data


def _code(value: object, file: Path) -> Tensor:
    """Return w [L, w_dim] in fp32 from [w_dim], [L, w_dim] or [1, L, w_dim]."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        value = torch.from_numpy(value.astype(np.float32))
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    if not isinstance(value, Tensor) or not value.is_floating_point() or not 0 < value.ndim <= 3:
        raise StylemixError(
            f"{file}: got a {type(value).__name__} without w values; expected [layers, w_dim] "
            "numbers; use stylemix project"
        )
    if value.ndim == 3 and value.shape[0] != 1:
        raise StylemixError(
            f"{file}: got {value.shape[0]} latents; expected one; save them to a file each"
        )
    w = value.detach().float().reshape(-1, value.shape[-1]).clone()
    if not 0 < w.shape[0] <= MAX_LAYERS or not 0 < w.shape[1] <= MAX_W_DIM:
        raise StylemixError(
            f"{file}: got w of shape {list(value.shape)}; expected [layers, w_dim]; choose another"
        )
    if not bool(torch.isfinite(w).all()):
        raise StylemixError(
            f"{file}: got NaN or infinite values in w; expected numbers; project the photo again"
        )
    return w


def _for_model(latent: Latent, model: Model, file: Path) -> Latent:
    """Check that a latent belongs to a model, and repeat a single w for every layer."""
    if latent.base is not None and latent.base != model.fingerprint:
        raise StylemixError(
            f"{file}: got a latent of the model {latent.base[:40]}; expected one of the model "
            f"{model.fingerprint}; project the photo again with this model, or use that one"
        )
    layers, w_dim = model.generator.num_ws, model.generator.w_dim
    if latent.w.shape[0] == 1:
        latent.w = latent.w.repeat(layers, 1)
    if tuple(latent.w.shape) != (layers, w_dim):
        raise StylemixError(
            f"{file}: got w of shape {list(latent.w.shape)}; expected [{layers}, {w_dim}] for a "
            f"model of {model.generator.config.size_text}; project the photo with this model"
        )
    return latent
