"""`stylemix sweep`: trials of training settings, the best first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from stylemix.devices import find_device
from stylemix.errors import StylemixError
from stylemix.faces.templates import find_template
from stylemix.io.journal import WorkFile, open_work
from stylemix.messages import note, result, say, wrote_all
from stylemix.models.checkpoint import load_model
from stylemix.tools.options import TEMPLATE_NAMES, device_option
from stylemix.tools.train_options import SectionedCommand, config_options
from stylemix.training.config import TrainConfig
from stylemix.training.data.base import PixelDataset
from stylemix.training.data.dataset import open_dataset
from stylemix.training.data.packed import packed_template
from stylemix.training.evaluation import Evaluation
from stylemix.training.loop import TrainResult, train
from stylemix.training.session import TrainingData
from stylemix.training.settings import SETTINGS
from stylemix.training.sweep.report import by_metric, duration, table, write_report
from stylemix.training.sweep.search import (
    WORK_FILE,
    OnMetrics,
    Plan,
    Trial,
    done_trials,
    importance,
    sweep,
)
from stylemix.training.sweep.space import parse_space, shown

SNAPSHOTS = 5  # per trial, when --snapshot-kimg is not given
# Settings that may change when a sweep is resumed, since they do not affect the metrics.
FREE = {name for name, setting in SETTINGS.items() if setting.may_change} - {
    "kimg", "snapshot_kimg", "metrics", "metrics_count", "early_stop", "rollbacks", "precision",
}  # fmt: skip


@click.command(
    "sweep",
    cls=SectionedCommand,
    context_settings={"max_content_width": 100},
)
@click.argument("data", nargs=-1, required=True)
@click.option("--held-out", required=True, help="Images for the metrics that no trial trains on.")
@click.option(
    "--vary", multiple=True, required=True, metavar="NAME=VALUES",
    help="A training option to search: NAME=LOW..HIGH, NAME=LOW..HIGH:log or NAME=VALUE,VALUE. "
    "Repeat for more.",
)  # fmt: skip
@click.option(
    "--trials", type=click.IntRange(1, 100_000), default=12, show_default=True,
    help="Total number of trials; a higher number continues a finished sweep.",
)  # fmt: skip
@click.option(
    "--startup", type=click.IntRange(1, 100_000), default=5, show_default=True,
    help="Random trials before metrics guide the search and pruning.",
)  # fmt: skip
@click.option("--no-prune", is_flag=True, help="Train all trials to their end.")
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), default=Path("runs/sweep"),
    show_default=True, help="Folder of the sweep.",
)  # fmt: skip
@click.option(
    "--template",
    help=f"Alignment of the images, as for train: {TEMPLATE_NAMES}.  [default: as `pack` recorded "
    "it, else none]",
)  # fmt: skip
@click.option("--data-name", default=None, help="Name of the data in the model cards.")
@device_option
@config_options(metrics="fd", keep_snapshots=1)
def sweep_command(
    data: tuple[str, ...],
    held_out: str,
    vary: tuple[str, ...],
    trials: int,
    startup: int,
    no_prune: bool,
    output: Path,
    template: str | None,
    data_name: str | None,
    device: str,
    **settings: Any,
) -> None:
    """Search training options by metrics on held-out images.

    Takes the options of `stylemix train`; those named by --vary differ between trials. Run the
    same command again to resume a stopped sweep.

    \b
    Examples:
      stylemix sweep faces.zip --held-out val.zip --resolution 64 --kimg 20 --trials 12 \\
        --vary lr=0.0005..0.005:log --vary r1_gamma=0.02..2:log --output runs/sweep
    """
    _need_packages()
    base = _base(settings, held_out)
    plan = Plan(base, parse_space(vary, base), trials, startup, not no_prune)
    runner = Runner(data, plan, device, template, data_name)
    first = asdict(base.resolve(1, runner.device.type))
    command = ["stylemix", "train", *data, "--output", str(output / "best")]
    command += ["--template", template] if template else []
    command += ["--data-name", data_name] if data_name else []
    with open_work(output / WORK_FILE) as work:
        _check_same(work, plan, runner, output)
        for done in sweep(plan, output, work, runner, first):
            note(_progress(done, trials))
            write_report(output, plan, done, command)
        done = done_trials(work)
    best = write_report(output, plan, done, command)
    say(table(plan, done))
    result(trials=[asdict(trial) for trial in done], best=best, importance=importance(plan, done))
    if not best:
        raise StylemixError(
            f"got no metric of {len(done)} trials; expected one; see the reasons above"
        )
    shares = ", ".join(f"{name} {share:.2f}" for name, share in importance(plan, done).items())
    say(f"\nImportance: {shares}" if shares else "")
    files = [output / name for name in ("sweep.csv", "sweep.png", "best.json")]
    wrote_all(files, f"{files[0]}, sweep.png and best.json; to train with the best settings:")
    say(str(best["command"]))


def _need_packages() -> None:
    try:
        import matplotlib  # noqa: F401
        import optuna  # noqa: F401
    except ImportError as error:
        raise StylemixError(
            f"got no {error.name}, which a sweep needs; run: pip install 'stylemix[sweep]'"
        ) from error


def _base(settings: dict[str, Any], held_out: str) -> TrainConfig:
    """Returns the settings of all trials."""
    if settings["metrics_data"]:
        raise StylemixError("got --metrics-data; expected the images to compare with as --held-out")
    if not settings["kimg"]:
        raise StylemixError("got no --kimg; expected the length of a trial, such as --kimg 20")
    base = TrainConfig(**settings | {"metrics_data": held_out})
    source = click.get_current_context().get_parameter_source("snapshot_kimg")
    if source is ParameterSource.DEFAULT:
        base = replace(base, snapshot_kimg=max(settings["kimg"] / SNAPSHOTS, 0.001))
    return base


def _check_same(work: WorkFile, plan: Plan, runner: Runner, output: Path) -> None:
    """Raises StylemixError when a sweep is resumed with other settings or images."""
    given: dict[str, Any] = {
        "--vary": ", ".join(map(str, plan.space)),
        "--startup": plan.startup,
        "--no-prune": not plan.prune,
        "DATA": f"{runner.dataset(plan.base.mirror).fingerprint()[:12]}",
        "--held-out": f"{runner.held_out.fingerprint()[:12]}",
    }
    settings = asdict(plan.base).items()
    given |= {"--" + k.replace("_", "-"): v for k, v in settings if k not in FREE}
    before = work.get("asked") or given
    for name, value in given.items():
        if before.get(name) != value:
            raise StylemixError(
                f"got {name} {value}; expected {before.get(name)}, as the sweep in {output} was "
                "started with; use another --output"
            )
    work.put("asked", given)


def _progress(done: Sequence[Trial], trials: int) -> str:
    """Returns a line on the last trial and the remaining time."""
    last, best = done[-1], by_metric(done)[0]
    left = sum(trial.seconds for trial in done) / len(done) * (trials - len(done))
    outcome = f"{last.metric} {last.best_value:.4g}" if last.state != "failed" else last.reason
    return (
        f"trial {last.number} {last.state}: {outcome}, best {best.best_value:.4g} of trial "
        f"{best.number}; {duration(last.seconds)}, about {duration(left)} left"
    )


class Runner:
    """Trains trials on data that is opened once; raises early for errors of every trial.

    Args:
        data: paths of the images.
        plan: plan of the sweep.
        device: name of the device.
        template: name or file of the alignment.
        name: name of the data for the model cards; None for a hash of its content.
    """

    def __init__(
        self, data: Sequence[str], plan: Plan, device: str, template: str | None, name: str | None
    ) -> None:
        self.data, self.plan, self.base, self.name = data, plan, plan.base, name or ""
        self.device = find_device(device)
        self.template = packed_template(data) if template is None else find_template(template)
        self.opened: dict[bool, PixelDataset] = {}
        self.held_out = open_dataset(
            [str(self.base.metrics_data)], self.base.size, self.base.channels, False,
            self.base.conditional,
        )  # fmt: skip
        if self.dataset(False).covers(self.held_out):
            raise StylemixError(
                f"got --held-out {self.base.metrics_data}, whose images are all among those to "
                "train on, by their content; expected images that no trial sees; choose others"
            )
        if Evaluation.of(self.base, self.held_out, self.dataset(False).c_dim) is None:
            raise StylemixError("got --metrics none; expected a metric to compare; leave it out")
        if self.base.transfer:
            load_model(self.base.transfer)

    def dataset(self, mirror: bool) -> PixelDataset:
        """Returns the images, which are opened once."""
        if mirror not in self.opened:
            self.opened[mirror] = open_dataset(
                self.data, self.base.size, self.base.channels, mirror, self.base.conditional
            )
        return self.opened[mirror]

    def __call__(self, config: TrainConfig, folder: Path, on_metrics: OnMetrics) -> TrainResult:
        """Trains one trial, see `loop.train`."""
        names = [vary.name for vary in self.plan.space]
        values = ", ".join(f"{name} {shown(getattr(config, name))}" for name in names)
        note(f"{folder.name} of {self.plan.trials}: {values}")
        data = TrainingData(self.dataset(config.mirror), self.template, self.name, self.held_out)
        return train(config, data, folder, self.device, on_metrics=on_metrics)
