"""Learn the directions of the default model that are shipped.

    python docs/recipes/ship_directions.py --output stylemix/assets/directions

It takes two minutes on one core.
"""

from __future__ import annotations

from pathlib import Path

import click
from tqdm import tqdm

from stylemix.checkpoint import load_model
from stylemix.directions import SAMPLES, read_directions
from stylemix.style import save_style


@click.command()
@click.option("--model", default="faces-64", show_default=True)
@click.option("--samples", default=SAMPLES, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), required=True)
def main(model: str, samples: int, output: Path) -> None:
    """Write a style file for each reading."""
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


if __name__ == "__main__":
    main()
