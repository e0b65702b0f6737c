"""Encoders: from an image to latents in one pass, to start projections from.

The trunk is a discriminator's, which has learned what faces are made of; a last layer gives one w
for each layer (as in pSp, arXiv 2008.00951). An encoder belongs to one generator.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from stylemix.errors import StylemixError
from stylemix.io.assets import ASSETS, frozen_network
from stylemix.models.container import ENCODER, read, to_float, write
from stylemix.models.model import Model
from stylemix.networks.config import DiscriminatorConfig
from stylemix.networks.discriminator import DiscriminatorTrunk
from stylemix.networks.layers import Conv2d, FullyConnected

VERSION = 1
SHIPPED = ASSETS / "encoders"
SQUEEZED = 64  # channels behind the trunk, before the last layer


class Encoder(nn.Module):
    """Aligned images [N, C, H, W] in [-1, 1] to ws [N, L, w_dim].

    Args:
        config: of the trunk; a discriminator's.
        num_ws: number of layers L of the generator.
        w_dim: width of w.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, config: DiscriminatorConfig, num_ws: int, w_dim: int) -> None:
        super().__init__()
        self.config, self.num_ws, self.w_dim = config, num_ws, w_dim
        self.trunk = DiscriminatorTrunk(config)
        self.squeeze = Conv2d(config.channels(4), SQUEEZED, 1, act="lrelu")
        cells = config.base[0] * config.base[1]
        self.to_ws = FullyConnected(SQUEEZED * cells, num_ws * w_dim)
        self.register_buffer("mean", torch.zeros([w_dim]))
        self.register_buffer("scale", torch.ones([w_dim]))

    def forward(self, images: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Latents [N, L, w_dim]; `dtype` is the precision of the trunk."""
        maps = self.trunk.features(images, dtype)[-1].float()
        out: Tensor = self.to_ws(self.squeeze(maps).flatten(1))
        ws: Tensor = self.mean + self.scale * out.unflatten(1, (self.num_ws, self.w_dim))
        return ws


def save_encoder(path: str | os.PathLike[str], encoder: Encoder, base: str) -> None:
    """Writes the encoder of the model with the fingerprint `base`, in half precision."""
    tensors = {key: value.half() for key, value in encoder.state_dict().items()}
    write(path, ENCODER, VERSION, {"base": base, "trunk": asdict(encoder.config)}, tensors)


def load_encoder(path: str | os.PathLike[str], model: Model) -> Encoder:
    """The encoder of a file, on the model's device; StylemixError unless it is the model's."""
    file = Path(path).expanduser()
    content = read(file).expect(ENCODER)
    header = content.header
    config = header if isinstance(header, dict) else {}
    if config.get("base") != model.fingerprint:
        raise StylemixError(
            f"{file}: got an encoder of the model {str(config.get('base'))[:40]}; expected one of "
            f"{model.fingerprint}; leave it out, or train one for this model"
        )
    generator = model.generator
    try:
        # Sizes come from the model, so that no header can ask for more memory than it needs.
        trunk = DiscriminatorConfig(**{**config["trunk"], **_sizes(model)})
        encoder = Encoder(trunk, generator.num_ws, generator.w_dim)
        tensors = {k: to_float(v, k, str(file)) for k, v in content.tensors.items()}
        encoder.load_state_dict(tensors)
    except (TypeError, KeyError, RuntimeError, ValueError) as error:
        raise StylemixError(
            f"{file}: got a damaged encoder; expected one for this model; copy it again"
        ) from error
    return encoder.eval().requires_grad_(False).to(generator.device)


def _sizes(model: Model) -> dict[str, object]:
    config = model.generator.config
    return {
        "img_resolution": config.img_resolution,
        "img_channels": config.img_channels,
        "base": config.base,
        "c_dim": 0,
    }


def shipped_encoder(model: Model) -> Encoder | None:
    """The encoder that comes with the package for this model; None for other models."""
    path = SHIPPED / f"{model.fingerprint}.safetensors"
    if not path.is_file():
        return None
    device = model.generator.device
    return frozen_network(path.stem, device, lambda: load_encoder(path, model))
