"""JoJoGAN (arXiv 2112.11641): a style from one or a few faces, with the published settings.

Each image is inverted, and the fine layers of its latent are replaced by random latents. The
whole generator learns to map the resulting faces, with the pose and shape of the drawing, to it.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.inversion.adam import Adam
from stylemix.inversion.projection import project
from stylemix.inversion.refine import changes, tuned_parameters
from stylemix.inversion.schedule import Stages, constant, optimise
from stylemix.inversion.settings import LATENTS, PHOTOS_AT_ONCE
from stylemix.models.model import Model
from stylemix.networks.batches import batch_size
from stylemix.networks.latents import mix, sample_ws
from stylemix.progress import Progress
from stylemix.styles.style import Style

STEPS, RATE, BETAS = 300, 0.002, (0.0, 0.99)
PRESERVED_LAYERS = 7 / 18  # share of the layers, coarsest first, that keep the image's latent


def learn_jojogan(
    model: Model,
    images: Tensor,
    steps: int = STEPS,
    seed: int = 0,
    progress: Progress | None = None,
) -> Style:
    """Learns a style from aligned images [K, C, H, W] in [-1, 1]; returns it without a name.

    `progress` is called with (step, steps, loss). Raises StylemixError for a model without its
    discriminator, whose features are compared in the loss.
    """
    critic, generator = model.discriminator, model.generator
    if critic is None or critic.config.img_resolution == 4:  # has no blocks
        raise StylemixError(
            "got a model without a discriminator's features; expected one with them, for jojogan; "
            "use another --model, or --method look"
        )
    images = images.to(generator.device, generator.dtype)
    settings = replace(LATENTS, seed=seed)
    batches = images.split(batch_size(model.generator, PHOTOS_AT_ONCE, gradients=True))
    inverted = torch.cat([project(model, batch, settings).ws for batch in batches])
    with torch.no_grad():
        targets = critic.features(images)
    network = copy.deepcopy(generator.synthesis)
    learned = tuned_parameters(network)
    adam = Adam([(list(learned.values()), RATE)], BETAS)
    rng = torch.Generator().manual_seed(seed)
    preserved = round(PRESERVED_LAYERS * generator.num_ws)

    def loss_at(_step: int, _t: float) -> Tensor:
        with torch.no_grad():
            sampled = sample_ws(generator, len(images), rng)
        ws = mix(inverted, sampled, range(preserved, generator.num_ws))
        features = critic.features(network(ws, noise_mode="const"))
        errors = [(a - b).abs().mean() for a, b in zip(features, targets, strict=True)]
        return torch.stack(errors).mean()

    optimise(adam, loss_at, Stages([steps], progress), constant, plateau=False)
    return Style(model.fingerprint, weights=changes(generator, learned))
