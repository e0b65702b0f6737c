"""What a sweep leaves: a table, sweep.csv, and best.json with the command to train on with."""

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

# Of a trial, not of the run that is started with what was found.
_SHORT = {"kimg", "snapshot_kimg", "keep_snapshots"}


def by_figure(done: Sequence[Trial]) -> list[Trial]:
    """The best first, those that failed last."""
    return sorted(done, key=lambda trial: (trial.figure, trial.number))


def table(plan: Plan, done: Sequence[Trial]) -> str:
    """The trials as aligned lines, sorted by figure."""
    names = [vary.name for vary in plan.space]
    head = ["trial", _metric(done), *names, "kimg", "time", "state"]
    rows = [head]
    for trial in by_figure(done):
        known = math.isfinite(trial.figure)
        rows.append([
            str(trial.number), f"{trial.figure:.4g}" if known else "-",
            *(shown(trial.values[name]) for name in names),
            f"{trial.kimg:g}", duration(trial.seconds), trial.state,
        ])  # fmt: skip
    wide = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["  ".join(cell.rjust(w) for cell, w in zip(row, wide, strict=True)) for row in rows]
    failed = [f"trial {t.number} failed: {t.reason}" for t in done if t.state == "failed"]
    return "\n".join([*lines, *failed])


def duration(seconds: float) -> str:
    """As 1:02:03."""
    return str(timedelta(seconds=round(seconds)))


def write_report(
    folder: Path, plan: Plan, done: Sequence[Trial], command: Sequence[str]
) -> dict[str, Json]:
    """Writes sweep.csv, sweep.png and best.json; gives what is in the last, empty for no figure.

    Args:
        folder: of the sweep.
        plan: what was asked for.
        done: the trials.
        command: how `stylemix train` begins with its own settings left out.
    """
    names = [vary.name for vary in plan.space]
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(["trial", "state", _metric(done), *names, "kimg", "seconds", "reason"])
    for trial in by_figure(done):
        figure = trial.figure if math.isfinite(trial.figure) else ""
        values = [shown(trial.values[name]) for name in names]
        rows.writerow([
            trial.number, trial.state, figure, *values, trial.kimg, trial.seconds, trial.reason,
        ])  # fmt: skip
    write_text(folder / "sweep.csv", file.getvalue())
    best = by_figure(done)[0]
    if not math.isfinite(best.figure):
        return {}
    save_image(folder / "sweep.png", plot(plan, done), generated=False)
    words = [*command, *arguments(replace(plan.base, **best.values))]
    found: dict[str, Json] = {
        "trial": best.number,
        _metric(done): best.figure,
        "values": best.values,
        "model": f"trial-{best.number:04d}/best.safetensors",
        "command": shlex.join(words),
    }
    write_json(folder / "best.json", found)
    return found


def plot(plan: Plan, done: Sequence[Trial]) -> Image.Image:
    """Optuna's plots, one above the other: the metric against trials and against each setting."""
    from matplotlib import pyplot
    from optuna.visualization.matplotlib import plot_optimization_history, plot_slice

    pyplot.switch_backend("agg")  # the one that needs no screen
    study, parts = study_of(plan, done), []
    with warnings.catch_warnings(), pyplot.rc_context():  # Optuna sets a style for everybody
        warnings.simplefilter("ignore")  # the functions are marked as experimental
        for draw in (plot_optimization_history, plot_slice):
            draw(study, target_name=_metric(done))
            pyplot.savefig(file := io.BytesIO(), format="png")
            pyplot.close()
            parts.append(Image.open(file))
    width, height = max(part.width for part in parts), sum(part.height for part in parts)
    page = Image.new("RGB", (width, height), "white")
    page.paste(parts[0], (0, 0))
    page.paste(parts[1], (0, parts[0].height))
    return page


def arguments(config: TrainConfig) -> list[str]:
    """The options of `stylemix train` that give these settings, less those of a short run."""
    words: list[str] = []
    usual: dict[str, Any] = asdict(TrainConfig())
    for name, value in asdict(config).items():
        if name in _SHORT or value == usual[name]:
            continue
        flag = "--" + name.replace("_", "-")
        whole = isinstance(value, float) and value.is_integer()
        words += [flag] if value is True else [flag, str(int(value) if whole else value)]
    return words


def _metric(done: Sequence[Trial]) -> str:
    return next((trial.metric for trial in done if trial.metric != "figure"), "figure")
