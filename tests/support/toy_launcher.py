"""Starts torchrun, or a script that does, in a test; its processes always end with the test."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 300  # seconds


def launcher_environment() -> dict[str, str]:
    """Environment of a launcher: this source tree, few threads, no compiled ops."""
    clean = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    return clean | {
        "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "STYLEMIX_OPS": "torch",
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "10",
    }  # fmt: skip


def start_launcher(
    command: Sequence[str], folder: Path, more: Mapping[str, str]
) -> subprocess.Popen[str]:
    """Starts a command in a folder, with output and errors in one stream."""
    return subprocess.Popen(
        command, cwd=folder, env=launcher_environment() | dict(more), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def wait_for(process: subprocess.Popen[str]) -> str:
    """Waits for success and returns the output.

    A launcher that hangs gets SIGTERM, so that it ends its processes, too, unlike SIGKILL.
    """
    try:
        output, _ = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.terminate()
        output, _ = process.communicate(timeout=60)
        raise AssertionError(f"still running after {PATIENCE} s: {output}") from None
    assert process.returncode == 0, output
    return output


def run_launcher(
    command: Sequence[str], folder: Path, more: Mapping[str, str] | None = None
) -> str:
    """Starts a command, waits for it and returns its output."""
    return wait_for(start_launcher(command, folder, more or {}))
