"""Large models of known quality: faces-64 with more channels and blocks, and the same images.

Net2Net with zeros (`training.warm_start`): new channels do not reach old ones, and the colours of
added blocks are zero, so the images are those of faces-64, enlarged. Time and memory are real.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from stylemix.models.checkpoint import load_model
from stylemix.models.model import Model
from stylemix.networks.discriminator import Discriminator
from stylemix.networks.generator import Generator
from stylemix.training.warm_start import transfer

FULL = {"channel_base": 32768, "channel_max": 512, "w_dim": 512}  # config F, but for its mapping


def enlarged(resolution: int, discriminator: bool = True, **sizes: int) -> Model:
    """faces-64 at a higher resolution, or with other `sizes`; FULL for those of config F."""
    small = load_model("faces-64")
    torch.manual_seed(0)
    generator = Generator(replace(small.generator.config, img_resolution=resolution, **sizes))
    transfer(small.generator.state_dict(), generator)
    average = small.generator.mapping.w_avg
    generator.mapping.w_avg.zero_()[: len(average)] = average
    critic = None
    if discriminator and small.discriminator is not None:
        widths = {k: v for k, v in sizes.items() if k.startswith("channel")}
        joins = (64,) if resolution > 64 else ()
        config = replace(
            small.discriminator.config, img_resolution=resolution, fromrgb_at=joins, **widths
        )
        critic = Discriminator(config)
        transfer(small.discriminator.state_dict(), critic)
    model = Model(generator, critic, small.template, dict(small.card))
    generator.eval().requires_grad_(False)
    if critic is not None:
        critic.eval().requires_grad_(False)
    return model
