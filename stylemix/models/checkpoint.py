"""Model files: `.safetensors` and plain `.pkl` of our own, and foreign ones read safely.

Ours hold the JSON header of `stylemix.models.header` and tensors named "G." and "D." followed by
the names of the public StyleGAN2 files. Nothing in a file is ever run, whatever its kind.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.io.assets import ASSETS
from stylemix.io.atomic import atomic_write
from stylemix.io.sniff import sniff
from stylemix.models.foreign import foreign_model
from stylemix.models.header import (
    FORMAT,
    VERSION,
    Header,
    copy_json,
    header_of,
    parse_header,
    parse_json,
)
from stylemix.models.model import (
    Model,
    build_discriminator,
    build_generator,
    check_shapes,
    fingerprint,
)
from stylemix.networks.config import DiscriminatorConfig, GeneratorConfig
from stylemix.networks.discriminator import Discriminator
from stylemix.networks.generator import Generator
from stylemix.safe_pickle.reader import load, write_pickle

__all__ = [
    "Model",
    "fingerprint",
    "load_discriminator",
    "load_generator",
    "load_model",
    "save_model",
    "shipped_models",
]

AnyPath = str | os.PathLike[str]

_DTYPES = {"float16": torch.float16, "float32": torch.float32}
_WHAT = {
    "stylemix-style": "a style file; expected a model; pass it as --style, with its base as model",
    "stylemix-latent": "a latent file; expected a model; pass it as --source or --style",
}


def save_model(
    path: AnyPath, model: Model, dtype: Literal["float16", "float32"] = "float16"
) -> None:
    """Write a model to `.safetensors`, or to a `.pkl` that any Python can load without stylemix.

    Half precision halves the file and keeps the fingerprint. Raises StylemixError for another
    extension, or where a weight is too large for half precision or not a number.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (".safetensors", ".pkl"):
        raise StylemixError(
            f"got the model file name {path}; expected .safetensors or .pkl at its end; change it"
        )
    tensors = {f"G.{key}": value for key, value in model.generator.state_dict().items()}
    if model.discriminator is not None:
        tensors |= {f"D.{key}": value for key, value in model.discriminator.state_dict().items()}
    stored = {key: _stored(key, value, _DTYPES[dtype]) for key, value in tensors.items()}
    header = header_of(model)
    if suffix == ".pkl":
        arrays = {key: value.numpy() for key, value in stored.items()}
        content = {"format": FORMAT, "version": VERSION, "config": header, "tensors": arrays}
        write_pickle(path, content)
        return
    text = json.dumps(header, ensure_ascii=False, allow_nan=False)
    metadata = {"format": FORMAT, "version": str(VERSION), "config": text}
    with atomic_write(path) as temporary:
        save_file(stored, temporary, metadata)


def _stored(key: str, value: Tensor, dtype: torch.dtype) -> Tensor:
    # A fresh copy each: safetensors refuses tensors that share memory.
    copy = value.detach().to("cpu", dtype, copy=True, memory_format=torch.contiguous_format)
    if not bool(torch.isfinite(copy).all()):
        raise StylemixError(
            f"cannot save {key}: got values that are not finite as {str(dtype)[6:]}; expected "
            "numbers; save as float32, or use an earlier snapshot"
        )
    return copy


def load_model(path: AnyPath, device: str | torch.device = "cpu") -> Model:
    """Return the model of a file, or of a shipped name such as "faces-64".

    Reads our own files, NVIDIA PyTorch network pickles and rosinality checkpoints, judged by their
    content. The networks come in fp32, in eval mode and without gradients.
    """
    file = find_model(path)
    kind = sniff(file)
    if kind in ("npz", "npy"):
        raise StylemixError(f"{file}: got {_WHAT['stylemix-latent']}")
    model = _load_safetensors(file) if kind == "safetensors" else _load_pickle(file)
    model.generator.to(device)
    if model.discriminator is not None:
        model.discriminator.to(device)
    return model


def load_generator(path: AnyPath, device: str | torch.device = "cpu") -> Generator:
    """Return the generator of a model file or shipped model; see `load_model`."""
    return load_model(path, device).generator


def load_discriminator(path: AnyPath, device: str | torch.device = "cpu") -> Discriminator:
    """Return the discriminator of a model file or shipped model; StylemixError if it has none."""
    discriminator = load_model(path, device).discriminator
    if discriminator is None:
        raise StylemixError(
            f"{path}: got a model without a discriminator; expected one that kept it; "
            "convert or train it again without --no-discriminator"
        )
    return discriminator


