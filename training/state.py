"""The state of a run: networks, optimizers and counters in memory."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from stylemix.discriminator import Discriminator
from stylemix.generator import Generator
from stylemix.resume import adam_tensors, load_adam, part
from stylemix.training.config import TrainConfig

Network = TypeVar("Network", Generator, Discriminator)

SCALARS = ("path_length_mean", "sign_sum", "sign_count", "diversity")


@dataclass
class Counters:
    """The numbers of a state; no random state is among them, see `parts.Draws`."""

    cur_nimg: int = 0
    augment_p: float = 0.0
    seconds: float = 0.0
    lr_scale: float = 1.0  # halved by every rollback
    rollbacks: int = 0
    best: float | None = None  # figure of the best snapshot so far
    best_kimg: float = 0.0
    stale: int = 0  # snapshots since then
    best_diversity: float = 0.0


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

    @classmethod
    def create(cls, config: TrainConfig, c_dim: int, device: torch.device) -> TrainState:
        """Fresh networks and optimizers for a resolved config, seeded by config.seed."""
        torch.manual_seed(config.seed)
        generator = _placed(Generator(config.generator(c_dim)), device)
        discriminator = _placed(Discriminator(config.discriminator(c_dim)), device)
        ema = copy.deepcopy(generator).eval().requires_grad_(False)
        zeros = [torch.zeros([], device=device) for _ in SCALARS]
        state = cls(
            generator, discriminator, ema, _adam(generator), _adam(discriminator),
            zeros[0], zeros[1], zeros[2], zeros[3],
        )  # fmt: skip
        if config.augment != "none":
            state.counters.augment_p = config.value("augment_p", 0)
        return state

    def set_rates(self, config: TrainConfig) -> None:
        """Gives Adam the rates of the moment.

        They are corrected for lazy regularisation every k steps (StyleGAN2, appendix B): such a
        step in between makes k / (k + 1) of the rate, and the same power of beta2.
        """
        nimg = self.counters.cur_nimg
        d_lr = config.value("d_lr" if config.d_lr is not None else "lr", nimg)
        penalties = config.value("r1_gamma", nimg) + config.value("r2_gamma", nimg)
        for optimizer, lr, k in (
            (self.g_optimizer, config.value("lr", nimg),
             config.g_reg_interval if config.path_length_weight else 0),
            (self.d_optimizer, d_lr, config.d_reg_interval if penalties else 0),
        ):  # fmt: skip
            ratio = k / (k + 1) if k > 0 else 1.0
            for group in optimizer.param_groups:
                group["lr"] = lr * ratio * self.counters.lr_scale
                group["betas"] = (0.0, config.value("beta2", nimg) ** ratio)

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the state by name, shared with the networks."""
        out = {name: getattr(self, name) for name in SCALARS}
        networks = {"G": self.generator, "D": self.discriminator, "G_ema": self.generator_ema}
        for name, network in networks.items():
            out |= {f"{name}.{key}": value for key, value in network.state_dict().items()}
        out |= adam_tensors(self.g_optimizer, "g_adam.")
        out |= adam_tensors(self.d_optimizer, "d_adam.")
        return out

    def fill(self, tensors: dict[str, Tensor], counters: dict[str, Any]) -> None:
        """Takes over what `tensors` and `counters` once gave; KeyError where one is missing."""
        for network, name in (
            (self.generator, "G."), (self.discriminator, "D."), (self.generator_ema, "G_ema."),
        ):  # fmt: skip
            old = part(tensors, name)
            for key, value in network.state_dict().items():
                if old[key].shape != value.shape:
                    raise KeyError(f"{name}{key} of another shape")
            network.load_state_dict(old)
        for optimizer, name in ((self.g_optimizer, "g_adam."), (self.d_optimizer, "d_adam.")):
            load_adam(optimizer, part(tensors, name))
        for name in SCALARS:
            getattr(self, name).copy_(tensors[name])
        self.counters = Counters(**counters)

    def saved_counters(self) -> dict[str, Any]:
        """The counters as plain numbers."""
        return asdict(self.counters)


def _placed(network: Network, device: torch.device) -> Network:
    # The keyword is missing from the types of torch.
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _adam(network: torch.nn.Module) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), lr=0.0, betas=(0.0, 0.99), eps=1e-8)
