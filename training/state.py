"""The state of a run in memory: networks with EMA, optimizers and counters."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from stylemix.networks.discriminator import Discriminator
from stylemix.networks.generator import Generator
from stylemix.training.config import ResolvedConfig
from stylemix.training.feature_discriminator import FeatureDiscriminator
from stylemix.training.optimizer_state import adam_tensors, load_adam, part

Network = TypeVar("Network", Generator, Discriminator)

# Learning rate factor without equalized learning rate: .0002 for .0025 (Projected GAN, section 4).
FEATURE_LR_SCALE = 0.08
SCALARS = ("path_length_mean", "sign_sum", "sign_count", "diversity")


@dataclass
class Counters:
    """The counters of a state; there is no random state, see `microbatches.StepRandom`."""

    cur_nimg: int = 0
    augment_p: float = 0.0
    seconds: float = 0.0
    lr_scale: float = 1.0  # halved by every rollback
    rollbacks: int = 0
    best: float | None = None  # metric of the best snapshot so far
    best_kimg: float = 0.0
    stale: int = 0  # snapshots since the best
    best_diversity: float = 0.0
    transferred: list[str] = field(default_factory=list)  # parameters of the --transfer model
    parent: dict[str, str] = field(default_factory=dict)  # that model's origin, source and licence


@dataclass
class TrainState:
    """Networks, optimizers and running statistics, which change during training."""

    generator: Generator
    discriminator: Discriminator
    generator_ema: Generator
    g_optimizer: torch.optim.Adam
    d_optimizer: torch.optim.Adam
    path_length_mean: Tensor
    sign_sum: Tensor  # running sum and count of signs of scores, for adaptive augmentation
    sign_count: Tensor
    diversity: Tensor  # running ratio of the fakes' spread to that of the reals
    counters: Counters = field(default_factory=Counters)
    frozen: frozenset[str] = frozenset()  # parameters of the discriminator (Freeze-D)
    feature_discriminator: FeatureDiscriminator | None = None

    @classmethod
    def create(cls, config: ResolvedConfig, c_dim: int, device: torch.device) -> TrainState:
        """Returns new networks and optimizers for a resolved config, seeded by config.seed."""
        features = None
        with torch.random.fork_rng(devices=[]):  # weights are initialized by the CPU generator
            torch.default_generator.manual_seed(config.seed)
            generator = _placed(Generator(config.generator(c_dim)), device)
            discriminator = _placed(Discriminator(config.discriminator(c_dim)), device)
            if config.feature_weight:
                features = FeatureDiscriminator(config.size).to(device)
        ema = copy.deepcopy(generator).eval().requires_grad_(False)
        zeros = [torch.zeros([], device=device) for _ in SCALARS]
        state = cls(
            generator, discriminator, ema, _adam(generator), _adam(discriminator),
            zeros[0], zeros[1], zeros[2], zeros[3],
        )  # fmt: skip
        if features is not None:
            state.feature_discriminator, heads = features, list(features.heads.parameters())
            state.d_optimizer.add_param_group({"params": heads, "kind": "features"})
        if config.augment != "none":
            state.counters.augment_p = config.value("augment_p", 0)
        return state

    def mark(self, transferred: list[str]) -> None:
        """Puts transferred parameters ("G.NAME", "D.NAME") into their own parameter groups."""
        self.counters.transferred = transferred
        for optimizer, prefix, network in (
            (self.g_optimizer, "G.", self.generator), (self.d_optimizer, "D.", self.discriminator),
        ):  # fmt: skip
            group = optimizer.param_groups[0]
            named = [(prefix + name, p) for name, p in network.named_parameters()]
            group["params"] = [p for name, p in named if name not in transferred]
            own = [p for name, p in named if name in transferred]
            if own:
                optimizer.add_param_group({"params": own, "kind": "transferred"})

    def thaw(self, config: ResolvedConfig) -> None:
        """Enables gradients of all but frozen parameters, permanently or by `transfer_lr` 0."""
        moved = set(self.counters.transferred)
        held = moved if not self._transfer_rate(config) else set()
        d_held = moved if not self._transfer_rate(config, "d_") else set()
        for name, parameter in self.generator.named_parameters():
            parameter.requires_grad_(f"G.{name}" not in held)
        for name, parameter in self.discriminator.named_parameters():
            parameter.requires_grad_(name not in self.frozen and f"D.{name}" not in d_held)
        if self.feature_discriminator is not None:
            self.feature_discriminator.heads.requires_grad_(True)

    def hold_discriminators(self) -> None:
        """Disables gradients of the discriminators for the generator's phases."""
        self.discriminator.requires_grad_(False)
        if self.feature_discriminator is not None:
            self.feature_discriminator.requires_grad_(False)

    def _transfer_rate(self, config: ResolvedConfig, network: str = "") -> float:
        own = network and config.transfer_d_lr is not None
        return config.value("transfer_d_lr" if own else "transfer_lr", self.counters.cur_nimg)

    def set_rates(self, config: ResolvedConfig) -> None:
        """Sets the current learning rates and betas of Adam.

        They are corrected for lazy regularization every k steps (StyleGAN2, appendix B): the rate
        is multiplied by k / (k + 1), and beta2 raised to that power.
        """
        nimg = self.counters.cur_nimg
        d_lr = config.value("d_lr" if config.d_lr is not None else "lr", nimg)
        penalties = config.value("r1_gamma", nimg) + config.value("r2_gamma", nimg)
        for network, optimizer, lr, k in (
            ("", self.g_optimizer, config.value("lr", nimg),
             config.g_reg_interval if config.path_length_weight else 0),
            ("d_", self.d_optimizer, d_lr, config.d_reg_interval if penalties else 0),
        ):  # fmt: skip
            ratio = k / (k + 1) if k > 0 else 1.0
            rate = self._transfer_rate(config, network)
            scales = {"transferred": rate, "features": FEATURE_LR_SCALE}
            for group in optimizer.param_groups:
                scale = scales.get(group["kind"], 1.0) * self.counters.lr_scale
                group["lr"] = lr * ratio * scale
                group["betas"] = (0.0, config.value("beta2", nimg) ** ratio)

    def tensors(self) -> dict[str, Tensor]:
        """Returns every tensor of the state by name, shared with the networks."""
        out = {name: getattr(self, name) for name in SCALARS}
        for name, network in self._networks().items():
            out |= {f"{name}.{key}": value for key, value in network.state_dict().items()}
        out |= adam_tensors(self.g_optimizer, "g_adam.")
        out |= adam_tensors(self.d_optimizer, "d_adam.")
        return out

    def fill(self, tensors: dict[str, Tensor], counters: dict[str, Any]) -> None:
        """Restores stored tensors and counters; KeyError where a tensor is missing."""
        restored = Counters(**counters)
        if not self.counters.transferred:
            self.mark(restored.transferred)
        for name, network in self._networks().items():
            stored = part(tensors, f"{name}.")
            for key, value in network.state_dict().items():
                if stored[key].shape != value.shape:
                    raise KeyError(f"{name}.{key} of another shape")
            network.load_state_dict(stored)
        for optimizer, name in ((self.g_optimizer, "g_adam."), (self.d_optimizer, "d_adam.")):
            load_adam(optimizer, part(tensors, name))
        for name in SCALARS:
            getattr(self, name).copy_(tensors[name])
        self.counters = restored

    def _networks(self) -> dict[str, nn.Module]:
        """Returns all networks by the prefix of their tensors."""
        networks: dict[str, nn.Module | None] = {
            "G": self.generator, "D": self.discriminator, "G_ema": self.generator_ema,
            "features": self.feature_discriminator,
        }  # fmt: skip
        return {name: network for name, network in networks.items() if network is not None}


