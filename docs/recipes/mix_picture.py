"""The image on the page about mixing: strengths, identities, regions, colours, layers.

python docs/recipes/mix_picture.py obama.latent.safetensors astronaut.latent.safetensors

The latents are those of public-domain portraits, found by `stylemix project`.
"""

from __future__ import annotations

from pathlib import Path

import click
from PIL import Image

from stylemix.avatars.avatar import AvatarOptions, describe
from stylemix.avatars.inputs import StyleArgument
from stylemix.avatars.mixer import Mixer, Person
from stylemix.avatars.sheets import SheetMaker
from stylemix.images.contact_sheet import grid
from stylemix.images.tensors import to_pil
from stylemix.images.write import save_image
from stylemix.models.checkpoint import load_model

COLUMNS = 5


@click.command()
@click.argument("first")
@click.argument("second")
@click.option("--output", type=click.Path(path_type=Path), default=Path("docs/images/mix.png"))
def main(first: str, second: str, output: Path) -> None:
    """Draw five rows of two people."""
    mixer = Mixer(load_model("faces-64"))
    names = ["toon", "noir", "golden-hour", second]
    people, inputs = mixer.read([first, second], [StyleArgument(name) for name in names])
    one, two = people
    styles = dict(zip(names, inputs, strict=True))
    images: list[Image.Image] = []
    labels: list[str] = []

    def add(
        who: Person, style: str, finish: AvatarOptions, label: str, layers: str | None = None
    ) -> None:
        parts = [mixer.apply(styles[style], who, layers=layers)]
        avatar = mixer.avatar(who, parts, finish)
        images.append(to_pil(avatar.image))
        labels.append(label or describe(avatar, parts))

    applied = [mixer.apply(styles["toon"], one)]
    for avatar in SheetMaker(mixer, [one], [styles["toon"]]).sweep(one, applied):
        images.append(to_pil(avatar.image))
        labels.append(describe(avatar, applied))
    for least in (0.9, 0.8, 0.7, 0.6, 0.5):
        add(two, "toon", AvatarOptions(min_identity=least), "")
    for style, region in (
        ("golden-hour", "face"), ("golden-hour", "skin"), ("noir", "skin"),
        ("golden-hour", "background"), ("toon", "face"),
    ):  # fmt: skip
        add(one, style, AvatarOptions(regions=(region,)), f"{style}, {region} only")
    for style, amount in (
        ("noir", 0.0), ("noir", 0.5), ("noir", 1.0), ("golden-hour", 0.0), ("golden-hour", 1.0),
    ):  # fmt: skip
        add(two, style, AvatarOptions(keep_color=amount), f"{style}, colour kept {amount:g}")
    for layers in ("coarse", "4-16px", "middle", "fine", "all"):
        add(one, second, AvatarOptions(), f"{layers} of the other", layers)
    rows = ["toon", "toon, identity asked for", "regions", "colours of the face", "two photos"]
    sheet = grid(images, columns=COLUMNS, labels=labels, row_labels=rows, cell=128)
    save_image(output, sheet, generated="composite")


if __name__ == "__main__":
    main()
