"""Side effects of edit directions: in w against a few channels of style space.

    python docs/recipes/direction_table.py

Both are scaled to the strength at which the attribute of 32 generated faces (seed 100, truncation
0.7) moves by one standard deviation, half of the range from minus to plus; then 32 others (seed
200) are edited to both sides. Three minutes on one core.
"""

from __future__ import annotations

import click
import torch
from torch import Tensor

from stylemix.avatars.render import AppliedStyle, render
from stylemix.faces.attributes import readings
from stylemix.faces.recognition import SAME_PERSON, load_identity_network, make_chips
from stylemix.models.checkpoint import load_model
from stylemix.models.model import Model
from stylemix.networks.latents import sample_ws
from stylemix.styles.named_directions import READINGS, named_directions
from stylemix.styles.style import Style

FACES, PSI = 32, 0.7
TRIALS = 5  # of the bisection


def edited(model: Model, ws: Tensor, style: Style | None = None, strength: float = 0.0) -> Tensor:
    """Images [N, 3, H, W]."""
    applied = [AppliedStyle(style, strength)] if style else []
    return render(model.generator, ws, applied).clamp(-1, 1)


def read(model: Model, images: Tensor) -> Tensor:
    """Attributes [N, K]."""
    return torch.stack(list(readings(images, model.template).values()), dim=1)


def equal_strength(model: Model, ws: Tensor, style: Style, k: int, spread: Tensor) -> float:
    """The strength that moves attribute k by one standard deviation, by bisection."""
    low, high = 0.0, 5.0
    for _ in range(TRIALS):
        middle = (low + high) / 2
        plus, minus = (read(model, edited(model, ws, style, s * middle))[:, k] for s in (1, -1))
        enough = float((plus - minus).mean() / 2 / spread[k]) >= 1
        low, high = (low, middle) if enough else (middle, high)
    return (low + high) / 2


@click.command()
@click.option("--model", default="faces-64", show_default=True)
@torch.no_grad()
def main(model: str) -> None:
    """Print a table."""
    base = load_model(model)
    network = load_identity_network()
    spread = read(base, edited(base, sample_ws(base.generator, 512, 1))).std(dim=0)
    first, second = (sample_ws(base.generator, FACES, seed, PSI) for seed in (100, 200))
    plain = edited(base, second)
    before, person = read(base, plain), network(make_chips(plain, base.template))
    click.echo("| direction | strength | attribute | others | identity | image |")
    click.echo("| --- | --- | --- | --- | --- | --- |")
    for k, reading in enumerate(READINGS):
        rest = [j for j in range(len(READINGS)) if j != k]
        for name, style in named_directions(base, [reading, f"{reading}-channels"]).items():
            strength = equal_strength(base, first, style, k, spread)
            rows = []
            for sign in (1, -1):
                images = edited(base, second, style, sign * strength)
                moved = (read(base, images) - before) / spread
                distance = (network(make_chips(images, base.template)) - person).norm(dim=1)
                same = 1 - distance.mean() / (2 * SAME_PERSON)
                change = (images - plain).square().mean().sqrt()
                rows.append([sign * moved[:, k].mean(), moved[:, rest].abs().mean(), same, change])
            means = torch.tensor(rows).mean(dim=0).tolist()
            cells = " | ".join(f"{value:.2f}" for value in [strength, *means])
            click.echo(f"| {name} | {cells} |")


if __name__ == "__main__":
    main()
