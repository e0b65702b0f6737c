"""What an edit does to a photo, and to the model's image of it: the table of docs/edit.md.

python docs/recipes/edit_table.py photos/

For each edit: the mean change of its reading on the photo that carries it and on the model's image,
enlarged, both against the image before; the mean identity of both with the photo, by the judge; and
the share of photos that could follow.
"""

from __future__ import annotations

from collections import defaultdict

import click
import torch
from torch import Tensor

from stylemix.avatars.drawing import crop_photo
from stylemix.avatars.finish import finish, model_image
from stylemix.avatars.mixer import Mixer, direction_styles
from stylemix.faces.attributes import readings
from stylemix.images.sources import list_images
from stylemix.images.tensors import to_tensor
from stylemix.inversion.settings import preset_settings
from stylemix.messages import problem
from stylemix.metrics.identity_judge import judged_embedding
from stylemix.models.checkpoint import load_model
from stylemix.progress import track

SIDE = 256  # px of all images
EDITS = {"smile": 2.0, "yaw": 1.5, "pitch": 1.5, "mouth": 2.0, "light": 2.0}


@click.command()
@click.argument("photos", nargs=-1, required=True)
@click.option("--preset", default="fast", show_default=True)
@torch.inference_mode()
def main(photos: tuple[str, ...], preset: str) -> None:
    """Print the table."""
    mixer = Mixer(load_model("faces-64"), settings=preset_settings(preset), cache=True)
    template = mixer.model.template
    sources = [source for name in photos for source in list_images([name])]
    people, _ = mixer.read_lazily(sources, [], lambda error: problem(str(error)))
    rows = defaultdict[str, list[list[float]]](list)

    def read(image: Tensor, name: str) -> float:
        return float(readings(image, template)[name])

    for person in track(people, "Editing", len(sources)):
        assert person.photo is not None
        photo = to_tensor(crop_photo(person.photo, SIDE))
        plain = to_tensor(model_image(mixer.draw(person), template, SIDE))
        own = judged_embedding(photo, template)
        for name, amount in EDITS.items():
            for sign in (1, -1):
                parts = direction_styles(mixer, {name: sign * amount})
                done = finish(mixer, person, mixer.avatar(person, parts), parts, SIDE)
                edited = to_tensor(done.image)
                drawn = to_tensor(model_image(mixer.draw(person, parts), template, SIDE))
                alike = [
                    float((own * judged_embedding(x, template)).sum()) for x in (edited, drawn)
                ]
                changes = [
                    sign * (read(after, name) - read(before, name))
                    for after, before in ((edited, photo), (drawn, plain))
                ]
                rows[f"{name} {sign * amount:+g}"].append([*changes, *alike, done.on_photo])
    click.echo(
        "| edit | change of the photo | of the model's image | identity | of it | followed |"
    )
    click.echo("| --- | --- | --- | --- | --- | --- |")
    for name, values in rows.items():
        means = torch.tensor(values, dtype=torch.float64).mean(dim=0).tolist()
        click.echo(f"| {name} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")


if __name__ == "__main__":
    main()
