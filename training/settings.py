"""The settings of a run, each defined once: type, default, help, and valid values."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from types import NoneType
from typing import Any, get_args, get_type_hints

from stylemix.errors import StylemixError, check_choice
from stylemix.metrics.generator import LOWER_IS_BETTER, parse_metrics
from stylemix.networks.config import ARCHITECTURES, HEADS, GeneratorConfig, network_size
from stylemix.training.augment.pipe import MIN_SIDE, PIPES
from stylemix.training.losses import LOSSES
from stylemix.training.presets import PRESETS
from stylemix.training.schedules import parse_schedule

# Sections of the help, in this order.
RECIPE, DATA, NETWORKS, OPTIMISATION = "Recipe", "Data", "Networks", "Optimisation"
START, AUGMENTATION, FILES = "Starting from a model", "Augmentation", "Files and metrics"
SCHEDULE = "a number or KIMG:VALUE,KIMG:VALUE"


@dataclass(frozen=True)
class Setting:
    """The metadata of a setting beside its name and default.

    Args:
        section: heading in the help.
        help: one sentence for the command line.
        choices: valid values; empty for any.
        limits: minimum and maximum.
        scheduled: whether it may be a schedule, see `parse_schedule`.
        may_change: whether it may change when a run is resumed: length, written files, how the
            work is split, precision, and learning rates.
        kind: type of its values, except for None and schedules.
    """

    section: str
    help: str
    choices: tuple[Any, ...] = ()
    limits: tuple[float, float] = (-math.inf, math.inf)
    scheduled: bool = False
    may_change: bool = False
    kind: type = str

    def check(self, name: str, value: Any) -> None:
        """Raises StylemixError for a value that is not among the choices or outside the limits."""
        if self.choices:
            check_choice(name, value, self.choices)
        numbers: Iterable[float] = [value] if self.kind in (int, float) else []
        if self.scheduled:
            numbers = [number for _, number in parse_schedule(value, name).points]
        low, high = self.limits
        for number in numbers:
            if not low <= number <= high or math.isnan(number):
                raise StylemixError(f"got {name} {number}; expected a number from {low} to {high}")


def setting(section: str, default: Any, help: str, **more: Any) -> Any:
    """Returns a field of `Settings`; `more` are further fields of `Setting`."""
    return field(default=default, metadata={"setting": Setting(section, help, **more)})


@dataclass(frozen=True)
class Settings:
    """All settings; the options of the command have the same names.

    None stands for the value of the preset, or for one that depends on image size and number of
    processes; see `TrainConfig.resolve`.
    """

    # fmt: off
    preset: str = setting(
        RECIPE, "auto", "Preset that the other options override; --presets prints the table.",
        choices=tuple(PRESETS),
    )
    resolution: int | str = setting(RECIPE, 64, "Side of the images in px, or WIDTHxHEIGHT.")
    channels: int = setting(RECIPE, 3, "1 grey, 3 RGB, 4 RGB with alpha.", choices=(1, 3, 4))
    kimg: float | None = setting(
        RECIPE, None, "Length in thousands of real images. [default: preset, 25000]",
        limits=(0, 10**7), may_change=True,
    )
    batch: int | None = setting(
        RECIPE, None, "Images per step. [default: 4096 / resolution, at most 32 per process and "
        "64 in total]", limits=(2, 2**20),
    )
    batch_gpu: int | None = setting(
        RECIPE, None, "Images per process at once; the rest of a batch by gradient accumulation. "
        "[default: batch / processes]", limits=(1, 2**20), may_change=True,
    )
    seed: int = setting(RECIPE, 0, "Seed of weights, order and noise.", limits=(0, 2**32 - 1))
    precision: str = setting(
        RECIPE, "auto", "Precision of the features; auto is bf16 on CUDA and on processors that "
        "support it, else fp32.", choices=("auto", "fp32", "bf16", "fp16"), may_change=True,
    )
    mirror: bool = setting(DATA, False, "Add every image flipped left to right.")
    conditional: bool = setting(DATA, False, "Use the labels of dataset.json.")
    z_dim: int | None = setting(
        NETWORKS, None, "Width of z. [default: preset, 512]", limits=(1, 8192),
    )
    w_dim: int | None = setting(
        NETWORKS, None, "Width of w. [default: preset, 512]", limits=(1, 8192),
    )
    mapping_layers: int | None = setting(
        NETWORKS, None, "Layers of the mapping network. [default: preset, 2]", limits=(1, 32),
    )
    channel_base: int | None = setting(
        NETWORKS, None, "Channels times resolution. [default: 16384; 32768 from 512 px on]",
        limits=(4, 2**20),
    )
    d_channel_base: int | None = setting(
        NETWORKS, None, "The same for the discriminator alone. [default: --channel-base]",
        limits=(4, 2**20),
    )
    channel_max: int | None = setting(
        NETWORKS, None, "Maximum channels of a layer. [default: preset, 512]", limits=(1, 8192),
    )
    channel_min: int = setting(
        NETWORKS, 0, "Minimum channels of a layer, for the finest blocks.", limits=(0, 8192),
    )
    head: str = setting(
        NETWORKS, "rgb", "Output of the generator: RGB, or the Haar subbands of an image of twice "
        "the resolution of the finest block, at a third of the cost.", choices=HEADS,
    )
    d_head: str = setting(
        NETWORKS, "rgb", "Input of the discriminator's finest block: RGB or Haar subbands.",
        choices=HEADS,
    )
    d_fromrgb_at: str = setting(
        NETWORKS, "auto", "Resolutions of coarser discriminator blocks that get an additional "
        "fromRGB, such as 32,64, or none; auto: those of the model of --transfer.",
    )
    g_architecture: str = setting(
        NETWORKS, "skip", "Architecture of the generator.", choices=ARCHITECTURES,
    )
    d_architecture: str | None = setting(
        NETWORKS, None, "Architecture of the discriminator. [default: preset, resnet]",
        choices=ARCHITECTURES,
    )
    mbstd_group: int | None = setting(
        NETWORKS, None, "Group size of the minibatch standard deviation. [default: 4, if it "
        "divides the batch]", limits=(1, 2**20),
    )
    conv_clamp: float | None = setting(
        NETWORKS, None, "Clamp of the features, 0 for none. [default: 256 in half precision]",
        limits=(0, 10**9),
    )
    noise: str | None = setting(
        NETWORKS, None, "Noise in all layers, in the finest two, or in none; fine and none suit "
        "GAN inversion. [default: preset, random]",
        choices=("random", "fine", "none"),
    )
    loss: str | None = setting(
        OPTIMISATION, None, "Adversarial loss. [default: preset, logistic]",
        choices=tuple(LOSSES),
    )
    feature_weight: float = setting(
        OPTIMISATION, 0, "Weight of a second discriminator on frozen MobileNetV2 features; 0 for "
        "none. Metrics on MobileNetV2 are then biased.", limits=(0, 10**6),
    )
    lr: float | str | None = setting(
        OPTIMISATION, None, f"Learning rate: {SCHEDULE}. [default: .0025, at 1024 px .002]",
        limits=(0, 1), scheduled=True, may_change=True,
    )
    d_lr: float | str | None = setting(
        OPTIMISATION, None, "The same for the discriminator alone. [default: --lr]",
        limits=(0, 1), scheduled=True, may_change=True,
    )
    beta2: float | str = setting(
        OPTIMISATION, 0.99, f"Decay of Adam's second moment: {SCHEDULE}.",
        limits=(0, 0.999999), scheduled=True,
    )
    r1_gamma: float | str | None = setting(
        OPTIMISATION, None, f"Weight of R1: {SCHEDULE}. [default: .0002 * resolution^2 / batch]",
        limits=(0, 10**9), scheduled=True,
    )
    r2_gamma: float | str | None = setting(
        OPTIMISATION, None, "Weight of R2, the same on fakes. [default: 0; --r1-gamma for "
        "relativistic]", limits=(0, 10**9), scheduled=True,
    )
    d_reg_interval: int = setting(
        OPTIMISATION, 16, "Steps between R1 and R2 penalties, 0 for none.", limits=(0, 10**6),
    )
    path_length_weight: float | None = setting(
        OPTIMISATION, None, "Weight of the path length penalty, 0 for none. [default: preset, 2]",
        limits=(0, 10**9),
    )
    g_reg_interval: int = setting(
        OPTIMISATION, 4, "Steps between path length penalties.", limits=(1, 10**6),
    )
    style_mixing: float | None = setting(
        OPTIMISATION, None, "Probability of style mixing. [default: preset, .9]", limits=(0, 1),
    )
    ema_kimg: float | str | None = setting(
        OPTIMISATION, None, f"Half-life of the generator average: {SCHEDULE}. [default: batch * "
        "10 / 32]", limits=(0, 10**7), scheduled=True,
    )
    ema_rampup: float | None = setting(
        OPTIMISATION, None, "Limit of that half-life as a fraction of images seen, 0 for none. "
        "[default: .05; 0 with --transfer]", limits=(0, 1000),
    )
    transfer: str | None = setting(
        START, None, "Model file or name to initialize from, also for wider networks.",
    )
    freeze_d: int = setting(
        START, 0, "Number of the discriminator's finest layers to freeze (Freeze-D).",
        limits=(0, 1000),
    )
    transfer_lr: float | str = setting(
        START, 1, "Factor on the learning rate of transferred weights, 0 to freeze them: "
        f"{SCHEDULE}.", limits=(0, 1), scheduled=True,
    )
    transfer_d_lr: float | str | None = setting(
        START, None, "The same for the discriminator alone. [default: --transfer-lr]",
        limits=(0, 1), scheduled=True,
    )
    augment: str = setting(
        AUGMENTATION, "ada", "Adaptive (ADA), fixed or no augmentation.",
        choices=("ada", "fixed", "none"),
    )
    augment_pipe: str = setting(AUGMENTATION, "bgc", "Which augmentations.", choices=tuple(PIPES))
    augment_filter: str = setting(
        AUGMENTATION, "sym6", "Resampling of the augmentations; bilinear is softer and faster.",
        choices=("sym6", "bilinear"),
    )
    augment_p: float | str = setting(
        AUGMENTATION, 0, f"Initial probability; with --augment fixed, constant or {SCHEDULE}.",
        limits=(0, 1), scheduled=True,
    )
    ada_target: float = setting(
        AUGMENTATION, 0.6, "Target of adaptive augmentation for the mean sign of real scores.",
        limits=(-1, 1),
    )
    ada_kimg: float | None = setting(
        AUGMENTATION, None, "Thousands of images in which p can go from 0 to 1. [default: 500; "
        "100 with --transfer]", limits=(0.001, 10**7),
    )
    tick_kimg: float = setting(
        FILES, 4, "Thousands of images between lines of statistics.",
        limits=(0.001, 10**7), may_change=True,
    )
    state_minutes: float = setting(
        FILES, 3, "Minutes between states, written at a tick and with each snapshot.",
        limits=(0, 10**5), may_change=True,
    )
    snapshot_kimg: float = setting(
        FILES, 200, "Thousands of images between snapshots.",
        limits=(0.001, 10**7), may_change=True,
    )
    keep_snapshots: int = setting(
        FILES, 0, "Number of last snapshots to keep beside the best one, 0 for all.",
        limits=(0, 10**6), may_change=True,
    )
    metrics: str = setting(
        FILES, "none", "Metrics of each snapshot, such as fd,kid,pr,dc,ppl; the first one selects "
        "the best.", may_change=True,
    )
    metrics_data: str | None = setting(
        FILES, None, "Images that the metrics compare with. [default: DATA]", may_change=True,
    )
    metrics_count: int | None = setting(
        FILES, None, "Generated images for the metrics. [default: as many as real ones]",
        limits=(2, 10**7), may_change=True,
    )
    early_stop: int = setting(
        FILES, 0, "Snapshots without improvement after which the run stops, 0 for never.",
        limits=(0, 10**6), may_change=True,
    )
    rollbacks: int = setting(
        FILES, 3, "Maximum rollbacks of a failing run, each with half the learning rate.",
        limits=(0, 1000), may_change=True,
    )
    tensorboard: bool = setting(FILES, False, "Also write TensorBoard logs.", may_change=True)
    workers: int = setting(
        FILES, 3, "Threads that prefetch images, in each process.",
        limits=(1, 1024), may_change=True,
    )
    timeout: float = setting(
        FILES, 600, "Seconds after which a process stops waiting for another one.",
        limits=(1, 10**6), may_change=True,
    )
    # fmt: on

    def __post_init__(self) -> None:
        height, width = self.size
        one_side = width if width == height else f"{width}x{height}"
        object.__setattr__(self, "resolution", one_side)  # 64, "64" and "64x64" are the same
        for name, described in SETTINGS.items():
            value = getattr(self, name)
            if value is not None:
                described.check(name, value)
        if self.batch is not None and self.batch_gpu is not None and self.batch_gpu > self.batch:
            raise StylemixError(
                f"got batch_gpu {self.batch_gpu}; expected no more than the batch of {self.batch}"
            )
        if not self.metric_names and self.early_stop:
            raise StylemixError(
                "got early_stop without metrics; expected one to stop by; add --metrics fd"
            )
        # Raises for sizes that no network supports, and for too few channels.
        side, base = network_size(*self.size)
        if min(self.size) < MIN_SIDE:
            raise StylemixError(
                f"got resolution {self.resolution}; expected sides of {MIN_SIDE} px or more, which "
                "the augmentations need; choose a larger one"
            )
        for channels, head in ((self.channel_base, self.head), (self.d_channel_base, self.d_head)):
            finest = side // 2 if head == "haar" else side
            GeneratorConfig(
                finest, base=base, channel_base=channels or 32768, channel_min=self.channel_min
            )
        if self.d_head == "haar" and self.d_architecture == "skip":
            raise StylemixError("got d_head haar with d_architecture skip; expected resnet or orig")

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The metrics of snapshots, the first of which selects the best one; () for none."""
        none = self.metrics in ("none", "")
        return () if none else parse_metrics(self.metrics, LOWER_IS_BETTER)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in px of `resolution`, which is a side or WIDTHxHEIGHT."""
        try:
            sides = [int(part) for part in str(self.resolution).lower().split("x")]
            width, height = sides * 2 if len(sides) == 1 else sides
        except ValueError:
            raise StylemixError(
                f"got resolution {self.resolution!r}; expected a side such as 64, or "
                "WIDTHxHEIGHT such as 96x128"
            ) from None
        return height, width


def _described() -> dict[str, Setting]:
    """Returns the settings by name, each with the type of its values."""
    hints, settings = get_type_hints(Settings), {}
    for member in fields(Settings):
        described: Setting = member.metadata["setting"]
        kinds = set(get_args(hints[member.name]) or [hints[member.name]]) - {NoneType}
        if described.scheduled:
            kinds -= {str}
        settings[member.name] = replace(described, kind=str if str in kinds else kinds.pop())
    return settings


SETTINGS = _described()