def _placed(network: Network, device: torch.device) -> Network:
    # The type stubs of torch lack the keyword.
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _adam(network: torch.nn.Module) -> torch.optim.Adam:
    groups = [{"params": list(network.parameters()), "kind": ""}]
    return torch.optim.Adam(groups, lr=0.0, betas=(0.0, 0.99), eps=1e-8)


# EMA of the generator (StyleGAN2, appendix B; ramp-up as in ADA, appendix C).


def ema_beta(config: ResolvedConfig, cur_nimg: int) -> float:
    """Returns the decay of the EMA for a step that ended at `cur_nimg` images.

    The half-life is `ema_kimg`, at most `ema_rampup` times the images seen.
    """
    half_life = config.value("ema_kimg", cur_nimg) * 1000
    if config.ema_rampup:
        half_life = min(half_life, cur_nimg * config.ema_rampup)
    return float(0.5 ** (config.batch / max(half_life, 1e-8)))


@torch.no_grad()
def update_ema(state: TrainState, config: ResolvedConfig) -> None:
    """Updates the EMA of the generator; buffers are copied.

    Noise strengths are averaged by magnitude: their sign has no meaning and may flip, which would
    average them to zero.
    """
    beta = ema_beta(config, state.counters.cur_nimg)
    averaged = dict(state.generator_ema.named_parameters())
    source = state.generator.state_dict()
    for name, value in state.generator_ema.state_dict().items():
        if name.endswith("noise_strength"):
            value.abs_().lerp_(source[name].abs(), 1 - beta)
        elif name in averaged:
            value.lerp_(source[name], 1 - beta)
        else:
            value.copy_(source[name])
