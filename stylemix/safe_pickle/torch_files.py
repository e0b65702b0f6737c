"""Reading files of `torch.save` without running code: the zip format and the legacy stream format.

Both hold a pickle whose tensors refer to storages by key. The zip format has the storages as
members `NAME/data/KEY`; the stream format appends them after the pickle. Storages inside network
pickles (`torch.storage._load_from_bytes`) are nested files of the same formats.
"""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable
from typing import BinaryIO

import torch

from stylemix.io.files import damaged
from stylemix.io.sniff import (
    MAX_DIRECTORY_BYTES,
    ZIP_ERRORS,
    directory_bytes_of,
    is_torch_stream,
)
from stylemix.safe_pickle.builders import NAMES, Arguments, Storage, StorageType, storage_from_bytes
from stylemix.safe_pickle.limits import MAX_DEPTH, Context
from stylemix.safe_pickle.machine import PickleMachine, Trusted

ZIP_START = b"PK\x03\x04"
MAX_MEMBERS = 200_000
_STREAM_VERSION = 1001
_COUNT_BYTES = 8  # every storage of the stream format starts with its number of elements


def read_torch_zip(handle: BinaryIO, context: Context) -> object:
    """Reads a file of the zip format; tensors that shared memory when saved share it again."""
    try:
        if directory_bytes_of(handle) > MAX_DIRECTORY_BYTES:
            context.refuse("its members are far more than any model has")
        with zipfile.ZipFile(handle) as archive:
            return _read_archive(archive, context)
    except ZIP_ERRORS as error:
        raise damaged(context.name) from error


def _read_archive(archive: zipfile.ZipFile, context: Context) -> object:
    members = {info.filename: info for info in archive.infolist()}
    handle = archive.fp
    size = handle.seek(0, io.SEEK_END) if handle else 0
    stored = all(info.compress_type == zipfile.ZIP_STORED for info in members.values())
    if len(members) > MAX_MEMBERS or not stored:
        context.refuse("its members are compressed or too many, which torch never does")
    if sum(info.file_size for info in members.values()) > size:
        context.refuse("its members overlap")
    root = next((name[: -len("data.pkl")] for name in members if name.endswith("data.pkl")), None)
    if root is None:
        context.refuse("it is a zip archive without a pickle of tensors")
    if any(name.startswith(f"{root}code/") for name in members):
        context.refuse("it is a TorchScript program, not weights")
    order = archive.read(f"{root}byteorder").strip() if f"{root}byteorder" in members else b"little"
    load = _storage_loader(archive, root, order.decode("latin1") != sys.byteorder, context)
    content = memoryview(archive.read(f"{root}data.pkl"))
    return PickleMachine(content, context, TABLE, persistent=load).run()


def _storage_loader(
    archive: zipfile.ZipFile, root: str, swapped: bool, context: Context
) -> Callable[[object], Storage]:
    storages: dict[str, Storage] = {}

    def load(identity: object) -> Storage:
        kind, key, count, _ = _storage_identity(identity, context)
        if key not in storages:
            try:
                raw = archive.read(f"{root}data/{key}")
            except KeyError:
                context.refuse("a storage is missing")
            if len(raw) < count * kind.dtype.itemsize:
                context.refuse("a storage is shorter than declared")
            storages[key] = storage_from_bytes(raw, kind.dtype, swapped, context)
        if storages[key].elements.dtype != kind.dtype:
            return Storage(storages[key].elements.view(kind.dtype))
        return storages[key]

    return load


def _storage_identity(
    identity: object, context: Context
) -> tuple[StorageType, str, int, tuple[object, ...] | None]:
    """Returns (type, key, number of elements, view or None) of a reference to a storage."""
    if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
        context.refuse("it refers to something other than a storage")
    kind, key, count = identity[1], identity[2], identity[4]
    view = identity[5] if len(identity) == 6 else None
    known = isinstance(kind, StorageType) and isinstance(key, str) and type(count) is int
    if not known or not 0 <= count < 2**48 or not (view is None or isinstance(view, tuple)):
        context.refuse("it refers to a storage in an unknown format")
    return kind, key, count, view


