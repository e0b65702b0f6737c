"""State files: the last two are kept, each with a checksum of its content, written atomically."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.io.json_text import parse_json
from stylemix.io.tensor_files import Damaged, read_tensors
from stylemix.models.container import write_safetensors
from stylemix.training.config import ResolvedConfig, TrainConfig, changed
from stylemix.training.state import TrainState

FORMAT = "stylemix-train-state"
VERSION = "2"
KEEP = 2  # states in a run folder


@dataclass(frozen=True)
class Run:
    """The settings of a run as given and as resolved, and the fingerprint of its data."""

    asked: TrainConfig
    config: ResolvedConfig
    data: str  # fingerprint


def save_state(folder: Path, state: TrainState, run: Run) -> Path:
    """Writes everything that is needed to resume, and removes all but the last two states."""
    header = {
        "format": FORMAT,
        "version": VERSION,
        "asked": json.dumps(asdict(run.asked)),
        "config": json.dumps(asdict(run.config)),
        "data": run.data,
        "counters": json.dumps(asdict(state.counters)),
    }
    tensors = {k: v.detach().cpu().contiguous() for k, v in state.tensors().items()}
    header["sha256"] = checksum(header, tensors)
    path = folder / f"state-{state.counters.cur_nimg:012d}.safetensors"
    write_safetensors(path, header, tensors)
    for old in state_files(folder)[KEEP:]:
        old.unlink(missing_ok=True)
    return path


def state_files(folder: Path) -> list[Path]:
    """Returns the states in a run folder, newest first."""
    return sorted(folder.glob("state-*.safetensors"), reverse=True)


def read_state(
    path: Path, asked: TrainConfig, data: str
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Returns tensors and header of a state file, for the same settings and data.

    Raises Damaged for a wrong checksum or format, StylemixError for a state of another run.
    """
    try:
        header, tensors = read_tensors(path)
        if checksum(header, tensors) != header["sha256"]:
            raise ValueError("its checksum is wrong")
        _check(path, header, asked, data)
        parsed = {key: parse_json(header[key]) for key in ("asked", "config", "counters")}
    except (Damaged, KeyError, ValueError, TypeError, AttributeError) as error:
        reason = error.__cause__ or error
        raise Damaged(f"got a damaged training state {path} ({reason})") from error
    return tensors, parsed


def checksum(header: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """Returns the SHA-256 of the header and of names, types, shapes and bytes of all tensors."""
    digest = hashlib.sha256()
    for key in sorted(header):
        if key != "sha256":
            digest.update(f"{key}={header[key]}\n".encode("utf-8", "surrogateescape"))
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        flat = tensor.contiguous().reshape(-1).view(torch.uint8)
        digest.update(np.ascontiguousarray(flat.numpy()).data)
    return digest.hexdigest()


def _check(path: Path, header: dict[str, str], asked: TrainConfig, data: str) -> None:
    if header.get("format") != FORMAT or header.get("version") != VERSION:
        raise StylemixError(
            f"got {path} of format {header.get('format')} {header.get('version')}; expected "
            f"{FORMAT} {VERSION}; use another --output"
        )
    differences = changed(parse_json(header["asked"]), asked)
    for name, (before, now) in differences.items():
        raise StylemixError(
            f"got --{name.replace('_', '-')} {now}; expected {before}, as the run in "
            f"{path.parent} was started with; use another --output"
        )
    if header["data"] != data:
        raise StylemixError(
            f"got other images than the run in {path.parent} was started with; "
            "expected the same; use another --output"
        )
