"""From the model's image of an avatar to the image that is written.

A style that moves nothing is a look, and goes onto the photo itself; a drawn one is enlarged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image
from torch import Tensor

from stylemix.avatars.lift import MAX_MOVEMENT, fit_colors, lift, movement
from stylemix.avatars.mixer import Mixer, Person
from stylemix.errors import StylemixError
from stylemix.faces.warp import warp
from stylemix.images.contact_sheet import fit_size
from stylemix.images.sources import open_image
from stylemix.images.tensors import resize, to_pil

MIN_OUTPUT = 256  # px; a 64 px avatar is hard to see

OutputSize = Literal["photo", "crop"] | int | None


@dataclass(frozen=True)
class Finished:
    """The image, and in a few words how it was made."""

    image: Image.Image
    how: str


def parse_output_size(text: str | int | None) -> OutputSize:
    """Reads "photo", "crop" or a number of px from 16 to 4096; None for the automatic choice."""
    if text is None or text in ("photo", "crop"):
        return text  # type: ignore[return-value]
    try:
        size = int(text)
    except ValueError:
        size = 0
    if not 16 <= size <= 4096:
        raise StylemixError(
            f"got an output size of {text!r}; expected photo, crop or px from 16 to 4096; change it"
        )
    return size


def sheet_size(size: OutputSize) -> int | None:
    """The size of a sheet's cell in px; StylemixError for "photo" and "crop"."""
    if isinstance(size, str):
        raise StylemixError(f"got the output size {size} for a sheet; expected px; give a number")
    return size


def finish(mixer: Mixer, person: Person, avatar: Tensor, size: OutputSize = None) -> Finished:
    """An avatar [1, C, H, W] as it is written.

    With a photo behind it and a style that moves no landmark, the photo carries the look: whole
    and at its own resolution by default and for "photo", the crop at the photo's resolution for
    "crop", or at so many px. Else the model's image, enlarged. StylemixError for "photo" and "crop"
    where there is no photo, or where the style moves the face.
    """
    moved = None
    if person.photo is not None and avatar.shape[1] == 3:
        moved = movement(mixer.draw(person), avatar, mixer.model.template)
    if person.photo is None or moved is None or moved > MAX_MOVEMENT:
        if isinstance(size, str):
            cause = "a style that moves the face" if moved is not None else "no photo to draw on"
            raise StylemixError(
                f"got {cause}; expected a photo and a look for the output size {size}; give a size "
                "in px"
            )
        image = resize_output(to_pil(avatar), size)
        return Finished(image, f"generated, {image.width} x {image.height} px")
    colors = fit_colors(person.photo.image[None], avatar)
    photo, matrix = open_image(person.photo.source), person.photo.alignment.matrix
    if size is not None and size != "photo":
        model_px = avatar.shape[2]
        scale = float(np.hypot(*matrix[:2, 0]))  # crop px per photo px
        side = size if isinstance(size, int) else max(round(model_px / scale), 1)
        zoom = np.diag([side / model_px, side / model_px, 1.0])
        photo, matrix = warp(photo, zoom @ matrix, side), np.linalg.inv(zoom)
    image = lift(photo, matrix, colors)
    return Finished(image, f"the photo in this look, {image.width} x {image.height} px")


def resize_output(image: Image.Image, size: int | None = None) -> Image.Image:
    """An image with a longer side of `size` px; None for its own, but at least 256 px."""
    return resize(image, fit_size(image.size, size or max(*image.size, MIN_OUTPUT)))
