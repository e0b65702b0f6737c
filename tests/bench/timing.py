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

Contestant = Callable[[int], float]  # runs so many times in a row, returns the seconds of one run
Record = dict[str, Any]
MOST_LOOPS = 10_000


@dataclass(frozen=True)
class Effort:
    """How carefully to measure."""

    repeats: int = 5
    seconds: float = 0.05  # a sample lasts about so long: short runs are repeated within it
    deadline: float = math.inf  # of time.monotonic(): nothing new begins after it


@dataclass(frozen=True)
class Job:
    """What a benchmark is asked for."""

    device: torch.device
    dtypes: list[str]
    quick: bool = False  # toy sizes
    compiled: tuple[str, ...] = ()  # parts that also try torch.compile of the plain ops
    resolutions: tuple[int, ...] = (256,)  # of generators: for ops, and for synthesis on a GPU
    effort: Effort = Effort()
    budget: float = math.inf  # seconds; cases that come later are left out

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"


class Clock:
    """Tells when a benchmark's time is up, and which cases that cost."""

    def __init__(self, budget: float) -> None:
        self.started, self.budget = time.monotonic(), budget
        self.left_out: list[str] = []

    def allows(self, case: str) -> bool:
        if time.monotonic() - self.started < self.budget:
            return True
        self.left_out.append(case)
        return False


def timed(function: Callable[[], object], device: torch.device, loops: int) -> float:
    """Seconds of one run, the mean of `loops` in a row; by device events on a GPU."""
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
    """Median and interquartile range of seconds."""
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
    """The first line of an error, for a result that is missing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def bounded(run: Contestant, seconds: float) -> Contestant:
    """The same contestant, given up with a RuntimeError after so long: for what a compiler does.

    In the main thread only, and not for the children of a crew, whose late reply would be taken for
    that of the next question.
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
    """Summaries by name, of samples taken in turns, so that noise hits all alike.

    The order turns around from round to round. Who fails gets {"error": why} and drops out, and so
    does who has not begun at the deadline; who has begun gets one sample at least.
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
            loops[name] = min(max(math.ceil(effort.seconds / max(usual, 1e-9)), 1), MOST_LOOPS)
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
