"""Reading `.pkl`, `.pt` and `.pth` files without running code, and writing plain `.pkl` files.

A pickle can make Python's own loader import and call anything. `load` builds only plain data,
arrays, tensors and inert records (see `stylemix.safe_pickle.builders`), and refuses the rest.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

from stylemix.errors import StylemixError
from stylemix.io.atomic import atomic_write
from stylemix.io.files import StrPath, open_file, read_file
from stylemix.io.sniff import sniff
from stylemix.safe_pickle.limits import Context
from stylemix.safe_pickle.machine import PickleMachine
from stylemix.safe_pickle.torch_files import TABLE, read_torch_stream, read_torch_zip

MAX_FILE_BYTES = 8 * 2**30  # a 1024 px network with both optimisers is about 1 GB
_BASE_ALLOWANCE = 2**24  # bytes, for the containers of small files
_MAX_COPIES = 4  # of each byte: from the file to a member, a storage and an array


def load(path: StrPath) -> object:
    """Loads a pickle or a file of `torch.save` as plain data.

    Mappings are returned as dicts, tensors as torch tensors, arrays as numpy arrays, network
    modules as `PersistentObject` or `TensorFlowNetwork`. Raises StylemixError for anything else;
    no code is run.
    """
    file = Path(path)
    kind = sniff(file)
    size = file.stat().st_size
    context = Context(str(path), _MAX_COPIES * size + _BASE_ALLOWANCE)
    if size > MAX_FILE_BYTES:
        context.refuse(f"it is larger than {MAX_FILE_BYTES >> 30} GB")
    if kind == "torch-zip":
        with open_file(file) as handle:
            return read_torch_zip(handle, context)
    if kind not in ("pickle", "torch-stream"):
        raise StylemixError(
            f"{path}: got a {kind} file; expected a pickle; use a .pkl, .pt or .pth file"
        )
    data = memoryview(read_file(file, MAX_FILE_BYTES))
    if kind == "torch-stream":
        return read_torch_stream(data, context)
    return PickleMachine(data, context, TABLE).run()


def loads(data: bytes) -> object:
    """Loads a plain pickle from bytes."""
    context = Context("pickle", _MAX_COPIES * len(data) + _BASE_ALLOWANCE)
    return PickleMachine(memoryview(data), context, TABLE).run()


def write_pickle(path: StrPath, data: object) -> None:
    """Writes a pickle of plain containers, numbers, text and numeric numpy arrays.

    It loads without stylemix. Raises StylemixError for objects of other types.
    """
    with atomic_write(path) as temporary, temporary.open("wb") as handle:
        pickle.dump(_plain(data, "data"), handle, protocol=4)


def _plain(value: object, where: str) -> object:
    """Returns `value` with its containers copied; StylemixError for objects of other types."""
    if value is None or type(value) in (bool, int, float, str, bytes):
        return value
    if isinstance(value, (list, tuple)):
        items = [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, dict):
        if not all(type(key) is str for key in value):
            raise StylemixError(
                f"cannot write {where}: got a key that is not text; expected text keys; convert it"
            )
        return {key: _plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    if type(value) is np.ndarray and value.dtype.kind in "biufc":
        return np.ascontiguousarray(value).reshape(value.shape)
    raise StylemixError(
        f"cannot write {where}: got a {type(value).__name__}; expected plain containers, numbers, "
        "text or a numeric array; convert it"
    )
