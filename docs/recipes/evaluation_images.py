"""Images to evaluate styles: three looks and two drawn styles, each as sets of 1, 8 and 256.

    python docs/recipes/evaluation_images.py faces128-val.zip --output images

The looks are colour-graded photos of the zip, from number 200 on; the drawn styles are DiceBear's,
which needs `pip install stylemix[recipes]`. Styles are learned from NAME-k1.zip and NAME-k8.zip and
compared with NAME-held.zip. The first 40 photos become people.zip, the sources of the avatars.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import click
from cartoon_images import Illustrator
from look_images import LOOKS, graded
from PIL import Image

from stylemix.training.curation.archive import write_archive

PEOPLE, FIRST, COUNT, SEED = 40, 200, 264, 77
SIZE, DRAWN = 128, 256  # px of graded photos and of drawings; avatars are compared in 256 px
SUBSETS = {"k1": slice(0, 1), "k8": slice(0, 8), "held": slice(8, COUNT)}


@click.command()
@click.argument("photos", type=click.Path(exists=True, path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), required=True, help="A folder.")
def main(photos: Path, output: Path) -> None:
    """Write source photos and images of five styles from aligned PHOTOS, a zip."""
    output.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(photos) as archive:
        names = sorted(n for n in archive.namelist() if n.endswith((".jpg", ".png")))
        people = [(Path(name).name, archive.read(name)) for name in names[:PEOPLE]]
        write_archive(output / "people.zip", people)
        files = [io.BytesIO(archive.read(n)) for n in names[FIRST : FIRST + COUNT]]
    filters = Image.Resampling.LANCZOS
    faces = [Image.open(f).convert("RGB").resize((SIZE, SIZE), filters) for f in files]
    sets = {look: [graded(look, face) for face in faces] for look in LOOKS}
    for style in ("toon-head", "personas"):
        illustrator = Illustrator(style)
        sets[style] = [illustrator.png(SEED, n, DRAWN) for n in range(COUNT)]
    for name, images in sets.items():
        for subset, rows in SUBSETS.items():
            chosen = ((f"{i:03d}.png", data) for i, data in enumerate(images[rows]))
            write_archive(output / f"{name}-{subset}.zip", chosen)
    click.echo(f"Wrote {len(sets)} styles and {min(PEOPLE, len(names))} people to {output}")


if __name__ == "__main__":
    main()
