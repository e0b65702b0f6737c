"""Files of `torch.save`, read without running anything: the zip form and the older stream form.

Both hold a pickle whose tensors refer to blocks of numbers by key. The zip form keeps the blocks as
members `NAME/data/KEY`; the stream form appends them after the pickle. Storages inside network
pickles (`torch.storage._load_from_bytes`) are such files again, and come back here.
"""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable
from typing import BinaryIO

import torch

from stylemix.io.sniff import ZIP_ERRORS, is_torch_stream
from stylemix.safe_pickle.builders import NAMES, Arguments, Storage, StorageType, storage_from_bytes
from stylemix.safe_pickle.limits import MAX_DEPTH, Context, damaged
from stylemix.safe_pickle.machine import PickleMachine, Trusted

ZIP_START = b"PK\x03\x04"
MAX_MEMBERS = 200_000
_STREAM_VERSION = 1001
_COUNT_BYTES = 8  # every block of the stream form starts with its number of elements


def read_torch_zip(handle: BinaryIO, context: Context) -> object:
    """Return the content of a zip-form file; tensors share memory where they did when saved."""
    try:
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
        context.refuse("it is a zip without a pickle of tensors")
    if any(name.startswith(f"{root}code/") for name in members):
        context.refuse("it is a TorchScript program, not weights")
    order = archive.read(f"{root}byteorder").strip() if f"{root}byteorder" in members else b"little"
    find = _zip_storages(archive, root, order.decode("latin1") != sys.byteorder, context)
    content = memoryview(archive.read(f"{root}data.pkl"))
    return PickleMachine(content, context, TABLE, persistent=find).run()


def _zip_storages(
    archive: zipfile.ZipFile, root: str, swapped: bool, context: Context
) -> Callable[[object], Storage]:
    found: dict[str, Storage] = {}

    def find(identity: object) -> Storage:
        kind, key, count, _ = _storage_identity(identity, context)
        if key not in found:
            try:
                raw = archive.read(f"{root}data/{key}")
            except KeyError:
                context.refuse("a block of its numbers is missing")
            if len(raw) < count * kind.dtype.itemsize:
                context.refuse("a block of its numbers is shorter than declared")
            found[key] = storage_from_bytes(raw, kind.dtype, swapped, context)
        if found[key].numbers.dtype != kind.dtype:
            return Storage(found[key].numbers.view(kind.dtype))
        return found[key]

    return find


def _storage_identity(
    identity: object, context: Context
) -> tuple[StorageType, str, int, tuple[object, ...] | None]:
    """Return (type, key, number of elements, view or None) of a reference to a block."""
    if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
        context.refuse("it refers to something else than numbers")
    kind, key, count = identity[1], identity[2], identity[4]
    view = identity[5] if len(identity) == 6 else None
    known = isinstance(kind, StorageType) and isinstance(key, str) and type(count) is int
    if not known or not 0 <= count < 2**48 or not (view is None or isinstance(view, tuple)):
        context.refuse("it refers to numbers in an unknown form")
    return kind, key, count, view


def read_torch_stream(data: memoryview, context: Context) -> object:
    """Return the content of a stream-form file."""
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
        context.refuse("its list of blocks does not fit its pickle")
    swapped = bool(system.get("little_endian", True)) != (sys.byteorder == "little")
    for key in texts:
        position = _fill(storages[key].numbers, data, position, swapped, context)
    return result


def _next_pickle(data: memoryview, context: Context, position: int) -> tuple[object, int]:
    machine = PickleMachine(data, context, {}, position)
    return machine.run(), machine.position


def _reserve(identity: object, storages: dict[str, Storage], context: Context) -> Storage:
    """Make the block that a tensor refers to; its numbers come later, after the pickle."""
    kind, key, count, view = _storage_identity(identity, context)
    if key not in storages:
        context.spend(count * kind.dtype.itemsize)
        storages[key] = Storage(torch.zeros(count, dtype=kind.dtype))
    whole = storages[key].numbers
    if whole.dtype != kind.dtype:
        context.refuse("it reads one block of numbers as two types")
    if view is None:
        return storages[key]
    if len(view) != 3 or any(type(n) is not int or n < 0 for n in view[1:]):
        context.refuse("it refers to numbers in an unknown form")
    start, length = int(str(view[1])), int(str(view[2]))
    if start + length > whole.numel():
        context.refuse("it describes a part that reaches outside of its numbers")
    return Storage(whole[start : start + length])


def _fill(
    numbers: torch.Tensor, data: memoryview, position: int, swapped: bool, context: Context
) -> int:
    """Copy one block that starts at `position` into place; return the position after it."""
    start = position + _COUNT_BYTES
    end = start + numbers.numel() * numbers.dtype.itemsize
    declared = int.from_bytes(data[position:start], "big" if swapped else "little")
    if end > len(data):
        raise damaged(context.name)
    if declared != numbers.numel():
        context.refuse("a block of its numbers has another length than declared")
    numbers.copy_(storage_from_bytes(data[start:end], numbers.dtype, swapped, context).numbers)
    return end


def _load_from_bytes(arguments: Arguments, context: Context) -> object:
    """Read a storage that was saved as a file of its own inside a pickle."""
    raw = arguments[0] if arguments else None
    if not isinstance(raw, (bytes, memoryview)):
        context.refuse("it describes a tensor without its numbers")
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
        context.refuse("it holds numbers in an unknown form")
    context.depth -= 1
    if not isinstance(result, Storage):
        context.refuse("it describes a tensor without its numbers")
    return result


TABLE: dict[tuple[str, str], Trusted] = {
    **NAMES,
    ("torch.storage", "_load_from_bytes"): Trusted("storage", _load_from_bytes),
}