def read_torch_stream(data: memoryview, context: Context) -> object:
    """Reads a file of the stream format."""
    magic = PickleMachine(data, context, {})
    magic.run()
    version, position = _next_pickle(data, context, magic.position)
    system, position = _next_pickle(data, context, position)
    if version != _STREAM_VERSION or not isinstance(system, dict):
        context.refuse("its version of torch's format is unknown")
    storages: dict[str, Storage] = {}
    main = PickleMachine(
        data, context, TABLE, position, lambda identity: _reserve(identity, storages, context)
    )
    result = main.run()
    keys, position = _next_pickle(data, context, main.position)
    texts = [key for key in keys if isinstance(key, str)] if isinstance(keys, list) else []
    if sorted(texts) != sorted(storages):
        context.refuse("its list of storages does not fit its pickle")
    swapped = bool(system.get("little_endian", True)) != (sys.byteorder == "little")
    for key in texts:
        position = _fill(storages[key].elements, data, position, swapped, context)
    return result


def _next_pickle(data: memoryview, context: Context, position: int) -> tuple[object, int]:
    machine = PickleMachine(data, context, {}, position)
    return machine.run(), machine.position


def _reserve(identity: object, storages: dict[str, Storage], context: Context) -> Storage:
    """Allocates the storage that a tensor refers to; its elements follow after the pickle."""
    kind, key, count, view = _storage_identity(identity, context)
    if key not in storages:
        context.spend(count * kind.dtype.itemsize)
        storages[key] = Storage(torch.zeros(count, dtype=kind.dtype))
    whole = storages[key].elements
    if whole.dtype != kind.dtype:
        context.refuse("it reads one storage as two dtypes")
    if view is None:
        return storages[key]
    if len(view) != 3 or any(type(n) is not int or n < 0 for n in view[1:]):
        context.refuse("it refers to a storage in an unknown format")
    start, length = int(str(view[1])), int(str(view[2]))
    if start + length > whole.numel():
        context.refuse("it describes a view that exceeds its storage")
    return Storage(whole[start : start + length])


def _fill(
    elements: torch.Tensor, data: memoryview, position: int, swapped: bool, context: Context
) -> int:
    """Fills `elements` from the storage at `position`; returns the position after it."""
    start = position + _COUNT_BYTES
    end = start + elements.numel() * elements.dtype.itemsize
    declared = int.from_bytes(data[position:start], "big" if swapped else "little")
    if end > len(data):
        raise damaged(context.name)
    if declared != elements.numel():
        context.refuse("a storage has another length than declared")
    elements.copy_(storage_from_bytes(data[start:end], elements.dtype, swapped, context).elements)
    return end


def _load_from_bytes(arguments: Arguments, context: Context) -> object:
    """Reads a storage that is nested in a pickle as a file of `torch.save`."""
    raw = arguments[0] if arguments else None
    if not isinstance(raw, (bytes, memoryview)):
        context.refuse("it describes a tensor without a storage")
    context.depth += 1
    if context.depth >= MAX_DEPTH:
        context.refuse("its pickles are nested too deeply")
    view = memoryview(raw)
    if bytes(view[:4]) == ZIP_START:
        context.spend(len(view))
        result = read_torch_zip(io.BytesIO(view), context)
    elif is_torch_stream(bytes(view[:32])):
        result = read_torch_stream(view, context)
    else:
        context.refuse("it holds a storage in an unknown format")
    context.depth -= 1
    if not isinstance(result, Storage):
        context.refuse("it describes a tensor without a storage")
    return result


TABLE: dict[tuple[str, str], Trusted] = {
    **NAMES,
    ("torch.storage", "_load_from_bytes"): Trusted("storage", _load_from_bytes),
}
