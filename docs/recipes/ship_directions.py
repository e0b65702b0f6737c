"""Learn the shipped edit directions of the default model.

    python docs/recipes/ship_directions.py --output stylemix/assets/directions

It takes five minutes on one core.
"""

from __future__ import annotations

from pathlib import Path

import click

from stylemix.models.checkpoint import load_model
from stylemix.progress import progress_bar
from stylemix.styles.channel_directions import reading_channels
from stylemix.styles.directions import SAMPLES, read_directions
from stylemix.styles.style import save_style


@click.command()
@click.option("--model", default="faces-64", show_default=True)
@click.option("--samples", default=SAMPLES, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), required=True)
def main(model: str, samples: int, output: Path) -> None:
    """Write two style files for each attribute: a direction in w and one in style space."""
    base = load_model(model)
    with progress_bar("Reading faces") as progress:
        directions = read_directions(base, samples, progress=progress)
    styles = {direction.name: direction.style(base) for direction in directions}
    for name, style in {**styles, **reading_channels(base)}.items():
        style.info |= {"licence": "Apache-2.0", "credit": "stylemix", "consent": "no persons"}
        save_style(output / f"{name}.pkl", style)
    for direction in directions:
        layers = [i for i, row in enumerate(direction.shift) if bool(row.any())]
        click.echo(f"{direction.name}: explained {direction.explained:.2f}, layers {layers}")


if __name__ == "__main__":
    main()
