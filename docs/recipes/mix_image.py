"""The image of docs/mix.md: strengths, identities, regions, colours, layers.

python docs/recipes/mix_image.py stylemix/assets/portraits/{obama,collins}.jpg
"""

from __future__ import annotations

from pathlib import Path

import click
from PIL import Image

from stylemix.avatars.avatar import AvatarOptions, describe
from stylemix.avatars.finish import finish
from stylemix.avatars.inputs import StyleArgument
from stylemix.avatars.mixer import Mixer, Person
from stylemix.avatars.sheets import SheetMaker
from stylemix.images.contact_sheet import grid
from stylemix.images.write import save_image
from stylemix.models.checkpoint import load_model

COLUMNS = 5
CELL = 192  # px


@click.command()
@click.argument("first")
@click.argument("second")
@click.option("--output", type=click.Path(path_type=Path), default=Path("docs/images/mix.jpg"))
def main(first: str, second: str, output: Path) -> None:
    """Render five rows of two people."""
    mixer = Mixer(load_model("faces-64"))
    names = ["toon", "noir", "golden-hour", second]
    (person, other), inputs = mixer.read([first, second], [StyleArgument(name) for name in names])
    styles = dict(zip(names, inputs, strict=True))
    images: list[Image.Image] = []
    labels: list[str] = []

    def add(
        person: Person, style: str, options: AvatarOptions, label: str, layers: str | None = None
    ) -> None:
        applied = [mixer.apply(styles[style], person, layers=layers)]
        avatar = mixer.avatar(person, applied, options)
        images.append(finish(mixer, person, avatar, applied, CELL).image)
        labels.append(label or describe(avatar, applied))

    toon = [mixer.apply(styles["toon"], person)]
    for avatar in SheetMaker(mixer, [person], [styles["toon"]]).sweep(person, toon):
        images.append(finish(mixer, person, avatar, toon, CELL).image)
        labels.append(describe(avatar, toon))
    for identity in (0.9, 0.8, 0.7, 0.6, 0.5):
        add(other, "toon", AvatarOptions(min_identity=identity), "")
    for style, region in (
        ("golden-hour", "face"), ("golden-hour", "skin"), ("noir", "skin"),
        ("golden-hour", "background"), ("toon", "face"),
    ):  # fmt: skip
        add(person, style, AvatarOptions(regions=(region,)), f"{style}, {region} only")
    for style, amount in (
        ("noir", 0.0), ("noir", 0.5), ("noir", 1.0), ("golden-hour", 0.0), ("golden-hour", 1.0),
    ):  # fmt: skip
        add(other, style, AvatarOptions(keep_color=amount), f"{style}, keep colour {amount:g}")
    for layers in ("coarse", "4-16px", "middle", "fine", "all"):
        add(person, second, AvatarOptions(), f"{layers} of the other", layers)
    rows = ["toon", "toon, minimum identity", "regions", "colours of the face", "two photos"]
    sheet = grid(images, columns=COLUMNS, labels=labels, row_labels=rows, cell=CELL)
    save_image(output, sheet, generated="composite")


if __name__ == "__main__":
    main()
