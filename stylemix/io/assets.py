"""Files shipped with the package: models, styles, directions, weights of the frozen networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from stylemix.devices import no_random_weights
from stylemix.errors import StylemixError

Weights = dict[str, Tensor]
Network = TypeVar("Network", bound=nn.Module)
ASSETS = Path(__file__).parents[1] / "assets"

_FROZEN: dict[tuple[str, str], nn.Module] = {}


def load_weights(name: str) -> Weights:
    """Loads the tensors of a shipped network by file stem; StylemixError if it is damaged."""
    path = ASSETS / f"{name}.safetensors"
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise StylemixError(
            f"got no readable {path.name} in the installed package; expected the file that ships "
            "with it; install stylemix again"
        ) from error


def frozen_network(name: str, device: str | torch.device, build: Callable[[], Network]) -> Network:
    """Returns the network `name` in evaluation mode, without gradients, built once per device.

    It stays in memory until the process ends, since all shipped networks are small.
    """
    key = (name, str(device))
    if key not in _FROZEN:
        # It is usable where the caller's mode is another, too.
        with no_random_weights(), torch.inference_mode(False):
            _FROZEN[key] = build().eval().requires_grad_(False).to(device)
    return cast(Network, _FROZEN[key])
