"""Reports of a sweep: a table, sweep.csv, and best.json with the command for the full training."""

from __future__ import annotations

import csv
import io
import math
import shlex
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from PIL import Image

from stylemix.images.write import save_image
from stylemix.io.atomic import Json, write_json, write_text
from stylemix.training.config import TrainConfig
from stylemix.training.sweep.search import Plan, Trial, study_of
from stylemix.training.sweep.space import shown

# Settings of a short trial that the full training does not use.
_SHORT = {"kimg", "snapshot_kimg", "keep_snapshots"}


def by_metric(done: Sequence[Trial]) -> list[Trial]:
    """Returns trials sorted by their best metric; failed trials are last."""
    return sorted(done, key=lambda trial: (trial.best_value, trial.number))


def table(plan: Plan, done: Sequence[Trial]) -> str:
    """Returns the trials as aligned lines, sorted by metric."""
    names = [vary.name for vary in plan.space]
    head = ["trial", _metric(done), *names, "kimg", "time", "state"]
    rows = [head]
    for trial in by_metric(done):
        finite = math.isfinite(trial.best_value)
        rows.append([
            str(trial.number), f"{trial.best_value:.4g}" if finite else "-",
            *(shown(trial.values[name]) for name in names),
            f"{trial.kimg:g}", duration(trial.seconds), trial.state,
        ])  # fmt: skip
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    failed = [f"trial {t.number} failed: {t.reason}" for t in done if t.state == "failed"]
    return "\n".join([*lines, *failed])


def duration(seconds: float) -> str:
    """Formats seconds as 1:02:03."""
    return str(timedelta(seconds=round(seconds)))


def write_report(
    folder: Path, plan: Plan, done: Sequence[Trial], command: Sequence[str]
) -> dict[str, Json]:
    """Writes sweep.csv, sweep.png and best.json; returns best.json, or {} without any metric.

    Args:
        folder: folder of the sweep.
        plan: plan of the sweep.
        done: the completed trials.
        command: the `stylemix train` command without settings.
    """
    names = [vary.name for vary in plan.space]
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(["trial", "state", _metric(done), *names, "kimg", "seconds", "reason"])
    for trial in by_metric(done):
        metric = trial.best_value if math.isfinite(trial.best_value) else ""
        values = [shown(trial.values[name]) for name in names]
        rows.writerow([
            trial.number, trial.state, metric, *values, trial.kimg, trial.seconds, trial.reason,
        ])  # fmt: skip
    write_text(folder / "sweep.csv", file.getvalue())
    best = by_metric(done)[0]
    if not math.isfinite(best.best_value):
        return {}
    save_image(folder / "sweep.png", plot(plan, done), generated=False)
    full_command = [*command, *arguments(replace(plan.base, **best.values))]
    record: dict[str, Json] = {
        "trial": best.number,
        _metric(done): best.best_value,
        "values": best.values,
        "model": f"trial-{best.number:04d}/best.safetensors",
        "command": shlex.join(full_command),
    }
    write_json(folder / "best.json", record)
    return record


def plot(plan: Plan, done: Sequence[Trial]) -> Image.Image:
    """Returns Optuna's plots of the metric: its history, and against each setting."""
    from matplotlib import pyplot
    from optuna.visualization.matplotlib import plot_optimization_history, plot_slice

    pyplot.switch_backend("agg")  # works without a display
    study, plots = study_of(plan, done), []
    with warnings.catch_warnings(), pyplot.rc_context():  # Optuna sets a global style
        warnings.simplefilter("ignore")  # the functions are marked as experimental
        for plot_function in (plot_optimization_history, plot_slice):
            plot_function(study, target_name=_metric(done))
            pyplot.savefig(file := io.BytesIO(), format="png")
            pyplot.close()
            plots.append(Image.open(file))
    width, height = max(image.width for image in plots), sum(image.height for image in plots)
    page = Image.new("RGB", (width, height), "white")
    page.paste(plots[0], (0, 0))
    page.paste(plots[1], (0, plots[0].height))
    return page


def arguments(config: TrainConfig) -> list[str]:
    """Returns the options of `stylemix train` for these settings, except those of short trials."""
    options: list[str] = []
    defaults: dict[str, Any] = asdict(TrainConfig())
    for name, value in asdict(config).items():
        if name in _SHORT or value == defaults[name]:
            continue
        flag = "--" + name.replace("_", "-")
        whole = isinstance(value, float) and value.is_integer()
        options += [flag] if value is True else [flag, str(int(value) if whole else value)]
    return options


def _metric(done: Sequence[Trial]) -> str:
    return next((trial.metric for trial in done if trial.metric != "figure"), "figure")
