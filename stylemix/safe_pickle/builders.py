"""The allowlist of globals in a pickle, and the builder that turns each into plain data.

`stylemix.safe_pickle.machine` refuses everything else. The arguments of a builder come from the
file, so it checks every type, length and offset before it allocates anything.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stylemix.safe_pickle.limits import Context
from stylemix.safe_pickle.machine import Buffer, Settable, Trusted

MAX_DIMENSIONS = 16
ITEM_BYTES = 64  # counted against the allowance for each copied entry of a container
Arguments = tuple[object, ...]

_BYTE_ORDERS: dict[str, Literal["<", ">", "="]] = {"<": "<", ">": ">", "=": "=", "|": "="}
_NUMBER = re.compile(r"b1|[iu][1248]|f[248]|c(?:8|16)")


@dataclass
class PersistentObject:
    """An object of an NVIDIA network pickle: its class name and attributes, without its code."""

    class_name: str
    state: dict[str, object]


class Namespace(Settable):
    """Attributes of an argparse.Namespace, as a dict."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}

    def set_state(self, state: object, context: Context) -> object:
        """Fills the dict."""
        if not isinstance(state, dict):
            context.refuse("it sets the state of an object to something other than attributes")
        self.values.update({str(name): value for name, value in state.items()})
        return self


class TensorFlowNetwork(Namespace):
    """The state of a network of a TensorFlow pickle: arguments, variables and components."""


@dataclass(frozen=True)
class StorageType:
    """A storage class of torch, reduced to its dtype."""

    dtype: torch.dtype


@dataclass
class Storage:
    """The storage of one or more tensors, as a tensor of one dimension."""

    elements: Tensor


def storage_from_bytes(raw: Buffer, dtype: torch.dtype, swapped: bool, context: Context) -> Storage:
    """Copies bytes into a storage; `swapped` if their byte order differs from this machine's."""
    context.spend(len(raw))
    if len(raw) % dtype.itemsize:
        context.refuse("a storage has a length that does not fit its dtype")
    if not len(raw):
        return Storage(torch.empty(0, dtype=dtype))
    width = dtype.itemsize // 2 if dtype.is_complex else dtype.itemsize
    copy = np.frombuffer(raw, f"i{min(width, 8)}").copy()
    return Storage(torch.from_numpy(copy.byteswap() if swapped else copy).view(dtype))


def _integers(value: object, context: Context) -> tuple[int, ...]:
    if not isinstance(value, (tuple, list)) or len(value) > MAX_DIMENSIONS:
        context.refuse("it describes a tensor with an invalid shape")
    if not all(type(item) is int and 0 <= item < 2**62 for item in value):
        context.refuse("it describes a tensor with an invalid shape")
    return tuple(value)


