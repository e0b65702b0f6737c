"""Latent files: the w of a photo, its alignment, and the residual that w does not represent.

Files of other projectors are read as well.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from stylemix.devices import in_usual_modes
from stylemix.errors import StylemixError, shown
from stylemix.faces.templates import Template
from stylemix.images.html import card
from stylemix.images.tensors import to_pil
from stylemix.inversion.residual import Residual, read_detail
from stylemix.io.files import StrPath, user_path
from stylemix.io.npz import read_npy, read_npz
from stylemix.models.container import LATENT, decode, encode, read, to_float, write
from stylemix.models.header import finite, parse_template
from stylemix.models.model import Model, check_model

VERSION = 1
VERSION_WITH_RESIDUAL = 2
MAX_LAYERS = 64
NOT_RECORDED = "not recorded"  # a consent that nobody has told us
MAX_W_DIM = 8192


@dataclass(eq=False, repr=False)  # comparing tensors has no single answer
class Latent:
    """A latent code w [L, w_dim] with its model and the alignment of its photo.

    Attributes:
        base: fingerprint of the model; None for files of other programs.
        matrix: transform [3, 3] from photo px to crop px.
        template: face template of the model.
        metrics: errors of the reconstruction.
        detail: residual of the refinement, beyond w.
        photo: salted hash of the photo's aligned pixels and the settings, to skip finished photos.
        consent: how the person on its photo consented, which makes it biometric data; None for
            what is no photo of a person.
        label: label of the prior that it was projected or generated with, of a conditional model.
        model: the model that `image` renders with; not stored in the file.
    """

    w: Tensor
    base: str | None = None
    matrix: NDArray[np.float64] | None = None
    template: Template | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    detail: Residual | None = None
    photo: str | None = None
    label: tuple[float, ...] | None = None
    consent: str | None = None
    model: Model | None = None

    def __repr__(self) -> str:
        """Its size and its figures; the values are too many to be read."""
        known = {"base": self.base, "label": self.label, "metrics": self.metrics or None}
        rows = [f"{key}={value!r}" for key, value in known.items() if value is not None]
        return f"Latent({', '.join([f'w={list(self.w.shape)}', *rows])})"

    def save(self, path: StrPath) -> None:
        """Writes a latent file; see `save_latent`."""
        save_latent(path, self)

    @classmethod
    def load(cls, path: StrPath, model: Model | None = None) -> Latent:
        """Reads a latent file, ours or another program's; see `load_latent`."""
        return load_latent(path, model)

    def _repr_html_(self) -> str:
        """Its image and its figures, for notebooks."""
        rows = {"w": list(self.w.shape), "model": self.base, "label": self.label, **self.metrics}
        return card("latent", rows, [] if self.model is None else [self.image()])

    @in_usual_modes
    @torch.no_grad()
    def image(self, model: Model | None = None) -> Image.Image:
        """The image that a model generates from it, by default the model of its projection."""
        model = model or self.model
        if model is None:
            raise StylemixError(
                "got a latent without its model; expected a model to render it with; pass the "
                "model, as in latent.image(model)"
            )
        latent = _for_model(replace(self), model, "latent")
        synthesis, ws = model.generator.synthesis, latent.w[None].to(model.generator.device)
        if latent.detail is None:
            return to_pil(synthesis(ws, noise_mode="const"))
        return to_pil(latent.detail.draw(synthesis, ws))


def save_latent(path: StrPath, latent: Latent) -> None:
    """Writes a latent file (safetensors with a JSON header), atomically."""
    write(path, LATENT, *_contents(latent, str(path)))


def encode_latent(latent: Latent) -> bytes:
    """The bytes of a latent file."""
    return encode(LATENT, *_contents(latent, "a latent"))


def decode_latent(data: bytes, model: Model) -> Latent:
    """The latent of `encode_latent`, checked as `load_latent` does."""
    header, tensors = decode(data, LATENT, "a kept latent")
    file = Path("a kept latent")
    return _for_model(_parse_own(header, tensors, file), model, file)


