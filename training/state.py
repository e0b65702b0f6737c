"""The state of a run: networks, optimizers and counters, and its file on disk.

All randomness of a step comes from (seed, images seen), so no generator state needs saving.
"""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from stylemix.discriminator import Discriminator
from stylemix.errors import StylemixError
from stylemix.files import atomic_write
from stylemix.generator import Generator
from stylemix.resume import adam_tensors, load_adam, part
from stylemix.training.config import TrainConfig

FORMAT = "stylemix-train-state"

Network = TypeVar("Network", Generator, Discriminator)


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
    augment_p: float = 0.0
    cur_nimg: int = 0
    seconds: float = 0.0

    @classmethod
    def create(cls, config: TrainConfig, c_dim: int, device: torch.device) -> TrainState:
        """Fresh networks and optimizers for a resolved config, seeded by config.seed."""
        torch.manual_seed(config.seed)
        generator = _placed(Generator(config.generator(c_dim)), device)
        discriminator = _placed(Discriminator(config.discriminator(c_dim)), device)
        assert config.lr is not None
        g_interval = config.g_reg_interval if config.path_length_weight > 0 else 0
        return cls(
            generator,
            discriminator,
            copy.deepcopy(generator).eval().requires_grad_(False),
            _adam(generator, config.lr, g_interval),
            _adam(discriminator, config.lr, config.d_reg_interval),
            torch.zeros([], device=device),
            torch.zeros([], device=device),
            torch.zeros([], device=device),
            augment_p=0.0 if config.augment == "none" else config.augment_p,
        )

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the state by name, shared with the networks."""
        out = {
            "path_length_mean": self.path_length_mean,
            "sign_sum": self.sign_sum,
            "sign_count": self.sign_count,
        }
        networks = {"G": self.generator, "D": self.discriminator, "G_ema": self.generator_ema}
        for name, network in networks.items():
            out |= {f"{name}.{key}": value for key, value in network.state_dict().items()}
        out |= adam_tensors(self.g_optimizer, "g_adam.")
        out |= adam_tensors(self.d_optimizer, "d_adam.")
        return out

    def save(self, path: Path, config: TrainConfig, data: str) -> None:
        """Writes everything that is needed to go on, atomically."""
        header = {
            "format": FORMAT,
            "config": json.dumps(asdict(config)),
            "data": data,
            "counters": json.dumps(
                {"cur_nimg": self.cur_nimg, "augment_p": self.augment_p, "seconds": self.seconds}
            ),
        }
        tensors = {k: v.detach().cpu().contiguous().clone() for k, v in self.tensors().items()}
        with atomic_write(path) as temporary:
            save_file(tensors, temporary, metadata=header)

    def load(self, path: Path, config: TrainConfig, data: str) -> None:
        """Continues from a state file of the same settings and data.

        `kimg` and the intervals of files may differ; anything else raises StylemixError.
        """
        try:
            with safe_open(path, framework="pt") as file:
                header = file.metadata() or {}
                _check(path, header, config, data)
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            counters = json.loads(header["counters"])
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise _damaged(path, str(error)) from error
        for name, value in self.tensors().items():
            if name not in tensors or tensors[name].shape != value.shape:
                raise _damaged(path, f"{name} is missing or of another shape")
        for network, name in (
            (self.generator, "G."), (self.discriminator, "D."), (self.generator_ema, "G_ema."),
        ):  # fmt: skip
            network.load_state_dict(part(tensors, name))
        for optimizer, name in ((self.g_optimizer, "g_adam."), (self.d_optimizer, "d_adam.")):
            load_adam(optimizer, part(tensors, name))
        for name in ("path_length_mean", "sign_sum", "sign_count"):
            getattr(self, name).copy_(tensors[name])
        self.cur_nimg, self.augment_p = int(counters["cur_nimg"]), float(counters["augment_p"])
        self.seconds = float(counters["seconds"])


def _placed(network: Network, device: torch.device) -> Network:
    # The keyword is missing from the types of torch.
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _adam(network: torch.nn.Module, lr: float, interval: int) -> torch.optim.Adam:
    """Adam corrected for lazy regularisation every `interval` steps (StyleGAN2, appendix B)."""
    ratio = interval / (interval + 1) if interval > 0 else 1.0
    return torch.optim.Adam(network.parameters(), lr=lr * ratio, betas=(0.0, 0.99**ratio), eps=1e-8)


def _damaged(path: Path, reason: str) -> StylemixError:
    return StylemixError(f"got a damaged training state {path} ({reason}); delete it to start anew")


MAY_CHANGE = ("kimg", "snapshot_kimg", "state_kimg")


def _check(path: Path, header: dict[str, str], config: TrainConfig, data: str) -> None:
    if header.get("format") != FORMAT:
        raise StylemixError(f"got {path}; expected a training state; use another --output")
    if header["data"] != data:
        raise StylemixError(
            f"got other images than the run in {path.parent} was started with; "
            "expected the same; use another --output"
        )
    before, now = json.loads(header["config"]), asdict(config)
    for key, value in now.items():
        if key not in MAY_CHANGE and before.get(key) != value:
            raise StylemixError(
                f"got --{key.replace('_', '-')} {value}; expected {before.get(key)}, as the run in "
                f"{path.parent} was started with; use another --output"
            )
