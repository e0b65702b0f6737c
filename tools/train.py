"""`stylemix train`: a model from images, on one or several GPUs, resumed where it stopped."""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import torch

from stylemix import messages
from stylemix.devices import find_device, slow_precision
from stylemix.errors import StylemixError
from stylemix.faces.templates import NO_TEMPLATE, Template, find_template
from stylemix.messages import note, result, say, wrote
from stylemix.models.model import check_template
from stylemix.tools.options import TEMPLATE_NAMES, device_option
from stylemix.tools.train_options import SectionedCommand, config_options
from stylemix.training.config import TrainConfig
from stylemix.training.data.base import PixelDataset
from stylemix.training.data.dataset import open_dataset
from stylemix.training.data.packed import packed_template
from stylemix.training.distributed import is_rank, join, launch, local_device
from stylemix.training.evaluation import Evaluation
from stylemix.training.loop import TrainResult, train
from stylemix.training.presets import TABLE
from stylemix.training.session import TrainingData

STOPPED = 128 + signal.SIGINT


def _show_presets(ctx: click.Context, _: click.Parameter, show: bool) -> None:
    if show:
        say(TABLE)
        ctx.exit()


@click.command("train", cls=SectionedCommand, context_settings={"max_content_width": 100})
@click.argument("data", nargs=-1, required=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Run folder. [default: runs/DATA-RESOLUTION]",
)
@click.option(
    "--template",
    help=f"Alignment of the images, stored in the model: {TEMPLATE_NAMES}.  [default: as `pack` "
    "recorded it, else none]",
)
@click.option("--data-name", default=None, help="Name of the data in the model card.")
@device_option
@click.option(
    "--gpus",
    type=click.IntRange(1, 1024),
    default=1,
    show_default=True,
    help="Processes on this machine, one per GPU; several machines: see the cluster page.",
)
@click.option(
    "--dry-run", is_flag=True, help="Check the data, print the settings as JSON and stop."
)
@click.option(
    "--presets", is_flag=True, is_eager=True, expose_value=False, callback=_show_presets,
    help="Print the table of presets and stop.",
)  # fmt: skip
@config_options()
def train_command(
    data: tuple[str, ...],
    output: Path | None,
    template: str | None,
    data_name: str | None,
    device: str,
    gpus: int,
    dry_run: bool,
    **settings: Any,
) -> None:
    """Train a generator on images: folders, zips, shards or files.

    Run the same command again to resume a stopped run, with bitwise equal results on the CPU.

    \b
    Examples:
      stylemix train faces.zip --resolution 64 --preset laptop --mirror --output runs/faces
      stylemix train faces.zip --resolution 256 --gpus 8 --metrics fd --metrics-data val.zip
      torchrun --nproc-per-node 8 -m stylemix train faces.zip --resolution 256
    """
    config = TrainConfig(**settings)
    if dry_run:
        kind = find_device(device).type
        images, held_out = _open(config, data)
        ready = config.resolve(gpus, kind)
        ready.part_size(gpus)
        ready.discriminator(images.c_dim)
        check_template(_alignment(template, data), ready.generator(images.c_dim))
        Evaluation.of(config, held_out or images, images.c_dim)
        resolved = asdict(ready)
        say(json.dumps(resolved, indent=2))
        result(settings=resolved)
        return
    if gpus > 1 and not is_rank():
        config.resolve(gpus, find_device(device).type).part_size(gpus)  # once, too
        launch(gpus)
    stem = Path(data[0]).name.split(".")[0] or "data"
    folder = output or Path("runs") / f"{stem}-{config.resolution}"
    outcome = run(config, data, folder, device, template, data_name)
    if outcome is None:
        messages.current().json = False  # rank 0 prints the line
        return
    if outcome.stopped and not outcome.idle:
        say(f"Stopped at {outcome.kimg:.1f} kimg: {outcome.stopped}")
    if outcome.idle:
        had = f"the run in {folder} has {outcome.kimg:g} kimg already"
        option = "--kimg"
        if outcome.stopped:
            had, option = f"{had}, and {outcome.stopped}", "--early-stop, or 0 for none,"
        say(f"Nothing to train: {had}; a higher {option} continues it")
        say(f"Last snapshot: {outcome.snapshot}")
    else:
        wrote(outcome.snapshot)
    result(
        folder=folder, snapshot=outcome.snapshot, kimg=outcome.kimg, stopped=outcome.stopped,
        metrics=outcome.metrics, idle=outcome.idle, interrupted=outcome.interrupted,
    )  # fmt: skip
    if outcome.interrupted:
        sys.exit(STOPPED)


def run(
    config: TrainConfig,
    data: tuple[str, ...],
    folder: Path,
    device: str,
    template: str | None,
    name: str | None,
) -> TrainResult | None:
    """Trains as one rank of a run; returns None on ranks other than 0.

    Args:
        config: settings as given.
        data: paths of the images.
        folder: run folder.
        device: name of the device.
        template: name or file of the alignment; None for the one that `pack` recorded.
        name: name of the data for the model card; None for a hash of its content.
    """
    alignment = _alignment(template, data)
    where = find_device(local_device(device))
    ranks = join(where, config.timeout)
    dataset, held_out = _open(config, data)
    if ranks.lead:
        shown = f", {ranks.world} processes" if ranks.world > 1 else ""
        faces = f", faces aligned by {alignment.name}" if alignment != NO_TEMPLATE else ""
        say(f"{len(dataset)} images{faces}, run folder {folder}{shown}")
        if slow := slow_precision(config.precision, where):
            note(slow)
    try:
        training_data = TrainingData(dataset, alignment, name or "", held_out)
        outcome = train(config, training_data, folder, where, ranks)
    except torch.OutOfMemoryError as error:
        resolved = config.resolve(ranks.world, where.type)
        size, group = resolved.part_size(ranks.world), resolved.mbstd_group
        advice = f"--batch-gpu {max(size // 2, 1)} with another --output"  # and other groups
        if size > group:
            smaller = max(size // 2 // group, 1) * group
            advice = f"--batch-gpu {smaller}, which gives the same result by gradient accumulation"
        raise StylemixError(
            f"got out of memory with {size} images at once ({str(error).splitlines()[0]}); "
            f"expected enough for them; use {advice}"
        ) from error
    ranks.close()
    return outcome if ranks.lead else None


def _alignment(template: str | None, data: tuple[str, ...]) -> Template:
    return packed_template(data) if template is None else find_template(template)


def _open(config: TrainConfig, data: tuple[str, ...]) -> tuple[PixelDataset, PixelDataset | None]:
    """The training images, and those that metrics compare with, if they are others."""
    images = open_dataset(data, config.size, config.channels, config.mirror, config.conditional)
    if not config.metrics_data:
        return images, None
    others = [config.metrics_data]
    return images, open_dataset(others, config.size, config.channels, False, config.conditional)
