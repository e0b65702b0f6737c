"""Reading safetensors files: the header is checked whole before a tensor is read.

The safetensors library maps files into memory, so that one that shrinks meanwhile kills the
process; here each tensor is read, and a short read is an error like others. It writes our files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from math import prod
from typing import BinaryIO

import torch
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.io.files import StrPath, open_file
from stylemix.io.json_text import parse_json

MAX_HEADER_BYTES = 4 * 2**20  # of JSON; a state of a training at 1024 px has 150 kB
MAX_DIMENSIONS = 16
METADATA = "__metadata__"
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


class Damaged(StylemixError):
    """A truncated or damaged file."""


@dataclass(frozen=True)
class Entry:
    """Where a tensor is in a file: its type and shape, and the bytes from `start` to `end`."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Header:
    """The metadata of a file, and its tensors by name in the order of the header."""

    metadata: dict[str, str]
    entries: dict[str, Entry]


def read_header(path: StrPath) -> Header:
    """Reads the header of a safetensors file; Damaged for one that does not describe the file."""
    with _told(path), open_file(path) as stream:
        return _header(stream)


def read_tensors(path: StrPath) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Reads metadata and tensors of a safetensors file; Damaged if it is damaged."""
    with _told(path), open_file(path) as stream:
        header = _header(stream)
        tensors = {name: _tensor(stream, entry) for name, entry in header.entries.items()}
    return header.metadata, tensors


def parse_tensors(data: bytes, name: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Reads metadata and tensors from the bytes of a file; `name` is for messages."""
    with _told(name), BytesIO(data) as stream:
        header = _header(stream)
        tensors = {key: _tensor(stream, entry) for key, entry in header.entries.items()}
    return header.metadata, tensors


@contextmanager
def _told(path: StrPath) -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise Damaged(
            f"{path}: got a truncated or damaged safetensors file ({str(reason)[:80]}); "
            "expected a complete one; download or copy it again"
        ) from error


def _header(stream: BinaryIO) -> Header:
    """Parses the header; raises ValueError for all that the format does not allow."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    length = int.from_bytes(stream.read(8), "little")
    if size < 8 or length > MAX_HEADER_BYTES or length > size - 8:
        raise ValueError("its header is too long")
    table = parse_json(stream.read(length), _unique)
    if not isinstance(table, dict):
        raise ValueError("its header is no table")
    metadata = table.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("its metadata is not text")
    begin, entries = 8 + length, dict[str, Entry]()
    for name, about in table.items():
        entries[name] = _entry(name, about, begin, size)
    position = begin
    for entry in sorted(entries.values(), key=lambda entry: (entry.start, entry.end)):
        if entry.start != position:
            raise ValueError("its tensors overlap or leave gaps")
        position = entry.end
    if position != size:
        raise ValueError("it is longer or shorter than its tensors")
    return Header(metadata, entries)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a name occurs twice")
    return table


def _entry(name: str, about: object, begin: int, size: int) -> Entry:
    if not isinstance(about, dict) or about.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name[:40]!a} is not described")
    dtype, shape, offsets = (about[key] for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"{name[:40]!a} has values of the type {str(dtype)[:20]!a}")
    if not _are_sizes(shape, size) or len(shape) > MAX_DIMENSIONS:
        raise ValueError(f"{name[:40]!a} has no usable shape")
    if not _are_sizes(offsets, size) or len(offsets) != 2:
        raise ValueError(f"{name[:40]!a} has no place")
    kind = DTYPES[dtype]
    if offsets[1] - offsets[0] != prod(shape) * kind.itemsize:
        raise ValueError(f"{name[:40]!a} has another size than its shape")
    return Entry(kind, tuple(shape), begin + offsets[0], begin + offsets[1])


def _are_sizes(values: object, most: int) -> bool:
    """Whether these are a list of whole numbers that fit into a file of so many bytes."""
    return isinstance(values, list) and all(type(n) is int and 0 <= n <= most for n in values)


def _tensor(stream: BinaryIO, entry: Entry) -> Tensor:
    data = bytearray(entry.end - entry.start)
    stream.seek(entry.start)
    if stream.readinto(data) != len(data):  # type: ignore[attr-defined]
        raise ValueError("it became shorter while it was read")
    if not data:
        return torch.zeros(entry.shape, dtype=entry.dtype)
    return torch.frombuffer(data, dtype=entry.dtype).reshape(entry.shape)
