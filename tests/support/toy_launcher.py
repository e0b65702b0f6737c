"""Starting torchrun, or a script that does, in a test: with its processes ended in any case."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 300  # seconds


def launcher_environment() -> dict[str, str]:
    """Variables for a launcher: this source tree, few threads, nothing compiled."""
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
    """Waits for success and returns what was said.

    A launcher that hangs gets SIGTERM: unlike SIGKILL it then ends its processes, too.
    """
    try:
        said, _ = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.terminate()
        said, _ = process.communicate(timeout=60)
        raise AssertionError(f"still running after {PATIENCE} s: {said}") from None
    assert process.returncode == 0, said
    return said


def run_launcher(
    command: Sequence[str], folder: Path, more: Mapping[str, str] | None = None
) -> str:
    """Starts and waits."""
    return wait_for(start_launcher(command, folder, more or {}))
