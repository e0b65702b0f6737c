"""Which implementation of an op runs: plain PyTorch, or a compiled one that registered itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch import Tensor

Op = TypeVar("Op", bound=Callable[..., Tensor])

_registered: dict[str, dict[str, tuple[Callable[..., Tensor], Callable[[Tensor], bool]]]] = {}
_forced: str | None = None


def register(
    op: str, backend: str, function: Callable[..., Tensor], supports: Callable[[Tensor], bool]
) -> None:
    """Adds an implementation of `op`, taken for first arguments that `supports` accepts."""
    _registered.setdefault(op, {})[backend] = (function, supports)


def backends(op: str) -> list[str]:
    """Names of the implementations of `op`, in order of preference."""
    return [*_registered.get(op, {}), "torch"]


@contextmanager
def use(backend: str) -> Iterator[None]:
    """Forces one backend inside a `with` block: "torch", or the name of a registered one.

    A forced backend that cannot serve a call raises RuntimeError instead of falling back.
    """
    global _forced
    known = {"torch", *(name for table in _registered.values() for name in table)}
    if backend not in known:
        raise ValueError(f"got backend {backend!r}; expected one of {sorted(known)}")
    before, _forced = _forced, backend
    try:
        yield
    finally:
        _forced = before


def select(op: str, x: Tensor, fallback: Op) -> Op | Callable[..., Tensor]:
    """The implementation of `op` for tensor `x`; decided per call, by device and dtype."""
    if _forced == "torch" or (_forced is None and op not in _registered):
        return fallback
    for name, (function, supports) in _registered.get(op, {}).items():
        if _forced in (None, name) and supports(x):
            return function
    if _forced is not None:
        raise RuntimeError(
            f"backend {_forced!r} has no {op} for {x.dtype} on {x.device}; use 'torch' instead"
        )
    return fallback