def shipped_models() -> list[str]:
    """Return the names of the models that come with the package."""
    files = sorted(ASSETS.glob("*.safetensors"))
    return [file.stem for file in files if _metadata(file).get("format") == FORMAT]


def find_model(path: AnyPath) -> Path:
    """Return the file that a path or a shipped name stands for."""
    file = Path(path).expanduser()
    shipped = ASSETS / f"{path}.safetensors"
    if file.exists() or Path(path).suffix or file.name != str(path):
        return file
    if shipped.is_file() and _metadata(shipped).get("format") == FORMAT:
        return shipped
    names = ", ".join(shipped_models()) or "none"
    raise StylemixError(
        f"got the model {path}; expected a file or a shipped model ({names}); check the name"
    )


def _metadata(file: Path) -> dict[str, str]:
    try:
        with safe_open(file, framework="pt") as handle:
            return dict(handle.metadata() or {})
    except (SafetensorError, OSError):
        return {}


def _load_safetensors(file: Path) -> Model:
    try:
        with safe_open(file, framework="pt") as handle:
            metadata = handle.metadata() or {}
            _check_format(metadata.get("format"), metadata.get("version"), str(file))
            header = parse_header(parse_json(metadata.get("config"), str(file)), str(file))
            names = list(handle.keys())
            shapes = {name: tuple(handle.get_slice(name).get_shape()) for name in names}
            _check_sizes(header, shapes, str(file))
            return _model(header, {name: handle.get_tensor(name) for name in names}, str(file))
    except SafetensorError as error:
        raise StylemixError(
            f"{file}: got a truncated or damaged safetensors file ({str(error)[:80]}); "
            "expected a whole one; download or copy it again"
        ) from error


def _load_pickle(file: Path) -> Model:
    data = load(file)
    if not isinstance(data, dict) or not isinstance(data.get("format"), str):
        return foreign_model(data, str(file))
    version = data.get("version")
    _check_format(data["format"], str(version) if type(version) is int else None, str(file))
    header = parse_header(copy_json(data.get("config"), str(file)), str(file))
    arrays = data.get("tensors")
    if not isinstance(arrays, dict) or not all(map(_is_weights, arrays.values())):
        raise StylemixError(
            f"{file}: got a model without weights; expected arrays; get it again from its author"
        )
    _check_sizes(header, {name: a.shape for name, a in arrays.items()}, str(file))
    tensors = {name: torch.from_numpy(np.array(a, np.float32)) for name, a in arrays.items()}
    return _model(header, tensors, str(file))


def _is_weights(array: object) -> bool:
    return type(array) is np.ndarray and array.dtype.kind == "f"


def _check_format(found: str | None, version: str | None, name: str) -> None:
    if found in _WHAT:
        raise StylemixError(f"{name}: got {_WHAT[found]}")
    if found != FORMAT:
        raise StylemixError(
            f"{name}: got weights of another program; expected a stylemix model, an NVIDIA network "
            "pickle or a rosinality checkpoint; use one of these"
        )
    if version != str(VERSION):
        raise StylemixError(
            f"{name}: got version {(version or '?')[:20]!a} of the model format; "
            f"expected {VERSION}; upgrade stylemix"
        )


def _part(names: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[2:]: value for name, value in names.items() if name.startswith(prefix)}


def _check_sizes(header: Header, shapes: dict[str, tuple[int, ...]], name: str) -> None:
    """Compare all names and shapes with the header, before any network is made."""
    configs: dict[str, GeneratorConfig | DiscriminatorConfig] = {"G.": header.generator}
    if header.discriminator is not None:
        configs["D."] = header.discriminator
    odd = [key for key in shapes if key[:2] not in configs]
    if odd:
        raise StylemixError(
            f"{name}: got the unknown weights {odd[0][:60]!a}; expected names that start with "
            f"{' or '.join(configs)}; get the file again from its author"
        )
    for prefix, config in configs.items():
        part = {key[2:]: shape for key, shape in shapes.items() if key.startswith(prefix)}
        check_shapes(part, config, name)


def _model(header: Header, tensors: dict[str, Tensor], name: str) -> Model:
    generator = build_generator(header.generator, _part(tensors, "G."), name)
    discriminator = None
    if header.discriminator is not None:
        discriminator = build_discriminator(header.discriminator, _part(tensors, "D."), name)
    found = fingerprint(generator)
    if found != header.fingerprint:
        raise StylemixError(
            f"{name}: got weights with fingerprint {found}; expected {header.fingerprint[:40]} by "
            "its header; the file was changed: get it again from its author"
        )
    return Model(generator, discriminator, header.template, header.card, header.origin)
