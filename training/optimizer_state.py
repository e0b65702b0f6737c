"""Optimizer states as flat tensors, and files of the state in which a style is being learned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.io.tensor_files import Damaged, read_tensors
from stylemix.models.container import write_safetensors


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


def save_work(path: Path, kind: dict[str, str], cur_nimg: int, tensors: dict[str, Tensor]) -> None:
    """Writes a state after `cur_nimg` images, of a `kind`: format, settings and data."""
    copies = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    write_safetensors(path, {**kind, "cur_nimg": str(cur_nimg)}, copies)


def load_work(
    path: Path, kind: dict[str, str], restore: Callable[[dict[str, Tensor]], None]
) -> int:
    """Passes the tensors of a state to `restore`; returns the images seen.

    Raises StylemixError for a damaged file and for another `kind`.
    """
    try:
        header, tensors = read_tensors(path)
        cur_nimg = int(header.pop("cur_nimg", "0"))
        if header != kind:
            raise StylemixError(
                f"got a state {path} of other images, settings or base; expected the same; delete "
                "it to start over"
            )
        restore(tensors)
    except (Damaged, RuntimeError, ValueError, KeyError) as error:
        raise StylemixError(f"got a damaged state {path}; delete it to start over") from error
    return cur_nimg
