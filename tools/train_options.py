"""The settings as options of the command: help, sections, types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import click

from stylemix.training.config import CHOICES, SCHEDULED, TrainConfig
from stylemix.training.sections import SECTIONS

SCHEDULE = "a number or KIMG:VALUE,KIMG:VALUE"
HELP = {
    "preset": "Recipe that the other options change, see the table in the documentation.",
    "resolution": "Side of the images in px, or WIDTHxHEIGHT.",
    "channels": "1 grey, 3 RGB, 4 RGB with alpha.",
    "kimg": "Thousands of real images to show in all. [default: preset, 25000]",
    "batch": "Images a step. [default: 4096 / resolution, at most 32 a process and 64 in all]",
    "batch_gpu": "Images that go through the networks at once; the rest of a step's follow. "
    "[default: batch / processes]",
    "seed": "Seed of weights, order and noise.",
    "mirror": "Show every image flipped, too.",
    "conditional": "Use the labels of dataset.json.",
    "precision": "Precision of the features; auto is bf16 on CUDA and on processors that compute "
    "in it, else fp32.",
    "z_dim": "Width of z. [default: preset, 512]",
    "w_dim": "Width of w. [default: preset, 512]",
    "mapping_layers": "Layers of the mapping network. [default: preset, 2]",
    "channel_base": "Channels times resolution. [default: 16384, from 512 px on 32768]",
    "d_channel_base": "The same for the discriminator alone. [default: --channel-base]",
    "channel_max": "Most channels of a layer. [default: preset, 512]",
    "channel_min": "Fewest channels of a layer: more for the finest blocks.",
    "head": "Last layer of the generator: colours, or the Haar subbands of a picture of twice the "
    "size of the finest block, which costs a third.",
    "d_head": "What the finest block of the discriminator takes: colours or Haar subbands.",
    "d_fromrgb_at": "Coarser blocks of the discriminator that take the reduced image, too, such as "
    "32,64, or none; auto: those where the model of --transfer began.",
    "g_architecture": "Generator's way to colours.",
    "d_architecture": "Discriminator's way from colours. [default: preset, resnet]",
    "mbstd_group": "Images that share a minibatch deviation. [default: 4, if they divide a batch]",
    "conv_clamp": "Limit of the features, 0 for none. [default: 256 in half precision]",
    "loss": "What the networks play for. [default: preset, logistic]",
    "feature_weight": "Weight of a second discriminator, on frozen ImageNet features; 0 for none. "
    "Figures on MobileNetV2 flatter what it trained.",
    "lr": f"Learning rate: {SCHEDULE}. [default: .0025, at 1024 px .002]",
    "d_lr": "The same for the discriminator alone. [default: --lr]",
    "beta2": f"Decay of Adam's second moment: {SCHEDULE}.",
    "r1_gamma": f"Weight of R1: {SCHEDULE}. [default: .0002 * resolution^2 / batch]",
    "r2_gamma": "Weight of R2, the same on fakes. [default: 0; --r1-gamma for relativistic]",
    "d_reg_interval": "Steps between R1 and R2 penalties, 0 for none.",
    "path_length_weight": "Weight of the path length penalty, 0 for none. [default: preset, 2]",
    "g_reg_interval": "Steps between path length penalties.",
    "style_mixing": "Probability of style mixing. [default: preset, .9]",
    "noise": "Noise in all layers, in the finest two or in none; the last two for a generator "
    "that photos are projected into. [default: preset, random]",
    "ema_kimg": f"Half-life of the generator average: {SCHEDULE}. [default: batch * 10 / 32]",
    "ema_rampup": "Limit of that half-life as a part of the images seen, 0 for none. "
    "[default: .05; 0 with --transfer]",
    "transfer": "Model file or name to start from; wider networks keep what it can do.",
    "freeze_d": "Finest layers of the discriminator that stay as they are (Freeze-D).",
    "transfer_lr": f"Part of the rate for weights that came with --transfer, 0 to hold them: "
    f"{SCHEDULE}.",
    "augment": "Adaptive, fixed or no augmentation.",
    "augment_pipe": "Which augmentations.",
    "augment_filter": "Resampling of the augmentations; bilinear is softer and faster.",
    "augment_p": f"Probability at the start; with --augment fixed all along: {SCHEDULE}.",
    "ada_target": "Mean sign of the reals' scores that adaptive augmentation keeps.",
    "ada_kimg": "Thousands of images in which p can go from 0 to 1. "
    "[default: 500; 100 with --transfer]",
    "tick_kimg": "Thousands of images between lines of statistics.",
    "state_minutes": "Minutes between states to continue from, written at a tick.",
    "snapshot_kimg": "Thousands of images between snapshots.",
    "keep_snapshots": "How many of the last snapshots are kept, 0 for all; the best one always is.",
    "metrics": "Figures of each snapshot, such as fd,kid,pr,dc,ppl; best by the first one.",
    "metrics_data": "Pictures that the figures compare with. [default: DATA]",
    "metrics_count": "Generated pictures for the figures. [default: as many as real ones]",
    "early_stop": "Snapshots without a better figure after which the run ends, 0 for never.",
    "rollbacks": "How often a run that goes wrong goes back, with half the rate.",
    "tensorboard": "Write for TensorBoard, too.",
    "workers": "Threads that read images ahead, in each process.",
    "timeout": "Seconds that a process waits for another one before it gives up.",
}


def config_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds one option for each field of TrainConfig."""
    for field in reversed(fields(TrainConfig)):
        name, text = field.name, HELP[field.name]
        flag = "--" + name.replace("_", "-")
        if field.type == "bool":
            option = click.option(flag, is_flag=True, help=text)
        else:
            shown = field.default is not None
            option = click.option(
                flag, type=_type(name, str(field.type)), default=field.default, show_default=shown,
                help=text,
            )  # fmt: skip
        command = option(command)
    return command


def _type(name: str, kind: str) -> Any:
    if name in CHOICES:
        return click.Choice(CHOICES[name])
    if name in SCHEDULED:
        return Scheduled()
    if kind.startswith("float"):
        return float
    return str if "str" in kind else int


class Scheduled(click.ParamType[Any]):
    """A number, kept as one, or the text of a schedule, which the settings read."""

    name = "schedule"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A float where it is one."""
        try:
            return float(value)
        except ValueError:
            return value


class SectionedCommand(click.Command):
    """A command whose help lists options by section; what is in none comes first."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the sections."""
        rows = {p.name: p.get_help_record(ctx) for p in self.get_params(ctx)}
        named = {name for names in SECTIONS.values() for name in names}
        sections = {"Options": tuple(n for n in rows if n is not None and n not in named)}
        for title, names in (sections | SECTIONS).items():
            with formatter.section(title):
                formatter.write_dl([row for name in names if (row := rows[name]) is not None])
