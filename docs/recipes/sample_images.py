"""A random subset of the images of a zip, for experiments with few images.

python docs/recipes/sample_images.py faces.zip --count 1000 --output some.zip
"""

from __future__ import annotations

import random
import zipfile
from pathlib import Path

import click

from stylemix.training.curation.archive import write_archive


@click.command()
@click.argument("data", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--count", default=1000, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), required=True)
def main(data: Path, count: int, seed: int, output: Path) -> None:
    """Write a zip with COUNT of the images, their bytes unchanged, without labels."""
    with zipfile.ZipFile(data) as source:
        names = sorted(n for n in source.namelist() if n.endswith((".png", ".jpg", ".webp")))
        chosen = sorted(random.Random(seed).sample(names, count))
        write_archive(output, ((name, source.read(name)) for name in chosen))


if __name__ == "__main__":
    main()
