"""Dispatch between the plain PyTorch and the compiled ("native") implementation of an op.

Native ops are C++ and CUDA behind torch.library. Their schemas, fake kernels and derivatives are
registered in Python when an op's module is imported; the kernels come from a library that
`stylemix.ops.jit` compiles at the first call that can use it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad

from stylemix.ops import jit

Op = TypeVar("Op", bound=Callable[..., Tensor])

BACKENDS = ("native", "torch")
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)

_native: dict[str, Callable[..., Tensor]] = {}
_forced: str | None = None
_ready: dict[str, bool] = {}  # device types, and whether their library is loaded


def register(op: str, function: Callable[..., Tensor]) -> None:
    """Registers the native implementation of `op`, with the arguments of the plain one."""
    _native[op] = function


def backends(op: str, kind: str = "cpu") -> list[str]:
    """Returns the implementations of `op` for a device type, in order of preference.

    Compiles the native one if necessary.
    """
    return ["native", "torch"] if op in _native and _available(kind) else ["torch"]


@contextmanager
def use(backend: str) -> Iterator[None]:
    """Forces the backend "torch" or "native" inside a `with` block.

    A forced "native" that does not support a call raises RuntimeError instead of falling back.
    """
    global _forced
    if backend not in BACKENDS:
        raise ValueError(f"got backend {backend!r}; expected one of {', '.join(BACKENDS)}")
    before, _forced = _forced, backend
    try:
        yield
    finally:
        _forced = before


def is_compiled(kind: str) -> bool:
    """Whether calls on a device type use the native ops, as far as is known without a build."""
    return _forced != "torch" and kind in jit.KINDS and jit.status(kind).where is not None


def _available(kind: str) -> bool:
    if torch.compiler.is_compiling():  # a build cannot be traced, so uses only loaded libraries
        return _ready.get(kind, False)
    _ready[kind] = kind in jit.KINDS and jit.load(kind)
    return _ready[kind]


def is_transformed() -> bool:
    """Whether a transform of torch.func, or forward-mode differentiation, is under way.

    The native ops have backward derivatives only: forward-mode ones would be zero, without a word.
    """
    active: bool = torch._C._are_functorch_transforms_active()
    return active or forward_ad._current_level >= 0


def select(op: str, x: Tensor, fallback: Op) -> Op | Callable[..., Tensor]:
    """Returns the implementation of `op` for tensor `x`, by device, dtype and transforms."""
    if _forced == "torch" or op not in _native:
        return fallback
    transformed = is_transformed()
    if x.dtype in DTYPES and not transformed and _available(x.device.type):
        return _native[op]
    if _forced == "native" and transformed:
        raise RuntimeError(
            f"got {op} in a transform of torch.func, or in forward mode, with backend 'native' "
            "forced; there is none; use 'torch'"
        )
    if _forced == "native":
        raise RuntimeError(
            f"got {op} of {x.dtype} on {x.device} with backend 'native' forced; there is none: "
            "see `stylemix doctor`, or use 'torch'"
        )
    return fallback
