"""Which implementation of an op runs: plain PyTorch, or a compiled one ("native").

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

from stylemix.ops import jit

Op = TypeVar("Op", bound=Callable[..., Tensor])

BACKENDS = ("native", "torch")
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)

_native: dict[str, Callable[..., Tensor]] = {}
_forced: str | None = None
_ready: dict[str, bool] = {}  # kinds of devices whose library is loaded


def register(op: str, function: Callable[..., Tensor]) -> None:
    """Adds the native implementation of `op`, which takes the same arguments as the plain one."""
    _native[op] = function


def backends(op: str, kind: str = "cpu") -> list[str]:
    """Names of the implementations of `op` for devices of a kind, in order of preference.

    Compiles the native one if that was not done yet.
    """
    return ["native", "torch"] if op in _native and _available(kind) else ["torch"]


@contextmanager
def use(backend: str) -> Iterator[None]:
    """Forces a backend, "torch" or "native", inside a `with` block.

    A forced "native" that cannot serve a call raises RuntimeError instead of falling back.
    """
    global _forced
    if backend not in BACKENDS:
        raise ValueError(f"got backend {backend!r}; expected one of {', '.join(BACKENDS)}")
    before, _forced = _forced, backend
    try:
        yield
    finally:
        _forced = before


def _available(kind: str) -> bool:
    if torch.compiler.is_compiling():  # which cannot trace a build: what was loaded before counts
        return _ready.get(kind, False)
    _ready[kind] = kind in jit.KINDS and jit.load(kind)
    return _ready[kind]


def select(op: str, x: Tensor, fallback: Op) -> Op | Callable[..., Tensor]:
    """The implementation of `op` for tensor `x`; decided per call, by device and dtype."""
    if _forced == "torch" or op not in _native:
        return fallback
    if x.dtype in DTYPES and _available(x.device.type):
        return _native[op]
    if _forced == "native":
        raise RuntimeError(
            f"got {op} of {x.dtype} on {x.device} with backend 'native' forced; there is none: "
            "see `stylemix info`, or use 'torch'"
        )
    return fallback
