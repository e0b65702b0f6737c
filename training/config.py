"""The resolved training configuration: defaults, network configurations, microbatch size."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

from stylemix.devices import cpu_has_bf16
from stylemix.errors import StylemixError
from stylemix.networks.config import DiscriminatorConfig, GeneratorConfig, network_size
from stylemix.training.presets import PRESETS, automatic
from stylemix.training.schedules import parse_schedule
from stylemix.training.settings import SETTINGS, Settings


class TrainConfig(Settings):
    """Settings as given; None means automatic."""

    def resolve(self, world: int = 1, device: str = "cpu") -> ResolvedConfig:
        """Returns the settings with automatic values for `world` processes on a device type."""
        values: dict[str, Any] = {
            "precision": "bf16" if device == "cuda" or cpu_has_bf16() else "fp32",
            "ada_kimg": 100 if self.transfer else 500,
        }
        row = PRESETS[self.preset] | ({"ema_rampup": 0} if self.transfer else {})
        values |= {name: value for name, value in row.items() if value is not None}
        known = {k: getattr(self, k) for k in PRESETS["auto"] if getattr(self, k) is not None}
        rest = automatic(max(self.size), world, {**values, **known}.get("batch"))
        values = {**rest, **values}
        resolved = {name: _resolved(self, name, values) for name in SETTINGS}
        if self.mbstd_group is None:
            resolved["mbstd_group"] = _group(resolved, world)
        if resolved["conv_clamp"] is None and resolved["precision"] != "fp32":
            resolved["conv_clamp"] = 256.0
        if resolved["r2_gamma"] is None:
            relativistic = resolved["loss"] == "relativistic"
            resolved["r2_gamma"] = resolved["r1_gamma"] if relativistic else 0
        return ResolvedConfig(**resolved)


@dataclass(frozen=True, kw_only=True)
class ResolvedConfig(TrainConfig):
    """Settings without automatic values, by `TrainConfig.resolve`; None means disabled."""

    kimg: float
    batch: int
    z_dim: int
    w_dim: int
    mapping_layers: int
    channel_base: int
    channel_max: int
    d_architecture: str
    mbstd_group: int
    noise: str
    loss: str
    lr: float | str
    r1_gamma: float | str
    r2_gamma: float | str
    path_length_weight: float
    style_mixing: float
    ema_kimg: float | str
    ema_rampup: float
    ada_kimg: float

    def part_size(self, world: int) -> int:
        """Returns the microbatch size in images; a multiple of `mbstd_group`."""
        batch, group = self.batch, self.mbstd_group
        share = -(-batch // group // world) * group
        if -(-batch // share) < world:
            share = max(batch // group // world * group, 1)
        size = self.batch_gpu or share
        if batch % group or (size % group and size < batch):
            advice = f"--mbstd-group {math.gcd(batch, size)}"
            if batch % group == 0:  # the group of a run is fixed, its microbatches are not
                advice = f"--batch-gpu {max(size // group, 1) * group}, or in a new run {advice}"
            raise StylemixError(
                f"got a batch of {batch} in microbatches of {size} with groups of {group} for the "
                f"minibatch deviation; expected multiples of the group; use {advice}"
            )
        if -(-batch // size) < world:
            raise StylemixError(
                f"got {world} processes for a batch of {batch} in microbatches of {size}; expected "
                f"one for each; use --batch {size * world} or fewer processes"
            )
        return size

    def value(self, name: str, cur_nimg: int) -> float:
        """Returns the value of a scheduled setting after `cur_nimg` images."""
        return parse_schedule(getattr(self, name), name).at(cur_nimg)

    def generator(self, c_dim: int = 0) -> GeneratorConfig:
        """Returns the generator configuration for labels of width `c_dim`."""
        return GeneratorConfig(
            z_dim=self.z_dim,
            w_dim=self.w_dim,
            mapping_layers=self.mapping_layers,
            architecture=self.g_architecture,
            channel_base=self.channel_base,
            **self._common(c_dim, self.head),
        )

    def discriminator(self, c_dim: int = 0) -> DiscriminatorConfig:
        """Returns the discriminator configuration for labels of width `c_dim`."""
        return DiscriminatorConfig(
            architecture=self.d_architecture,
            channel_base=self.d_channel_base or self.channel_base,
            mbstd_group_size=self.mbstd_group,
            fromrgb_at=_sizes(self.d_fromrgb_at),
            **self._common(c_dim, self.d_head),
        )

    def _common(self, c_dim: int, head: str) -> dict[str, Any]:
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
    """Parses resolutions such as "32,64"; "auto" and "none" give none."""
    if text in ("auto", "none"):
        return ()
    try:
        return tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        raise StylemixError(
            f"got d_fromrgb_at {text!r}; expected auto, none or resolutions such as 32,64"
        ) from None


def _resolved(config: TrainConfig, name: str, values: dict[str, Any]) -> Any:
    given = getattr(config, name)
    automatic_value = given is None or (given == "auto" and name == "precision")
    return values.get(name, given) if automatic_value else given


def _group(resolved: dict[str, Any], world: int) -> int:
    """Returns the largest group, up to the preset's, that divides batch and microbatch."""
    batch = resolved["batch"]
    limit = min(resolved["mbstd_group"], max(batch // world, 1))
    microbatch = resolved["batch_gpu"] or batch
    return max(g for g in range(1, limit + 1) if batch % g == 0 and microbatch % g == 0)


def changed(before: dict[str, Any], now: TrainConfig) -> dict[str, tuple[Any, Any]]:
    """Returns the settings that differ from a run's although they must not change on resume."""
    # A state from before an option existed has its default.
    fixed = {f.name: f.default for f in fields(Settings) if not SETTINGS[f.name].may_change}
    pairs = {
        name: (before.get(name, default), getattr(now, name)) for name, default in fixed.items()
    }
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def continued(stored: dict[str, Any], now: ResolvedConfig) -> ResolvedConfig:
    """Returns the settings of a stored run, with those that may change taken from `now`."""
    known = {name: stored[name] for name in SETTINGS if name in stored}
    # A state from before an option existed gets its automatic value. None in a state means disabled
    # and stays, whatever would be automatic for the precision of the last start.
    old = replace(TrainConfig(**known).resolve(), **known)
    may_change = [name for name, described in SETTINGS.items() if described.may_change]
    return replace(old, **{name: getattr(now, name) for name in may_change})
