"""Optimizer states as flat tensors, for state files."""

from __future__ import annotations

import torch
from torch import Tensor


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Returns the tensors whose names start with `prefix`, without the prefix."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def adam_tensors(optimizer: torch.optim.Adam, prefix: str) -> dict[str, Tensor]:
    """Returns every tensor of Adam's state as {"PREFIX0.exp_avg": ..., ...}."""
    return {
        f"{prefix}{index}.{key}": value
        for index, entry in optimizer.state_dict()["state"].items()
        for key, value in entry.items()
    }


def load_adam(optimizer: torch.optim.Adam, tensors: dict[str, Tensor]) -> None:
    """Restores the tensors of `adam_tensors`, with names without the prefix."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split(".")
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
