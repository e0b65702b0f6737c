"""Overfitting of a discriminator: its scores of training images, held-out images and fakes.

    python docs/recipes/overfitting.py runs/faces/snapshot-000360.safetensors \\
        --data some.zip --held-out val.zip

A discriminator that generalises scores held-out images like training images; one that overfits
scores them like fakes (arXiv 2006.06676, figure 1).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import torch
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.models.checkpoint import load_model
from stylemix.networks.latents import sample_ws
from stylemix.training.data.dataset import ImageDataset

BATCH = 32


@click.command()
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--data", type=click.Path(exists=True, path_type=Path), required=True, help="Trained on."
)
@click.option("--held-out", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--count", type=click.IntRange(BATCH), default=992, show_default=True)
@torch.no_grad()
def main(model: Path, data: Path, held_out: Path, count: int) -> None:
    """Print the mean score and the fraction above 0 for each kind of image."""
    network = load_model(str(model))
    discriminator, generator = network.discriminator, network.generator
    if discriminator is None:
        raise StylemixError(
            f"{model}: got no discriminator; expected a model with one; use a training snapshot"
        )

    def photos(path: Path) -> Iterator[Tensor]:
        images = ImageDataset([path], (generator.config.height, generator.config.width))
        for start in range(0, min(count, len(images)) // BATCH * BATCH, BATCH):
            yield images.batch(range(start, start + BATCH))[0].float() / 127.5 - 1

    def fakes() -> Iterator[Tensor]:
        rng = torch.Generator().manual_seed(0)
        for _ in range(count // BATCH):
            yield generator.synthesis(sample_ws(generator, BATCH, rng), noise_mode="const")

    kinds = {"seen": photos(data), "unseen": photos(held_out), "fakes": fakes()}
    for name, batches in kinds.items():
        scores = torch.cat([discriminator(batch, None).flatten() for batch in batches])
        positive = (scores > 0).float().mean()
        click.echo(f"{name:7} mean {scores.mean():6.2f}, above 0: {positive:.2f}")


if __name__ == "__main__":
    main()
