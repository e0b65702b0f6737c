"""`python -m stylemix` and the console script run the `stylemix` command in this process."""

from __future__ import annotations

import atexit
import os
import sys

_exit_codes: list[int] = []


def _leave() -> None:
    """Ends the process without the second in which Python takes PyTorch's modules apart.

    Threads have ended, and all else that is registered for the end of the process has been done.
    A process that has used a GPU ends in the usual way, and so does one whose output cannot be
    written.
    """
    cuda = sys.modules.get("torch.cuda")  # perhaps half of it, after Ctrl-C
    if not _exit_codes or getattr(cuda, "is_initialized", bool)():
        return
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):  # there is none, or it is closed
        return
    os._exit(_exit_codes[-1])


def run() -> None:
    """Runs the command and ends the process with its exit code."""
    # What is registered first is called last; PyTorch and others register theirs later.
    atexit.register(_leave)
    from stylemix.cli import main

    try:
        main(prog_name="stylemix")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            _exit_codes.append(end.code or 0)
        raise


if __name__ == "__main__":
    run()
