"""Everything that decides a training run, as one frozen dataclass."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

from stylemix.devices import cpu_has_bf16
from stylemix.errors import StylemixError
from stylemix.networks.config import (
    ARCHITECTURES,
    HEADS,
    DiscriminatorConfig,
    GeneratorConfig,
    network_size,
)
from stylemix.training.augment.pipe import PIPES
from stylemix.training.losses import LOSSES
from stylemix.training.presets import PRESETS, automatic
from stylemix.training.schedules import parse_schedule

CHOICES: dict[str, tuple[Any, ...]] = {
    "preset": tuple(PRESETS),
    "channels": (1, 3, 4),
    "precision": ("auto", "fp32", "bf16", "fp16"),
    "head": HEADS,
    "d_head": HEADS,
    "g_architecture": ARCHITECTURES,
    "d_architecture": ARCHITECTURES,
    "loss": tuple(LOSSES),
    "noise": ("random", "fine", "none"),
    "augment": ("ada", "fixed", "none"),
    "augment_pipe": tuple(PIPES),
    "augment_filter": ("sym6", "bilinear"),
}
RANGES: dict[str, tuple[float, float]] = {
    "kimg": (0, 10**7),
    "batch": (2, 2**20),
    "batch_gpu": (1, 2**20),
    "mbstd_group": (1, 2**20),
    "seed": (0, 2**32 - 1),
    "z_dim": (1, 8192),
    "w_dim": (1, 8192),
    "mapping_layers": (1, 32),
    "channel_base": (4, 2**20),
    "d_channel_base": (4, 2**20),
    "channel_max": (1, 8192),
    "channel_min": (0, 8192),
    "conv_clamp": (0, 10**9),
    "lr": (0, 1),
    "d_lr": (0, 1),
    "beta2": (0, 0.999999),
    "r1_gamma": (0, 10**9),
    "r2_gamma": (0, 10**9),
    "d_reg_interval": (0, 10**6),
    "path_length_weight": (0, 10**9),
    "g_reg_interval": (1, 10**6),
    "style_mixing": (0, 1),
    "ema_kimg": (0, 10**7),
    "ema_rampup": (0, 1000),
    "freeze_d": (0, 1000),
    "transfer_lr": (0, 1),
    "feature_weight": (0, 10**6),
    "augment_p": (0, 1),
    "ada_target": (-1, 1),
    "ada_kimg": (0.001, 10**7),
    "snapshot_kimg": (0.001, 10**7),
    "tick_kimg": (0.001, 10**7),
    "state_minutes": (0, 10**5),
    "timeout": (1, 10**6),
    "workers": (1, 1024),
    "metrics_count": (2, 10**7),
    "keep_snapshots": (0, 10**6),
    "early_stop": (0, 10**6),
    "rollbacks": (0, 1000),
}
SCHEDULED = (
    "lr", "d_lr", "beta2", "r1_gamma", "r2_gamma", "ema_kimg", "augment_p", "transfer_lr",
)  # fmt: skip
# What a continued run may be given anew: how long, what is written, how the work is split, and
# what the machine computes in.
MAY_CHANGE = (
    "kimg", "batch_gpu", "snapshot_kimg", "tick_kimg", "metrics", "metrics_data", "metrics_count",
    "keep_snapshots", "early_stop", "rollbacks", "tensorboard", "state_minutes", "timeout",
    "workers", "precision",
)  # fmt: skip


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a run; the command's options have the same names.

    None stands for a value that `resolve` takes from the preset or derives from the image size
    and the number of processes. The fields in SCHEDULED may be schedules, see `parse_schedule`.
    """

    preset: str = "auto"
    resolution: int | str = 64
    channels: int = 3
    kimg: float | None = None
    batch: int | None = None
    batch_gpu: int | None = None
    seed: int = 0
    mirror: bool = False
    conditional: bool = False
    precision: str = "auto"
    # Networks
    z_dim: int | None = None
    w_dim: int | None = None
    mapping_layers: int | None = None
    channel_base: int | None = None
    d_channel_base: int | None = None
    channel_max: int | None = None
    channel_min: int = 0
    head: str = "rgb"
    d_head: str = "rgb"
    d_fromrgb_at: str = "auto"
    g_architecture: str = "skip"
    d_architecture: str | None = None
    mbstd_group: int | None = None
    conv_clamp: float | None = None
    # Optimisation
    loss: str | None = None
    feature_weight: float = 0
    lr: float | str | None = None
    d_lr: float | str | None = None
    beta2: float | str = 0.99
    r1_gamma: float | str | None = None
    r2_gamma: float | str | None = None
    d_reg_interval: int = 16
    path_length_weight: float | None = None
    g_reg_interval: int = 4
    style_mixing: float | None = None
    noise: str | None = None
    ema_kimg: float | str | None = None
    ema_rampup: float | None = None
    # Starting from a trained model
    transfer: str | None = None
    freeze_d: int = 0
    transfer_lr: float | str = 1
    # Augmentation
    augment: str = "ada"
    augment_pipe: str = "bgc"
    augment_filter: str = "sym6"
    augment_p: float | str = 0
    ada_target: float = 0.6
    ada_kimg: float | None = None
    # Files and figures
    snapshot_kimg: float = 200
    tick_kimg: float = 4
    state_minutes: float = 3
    metrics: str = "none"
    metrics_data: str | None = None
    metrics_count: int | None = None
    keep_snapshots: int = 0
    early_stop: int = 0
    rollbacks: int = 3
    tensorboard: bool = False
    workers: int = 3
    timeout: float = 600

    def __post_init__(self) -> None:
        height, width = self.size
        one_way = width if width == height else f"{width}x{height}"
        object.__setattr__(self, "resolution", one_way)  # 64, "64" and "64x64" are the same
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            if value is not None and value not in choices:
                expected = ", ".join(map(str, choices))
                raise StylemixError(f"got {name} {value!r}; expected one of {expected}")
        for name, limits in RANGES.items():
            value = getattr(self, name)
            if value is not None:
                _expect_range(name, value, limits)
        if self.batch is not None and self.batch_gpu is not None and self.batch_gpu > self.batch:
            raise StylemixError(
                f"got batch_gpu {self.batch_gpu}; expected no more than the batch of {self.batch}"
            )
        if self.early_stop and self.metrics == "none":
            raise StylemixError(
                "got early_stop without metrics; expected a figure to stop by; add --metrics fd"
            )
        # Refuses sizes that no network has, and too few channels for them.
        side, base = network_size(*self.size)
        for channels, head in ((self.channel_base, self.head), (self.d_channel_base, self.d_head)):
            finest = side // 2 if head == "haar" else side
            GeneratorConfig(
                finest, base=base, channel_base=channels or 32768, channel_min=self.channel_min
            )
        if self.d_head == "haar" and self.d_architecture == "skip":
            raise StylemixError("got d_head haar with d_architecture skip; expected resnet or orig")

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

    def resolve(self, world: int = 1, device: str = "cpu") -> TrainConfig:
        """The same settings with the gaps filled in for `world` processes on a kind of device."""
        values: dict[str, Any] = {
            "precision": "bf16" if device == "cuda" or cpu_has_bf16() else "fp32",
            "ada_kimg": 100 if self.transfer else 500,
        }
        row = PRESETS[self.preset] | ({"ema_rampup": 0} if self.transfer else {})
        values |= {name: value for name, value in row.items() if value is not None}
        known = {k: getattr(self, k) for k in PRESETS["auto"] if getattr(self, k) is not None}
        rest = automatic(max(self.size), world, {**values, **known}.get("batch"))
        values = {**rest, **values}
        taken = {f.name: _filled(self, f.name, values) for f in fields(self)}
        if self.mbstd_group is None:
            taken["mbstd_group"] = _group(taken, world)
        if taken["conv_clamp"] is None and taken["precision"] != "fp32":
            taken["conv_clamp"] = 256.0
        if taken["r2_gamma"] is None:
            taken["r2_gamma"] = taken["r1_gamma"] if taken["loss"] == "relativistic" else 0
        return TrainConfig(**taken)

    def part_size(self, world: int) -> int:
        """Images that go through the networks at once; whole cells of `mbstd_group`."""
        assert self.batch is not None
        assert self.mbstd_group is not None
        batch, group = self.batch, self.mbstd_group
        share = -(-batch // group // world) * group
        if -(-batch // share) < world:
            share = max(batch // group // world * group, 1)
        size = self.batch_gpu or share
        if batch % group or (size % group and size < batch):
            raise StylemixError(
                f"got a batch of {batch} in parts of {size} with groups of {group} for the "
                "minibatch deviation; expected multiples of the group; use --mbstd-group "
                f"{math.gcd(batch, size)}"
            )
        if -(-batch // size) < world:
            raise StylemixError(
                f"got {world} processes for a batch of {batch} in parts of {size}; expected a part "
                f"for each; use --batch {size * world} or fewer processes"
            )
        return size

    def value(self, name: str, cur_nimg: int) -> float:
        """The value of a scheduled setting after `cur_nimg` images."""
        return parse_schedule(getattr(self, name), name).at(cur_nimg)

    def generator(self, c_dim: int = 0) -> GeneratorConfig:
        """Sizes of the generator for labels of width `c_dim`, of resolved settings."""
        assert self.z_dim is not None
        assert self.w_dim is not None
        return GeneratorConfig(
            z_dim=self.z_dim,
            w_dim=self.w_dim,
            mapping_layers=self.mapping_layers or 8,
            architecture=self.g_architecture,
            channel_base=self.channel_base or 32768,
            **self._common(c_dim, self.head),
        )

    def discriminator(self, c_dim: int = 0) -> DiscriminatorConfig:
        """Sizes of the discriminator for labels of width `c_dim`, of resolved settings."""
        return DiscriminatorConfig(
            architecture=self.d_architecture or "resnet",
            channel_base=self.d_channel_base or self.channel_base or 32768,
            mbstd_group_size=self.mbstd_group or 4,
            fromrgb_at=_sizes(self.d_fromrgb_at),
            **self._common(c_dim, self.d_head),
        )

    def _common(self, c_dim: int, head: str) -> dict[str, Any]:
        assert self.channel_base is not None, "resolve() first"
        side, base = network_size(*self.size)
        return {
            "img_resolution": side // 2 if head == "haar" else side,
            "head": head,
            "base": base,
            "img_channels": self.channels,
            "c_dim": c_dim,
            "channel_max": self.channel_max,
            "channel_min": self.channel_min,
            "conv_clamp": self.conv_clamp or None,
        }


def _sizes(text: str) -> tuple[int, ...]:
    """Resolutions in a text such as "32,64"; none of "auto" and "none"."""
    if text in ("auto", "none"):
        return ()
    try:
        return tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        raise StylemixError(
            f"got d_fromrgb_at {text!r}; expected auto, none or resolutions such as 32,64"
        ) from None


def _filled(config: TrainConfig, name: str, values: dict[str, Any]) -> Any:
    own = getattr(config, name)
    return values.get(name, own) if own is None or (own == "auto" and name == "precision") else own


def _group(taken: dict[str, Any], world: int) -> int:
    """The largest minibatch group up to the preset's that divides batch and parts."""
    batch, most = taken["batch"], min(taken["mbstd_group"], max(taken["batch"] // world, 1))
    part = taken["batch_gpu"] or batch
    return max(g for g in range(1, most + 1) if batch % g == 0 and part % g == 0)


def _expect_range(name: str, value: float | str, limits: tuple[float, float]) -> None:
    numbers: Iterable[float] = [value]  # type: ignore[list-item]
    if name in SCHEDULED:
        numbers = [number for _, number in parse_schedule(value, name).points]
    for number in numbers:
        if not limits[0] <= number <= limits[1] or math.isnan(number):
            raise StylemixError(
                f"got {name} {number}; expected a number from {limits[0]} to {limits[1]}"
            )


def changed(before: dict[str, Any], now: TrainConfig) -> dict[str, tuple[Any, Any]]:
    """Settings that differ from those of a run, and that it cannot be continued with."""
    # A state of before an option was there has its default.
    own = {f.name: f.default for f in fields(now) if f.name not in MAY_CHANGE}
    pairs = {name: (before.get(name, usual), getattr(now, name)) for name, usual in own.items()}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def continued(stored: dict[str, Any], now: TrainConfig) -> TrainConfig:
    """The resolved settings of a stored run, with what may change taken from those of `now`."""
    known = {f.name for f in fields(now)}
    old = TrainConfig(**{k: v for k, v in stored.items() if k in known})
    return replace(old, **{name: getattr(now, name) for name in MAY_CHANGE})
