"""Train the encoder of a model: from an image to its latents in one pass.

    python docs/recipes/synthetic_faces.py --families 20000 --output families.safetensors
    python docs/recipes/train_encoder.py families.safetensors faces128-train.zip \\
        --output encoder.safetensors

Half of each batch are generated faces, whose latents are known; the other half are photos, for
which only the reconstruction counts. The same command continues a run that was stopped.
"""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import replace
from pathlib import Path

import click
import torch
from safetensors.torch import load_file
from torch import Tensor

from stylemix.faces.templates import NO_TEMPLATE
from stylemix.inversion.encoder import Encoder, save_encoder
from stylemix.inversion.loss import Similarity
from stylemix.inversion.prior import latent_prior
from stylemix.inversion.settings import ProjectionSettings
from stylemix.models.checkpoint import load_model
from stylemix.models.model import Model
from stylemix.networks.latents import sample_ws
from stylemix.training.data.dataset import ImageDataset

LATENT_WEIGHT = 0.3  # of the known latents of generated faces
DELTA_WEIGHT, PRIOR_WEIGHT = 0.01, 0.003  # of photos; as in ProjectionSettings


def build(model: Model) -> Encoder:
    """An encoder with the trunk of the model's discriminator."""
    assert model.discriminator is not None, "the recipe needs a model with its discriminator"
    encoder = Encoder(model.discriminator.config, model.generator.num_ws, model.generator.w_dim)
    weights = {k: v for k, v in model.discriminator.state_dict().items() if not k.startswith("b4.")}
    encoder.trunk.load_state_dict(weights)
    w = sample_ws(model.generator, 4000, seed=1)
    encoder.mean.copy_(w[:, 0].mean(dim=0))
    encoder.scale.copy_(w[:, 0].std(dim=0))
    return encoder


def reconstruction_loss(model: Model, images: Tensor, targets: Tensor) -> Tensor:
    """The loss of a projection without its identity term, the mean over the batch."""
    no_identity = replace(model, template=NO_TEMPLATE)
    return Similarity(no_identity, targets, ProjectionSettings()).appearance(images).mean()


@click.command()
@click.argument("families", type=click.Path(exists=True, path_type=Path))
@click.argument("photos", type=click.Path(exists=True, path_type=Path))
@click.option("--model", "name", default="faces-64", show_default=True)
@click.option("--steps", default=4000, show_default=True)
@click.option("--batch", default=32, show_default=True)
@click.option("--lr", default=0.001, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), required=True)
def main(
    families: Path, photos: Path, name: str, steps: int, batch: int, lr: float, output: Path
) -> None:
    """Write the encoder, and print the losses every 100 steps."""
    model = load_model(name)
    known = load_file(families)
    fakes, latents = known["pictures"].flatten(0, 1), known["ws"].flatten(0, 1)
    config = model.generator.config
    real = ImageDataset([photos], (config.height, config.width), mirror=True)
    prior = latent_prior(model.generator)
    encoder, first = build(model), 0
    adam = torch.optim.Adam(encoder.parameters(), lr=lr, betas=(0.9, 0.99))
    state = output.with_suffix(".state")
    if state.exists():
        first, weights, moments = torch.load(state, weights_only=True)
        encoder.load_state_dict(weights)
        adam.load_state_dict(moments)
    sums: dict[str, float] = {}
    started = time.monotonic()
    for step in range(first, steps):
        torch.manual_seed(step)
        for group in adam.param_groups:
            fade = 0.5 + 0.5 * math.cos(math.pi * step / steps)
            group["lr"] = lr * min(1.0, (step + 1) / 100) * fade
        chosen = torch.randint(len(fakes), [batch // 2])
        reals, _ = real.batch(torch.randint(len(real), [batch - len(chosen)]).tolist())
        images = torch.cat([fakes[chosen], reals]).float() / 127.5 - 1
        ws = encoder(images, torch.bfloat16)
        target = latents[chosen].float()
        latent = ((ws[: len(chosen)] - target) / encoder.scale).square().mean()
        rows = slice(len(chosen) // 2, None)  # only half of the fakes are rendered, to save time
        rendered = model.generator.synthesis(ws[rows], noise_mode="const", dtype=torch.bfloat16)
        appearance = reconstruction_loss(model, rendered, images[rows])
        of_reals = ws[len(chosen) :]
        deltas = (of_reals - of_reals.mean(dim=1, keepdim=True)) / prior.w_std
        delta = deltas.square().sum(dim=2).mean()
        unlikely = prior.penalty(of_reals).mean()
        loss = LATENT_WEIGHT * latent + appearance
        loss = loss + DELTA_WEIGHT * delta + PRIOR_WEIGHT * unlikely
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses = {"latent": latent, "appearance": appearance, "delta": delta, "prior": unlikely}
        for key, value in losses.items():
            sums[key] = sums.get(key, 0.0) + float(value.detach()) / 100
        if (step + 1) % 100 == 0:
            means = {key: round(value, 4) for key, value in sums.items()}
            seconds = round(time.monotonic() - started)
            click.echo(json.dumps({"step": step + 1, **means, "seconds": seconds}))
            sums = {}
            torch.save((step + 1, encoder.state_dict(), adam.state_dict()), f"{state}.new")
            os.replace(f"{state}.new", state)
    save_encoder(output, encoder, model.fingerprint)


if __name__ == "__main__":
    main()
