"""The `train` command."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import click

from stylemix.alignment import FACES128, FFHQ, NO_TEMPLATE
from stylemix.augment import PIPES
from stylemix.config import ARCHITECTURES
from stylemix.dataset import ImageDataset
from stylemix.devices import find_device
from stylemix.training.config import AUGMENTS, FILTERS, NOISES, PRECISIONS, TrainConfig
from stylemix.training.loop import train

TEMPLATES = {"none": NO_TEMPLATE, "faces128": FACES128, "ffhq": FFHQ}
HELP = {
    "resolution": "Side of the images in px, a power of two.",
    "kimg": "Thousands of real images to show in all.",
    "batch": "Images a step. [default: 4096 / resolution, 4 to 32]",
    "seed": "Seed of weights, order and noise.",
    "mirror": "Show every image flipped, too.",
    "conditional": "Use the labels of dataset.json.",
    "precision": "Precision of the features; bf16 is faster where the processor has it.",
    "z_dim": "Width of z.",
    "w_dim": "Width of w.",
    "mapping_layers": "Layers of the mapping network.",
    "channel_base": "Channels times resolution. [default: 16384, from 512 px on 32768]",
    "d_channel_base": "The same for the discriminator alone. [default: --channel-base]",
    "channel_max": "Most channels of a layer.",
    "g_architecture": "Generator's way to colours.",
    "d_architecture": "Discriminator's way from colours.",
    "lr": "Learning rate. [default: .0025, at 1024 px .002]",
    "r1_gamma": "Weight of R1. [default: .0002 * resolution^2 / batch]",
    "d_reg_interval": "Steps between R1 penalties, 0 for none.",
    "path_length_weight": "Weight of the path length penalty, 0 for none.",
    "g_reg_interval": "Steps between path length penalties.",
    "noise": "Noise in the layers; none for a generator that photos are projected into.",
    "style_mixing": "Probability of style mixing.",
    "ema_kimg": "Half-life of the generator average. [default: batch * 10 / 32]",
    "ema_rampup": "Limit of that half-life as a part of the images seen, 0 for none.",
    "augment": "Adaptive, fixed or no augmentation.",
    "augment_pipe": "Which augmentations.",
    "augment_filter": "Resampling of the augmentations; bilinear is softer and faster.",
    "augment_p": "Probability at the start; stays so with --augment fixed.",
    "ada_target": "Mean sign of the reals' scores that adaptive augmentation keeps.",
    "ada_kimg": "Thousands of images in which p can go from 0 to 1.",
    "snapshot_kimg": "Thousands of images between snapshots.",
    "state_kimg": "Thousands of images between states to continue from.",
}
CHOICES: dict[str, Any] = {
    "precision": PRECISIONS,
    "g_architecture": ARCHITECTURES,
    "d_architecture": ARCHITECTURES,
    "augment": AUGMENTS,
    "augment_pipe": tuple(PIPES),
    "augment_filter": FILTERS,
    "noise": NOISES,
}


def _config_options(command: Any) -> Any:
    """One option for each field of TrainConfig."""
    for field in reversed(fields(TrainConfig)):
        flag = "--" + field.name.replace("_", "-")
        kind: Any = click.Choice(CHOICES[field.name]) if field.name in CHOICES else None
        if field.type == "bool":
            option = click.option(flag, is_flag=True, help=HELP[field.name])
        else:
            if kind is None:
                kind = int if str(field.type).startswith("int") else float
            option = click.option(
                flag,
                type=kind,
                default=field.default,
                show_default=field.default is not None,
                help=HELP[field.name],
            )
        command = option(command)
    return command


@click.command("train", context_settings={"max_content_width": 100})
@click.argument("data", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Run folder. [default: runs/DATA-RESOLUTION]",
)
@_config_options
@click.option(
    "--template",
    type=click.Choice(list(TEMPLATES)),
    default="none",
    show_default=True,
    help="How the faces are aligned; the model keeps it and aligns photos so.",
)
@click.option("--data-name", default=None, help="Name of the data in the model card.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:N or auto.")
@click.option("--dry-run", is_flag=True, help="Print the settings as JSON and stop.")
def train_command(
    data: tuple[Path, ...],
    output: Path | None,
    template: str,
    data_name: str | None,
    device: str,
    dry_run: bool,
    **settings: Any,
) -> None:
    """Train a generator on images: folders, zips or files.

    The same command again continues a run that was stopped, bitwise on the CPU.

    \b
    Example:
      stylemix train faces.zip --resolution 64 --channel-base 1024 --kimg 300 \\
          --precision bf16 --mirror --output runs/faces
    """
    config = TrainConfig(**settings)
    if dry_run:
        click.echo(json.dumps(asdict(config.resolve()), indent=2))
        return
    folder = output or Path("runs") / f"{data[0].stem}-{config.resolution}"
    dataset = ImageDataset(data, config.resolution, config.mirror, config.conditional)
    name = data_name or data[0].stem
    click.echo(f"{len(dataset)} images, run folder {folder}")
    snapshot = train(config, dataset, folder, find_device(device), TEMPLATES[template], name)
    click.echo(f"Wrote {snapshot}")
