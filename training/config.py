"""Everything that decides a training run, as one frozen dataclass."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from stylemix.augment import PIPES
from stylemix.config import ARCHITECTURES, DiscriminatorConfig, GeneratorConfig
from stylemix.errors import StylemixError

AUGMENTS = ("ada", "fixed", "none")
PRECISIONS = ("fp32", "bf16")
NOISES = ("random", "none")
FILTERS = ("sym6", "bilinear")
RANGES: dict[str, tuple[float, float]] = {
    "kimg": (0, 10**7),
    "batch": (2, 65536),
    "seed": (0, 2**32 - 1),
    "z_dim": (1, 8192),
    "w_dim": (1, 8192),
    "mapping_layers": (1, 32),
    "channel_base": (4, 2**20),
    "d_channel_base": (4, 2**20),
    "channel_max": (1, 8192),
    "lr": (0, 1),
    "r1_gamma": (0, 10**9),
    "d_reg_interval": (0, 10**6),
    "path_length_weight": (0, 10**9),
    "g_reg_interval": (1, 10**6),
    "style_mixing": (0, 1),
    "ema_kimg": (0, 10**7),
    "ema_rampup": (0, 1000),
    "augment_p": (0, 1),
    "ada_target": (-1, 1),
    "ada_kimg": (0.001, 10**7),
    "snapshot_kimg": (0.001, 10**7),
    "state_kimg": (0.001, 10**7),
}


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a run; the command's options have the same names.

    None stands for a value that `resolve` derives from resolution and batch, by the automatic
    settings of the ADA paper's public configuration.
    """

    resolution: int = 64
    kimg: float = 1000
    batch: int | None = None
    seed: int = 0
    mirror: bool = False
    conditional: bool = False
    precision: str = "fp32"
    # Networks
    z_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 2
    channel_base: int | None = None
    d_channel_base: int | None = None
    channel_max: int = 512
    g_architecture: str = "skip"
    d_architecture: str = "resnet"
    # Optimisation
    lr: float | None = None
    r1_gamma: float | None = None
    d_reg_interval: int = 16
    path_length_weight: float = 2
    g_reg_interval: int = 4
    style_mixing: float = 0.9
    noise: str = "random"
    ema_kimg: float | None = None
    ema_rampup: float = 0.05
    # Augmentation
    augment: str = "ada"
    augment_pipe: str = "bgc"
    augment_filter: str = "sym6"
    augment_p: float = 0
    ada_target: float = 0.6
    ada_kimg: float = 500
    # Files
    snapshot_kimg: float = 20
    state_kimg: float = 4

    def __post_init__(self) -> None:
        _expect("g_architecture", self.g_architecture, ARCHITECTURES)
        _expect("d_architecture", self.d_architecture, ARCHITECTURES)
        _expect("augment", self.augment, AUGMENTS)
        _expect("augment_pipe", self.augment_pipe, PIPES)
        _expect("noise", self.noise, NOISES)
        _expect("augment_filter", self.augment_filter, FILTERS)
        _expect("precision", self.precision, PRECISIONS)
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise StylemixError(f"got {name} {value}; expected a number from {low} to {high}")
        # Refuses resolutions that are no power of two, and too few channels for them.
        for base in (self.channel_base, self.d_channel_base):
            GeneratorConfig(self.resolution, channel_base=base or 32768)

    def resolve(self) -> TrainConfig:
        """The same settings with every None replaced (ADA, arXiv 2006.06676, appendix C)."""
        res = self.resolution
        batch = self.batch or max(min(4096 // res, 32), 4)
        automatic: dict[str, Any] = {
            "batch": batch,
            "channel_base": 32768 if res >= 512 else 16384,
            "lr": 0.002 if res >= 1024 else 0.0025,
            "r1_gamma": 0.0002 * res**2 / batch,
            "ema_kimg": batch * 10 / 32,
        }
        return replace(self, **{k: v for k, v in automatic.items() if getattr(self, k) is None})

    def generator(self, c_dim: int = 0) -> GeneratorConfig:
        """Sizes of the generator for labels of width `c_dim`."""
        assert self.channel_base is not None, "resolve() first"
        return GeneratorConfig(
            self.resolution,
            c_dim=c_dim,
            z_dim=self.z_dim,
            w_dim=self.w_dim,
            mapping_layers=self.mapping_layers,
            channel_base=self.channel_base,
            channel_max=self.channel_max,
            architecture=self.g_architecture,
        )

    def discriminator(self, c_dim: int = 0) -> DiscriminatorConfig:
        """Sizes of the discriminator for labels of width `c_dim`."""
        assert self.channel_base is not None, "resolve() first"
        return DiscriminatorConfig(
            self.resolution,
            c_dim=c_dim,
            channel_base=self.d_channel_base or self.channel_base,
            channel_max=self.channel_max,
            architecture=self.d_architecture,
        )


def _expect(name: str, value: str, choices: object) -> None:
    assert hasattr(choices, "__iter__")
    names = list(choices)
    if value not in names:
        raise StylemixError(f"got {name} {value!r}; expected one of {', '.join(names)}")
