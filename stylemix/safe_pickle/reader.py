"""Reading `.pkl`, `.pt` and `.pth` files without running anything, and writing plain `.pkl` files.

A pickle can make Python's own loader import and call whatever it likes. `load` only ever builds
plain data, arrays, tensors and inert records (see `stylemix.safe_pickle.builders`), and
refuses the rest.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np

from stylemix.errors import StylemixError
from stylemix.io.atomic import atomic_write
from stylemix.io.sniff import sniff
from stylemix.safe_pickle.builders import Namespace, PersistentObject
from stylemix.safe_pickle.limits import Context
from stylemix.safe_pickle.machine import PickleMachine
from stylemix.safe_pickle.torch_files import TABLE, read_torch_stream, read_torch_zip

__all__ = ["Namespace", "PersistentObject", "load", "loads", "write_pickle"]

MAX_FILE_BYTES = 8 * 2**30  # a 1024 px network with both optimisers is about 1 GB
_SPARE_BYTES = 2**24
_COPIES = 4  # a number may be copied from file to member to storage to array, but not endlessly


def load(path: str | os.PathLike[str]) -> object:
    """Return what a pickle or a file of `torch.save` describes, as plain data.

    Dicts (of any kind) become dicts, tensors torch tensors, numpy arrays numpy arrays, network
    modules `PersistentObject`. Raises StylemixError in one line for anything else, before any of it
    could run.
    """
    file = Path(path)
    kind = sniff(file)
    size = file.stat().st_size
    context = Context(str(path), _COPIES * size + _SPARE_BYTES)
    if size > MAX_FILE_BYTES:
        context.refuse(f"it is larger than {MAX_FILE_BYTES >> 30} GB")
    if kind == "torch-zip":
        with file.open("rb") as handle:
            return read_torch_zip(handle, context)
    if kind not in ("pickle", "torch-stream"):
        raise StylemixError(
            f"{path}: got a {kind} file; expected a pickle; give it where such a file is taken"
        )
    data = memoryview(file.read_bytes())
    if kind == "torch-stream":
        return read_torch_stream(data, context)
    return PickleMachine(data, context, TABLE).run()


def loads(data: bytes, name: str = "pickle") -> object:
    """Return what the bytes of a plain pickle describe; `name` is for messages."""
    context = Context(name, _COPIES * len(data) + _SPARE_BYTES)
    return PickleMachine(memoryview(data), context, TABLE).run()


def write_pickle(path: str | os.PathLike[str], data: object) -> None:
    """Write plain containers, numbers, text and numeric numpy arrays; any Python can load it.

    Raises StylemixError for anything else, so that our own files stay free of classes.
    """
    with atomic_write(path) as temporary, temporary.open("wb") as handle:
        pickle.dump(_plain(data, "data"), handle, protocol=4)


def _plain(value: object, where: str) -> object:
    """Return `value` with its containers copied; StylemixError where something is not plain."""
    if value is None or type(value) in (bool, int, float, str, bytes):
        return value
    if isinstance(value, (list, tuple)):
        items = [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, dict):
        if not all(type(key) is str for key in value):
            raise StylemixError(f"cannot write {where}: got a key that is no text; expected text")
        return {key: _plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    if type(value) is np.ndarray and value.dtype.kind in "biufc":
        return np.ascontiguousarray(value).reshape(value.shape)
    raise StylemixError(
        f"cannot write {where}: got a {type(value).__name__}; expected plain containers, numbers, "
        "text or a numeric array; convert it"
    )
