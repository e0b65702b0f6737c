"""The training loop; all randomness derives from (seed, images seen)."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import torch

from stylemix.devices import repeat_shapes
from stylemix.errors import StylemixError
from stylemix.messages import note
from stylemix.models.model import check_template
from stylemix.training.config import TrainConfig
from stylemix.training.data.loader import Loader
from stylemix.training.distributed import Ranks
from stylemix.training.evaluation import Evaluation
from stylemix.training.guard import adapt_augment, augment_warning, what_went_wrong
from stylemix.training.heartbeat import Heartbeat
from stylemix.training.memory_forecast import forecast
from stylemix.training.microbatches import StepRandom, parts_of
from stylemix.training.phases import Step, batches
from stylemix.training.recorder import Console, Recorder
from stylemix.training.run_lock import run_folder
from stylemix.training.session import TrainingData, begin
from stylemix.training.state import update_ema

STOPPED = "stopped by a signal"
INTERVAL = 4  # steps between adjustments of the augmentation, and checks of losses and signals


@dataclass
class TrainResult:
    """The end of a run: its last snapshot and metrics; `stopped` is the reason to stop early.

    `interrupted`: a signal arrived, even if the run ended for another reason at the same time.
    `idle`: nothing was trained, since the run was as long before.
    """

    snapshot: Path
    kimg: float
    stopped: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    interrupted: bool = False
    idle: bool = False


def train(
    asked: TrainConfig,
    data: TrainingData,
    folder: Path,
    device: torch.device,
    ranks: Ranks | None = None,
    progress: bool = True,
    on_metrics: Callable[[float, dict[str, float]], str] | None = None,
) -> TrainResult:
    """Trains a generator; resumes where `folder` has a state.

    Args:
        asked: settings as given; see TrainConfig.
        data: the training images with their metadata.
        folder: run folder for states, snapshots, grids and statistics.
        device: device of this rank.
        ranks: the processes of the run, see `distributed.join`.
        progress: show a progress bar.
        on_metrics: called with kimg and metrics after each evaluation; returns a reason to stop
            or "".
    """
    # Prepare.
    repeat_shapes(device)
    ranks, dataset = ranks or Ranks(), data.images
    if len(dataset) < 2:
        raise StylemixError(f"got {len(dataset)} images; expected at least 2 to train on")
    evaluation = Evaluation.of(asked, data.held_out or dataset, dataset.c_dim)
    heartbeat, fingerprint = Heartbeat(ranks, asked.timeout), dataset.fingerprint()
    heartbeat.at("waiting for the first rank" if ranks.rank else "starting")
    with run_folder(folder), heartbeat.watching():
        state, run = begin(asked, fingerprint, dataset.c_dim, folder, device, ranks)
        check_template(data.template, run.config.generator(dataset.c_dim))
    config = run.config
    if progress and ranks.lead:
        note(forecast(config, dataset.c_dim, ranks.world, device))
    batch, total = config.batch, round(config.kimg * 1000)
    console = Console(state, config.kimg, ranks.lead, progress)
    recorder = Recorder(folder, state, run, ranks, data, evaluation, console)
    step = Step(state, config, recorder.stats, ranks, dataset.labels, heartbeat)
    parts = parts_of(ranks.rank, ranks.world, batch, config.part_size(ranks.world))
    loader = Loader(dataset, config.seed, batch, parts[0].start, parts[-1].stop, config.workers)
    images = loader.read(state.counters.cur_nimg)
    started, stop_reason = time.monotonic() - state.counters.seconds, recorder.enough()
    idle = state.counters.cur_nimg >= total or bool(stop_reason)

    with _stop_signals() as stop, heartbeat.watching():
        while state.counters.cur_nimg < total and not stop_reason:
            # One step.
            counters = state.counters
            heartbeat.at("reading images")
            pixels, labels = next(images)
            if config.augment == "fixed":
                counters.augment_p = config.value("augment_p", counters.cur_nimg)
            step(StepRandom(config.seed, counters.cur_nimg), batches(parts, pixels, labels, device))
            counters.cur_nimg += batch
            counters.seconds = time.monotonic() - started
            update_ema(state, config)
            console.advance()
            done = counters.cur_nimg >= total
            if counters.cur_nimg // batch % INTERVAL and not done:
                continue

            # Every few steps: failures, signals, augmentation.
            bad, stop_requested = step.look(len(stop))
            failure = what_went_wrong(state, bad)
            if failure:
                recorder.roll_back(failure)
                started = time.monotonic() - state.counters.seconds
                images.close()
                images = loader.read(state.counters.cur_nimg)
                continue
            if config.augment == "ada" and counters.cur_nimg // batch % INTERVAL == 0:
                before = adapt_augment(state, config.ada_target, config.ada_kimg, batch * INTERVAL)
                console.say(augment_warning(before, counters.augment_p))

            # Statistics, snapshots, states.
            if stop_requested:
                stop_reason = STOPPED
            span = batch * INTERVAL
            tick = done or bool(stop_reason) or _passed(counters.cur_nimg, span, config.tick_kimg)
            if tick:
                recorder.tick()
            taken = done or _passed(counters.cur_nimg, span, config.snapshot_kimg)
            if taken:
                heartbeat.at("waiting for metrics" if ranks.rank else "computing metrics")
                recorder.snapshot()
                stop_reason = stop_reason or recorder.enough()
                if on_metrics is not None and not stop_reason:
                    stop_reason = ranks.broadcast_text(
                        on_metrics(counters.cur_nimg / 1000, recorder.metrics)
                    )
            if tick or taken or stop_reason:
                recorder.save(now=taken or bool(stop_reason))
    images.close()
    heartbeat.close()
    console.close()
    kimg, interrupted = state.counters.cur_nimg / 1000, bool(stop) or stop_reason == STOPPED
    return TrainResult(recorder.last(), kimg, stop_reason, recorder.metrics, interrupted, idle)


def _passed(cur_nimg: int, span: int, interval_kimg: float) -> bool:
    interval = interval_kimg * 1000
    return int(cur_nimg / interval) > int((cur_nimg - span) / interval)


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collects signals that end it so that a step can finish; a second SIGINT ends at once."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def stop(number: int, frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)
        with suppress(OSError):  # after SIGHUP the terminal is gone
            print("\nStopping after this step; the state is saved.", file=sys.stderr)

    numbers = [signal.SIGINT, signal.SIGTERM]
    hang_up = getattr(signal, "SIGHUP", None)  # Windows has none, and nohup ignores it
    if hang_up is not None and signal.getsignal(hang_up) is not signal.SIG_IGN:
        numbers.append(hang_up)
    previous = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
