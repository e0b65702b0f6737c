"""The state of a run: networks and their average, optimizers and counters in memory."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from stylemix.networks.discriminator import Discriminator
from stylemix.networks.generator import Generator
from stylemix.training.config import ResolvedConfig
from stylemix.training.feature_discriminator import FeatureDiscriminator
from stylemix.training.optimizer_state import adam_tensors, load_adam, part

Network = TypeVar("Network", Generator, Discriminator)

# The rate of weights that are not equalised: .0002 beside .0025, as in Projected GAN, section 4.
FEATURE_RATE = 0.08
SCALARS = ("path_length_mean", "sign_sum", "sign_count", "diversity")


@dataclass
class Counters:
    """The numbers of a state; no random state is among them, see `parts.StepRandom`."""

    cur_nimg: int = 0
    augment_p: float = 0.0
    seconds: float = 0.0
    lr_scale: float = 1.0  # halved by every rollback
    rollbacks: int = 0
    best: float | None = None  # figure of the best snapshot so far
    best_kimg: float = 0.0
    stale: int = 0  # snapshots since then
    best_diversity: float = 0.0
    transferred: list[str] = field(default_factory=list)  # parameters that came from another model


@dataclass
class TrainState:
    """What changes while a run goes on."""

    generator: Generator
    discriminator: Discriminator
    generator_ema: Generator
    g_optimizer: torch.optim.Adam
    d_optimizer: torch.optim.Adam
    path_length_mean: Tensor
    sign_sum: Tensor  # running sum and count of sign(D(real)), for the augmentation's controller
    sign_count: Tensor
    diversity: Tensor  # running ratio of the fakes' spread to that of the reals
    counters: Counters = field(default_factory=Counters)
    frozen: frozenset[str] = frozenset()  # parameters of the discriminator that stay
    feature_discriminator: FeatureDiscriminator | None = None

    @classmethod
    def create(cls, config: ResolvedConfig, c_dim: int, device: torch.device) -> TrainState:
        """Fresh networks and optimizers for a resolved config, seeded by config.seed."""
        features = None
        with torch.random.fork_rng(devices=[]):  # weights come from the random state of the CPU
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
        """Remembers which parameters came from another model, "G.NAME" and "D.NAME"."""
        self.counters.transferred = transferred
        for optimizer, prefix, network in (
            (self.g_optimizer, "G.", self.generator), (self.d_optimizer, "D.", self.discriminator),
        ):  # fmt: skip
            group = optimizer.param_groups[0]
            named = [(prefix + name, p) for name, p in network.named_parameters()]
            group["params"] = [p for name, p in named if name not in transferred]
            old = [p for name, p in named if name in transferred]
            if old:
                optimizer.add_param_group({"params": old, "kind": "transferred"})

    def thaw(self, config: ResolvedConfig) -> None:
        """Lets learn what may learn now: all but what stays, and what is held for a while."""
        held = set(self.counters.transferred) if not self._transfer_rate(config) else set()
        for name, parameter in self.generator.named_parameters():
            parameter.requires_grad_(f"G.{name}" not in held)
        for name, parameter in self.discriminator.named_parameters():
            parameter.requires_grad_(name not in self.frozen and f"D.{name}" not in held)
        if self.feature_discriminator is not None:
            self.feature_discriminator.heads.requires_grad_(True)

    def hold_discriminators(self) -> None:
        """No gradients for discriminators, while the generator learns."""
        self.discriminator.requires_grad_(False)
        if self.feature_discriminator is not None:
            self.feature_discriminator.requires_grad_(False)

    def _transfer_rate(self, config: ResolvedConfig) -> float:
        return config.value("transfer_lr", self.counters.cur_nimg)

    def set_rates(self, config: ResolvedConfig) -> None:
        """Gives Adam the rates of the moment.

        They are corrected for lazy regularisation every k steps (StyleGAN2, appendix B): such a
        step in between makes k / (k + 1) of the rate, and the same power of beta2.
        """
        nimg = self.counters.cur_nimg
        d_lr = config.value("d_lr" if config.d_lr is not None else "lr", nimg)
        penalties = config.value("r1_gamma", nimg) + config.value("r2_gamma", nimg)
        parts = {"transferred": self._transfer_rate(config), "features": FEATURE_RATE}
        for optimizer, lr, k in (
            (self.g_optimizer, config.value("lr", nimg),
             config.g_reg_interval if config.path_length_weight else 0),
            (self.d_optimizer, d_lr, config.d_reg_interval if penalties else 0),
        ):  # fmt: skip
            ratio = k / (k + 1) if k > 0 else 1.0
            for group in optimizer.param_groups:
                scale = parts.get(group["kind"], 1.0) * self.counters.lr_scale
                group["lr"] = lr * ratio * scale
                group["betas"] = (0.0, config.value("beta2", nimg) ** ratio)

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the state by name, shared with the networks."""
        out = {name: getattr(self, name) for name in SCALARS}
        for name, network in self._networks().items():
            out |= {f"{name}.{key}": value for key, value in network.state_dict().items()}
        out |= adam_tensors(self.g_optimizer, "g_adam.")
        out |= adam_tensors(self.d_optimizer, "d_adam.")
        return out

    def fill(self, tensors: dict[str, Tensor], counters: dict[str, Any]) -> None:
        """Takes over what `tensors` and `counters` once gave; KeyError where one is missing."""
        now = Counters(**counters)
        if not self.counters.transferred:
            self.mark(now.transferred)
        for name, network in self._networks().items():
            old = part(tensors, f"{name}.")
            for key, value in network.state_dict().items():
                if old[key].shape != value.shape:
                    raise KeyError(f"{name}.{key} of another shape")
            network.load_state_dict(old)
        for optimizer, name in ((self.g_optimizer, "g_adam."), (self.d_optimizer, "d_adam.")):
            load_adam(optimizer, part(tensors, name))
        for name in SCALARS:
            getattr(self, name).copy_(tensors[name])
        self.counters = now

    def _networks(self) -> dict[str, nn.Module]:
        """All networks by the name that their tensors begin with."""
        found: dict[str, nn.Module | None] = {
            "G": self.generator, "D": self.discriminator, "G_ema": self.generator_ema,
            "features": self.feature_discriminator,
        }  # fmt: skip
        return {name: network for name, network in found.items() if network is not None}

    def saved_counters(self) -> dict[str, Any]:
        """The counters as plain numbers."""
        return asdict(self.counters)


def _placed(network: Network, device: torch.device) -> Network:
    # The keyword is missing from the types of torch.
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _adam(network: torch.nn.Module) -> torch.optim.Adam:
    groups = [{"params": list(network.parameters()), "kind": ""}]
    return torch.optim.Adam(groups, lr=0.0, betas=(0.0, 0.99), eps=1e-8)


# The averaged generator (StyleGAN2, appendix B; ramp-up as in ADA, appendix C).


def ema_beta(config: ResolvedConfig, cur_nimg: int) -> float:
    """Weight of the average before a step that ended at `cur_nimg` images.

    The half-life is `ema_kimg`, at most `ema_rampup` times the images seen.
    """
    half_life = config.value("ema_kimg", cur_nimg) * 1000
    if config.ema_rampup:
        half_life = min(half_life, cur_nimg * config.ema_rampup)
    return float(0.5 ** (config.batch / max(half_life, 1e-8)))


@torch.no_grad()
def update_ema(state: TrainState, config: ResolvedConfig) -> None:
    """Moves the averaged generator towards the current one; its buffers are copied.

    Of the strengths of noise the magnitudes are averaged: their signs mean nothing, so a strength
    may change its own, and would then be averaged away.
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
