"""`stylemix train --gpus N`: the same command again, once for each device, through torchrun."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

RESTARTS = 3


def is_rank() -> bool:
    """Whether torchrun, or a launcher with the same environment variables, started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def torchrun_command(processes: int, arguments: Sequence[str]) -> list[str]:
    """The torchrun command line for `processes` ranks on this machine, with restarts."""
    return [
        sys.executable, "-m", "torch.distributed.run", "--standalone",
        f"--nproc-per-node={processes}", f"--max-restarts={RESTARTS}",
        "-m", "stylemix", *without_gpus(arguments),
    ]  # fmt: skip


def without_gpus(arguments: Sequence[str]) -> list[str]:
    """A command line without its --gpus option."""
    out: list[str] = []
    skip = False
    for argument in arguments:
        if not skip and argument != "--gpus" and not argument.startswith("--gpus="):
            out.append(argument)
        skip = argument == "--gpus" and not skip
    return out


def launch(processes: int) -> None:
    """Replaces this process by torchrun and `processes` ranks; does not return."""
    # Threads that fight for cores are far slower than few threads; torchrun would take one each.
    threads = max((os.cpu_count() or 1) // processes, 1)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    command = torchrun_command(processes, sys.argv[1:])
    os.execv(command[0], command)
