"""Output of a run: statistics at every tick, states at time intervals, snapshots."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import torch
from tqdm import tqdm

from stylemix import messages
from stylemix.errors import StylemixError
from stylemix.io.atomic import write_json
from stylemix.progress import is_quiet, on_terminal
from stylemix.training import log
from stylemix.training.distributed import Ranks
from stylemix.training.evaluation import Evaluation, keep_best, prune
from stylemix.training.session import TrainingData, go_back
from stylemix.training.snapshots import list_snapshots
from stylemix.training.state import TrainState
from stylemix.training.state_files import Run, save_state


class Console:
    """Messages and the progress bar of a run on the terminal, of rank 0 only.

    Args:
        state: state of the run.
        kimg: length of the run.
        lead: whether this process is rank 0.
        progress: show a progress bar, or a line at every tick without a terminal.
    """

    def __init__(self, state: TrainState, kimg: float, lead: bool, progress: bool) -> None:
        self.state, self.kimg, self.lead = state, kimg, lead
        self.verbose = lead and progress and not is_quiet()
        self.bar = tqdm(
            total=kimg, initial=state.counters.cur_nimg / 1000, unit="kimg",
            disable=not (self.verbose and on_terminal()),
            bar_format="{desc}{percentage:3.0f}% |{bar}| {n:.1f}/{total:.0f} kimg "
            "[{elapsed}<{remaining}]{postfix}",
        )  # fmt: skip

    def say(self, text: str) -> None:
        """Prints a message above the bar, unless it is empty."""
        if text and self.lead and not is_quiet():
            line = f"{self.state.counters.cur_nimg / 1000:.1f} kimg: {text}"
            if self.bar.disable:
                messages.log(line)
            else:
                tqdm.write(line, file=sys.stderr)

    def advance(self) -> None:
        """Updates the bar."""
        self.bar.update(self.state.counters.cur_nimg / 1000 - self.bar.n)

    def show(self, line: dict[str, float]) -> None:
        """Shows the statistics of a tick: beside the bar on a terminal, else as a line."""
        memory = line.get("Resources/peak_gpu_mem_gb", line.get("Resources/cpu_mem_gb", 0))
        sec_per_kimg, kimg = line["Timing/sec_per_kimg"], self.state.counters.cur_nimg / 1000
        text = (
            f"G {line.get('Loss/G/loss', 0):.2f} D {line.get('Loss/D/loss', 0):.2f} "
            f"p {line['Progress/augment']:.2f} {sec_per_kimg:.4g} s/kimg {memory:.1f} GB"
        )
        if not self.bar.disable:
            self.bar.set_postfix_str(text)
        elif self.verbose:
            left = timedelta(seconds=round(sec_per_kimg * max(self.kimg - kimg, 0)))
            self.say(f"{text}, {left} left")

    def close(self) -> None:
        """Closes the bar."""
        self.bar.close()


class Recorder:
    """Writes the files of a run. Other ranks than 0 write none, but help compute metrics.

    Args:
        folder: the run folder.
        state: state of the run.
        run: settings and fingerprint of the data.
        ranks: the processes of the run.
        data: the training images.
        evaluation: metrics to compute, or None.
        console: where messages are shown.
    """

    def __init__(
        self,
        folder: Path,
        state: TrainState,
        run: Run,
        ranks: Ranks,
        data: TrainingData,
        evaluation: Evaluation | None,
        console: Console,
    ) -> None:
        self.folder, self.state, self.run, self.config = folder, state, run, run.config
        self.ranks, self.data, self.evaluation, self.console = ranks, data, evaluation, console
        self.stats: log.Stats = {}
        self.timing = log.Timing(state.counters)
        self.saved_at, self.snapshot_path = time.monotonic(), folder
        self.metrics: dict[str, float] = {}
        self._prepare()
        self.board = log.Board(folder, self.config.tensorboard and ranks.lead)

    def _prepare(self) -> None:
        """Writes the files of the start; removes lines that will be written again."""
        kimg, images = self.state.counters.cur_nimg / 1000, self.data.images
        if self.ranks.lead:
            for name in ("stats.jsonl", "metrics.jsonl"):
                log.drop_lines_after(self.folder / name, kimg)
            if kimg == 0:
                first = images.indices_at(0, min(log.GRID, len(images)), self.config.seed)
                log.save_reals(self.folder, images.batch(first)[0] / 127.5 - 1)
                save_state(self.folder, self.state, self.run)
            options = asdict(self.config) | {"data": self.data.title, "fingerprint": self.run.data}
            write_json(self.folder / "training_options.json", options)

    def tick(self) -> None:
        """Writes statistics to stats.jsonl, TensorBoard and the bar."""
        counters = self.state.counters
        if not self.ranks.all_equal(self.state.generator.parameters()):
            raise StylemixError(
                f"rank {self.ranks.rank}: got different weights on some rank and on rank 0; "
                "expected the same; check versions and memory of the machines, and run the "
                "command again"
            )
        line = log.report(self.state, self.config, self.stats, self.timing)
        if self.ranks.lead:
            log.write_line(self.folder / "stats.jsonl", line)
            self.board.scalars(line, counters.cur_nimg)
            self.console.show(line)

    def save(self, now: bool) -> None:
        """Writes the state, if `now` or if the last one is older than `state_minutes`.

        Called after every snapshot, never before: a state contains the metrics of all snapshots
        before it, and no rollback or crash undoes the best one.
        """
        age = time.monotonic() - self.saved_at
        if self.ranks.lead and (now or age >= self.config.state_minutes * 60):
            save_state(self.folder, self.state, self.run)
            self.saved_at = time.monotonic()

    def snapshot(self) -> None:
        """Writes model and grid, computes metrics, copies the best snapshot, removes old ones."""
        counters, folder = self.state.counters, self.folder
        if self.ranks.lead:
            self.snapshot_path = log.save_snapshot(folder, self.state, self.config, self.data)
            grid = folder / self.snapshot_path.name.replace("snapshot", "fakes")
            self.board.image(grid.with_suffix(".png"), counters.cur_nimg)
        if self.evaluation is not None:
            size = self.config.part_size(self.ranks.world)
            self.metrics = self.evaluation(self.state, size, self.ranks)
            self._record_metrics()
        if self.ranks.lead:
            prune(folder, self.config.keep_snapshots)

    def _record_metrics(self) -> None:
        counters, folder = self.state.counters, self.folder
        if self.ranks.lead:
            line = {"Progress/kimg": round(counters.cur_nimg / 1000, 3), **self.metrics}
            log.write_line(folder / "metrics.jsonl", line)
            self.board.scalars(self.metrics, counters.cur_nimg)
            best = keep_best(folder, self.state, self.snapshot_path, self.metrics)
            text = ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items())
            self.console.say(text + (" (the best so far)" if best else ""))
        values = [counters.best or 0, counters.best_kimg, counters.stale]
        box = torch.tensor(values, dtype=torch.float64, device=self.state.sign_sum.device)
        self.ranks.broadcast_([box])
        counters.best, counters.best_kimg, stale = box.tolist()
        counters.stale = int(stale)

    def enough(self) -> str:
        """Returns the reason to stop early, or ""."""
        counters, patience = self.state.counters, self.config.early_stop
        if not patience or counters.stale < patience:
            return ""
        return (
            f"{counters.stale} snapshots in a row were no better than the one at "
            f"{counters.best_kimg:.0f} kimg, which is best.safetensors"
        )

    def roll_back(self, reason: str) -> None:
        """Rolls back to the last state with half the learning rate; raises after the limit."""
        counters = self.state.counters
        if counters.rollbacks >= self.config.rollbacks:
            raise StylemixError(
                f"{reason} at {counters.cur_nimg / 1000:.1f} kimg, after {counters.rollbacks} "
                "attempts with lower learning rates; try a higher --r1-gamma or a lower --lr in a "
                "new --output"
            )
        failed_kimg = counters.cur_nimg / 1000
        go_back(self.state, self.run, self.folder, self.ranks)
        now = self.state.counters
        self.stats.clear()
        self.timing = log.Timing(now)
        if self.ranks.lead:
            for name in ("stats.jsonl", "metrics.jsonl"):
                log.drop_lines_after(self.folder / name, now.cur_nimg / 1000)
        self.console.say(
            f"{reason} at {failed_kimg:.1f} kimg: rolled back to here; the learning rate is "
            f"scaled by {now.lr_scale:g}"
        )

    def last(self) -> Path:
        """Returns the last snapshot of the run; writes one, without metrics, if there is none."""
        files = list_snapshots(self.folder)
        if not files and self.ranks.lead:  # no metrics: the other ranks have left
            files = [log.save_snapshot(self.folder, self.state, self.config, self.data)]
        return files[-1] if files else self.folder
