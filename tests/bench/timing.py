"""Timing of competitors against each other: interleaved rounds, medians and spreads."""

from __future__ import annotations

import math
import signal
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

Contestant = Callable[[int], float]  # runs a number of times in a row, returns seconds per run
Record = dict[str, Any]
MAX_LOOPS = 10_000


@dataclass(frozen=True)
class Effort:
    """Number and length of the samples of a measurement."""

    repeats: int = 5
    seconds: float = 0.05  # approximate length of a sample: short runs are repeated within it
    deadline: float = math.inf  # of time.monotonic(): no measurement starts after it


@dataclass(frozen=True)
class Job:
    """The options of a benchmark."""

    device: torch.device
    dtypes: list[str]
    quick: bool = False  # toy sizes
    compiled: tuple[str, ...] = ()  # parts that also try torch.compile of the plain ops
    resolutions: tuple[int, ...] = (256,)  # of generators: for ops, and for synthesis on a GPU
    effort: Effort = Effort()
    budget: float = math.inf  # seconds; later cases are left out

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"


class Clock:
    """The time budget of a benchmark, and the cases that were left out."""

    def __init__(self, budget: float) -> None:
        self.started, self.budget = time.monotonic(), budget
        self.left_out: list[str] = []

    def allows(self, case: str) -> bool:
        if time.monotonic() - self.started < self.budget:
            return True
        self.left_out.append(case)
        return False


def timed(function: Callable[[], object], device: torch.device, loops: int) -> float:
    """Returns the mean seconds of `loops` runs in a row; by CUDA events on a GPU."""
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(loops):
            function()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1000 / loops
    begun = time.perf_counter()
    for _ in range(loops):
        function()
    return (time.perf_counter() - begun) / loops


def summary(samples: list[float]) -> Record:
    """Returns median and interquartile range of seconds."""
    spread = samples if len(samples) > 1 else samples * 2
    low, _, high = statistics.quantiles(spread, n=4, method="inclusive")
    return {
        "median": _short(statistics.median(samples)),
        "iqr": _short(high - low),
        "min": _short(min(samples)),
        "samples": len(samples),
    }


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def reason(error: BaseException) -> str:
    """Returns the first line of an error, for a missing result."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def bounded(run: Contestant, seconds: float) -> Contestant:
    """Limits a contestant to `seconds`, with a RuntimeError after that, for slow compilers.

    In the main thread only, and not for the children of a crew, whose late reply would be taken
    for that of the next request.
    """

    def give_up(*_: object) -> None:
        raise RuntimeError(f"given up after {seconds:g} s")

    def limited(loops: int) -> float:
        before = signal.signal(signal.SIGALRM, give_up)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            return run(loops)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    return limited


def interleave(contestants: dict[str, Contestant], effort: Effort) -> dict[str, Record]:
    """Returns summaries by name, of interleaved samples, so that noise affects all equally.

    The order is reversed from round to round. Contestants that fail, or that have not started at
    the deadline, get {"error": reason}; all others get one sample at least.
    """
    done: dict[str, Record] = {}
    loops: dict[str, int] = {}
    for name, run in contestants.items():
        if time.monotonic() > effort.deadline:
            done[name] = {"error": "no time was left"}
            continue
        try:
            first = run(1)  # fills caches, compiles, picks algorithms
            usual = run(1) if first < 20 * effort.seconds else first
            loops[name] = min(max(math.ceil(effort.seconds / max(usual, 1e-9)), 1), MAX_LOOPS)
        except (RuntimeError, MemoryError) as error:
            done[name] = {"error": reason(error)}
    samples: dict[str, list[float]] = {name: [] for name in loops}
    for turn in range(effort.repeats):
        if turn and time.monotonic() > effort.deadline:
            break
        for name in list(samples)[:: -1 if turn % 2 else 1]:
            try:
                samples[name].append(contestants[name](loops[name]))
            except (RuntimeError, MemoryError) as error:
                done[name] = {"error": reason(error)}
                del samples[name]
    done |= {name: summary(times) for name, times in samples.items()}
    return {name: done[name] for name in contestants}
