"""Learn the directions of the default model, and draw them on two of its faces.

    python docs/recipes/ship_directions.py --output stylemix/assets/directions \\
        --sheet docs/images/edit.png

It takes two minutes on one core.
"""

from __future__ import annotations

from pathlib import Path

import click
import torch
from tqdm import tqdm

from stylemix.checkpoint import load_model
from stylemix.directions import SAMPLES, Direction, read_directions
from stylemix.images import save_image, to_pil
from stylemix.mixing import Ingredient, render
from stylemix.model import Model
from stylemix.projection import seed_latent
from stylemix.sheets import grid
from stylemix.style import save_style

STEPS = (-3.0, -1.5, 0.0, 1.5, 3.0)


def draw(model: Model, directions: list[Direction], seeds: list[int], path: Path) -> None:
    """A row for each direction: every face at five strengths."""
    ws = [seed_latent(model.generator, seed) for seed in seeds]
    pictures = [
        to_pil(render(model.generator, own, [Ingredient(direction.style(model), step)]))
        for direction in directions
        for own in ws
        for step in STEPS
    ]
    columns = [f"{step:+g}" if step else "0" for step in STEPS] * len(seeds)
    rows = [direction.name for direction in directions]
    save_image(path, grid(pictures, column_labels=columns, row_labels=rows, cell=96, gap=4))


@click.command()
@click.option("--model", default="faces-64", show_default=True)
@click.option("--samples", default=SAMPLES, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), required=True)
@click.option("--sheet", type=click.Path(path_type=Path), required=True)
@click.option("--seeds", default="11,14", show_default=True, help="Faces of the sheet.")
def main(model: str, samples: int, output: Path, sheet: Path, seeds: str) -> None:
    """Write a style file for each reading, and the sheet."""
    base = load_model(model)
    with tqdm(total=samples) as bar:

        def progress(done: int, _: int) -> None:
            bar.update(done - bar.n)

        found = read_directions(base, samples, progress=progress)
    for direction in found:
        style = direction.style(base)
        style.info |= {"licence": "Apache-2.0", "credit": "stylemix", "consent": "no persons"}
        save_style(output / f"{direction.name}.pkl", style)
        layers = [i for i, row in enumerate(direction.shift) if bool(row.any())]
        click.echo(f"{direction.name}: explained {direction.explained:.2f}, layers {layers}")
    with torch.no_grad():
        draw(base, found, [int(seed) for seed in seeds.split(",")], sheet)


if __name__ == "__main__":
    main()
