"""The container of stylemix files: a format and its version, a JSON header, and tensors.

Models, styles, latents and encoders use it: safetensors with format and header as metadata, or a
pickle of plain containers and arrays. No code in a file is run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save, save_file
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.io.atomic import Json, as_utf8, atomic_write
from stylemix.io.files import StrPath, user_path
from stylemix.io.json_text import parse_json as parse_text
from stylemix.io.sniff import Kind, sniff
from stylemix.io.tensor_files import parse_tensors, read_header, read_tensors
from stylemix.safe_pickle.reader import load, write_pickle

MODEL, STYLE, LATENT, ENCODER = (
    f"stylemix-{noun}" for noun in ("model", "style", "latent", "encoder")
)


@dataclass(frozen=True)
class _Format:
    noun: str
    versions: tuple[str, ...]
    use: str  # the advice where another format is expected
    source: str  # the advice where this format is expected


_FORMATS = {
    MODEL: _Format(
        "a model",
        ("1",),
        "pass it as --model",
        "use one of stylemix, an NVIDIA network pickle or a rosinality checkpoint",
    ),
    STYLE: _Format(
        "a style", ("1", "2"), "pass it as --style, with its base as --model", "use stylemix adapt"
    ),
    LATENT: _Format(
        "a latent", ("1", "2"), "pass it as --source or --style", "use stylemix project"
    ),
    ENCODER: _Format(
        "an encoder",
        ("1",),
        "pass it as --encoder",
        "leave it out, or train one with docs/recipes/train_encoder.py",
    ),
}

MAX_JSON_BYTES = 10_000_000
MAX_JSON_NODES = 100_000
MAX_JSON_DEPTH = 32


@dataclass(frozen=True)
class Content:
    """The content of a file; header and tensors are read when they are accessed.

    Attributes:
        file: its path.
        kind: its type by content.
        format: MODEL, STYLE, LATENT or ENCODER, or another format named in a safetensors file.
        version: of the format, "" if the file has none.
        foreign: the content of a pickle of another program, else None.
    """

    file: Path
    kind: Kind
    format: str = ""
    version: str = ""
    foreign: object = None
    _header: object = None
    _arrays: object = None

    def expect(self, form: str) -> Content:
        """Returns the content itself; StylemixError for another format or an unknown version."""
        expected = _FORMATS[form]
        if self.format != form:
            actual = _FORMATS.get(LATENT if self.kind in ("npz", "npy") else self.format)
            got = f"{actual.noun} file" if actual else "a file of another program"
            raise StylemixError(
                f"{self.file}: got {got}; expected {expected.noun} file; "
                f"{actual.use if actual else expected.source}"
            )
        if self.version not in expected.versions:
            raise StylemixError(
                f"{self.file}: got version {self.version[:20]!a} of the {form[9:]} format; "
                f"expected {' or '.join(expected.versions)}; a newer version of stylemix wrote it: "
                "upgrade"
            )
        return self

    @property
    def header(self) -> object:
        """The header as JSON values; StylemixError if it is invalid or too large."""
        parse = parse_json if self.kind == "safetensors" else copy_json
        return parse(self._header, str(self.file))

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Tensors by name; StylemixError if a pickle has anything but arrays of floats or int16."""
        if self.kind == "safetensors":
            return read_tensors(self.file)[1]
        arrays = self._arrays if isinstance(self._arrays, dict) else {"tensors": self._arrays}
        for key, value in arrays.items():
            array = value if type(key) is str and type(value) is np.ndarray else None
            if array is None or (array.dtype.kind != "f" and array.dtype != np.int16):
                # The text of a key that is not str could be endless: it may refer to itself.
                part = key[:60] if type(key) is str else type(key).__name__
                raise StylemixError(
                    f"{self.file}: got a file without weights in the damaged part {part!a}; "
                    "expected floating-point arrays; get it again from its author"
                )
        return {key: torch.from_numpy(value) for key, value in arrays.items()}


def read(path: StrPath) -> Content:
    """Reads a file, whose type is detected by content and never by name.

    Raises StylemixError for files that are unsupported or damaged, and for pickles that run code.
    """
    file = Path(path)
    kind = sniff(file)
    if kind == "safetensors":
        metadata = read_header(file).metadata
        stated = metadata.get("format", ""), metadata.get("version", "")
        return Content(file, kind, *stated, None, metadata.get("config"))
    if kind in ("npz", "npy"):
        return Content(file, kind)
    data = load(file)
    form = data.get("format") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(form, str) or form not in _FORMATS:
        return Content(file, kind, foreign=data)
    number = data.get("version")
    text = str(number) if type(number) is int else ""
    return Content(file, kind, form, text, None, data.get("config"), data.get("tensors"))