def _contents(latent: Latent, path: str) -> tuple[int, dict[str, object], dict[str, Tensor]]:
    """The version, the header and the tensors of a latent file."""
    w = latent.w.to(torch.float32)
    if w.ndim != 2 or not bool(torch.isfinite(w).all()):
        raise StylemixError(
            f"cannot write {path}: got w of shape {list(w.shape)} or NaN values; expected "
            "[layers, w_dim] values; project the photo again"
        )
    tensors = {"w": w}
    if latent.matrix is not None:
        tensors["matrix"] = torch.from_numpy(np.array(latent.matrix, dtype=np.float64))
    if latent.detail is not None:
        tensors |= latent.detail.tensors()
    header: dict[str, object] = {
        "base": latent.base,
        "template": None if latent.template is None else latent.template.to_json(),
        "metrics": {key: float(value) for key, value in latent.metrics.items()},
    }
    if latent.photo is not None:
        header["photo"] = latent.photo
    if latent.consent is not None:
        header |= {"biometric": True, "consent": latent.consent}
    if latent.label is not None:  # older readers ignore it: w alone makes the image
        header["label"] = list(latent.label)
    # Older readers refuse this version, where they would silently ignore the residual.
    version = VERSION if latent.detail is None else VERSION_WITH_RESIDUAL
    return version, header, tensors


@torch.inference_mode(False)  # a latent of that mode could not be dragged
def load_latent(path: StrPath, model: Model | None = None) -> Latent:
    """Loads the latent of a file; with `model`, checks it and repeats a single w for all layers.

    Reads our own files, `.npz` (array "w") and `.npy` of the public projectors, and `.pt` or `.pkl`
    latents. StylemixError for a latent of another model, and for a file of none or of several.
    """
    file = user_path(path)
    content = read(file)
    if content.kind == "npz":
        latent = Latent(_to_w(_pick(dict(read_npz(file)), file), file))
    elif content.kind == "npy":
        latent = Latent(_to_w(read_npy(file), file))
    elif content.foreign is not None:
        latent = Latent(_to_w(_pick(content.foreign, file), file))
    else:
        latent = _parse_own(content.expect(LATENT).header, content.tensors, file)
    return latent if model is None else _for_model(latent, model, file)


def _parse_own(header: object, others: dict[str, Tensor], file: Path) -> Latent:
    config = header if isinstance(header, dict) else {}
    w, matrix = _to_w(others.pop("w", None), file), others.pop("matrix", None)
    base, template, metrics = (config.get(key) for key in ("base", "template", "metrics"))
    photo = config.get("photo")
    if not isinstance(base, str | None):
        raise StylemixError(
            f"{file}: got {shown(base)} as its model; expected a fingerprint; project the photo "
            "again"
        )
    if matrix is not None and (matrix.shape != (3, 3) or not bool(torch.isfinite(matrix).all())):
        raise StylemixError(
            f"{file}: got an alignment of shape {list(matrix.shape)}; expected a finite 3 by 3 "
            "matrix; project the photo again"
        )
    return Latent(
        w,
        base,
        None if matrix is None else matrix.double().numpy(),
        None if template is None else parse_template(template, str(file)),
        _to_metrics(metrics, file),
        read_detail(others, str(file)) if others else None,
        photo if isinstance(photo, str) else None,
        _to_label(config.get("label"), file),
        str(config.get("consent", NOT_RECORDED))[:500] if config.get("biometric") else None,
    )


def _to_metrics(metrics: object, file: Path) -> dict[str, float]:
    """Returns the metrics of a header, without values of other types than numbers."""
    items = metrics.items() if isinstance(metrics, dict) else ()
    numbers = {str(key): finite(v) for key, v in items if isinstance(v, int | float)}
    found = {key: number for key, number in numbers.items() if number is not None}
    if len(found) < len(numbers):
        raise StylemixError(
            f"{file}: got a metric that is not a finite number; expected those that stylemix "
            "writes; project the photo again"
        )
    return found


