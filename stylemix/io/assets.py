"""What ships with the package: models, styles, directions, weights of the frozen networks."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from stylemix.errors import StylemixError

Weights = dict[str, Tensor]
ASSETS = Path(__file__).parents[1] / "assets"


def load_weights(name: str) -> Weights:
    """The tensors of a shipped network, `name` without extension; StylemixError when damaged."""
    path = ASSETS / f"{name}.safetensors"
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise StylemixError(
            f"got no readable {path.name} in the installed package; expected the file that ships "
            "with it; install stylemix again"
        ) from error