def write(
    path: StrPath,
    form: str,
    version: int,
    header: Mapping[str, object],
    tensors: Mapping[str, Tensor],
) -> None:
    """Writes a `.pkl` that loads with NumPy alone, or safetensors for any other extension.

    Raises StylemixError for values that are not finite, before anything is written.
    """
    stored = {key: _stored(key, value) for key, value in tensors.items()}
    if user_path(path).suffix.lower() == ".pkl":
        arrays = {key: value.numpy() for key, value in stored.items()}
        data = {"format": form, "version": version, "config": header, "tensors": arrays}
        write_pickle(path, data)
        return
    write_safetensors(path, _metadata(form, version, header), stored)


def encode(
    form: str, version: int, header: Mapping[str, object], tensors: Mapping[str, Tensor]
) -> bytes:
    """The bytes that `write` would write into a safetensors file."""
    stored = {key: _stored(key, value) for key, value in tensors.items()}
    return save(stored, _metadata(form, version, header))


def decode(data: bytes, form: str, name: str) -> tuple[object, dict[str, Tensor]]:
    """The header and the tensors of bytes of `encode`; StylemixError for other bytes."""
    metadata, tensors = parse_tensors(data, name)
    stated = metadata.get("format", ""), metadata.get("version", "")
    content = Content(Path(name), "safetensors", *stated, None, metadata.get("config"))
    return content.expect(form).header, tensors


def _metadata(form: str, version: int, header: Mapping[str, object]) -> dict[str, str]:
    text = as_utf8(json.dumps(header, ensure_ascii=False)).decode("utf-8")
    return {"format": form, "version": str(version), "config": text}


def _stored(key: str, value: Tensor) -> Tensor:
    # A copy, since safetensors refuses tensors that share memory.
    copy = value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
    if not bool(torch.isfinite(copy).all()):
        raise StylemixError(
            f"cannot save {key}: got values of {key} that are not finite as {str(copy.dtype)[6:]}; "
            "expected finite values; save as float32 where possible, or use an earlier snapshot"
        )
    return copy


def write_safetensors(
    path: StrPath, metadata: dict[str, str], tensors: Mapping[str, Tensor]
) -> None:
    """Writes a safetensors file of any format, atomically."""
    with atomic_write(path) as temporary:
        save_file(dict(tensors), temporary, metadata)


def to_float(value: Tensor, key: str, name: str) -> Tensor:
    """Returns an fp32 copy; StylemixError unless all values are finite and floating point.

    Args:
        value: a tensor from a file.
        key: its name in the file, for messages.
        name: the file name, for messages.
    """
    if not value.is_floating_point():
        raise StylemixError(
            f"{name}: got {str(value.dtype)[6:]} values in the damaged part {key[:60]!a}; "
            "expected floating point; get the file again from its author"
        )
    copy = value.detach().to(torch.float32, copy=True, memory_format=torch.contiguous_format)
    if not bool(torch.isfinite(copy).all()):
        raise StylemixError(
            f"{name}: got NaN or infinite values in the damaged part {key[:60]!a}; expected "
            "finite values; the file is damaged or the run that wrote it failed: get or make it "
            "again"
        )
    return copy


def parse_json(text: object, name: str) -> object:
    """Parses a JSON text from a file; StylemixError if it is invalid."""
    try:
        if not isinstance(text, str) or len(text) > MAX_JSON_BYTES:
            raise ValueError("too long")
        value: object = parse_text(text)
        if _is_deeper(value, MAX_JSON_DEPTH):
            raise ValueError("nested too deeply")
    except ValueError as error:
        raise StylemixError(
            f"{name}: got a header that is not readable JSON; expected one written by stylemix; "
            "the file is damaged: get it again"
        ) from error
    return value


def _is_deeper(value: object, most: int) -> bool:
    """Whether JSON values are nested in more than `most` others."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(most + 1):
        parts = (item.values() if isinstance(item, dict) else item for item in level)
        level = [item for part in parts for item in part if isinstance(item, dict | list)]
        if not level:
            return False
    return True


def copy_json(value: object, name: str) -> Json:
    """Copies JSON values from a pickle; StylemixError for other types and above the limits.

    A pickle may refer to the same list many times, so a small file can hold a huge tree.
    """
    nodes = 0

    def refuse(what: str) -> StylemixError:
        return StylemixError(
            f"{name}: got {what} in the header; expected the values that stylemix writes; "
            "the file is damaged: get it again from its author"
        )

    def copy(item: object, depth: int) -> Json:
        nonlocal nodes
        nodes += 1
        if nodes > MAX_JSON_NODES or depth > MAX_JSON_DEPTH:
            raise refuse("too many values")
        if isinstance(item, (list, tuple)):
            return [copy(entry, depth + 1) for entry in item]
        if isinstance(item, dict):
            return {str(key): copy(entry, depth + 1) for key, entry in item.items()}
        if item is None or isinstance(item, (bool, int, float, str)):
            return item
        raise refuse(f"a {type(item).__name__}")

    return copy(value, 0)
