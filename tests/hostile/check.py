"""What a reader did with a file: its error, and what it cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stylemix.errors import StylemixError

MAX_SECONDS = 10.0  # of the processor
MAX_MEGABYTES = 512.0  # beside those of PyTorch, so that both are within a gigabyte
MAX_LINE = 1000
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Result:
    """`fault` is "" for a file that was answered as it should be."""

    fault: str
    seconds: float
    megabytes: float
    message: str = ""


def check(read: Callable[[Path], object], path: Path, intact: bool = False) -> Result:
    """Reads a file, which has to be refused in one line, or read if it is `intact`."""
    before = _memory("VmRSS") if _reset_peak() else 0.0
    started = time.process_time()
    fault, message = "", ""
    try:
        read(path)
        if not intact:
            fault = "was read"
    except StylemixError as error:
        message = str(error)
        if intact:
            fault = f"was refused: {message}"
        elif not message.isprintable() or len(message) > MAX_LINE or message.count(";") < 1:
            fault = f"is no line of got, expected and advice: {message[:200]!r}"
    except Exception as error:
        fault = f"{type(error).__name__}: {str(error)[:200]!r}"
    seconds = time.process_time() - started
    megabytes = _memory("VmHWM") - before if before else 0.0
    if not fault and (seconds > MAX_SECONDS or megabytes > MAX_MEGABYTES):
        fault = f"took {seconds:.1f} s and {megabytes:.0f} MB"
    return Result(fault, seconds, megabytes, message)


def _reset_peak() -> bool:
    """Makes the kernel count the peak of the memory anew; only Linux can."""
    try:
        _RESET.write_text("5")
    except OSError:
        return False
    return True


def _memory(name: str) -> float:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    return 0.0
