"""From the model's image of an avatar to the image that is written.

A style that moves nothing is a look, and goes onto the photo itself; what students drew has its own
size; other images of the model are enlarged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Literal

import numpy as np
from PIL import Image
from torch import Tensor

from stylemix.avatars.avatar import Avatar, weaker
from stylemix.avatars.drawing import (
    box_canvas,
    crop_photo,
    crop_px,
    draw_students,
    portrait_box,
)
from stylemix.avatars.finisher import enlarge
from stylemix.avatars.lift import MAX_MOVEMENT, fit_colors, lift, movement
from stylemix.avatars.mixer import Mixer, Person
from stylemix.avatars.render import AppliedStyle
from stylemix.errors import StylemixError, shown
from stylemix.faces.templates import Template
from stylemix.images.contact_sheet import fit_size
from stylemix.images.sources import open_image
from stylemix.images.tensors import resize, to_pil

MIN_OUTPUT = 256  # px; a 64 px avatar is hard to see
SMALLEST, LARGEST = 16, 4096  # px of what can be asked for

OutputSize = Literal["photo", "portrait", "crop"] | int | None


Area = Literal["photo", "portrait", "crop"]


@dataclass(frozen=True)
class Finished:
    """The image, in a few words how it was made, and what of the photo it shows."""

    image: Image.Image
    how: str
    area: Area


def parse_output_size(text: str | int | None) -> OutputSize:
    """Reads "photo", "portrait", "crop" or px from 16 to 4096; None for the automatic choice."""
    if text is None or text in ("photo", "portrait", "crop"):
        return text  # type: ignore[return-value]
    try:
        size = int(text)
    except (TypeError, ValueError, OverflowError):  # of a pair, of text, of infinity
        size = 0
    if not SMALLEST <= size <= LARGEST:
        raise StylemixError(
            f"got an output size of {shown(text)}; expected photo, portrait, crop or px from "
            f"{SMALLEST} to {LARGEST}; change it"
        )
    return size


def check_side(size: int | None) -> None:
    """Raises StylemixError unless a longer side in px can be written; None stands for a default."""
    if size is not None and not (isinstance(size, Integral) and SMALLEST <= size <= LARGEST):
        raise StylemixError(
            f"got a size of {shown(size)}; expected px from {SMALLEST} to {LARGEST}; change it"
        )


def finish(
    mixer: Mixer,
    person: Person,
    avatar: Avatar,
    applied: Sequence[AppliedStyle] = (),
    size: OutputSize = None,
) -> Finished:
    """An avatar in the styles `applied` as it is written.

    With a photo behind it and styles that move no landmark, the photo carries the look: "photo"
    (the default) is all of it, "portrait" a square with head and shoulders, "crop" the aligned
    face, each at its own resolution, and a number the crop in so many px. What students draw of a
    photo is the portrait by default, if no other style takes part. Else the model's image,
    enlarged. StylemixError for a part of a photo where there is no photo, or where the model moves
    the face.
    """
    if avatar.drawn:
        return _finish_drawing(mixer, person, avatar, applied, size)
    moved = None
    if person.photo is not None and avatar.image.shape[1] == 3:
        moved = movement(mixer.draw(person), avatar.image, mixer.model.template)
    if person.photo is None or moved is None or moved > MAX_MOVEMENT:
        if isinstance(size, str):
            cause = "a style that moves the face" if moved is not None else "no photo to draw on"
            raise StylemixError(
                f"got {cause}; expected a photo and a look for the output size {size}; give a size "
                "in px"
            )
        image = model_image(avatar.image, mixer.model.template, size)
        return Finished(image, f"generated, {image.width} x {image.height} px", "crop")
    colors = fit_colors(person.photo.image[None], avatar.image)
    photo, matrix = open_image(person.photo.source), person.photo.alignment.matrix
    area: Area = "photo"
    if size == "crop" or isinstance(size, int):
        area = "crop"
        side = size if isinstance(size, int) else crop_px(person.photo)
        part = avatar.image.shape[2] / side  # model px for a px of the crop
        photo, matrix = crop_photo(person.photo, side), np.diag([part, part, 1.0])
    image = lift(photo, matrix, colors)
    if size == "portrait":
        area = "portrait"
        image = image.crop(portrait_box(person.photo))
    return Finished(image, f"the photo in this look, {image.width} x {image.height} px", area)


def _finish_drawing(
    mixer: Mixer,
    person: Person,
    avatar: Avatar,
    applied: Sequence[AppliedStyle],
    size: OutputSize,
) -> Finished:
    photo = person.photo
    if isinstance(size, str) and photo is None:
        raise StylemixError(
            f"got no photo to draw on; expected one for the output size {size}; give a size in px"
        )
    alone = all(part.by_student for part in applied) and not avatar.masked
    if size in ("photo", "portrait") and not alone:
        raise StylemixError(
            "got other styles, regions or colours to keep beside a drawn style for the output "
            f"size {size}; expected drawn styles alone; use crop, or a size in px"
        )
    area: Area = "crop"
    if photo is not None and alone and size in (None, "photo", "portrait"):
        area = "photo" if size == "photo" else "portrait"
        box = None if size == "photo" else portrait_box(photo)
        canvas = box_canvas(photo, mixer.model.template, box)
        image = to_pil(draw_students(canvas, weaker(applied, avatar.share), mixer.device)[0])
        image = resize(image, photo.photo_size) if size == "photo" else image
    else:
        image = to_pil(avatar.image)
        if size == "crop" and photo is not None:
            image = resize(image, crop_px(photo))
        elif isinstance(size, int):
            image = resize(image, size)
    return Finished(image, f"drawn, {image.width} x {image.height} px", area)


def model_image(image: Tensor, template: Template, size: int | None = None) -> Image.Image:
    """A model's image [1, C, H, W] with a longer side of `size` px, by the finisher if larger.

    None stands for its own size, but at least 256 px.
    """
    fits = size is not None and size <= max(image.shape[2:])
    done = to_pil(image if fits else enlarge(image, template))
    return resize(done, fit_size(done.size, size or max(*done.size, MIN_OUTPUT)))
