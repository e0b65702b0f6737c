"""Train the encoder of a model: from an image to its latents in one pass.

    python docs/recipes/synthetic_faces.py --families 20000 --output families.safetensors
    python docs/recipes/train_encoder.py families.safetensors faces128-train.zip \\
        --output encoder.safetensors

Half of each batch are generated faces, whose latents are known; the other half are photos, which
only have to look right when the generator draws them. The same command continues a run that was
stopped.
"""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path

import click
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from stylemix.inversion.encoder import Encoder, save_encoder
from stylemix.inversion.prior import latent_prior
from stylemix.models.checkpoint import load_model
from stylemix.models.model import Model
from stylemix.networks.latents import sample_ws
from stylemix.training.data.dataset import ImageDataset

PIXELS, FEATURES = 10.0, 1.0
DELTAS, PRIOR = 0.01, 0.003  # of photos: layers alike, and latents that are likely


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


def likeness(model: Model, images: Tensor, targets: Tensor) -> Tensor:
    """How far images are from targets, in pixels at three scales and in features."""
    assert model.discriminator is not None
    a, b = images, targets
    total = F.mse_loss(a, b)
    for _ in range(2):
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        total = total + F.mse_loss(a, b)
    total = total * (PIXELS / 3)
    ours = model.discriminator.features(images, torch.bfloat16)
    with torch.no_grad():
        theirs = model.discriminator.features(targets, torch.bfloat16)
    for x, y in zip(ours, theirs, strict=True):
        x, y = x.float(), y.float()
        power = y.square().mean(dim=(1, 2, 3)) + 1e-8
        error = (x - y).square().mean(dim=(1, 2, 3)) / power
        total = total + error.mean() * (FEATURES / len(ours))
    return total


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
    """Write the encoder, and a line of figures every 100 steps."""
    model = load_model(name)
    known = load_file(families)
    pictures, latents = known["pictures"].flatten(0, 1), known["ws"].flatten(0, 1)
    config = model.generator.config
    real = ImageDataset([photos], (config.height, config.width), mirror=True)
    prior = latent_prior(model.generator)
    encoder, begun = build(model), 0
    adam = torch.optim.Adam(encoder.parameters(), lr=lr, betas=(0.9, 0.99))
    state = output.with_suffix(".state")
    if state.exists():
        begun, weights, moments = torch.load(state, weights_only=True)
        encoder.load_state_dict(weights)
        adam.load_state_dict(moments)
    sums: dict[str, float] = {}
    started = time.monotonic()
    for step in range(begun, steps):
        torch.manual_seed(step)
        for group in adam.param_groups:
            fade = 0.5 + 0.5 * math.cos(math.pi * step / steps)
            group["lr"] = lr * min(1.0, (step + 1) / 100) * fade
        own = torch.randint(len(pictures), [batch // 2])
        shown, _ = real.batch(torch.randint(len(real), [batch - len(own)]).tolist())
        images = torch.cat([pictures[own], shown]).float() / 127.5 - 1
        ws = encoder(images, torch.bfloat16)
        wanted = latents[own].float()
        exact = ((ws[: len(own)] - wanted) / encoder.scale).square().mean()
        few = slice(len(own) // 2, None)  # half of the generated faces are drawn again
        drawn = model.generator.synthesis(ws[few], noise_mode="const", dtype=torch.bfloat16)
        alike = likeness(model, drawn, images[few])
        free = ws[len(own) :]
        deltas = ((free - free.mean(dim=1, keepdim=True)) / prior.w_std).square().sum(dim=2).mean()
        likely = prior.penalty(free).mean()
        loss = 0.3 * exact + alike + DELTAS * deltas + PRIOR * likely
        adam.zero_grad()
        loss.backward()
        adam.step()
        figures = {"exact": exact, "alike": alike, "deltas": deltas, "likely": likely}
        for key, value in figures.items():
            sums[key] = sums.get(key, 0.0) + float(value.detach()) / 100
        if (step + 1) % 100 == 0:
            shown_sums = {key: round(value, 4) for key, value in sums.items()}
            seconds = round(time.monotonic() - started)
            click.echo(json.dumps({"step": step + 1, **shown_sums, "seconds": seconds}))
            sums = {}
            torch.save((step + 1, encoder.state_dict(), adam.state_dict()), f"{state}.new")
            os.replace(f"{state}.new", state)
    save_encoder(output, encoder, model.fingerprint)


if __name__ == "__main__":
    main()
