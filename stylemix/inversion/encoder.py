"""Encoders: from an image to latents in one forward pass, as the start of a projection.

The trunk is that of a discriminator, which has learned features of faces; a last layer gives one w
for each layer (as in pSp, arXiv 2008.00951). An encoder belongs to one generator.
"""

from __future__ import annotations

from dataclasses import asdict

import torch
from torch import Tensor, nn

from stylemix.devices import no_random_weights
from stylemix.errors import StylemixError
from stylemix.io.assets import ASSETS, frozen_network
from stylemix.io.files import StrPath, user_path
from stylemix.models.container import ENCODER, read, to_float, write
from stylemix.models.model import Model
from stylemix.networks.config import DiscriminatorConfig
from stylemix.networks.discriminator import DiscriminatorTrunk
from stylemix.networks.layers import Conv2d, FullyConnected

VERSION = 1
SHIPPED = ASSETS / "encoders"
SQUEEZE_CHANNELS = 64  # between the trunk and the last layer


class Encoder(nn.Module):
    """Maps aligned images [N, C, H, W] in [-1, 1] to ws [N, L, w_dim].

    Args:
        config: discriminator config of the trunk.
        num_ws: number of layers L of the generator.
        w_dim: width of w.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, config: DiscriminatorConfig, num_ws: int, w_dim: int) -> None:
        super().__init__()
        self.config, self.num_ws, self.w_dim = config, num_ws, w_dim
        self.trunk = DiscriminatorTrunk(config)
        self.squeeze = Conv2d(config.channels(4), SQUEEZE_CHANNELS, 1, act="lrelu")
        positions = config.base[0] * config.base[1]
        self.to_ws = FullyConnected(SQUEEZE_CHANNELS * positions, num_ws * w_dim)
        self.register_buffer("mean", torch.zeros([w_dim]))
        self.register_buffer("scale", torch.ones([w_dim]))

    def forward(self, images: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Latents [N, L, w_dim]; `dtype` is the precision of the trunk."""
        maps = self.trunk.features(images, dtype)[-1].float()
        out: Tensor = self.to_ws(self.squeeze(maps).flatten(1))
        ws: Tensor = self.mean + self.scale * out.unflatten(1, (self.num_ws, self.w_dim))
        return ws


def save_encoder(path: StrPath, encoder: Encoder, base: str) -> None:
    """Writes the encoder of the model with the fingerprint `base`, in half precision."""
    tensors = {key: value.half() for key, value in encoder.state_dict().items()}
    write(path, ENCODER, VERSION, {"base": base, "trunk": asdict(encoder.config)}, tensors)


def load_encoder(path: StrPath, model: Model) -> Encoder:
    """Loads an encoder on the model's device; raises StylemixError for that of another model."""
    file = user_path(path)
    content = read(file).expect(ENCODER)
    header = content.header
    config = header if isinstance(header, dict) else {}
    if not model.reads(str(config.get("base"))):
        raise StylemixError(
            f"{file}: got an encoder of the model {str(config.get('base'))[:40]}; expected the "
            f"model {model.fingerprint}; leave it out, or train an encoder for this model"
        )
    generator = model.generator
    try:
        # Sizes come from the model, so that no header can request more memory than it needs.
        trunk = DiscriminatorConfig(**{**config["trunk"], **_sizes(model)})
        with no_random_weights():
            encoder = Encoder(trunk, generator.num_ws, generator.w_dim)
        tensors = {k: to_float(v, k, str(file)) for k, v in content.tensors.items()}
        encoder.load_state_dict(tensors)
    except (TypeError, KeyError, RuntimeError, ValueError, OverflowError) as error:
        raise StylemixError(
            f"{file}: got a damaged encoder; expected an encoder of this model; copy it again"
        ) from error
    return encoder.eval().requires_grad_(False).to(generator.device)


def chosen_encoder(path: StrPath | None, model: Model) -> Encoder | None:
    """The encoder of a file; None without one, which stands for the model's shipped encoder."""
    return None if path is None else load_encoder(path, model)


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