def _to_label(value: object, file: Path) -> tuple[float, ...] | None:
    """Returns the label of a header; None without one."""
    if value is None:
        return None
    items = value if isinstance(value, list) else [None]
    numbers = [number for x in items if (number := finite(x)) is not None]
    if len(numbers) < len(items):
        raise StylemixError(
            f"{file}: got the label {shown(value)}; expected a list of numbers; project the "
            "photo again"
        )
    return tuple(numbers)


def _pick(data: object, file: Path) -> object:
    """Returns the array of w values in a file of another program."""
    for _ in range(3):  # some projectors write {name of the photo: {"latent": ...}}
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


def _to_w(value: object, file: Path) -> Tensor:
    """Returns w [L, w_dim] in fp32 from [w_dim], [L, w_dim] or [1, L, w_dim]."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        with np.errstate(over="ignore"):  # infinite ones are refused below, in one line
            value = torch.from_numpy(value.astype(np.float32))
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    if not isinstance(value, Tensor) or not value.is_floating_point() or not 0 < value.ndim <= 3:
        raise StylemixError(
            f"{file}: got a {type(value).__name__} without w values; expected [layers, w_dim] "
            "values; use stylemix project"
        )
    if value.ndim == 3 and value.shape[0] != 1:
        raise StylemixError(
            f"{file}: got {value.shape[0]} latents; expected one; save each to its own file"
        )
    if not value.numel():
        raise StylemixError(f"{file}: got no w values; expected [layers, w_dim]; choose another")
    w = to_float(value, "w", str(file)).reshape(-1, value.shape[-1])
    if not 0 < w.shape[0] <= MAX_LAYERS or not 0 < w.shape[1] <= MAX_W_DIM:
        raise StylemixError(
            f"{file}: got w of shape {list(value.shape)}; expected [layers, w_dim]; choose another"
        )
    return w


def _for_model(latent: Latent, model: Model, file: Path | str) -> Latent:
    """A checked latent (see `fitting`) that is rendered with the model."""
    latent = fitting(latent, model, file)
    latent.model = model
    return latent


def fitting(latent: Latent, model: Model, name: Path | str = "latent") -> Latent:
    """The latent itself, or a copy with its single w repeated for every layer.

    Raises StylemixError for a latent of another model, and for other shapes and values.
    """
    check_model(model)
    layers, w_dim = model.generator.num_ws, model.generator.w_dim
    own = latent.model is not None and latent.model.generator.synthesis is model.generator.synthesis
    if latent.base is not None and not own and not model.reads(latent.base):
        raise StylemixError(
            f"{name}: got a latent of the model {latent.base[:40]}; expected the model "
            f"{model.fingerprint}; project the photo again with this model, or use the other model"
        )
    if not isinstance(latent.w, Tensor) or not bool(torch.isfinite(latent.w).all()):
        raise StylemixError(
            f"{name}: got a w that is no tensor or has NaN values; expected a tensor [{layers}, "
            f"{w_dim}]; project the photo again"
        )
    if tuple(latent.w.shape) == (1, w_dim):
        latent = replace(latent, w=latent.w.repeat(layers, 1))
    if tuple(latent.w.shape) != (layers, w_dim):
        raise StylemixError(
            f"{name}: got w of shape {list(latent.w.shape)}; expected [{layers}, {w_dim}] for a "
            f"model of {model.generator.config.size_text}; project the photo with this model"
        )
    if latent.label is not None and len(latent.label) != model.generator.c_dim:
        raise StylemixError(
            f"{name}: got a label of {len(latent.label)} values; expected {model.generator.c_dim} "
            "for this model; project the photo with this model"
        )
    if latent.detail is not None:
        latent.detail.check(model.generator, str(name))
    return latent