def _rebuild_tensor(arguments: Arguments, context: Context) -> Tensor:
    """Returns a view of a storage; refuses views that exceed it or repeat its elements."""
    if len(arguments) < 4 or not isinstance(arguments[0], Storage):
        context.refuse("it describes a tensor without a storage")
    elements = arguments[0].elements
    (offset,) = _integers((arguments[1],), context)
    size, stride = _integers(arguments[2], context), _integers(arguments[3], context)
    if len(size) != len(stride):
        context.refuse("it describes a tensor whose shape and strides differ in length")
    if 0 in size and max(size) < 2**31:
        return elements.new_empty(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if last >= elements.numel() or prod(size) > elements.numel():
        context.refuse("it describes a tensor that exceeds its storage")
    return elements.as_strided(size, stride, offset)


def _rebuild_parameter(arguments: Arguments, context: Context) -> object:
    if not arguments or not isinstance(arguments[0], Tensor):
        context.refuse("it describes a parameter without a tensor")
    return arguments[0]


def _torch_size(arguments: Arguments, context: Context) -> tuple[int, ...]:
    return _integers(arguments[0] if arguments else (), context)


class _NumericType(Settable):
    """A numeric numpy dtype."""

    def __init__(self, dtype: np.dtype[np.generic]) -> None:
        self.dtype = dtype

    def set_state(self, state: object, context: Context) -> object:
        """Returns the dtype with the byte order of the state."""
        if not isinstance(state, tuple) or len(state) < 5 or not isinstance(state[1], str):
            context.refuse("it describes an array in an unknown format")
        if state[1] not in _BYTE_ORDERS or state[2:5] != (None, None, None):
            context.refuse("it describes an array of compound values")
        return _NumericType(self.dtype.newbyteorder(_BYTE_ORDERS[state[1]]))


def _dtype(arguments: Arguments, context: Context) -> _NumericType:
    name = arguments[0] if arguments else None
    if name in ("O", "O8", "|O"):
        context.refuse("it holds an array of objects")
    if not isinstance(name, str) or not _NUMBER.fullmatch(name.lstrip("<>=|")):
        context.refuse("it holds an array that is not numeric")
    return _NumericType(np.dtype(name))


class _Array(Settable):
    """A numpy array whose state has not been set yet."""

    def set_state(self, state: object, context: Context) -> object:
        """Returns the array for (version, shape, dtype, Fortran order, bytes)."""
        if not isinstance(state, tuple) or len(state) != 5:
            context.refuse("it describes an array in an unknown format")
        return _array(state[4], state[2], state[1], "F" if state[3] else "C", context)


def _array(
    raw: object, kind: object, shape: object, order: Literal["C", "F"], context: Context
) -> NDArray[np.generic]:
    if not isinstance(kind, _NumericType) or not isinstance(raw, (bytes, memoryview)):
        context.refuse("it describes an array without numeric data")
    sizes = _integers(shape, context)
    context.spend(len(raw))
    if prod(sizes) * kind.dtype.itemsize != len(raw):
        context.refuse("it describes an array whose shape does not fit its bytes")
    values = np.frombuffer(raw, kind.dtype).astype(kind.dtype.newbyteorder("="))
    return values.reshape(sizes, order=order)


def _reconstruct_array(arguments: Arguments, context: Context) -> _Array:
    return _Array()


def _array_from_buffer(arguments: Arguments, context: Context) -> object:
    raw, kind, shape, order = arguments
    return _array(raw, kind, shape, "F" if order in ("F", b"F") else "C", context)


def _numpy_scalar(arguments: Arguments, context: Context) -> object:
    kind, raw = arguments
    value: object = _array(raw, kind, (1,), "C", context).tolist()[0]
    return value


def _mapping(arguments: Arguments, context: Context) -> dict[object, object]:
    pairs = arguments[0] if arguments else []
    if not isinstance(pairs, (list, tuple, dict)):
        context.refuse("it fills a dict from something other than pairs")
    context.spend(ITEM_BYTES * len(pairs))
    pairs = list(pairs.items()) if isinstance(pairs, dict) else pairs
    for pair in pairs:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not isinstance(pair[0], str):
            context.refuse("it fills a dict from something other than pairs")
    return {pair[0]: pair[1] for pair in pairs}


def _members(arguments: Arguments, context: Context) -> Sequence[str | int]:
    items = arguments[0] if arguments else []
    if not isinstance(items, (list, tuple)):
        context.refuse("it fills a set from something other than a list")
    context.spend(ITEM_BYTES * len(items))
    if not all(isinstance(item, str) or type(item) is bool for item in items):
        context.refuse("it fills a set with something other than text")
    return items


def _bytes(arguments: Arguments, context: Context) -> bytes:
    # An integer would allocate that many bytes; pickle itself encodes text as latin-1 only.
    content = arguments[0] if arguments else b""
    if isinstance(content, str) and all(
        isinstance(item, str) and item in ("latin1", "latin-1") for item in arguments[1:]
    ):
        content = content.encode("latin1")
    if not isinstance(content, (bytes, memoryview)):
        context.refuse("it makes bytes from something other than bytes")
    context.spend(len(content))
    return bytes(content)


def _complex(arguments: Arguments, context: Context) -> complex:
    real, imaginary = arguments
    if not isinstance(real, float) or not isinstance(imaginary, float):
        context.refuse("it describes a complex number in an unknown format")
    return complex(real, imaginary)


def _device(arguments: Arguments, context: Context) -> str:
    return ":".join(str(part) for part in arguments if isinstance(part, (str, int)))


def _persistent_object(arguments: Arguments, context: Context) -> PersistentObject:
    """Returns the class name and attributes; the source code in the file is ignored."""
    meta = arguments[0] if arguments else None
    name = meta.get("class_name") if isinstance(meta, dict) else None
    state = meta.get("state") if isinstance(meta, dict) else None
    if not isinstance(name, str) or not isinstance(state, dict):
        context.refuse("it describes a network module in an unknown format")
    return PersistentObject(name, {str(key): value for key, value in state.items()})


def _old_style(arguments: Arguments, context: Context) -> object:
    """Builds an object as protocols 0 and 1 do, from (class, base class, content of the base)."""
    kind = arguments[0] if arguments else None
    known = ("dict", "namespace", "network")
    if not isinstance(kind, Trusted) or kind.name not in known or not kind.build:
        context.refuse("it makes an object of an unknown class")
    content = arguments[2] if len(arguments) > 2 else None
    return kind.build((content,) if isinstance(content, dict) and content else (), context)


_STORAGES = {
    "Float": torch.float32,
    "Double": torch.float64,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Byte": torch.uint8,
    "Char": torch.int8,
    "Short": torch.int16,
    "Int": torch.int32,
    "Long": torch.int64,
    "Bool": torch.bool,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
}
_DTYPES = "float16 float32 float64 bfloat16 half float double int8 int16 int32 int64 uint8 bool"


def _builders() -> dict[tuple[str, str], Trusted]:
    mapping, raw = Trusted("dict", _mapping), Trusted("bytes", _bytes)
    tensor, parameter = Trusted("tensor", _rebuild_tensor), Trusted("parameter", _rebuild_parameter)
    builtins = {
        "dict": mapping,
        "set": Trusted("set", lambda arguments, context: set(_members(arguments, context))),
        "frozenset": Trusted("set", lambda items, context: frozenset(_members(items, context))),
        "bytearray": raw,
        "bytes": raw,
        "complex": Trusted("complex", _complex),
        "object": Trusted("object", value="object"),
    }
    arrays = {
        "multiarray._reconstruct": Trusted("array", _reconstruct_array),
        "multiarray.scalar": Trusted("number", _numpy_scalar),
        "numeric._frombuffer": Trusted("array", _array_from_buffer),
    }
    network = Trusted("network", lambda arguments, context: TensorFlowNetwork())
    names = {
        "collections.OrderedDict": mapping,
        "dnnlib.util.EasyDict": mapping,
        "dnnlib.EasyDict": mapping,
        "dnnlib.tflib.network.Network": network,
        "tfutil.Network": network,  # of progressive GANs, which are refused by name
        "argparse.Namespace": Trusted("namespace", lambda arguments, context: Namespace()),
        "_codecs.encode": raw,
        "copyreg._reconstructor": Trusted("object", _old_style),
        "copy_reg._reconstructor": Trusted("object", _old_style),
        "torch._utils._rebuild_tensor": tensor,
        "torch._utils._rebuild_tensor_v2": tensor,
        "torch._utils._rebuild_parameter": parameter,
        "torch._utils._rebuild_parameter_with_state": parameter,
        "torch.Size": Trusted("size", _torch_size),
        "torch.device": Trusted("device", _device),
        "torch_utils.persistence._reconstruct_persistent_obj": Trusted(
            "module", _persistent_object
        ),
        "numpy.dtype": Trusted("dtype", _dtype),
        "numpy.ndarray": Trusted("ndarray", value="ndarray"),
    }
    for home in ("builtins", "__builtin__"):  # the second is Python 2's spelling
        names |= {f"{home}.{name}": trusted for name, trusted in builtins.items()}
    for home in ("numpy.core", "numpy._core"):
        names |= {f"{home}.{name}": trusted for name, trusted in arrays.items()}
    return {(full.rpartition(".")[0], full.rpartition(".")[2]): t for full, t in names.items()}


def _values() -> dict[tuple[str, str], Trusted]:
    values = {("torch", n): Trusted(n, value=getattr(torch, n)) for n in _DTYPES.split()}
    for name, dtype in _STORAGES.items():
        kind = Trusted(f"{name}Storage", value=StorageType(dtype))
        values |= {(home, f"{name}Storage"): kind for home in ("torch", "torch.cuda")}
    untyped = Trusted("UntypedStorage", value=StorageType(torch.uint8))
    values |= {(home, "UntypedStorage"): untyped for home in ("torch", "torch.storage")}
    return values


NAMES: dict[tuple[str, str], Trusted] = _builders() | _values()
