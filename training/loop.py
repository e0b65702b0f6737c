"""The training loop: one batch after the other, everything derived from (seed, images seen)."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import torch

from stylemix.devices import repeat_shapes
from stylemix.errors import StylemixError
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
from stylemix.training.session import TrainingData, begin
from stylemix.training.state import update_ema

STOPPED = "asked to stop"
INTERVAL = 4  # steps between adjustments of the augmentation, and looks at losses and signals


@dataclass
class TrainResult:
    """How a run ended: its last snapshot and figures; `stopped` says why, where it was early.

    `interrupted`: a signal asked it to stop, also where it ended for another reason just then.
    """

    snapshot: Path
    kimg: float
    stopped: str = ""
    figures: dict[str, float] = field(default_factory=dict)
    interrupted: bool = False


def train(
    asked: TrainConfig,
    data: TrainingData,
    folder: Path,
    device: torch.device,
    ranks: Ranks | None = None,
    progress: bool = True,
    on_figures: Callable[[float, dict[str, float]], str] | None = None,
) -> TrainResult:
    """Trains a generator; continues where `folder` has a state.

    Args:
        asked: settings; see TrainConfig.
        data: the real images, and what there is to know of them.
        folder: run folder for states, snapshots, grids and statistics.
        device: where to compute.
        ranks: the processes of the run, see `distributed.join`.
        progress: show a progress bar.
        on_figures: called with kimg and figures after each evaluation; a word ends the run.
    """
    # Prepare.
    repeat_shapes(device)
    ranks, dataset = ranks or Ranks(), data.images
    if len(dataset) < 2:
        raise StylemixError(f"got {len(dataset)} images; expected at least 2 to train on")
    evaluation = Evaluation.of(asked, data.held_out or dataset)
    folder.mkdir(parents=True, exist_ok=True)
    state, run = begin(asked, dataset.fingerprint(), dataset.c_dim, folder, device, ranks)
    config = run.config
    check_template(data.template, config.generator(dataset.c_dim))
    if progress and ranks.lead:
        print(forecast(config, dataset.c_dim, ranks.world, device), file=sys.stderr)
    batch, total = config.batch, round(config.kimg * 1000)
    console = Console(state, config.kimg, ranks.lead, progress)
    recorder = Recorder(folder, state, run, ranks, data, evaluation, console)
    heartbeat = Heartbeat(ranks, config.timeout)
    step = Step(state, config, recorder.stats, ranks, dataset.labels, heartbeat)
    parts = parts_of(ranks.rank, ranks.world, batch, config.part_size(ranks.world))
    loader = Loader(dataset, config.seed, batch, parts[0].start, parts[-1].stop, config.workers)
    images = loader.read(state.counters.cur_nimg)
    started, word = time.monotonic() - state.counters.seconds, ""

    with _stop_signals() as stop, heartbeat.watching():
        while state.counters.cur_nimg < total and not word:
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

            # Every few steps: is all well, does somebody want to stop, are augmentations right?
            bad, stop_asked = step.look(len(stop))
            reason = what_went_wrong(state, bad)
            if reason:
                recorder.roll_back(reason)
                started = time.monotonic() - state.counters.seconds
                images.close()
                images = loader.read(state.counters.cur_nimg)
                continue
            if config.augment == "ada" and counters.cur_nimg // batch % INTERVAL == 0:
                before = adapt_augment(state, config.ada_target, config.ada_kimg, batch * INTERVAL)
                console.say(augment_warning(before, counters.augment_p))

            # Report, and keep what was made.
            if stop_asked:
                word = STOPPED
            span = batch * INTERVAL
            tick = done or bool(word) or _passed(counters.cur_nimg, span, config.tick_kimg)
            if tick:
                recorder.tick()
            if done or _passed(counters.cur_nimg, span, config.snapshot_kimg):
                heartbeat.at("waiting for figures" if ranks.rank else "measuring figures")
                recorder.snapshot()
                word = word or recorder.enough()
                if on_figures is not None and not word:
                    word = ranks.broadcast_text(
                        on_figures(counters.cur_nimg / 1000, recorder.figures)
                    )
            if tick or word:
                recorder.save(now=done or bool(word))
    images.close()
    heartbeat.close()
    console.close()
    kimg, interrupted = state.counters.cur_nimg / 1000, bool(stop) or word == STOPPED
    return TrainResult(recorder.last(), kimg, word, recorder.figures, interrupted)


def _passed(cur_nimg: int, span: int, interval_kimg: float) -> bool:
    interval = interval_kimg * 1000
    return int(cur_nimg / interval) > int((cur_nimg - span) / interval)


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM, so that a step can end; a second SIGINT ends at once."""
    got: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield got
        return

    def note(number: int, frame: FrameType | None) -> None:
        if got and number == signal.SIGINT:
            raise KeyboardInterrupt
        got.append(number)
        print("\nStopping after this step; the state is kept.", file=sys.stderr)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield got
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
