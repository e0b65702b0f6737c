"""From the model's image of an avatar to the image that is written.

A style that moves nothing is a look, and goes onto the photo itself; an edit moves the photo; what
students drew has its own size; other images of the model are enlarged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial, reduce
from numbers import Integral
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops
from torch import Tensor

from stylemix.avatars.avatar import Avatar, Region, weaker
from stylemix.avatars.drawing import (
    box_canvas,
    crop_photo,
    crop_px,
    draw_students,
    draw_whole,
    portrait_box,
    shrink_photo,
)
from stylemix.avatars.finisher import enlarge
from stylemix.avatars.lift import (
    MAX_MOVEMENT,
    STILL,
    ColorMap,
    fit_colors,
    lift,
    moves_face,
    on_faces,
    photo_mask,
    style_saturation,
)
from stylemix.avatars.mixer import Mixer, Person
from stylemix.avatars.motion import edit_photo
from stylemix.avatars.render import AppliedStyle
from stylemix.errors import StylemixError, shown
from stylemix.faces.regions import REGIONS, painted_grey
from stylemix.faces.templates import Template
from stylemix.images.contact_sheet import fit_size
from stylemix.images.read import load_image
from stylemix.images.sources import open_image
from stylemix.images.tensors import resize, to_pil
from stylemix.inversion.portraits import AlignedPhoto
from stylemix.models.model import Model

MIN_OUTPUT = 256  # px; a 64 px avatar is hard to see
SMALLEST, LARGEST = 16, 4096  # px of what can be asked for

Area = Literal["photo", "portrait", "crop"]
OutputSize = Area | int | None


@dataclass(frozen=True)
class Finished:
    """The image, in a few words how it was made, what of the photo it shows, and if it is one."""

    image: Image.Image
    how: str
    area: Area
    on_photo: bool = True


def parse_output_size(text: str | int | None) -> OutputSize:
    """Reads "photo", "portrait", "crop" or px from 16 to 4096; None for the automatic choice."""
    if text is None or (isinstance(text, str) and text in ("photo", "portrait", "crop")):
        return text  # type: ignore[return-value]
    try:
        size = int(text)
    except (TypeError, ValueError, OverflowError):  # of a pair, text, an array, infinity
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


def photos_follow(model: Model) -> bool:
    """Whether photos can move and look as a model's images do: as those of coloured faces."""
    return model.template.eyes is not None and model.generator.img_channels == 3


def finish(
    mixer: Mixer,
    person: Person,
    avatar: Avatar,
    applied: Sequence[AppliedStyle],
    size: OutputSize = None,
) -> Finished:
    """An avatar in the styles `applied` as it is written.

    With a photo behind it, edits and styles that move no landmark, the photo makes the movement and
    carries the look: "photo" (the default) is all of it, "portrait" a square with head and
    shoulders, "crop" the aligned face, each at its own resolution, and a number the crop in so many
    px. What students draw of a photo is the portrait by default, if nothing but edits takes part.
    Else the model's image, enlarged. StylemixError for a part of a photo where there is no photo,
    or where the model moves the face.
    """
    if avatar.drawn:
        return _finish_drawing(mixer, person, avatar, applied, size)
    photo, plain = person.photo, None
    # Where the avatar keeps parts or colours of the person, edits are part of its look.
    only_edits = bool(applied) and all(part.is_edit for part in applied) and not avatar.masked
    if photo is not None and photos_follow(mixer.model):
        photo, plain = edited_photo(mixer, person, avatar, applied, size)
    parts = weaker(applied, avatar.share)
    edits = [] if avatar.masked else [part for part in parts if part.is_edit]
    faces = cache(partial(on_faces, mixer.model, edits, parts))
    # The model's faces have no region in which alone a style acts.
    still = STILL if avatar.region is None else MAX_MOVEMENT
    can_carry = plain is not None and (
        only_edits or not moves_face(plain, avatar.image, faces, mixer.model.template, still)
    )
    if photo is None or plain is None or not can_carry:
        return _finish_image(mixer.model, person, avatar, size)
    image, matrix = open_image(photo.source), photo.alignment.matrix
    area: Area = "photo"
    if size == "crop" or isinstance(size, int):
        area = "crop"
        side = size if isinstance(size, int) else crop_px(photo)
        part = avatar.image.shape[2] / side  # model px for a px of the crop
        image, matrix = crop_photo(photo, side), np.diag([part, part, 1.0])
    if not only_edits:
        styled = avatar.image if avatar.region is None else avatar.region.draw()
        saturation = None
        if not avatar.keeps_colors:
            saturation = style_saturation(plain, styled, faces)
        colors = fit_colors(photo.image[None], styled, saturation=saturation)
        image = _lift_look(image, matrix, photo, colors, avatar.region)
    if size == "portrait":
        area = "portrait"
        image = image.crop(portrait_box(photo))
    what = "with this edit" if only_edits else "in this look"
    return Finished(image, f"the photo {what}, {image.width} x {image.height} px", area)


def _finish_image(model: Model, person: Person, avatar: Avatar, size: OutputSize) -> Finished:
    """The model's image, where no photo can carry the avatar."""
    if isinstance(size, str):
        cause = "a style that moves the face" if person.photo else "no photo to draw on"
        if not photos_follow(model):
            cause = "a model of anything but coloured faces"
        raise StylemixError(
            f"got {cause}; expected a photo and a look, or an edit that it can follow, for the "
            f"output size {size}; give a size in px"
        )
    image = model_image(avatar.image, model.template, size)
    return Finished(image, f"generated, {image.width} x {image.height} px", "crop", False)


def _lift_look(
    image: Image.Image, matrix: NDArray[np.float64], photo: AlignedPhoto, colors: ColorMap,
    region: Region | None,
) -> Image.Image:  # fmt: skip
    """A photo, or its crop, in a look where that acts."""
    look = lift(image, matrix, colors)
    if region is None:
        return look
    mask = _region_mask(region, matrix, image.size, photo)
    return Image.composite(look, image.convert("RGB"), mask)


def _region_mask(
    region: Region, matrix: NDArray[np.float64], size: tuple[int, int], photo: AlignedPhoto
) -> Image.Image:
    """The mask of a region for an image of this size; `matrix` [3, 3] maps its px to the crop's."""
    mask = photo_mask(region.mask, matrix, size, region.beyond)
    if size == photo.photo_size and not set(region.names) & set(REGIONS):
        painted = [painted_grey(load_image(name, mode="RGBA")) for name in region.names]
        if all(each.size == size for each in painted):  # of the photo, not of its crop
            mask = reduce(ImageChops.lighter, painted)
    return mask


def edited_photo(
    mixer: Mixer,
    person: Person,
    avatar: Avatar,
    applied: Sequence[AppliedStyle],
    size: OutputSize = None,
) -> tuple[AlignedPhoto | None, Tensor]:
    """The photo of a person after the edits among the styles, and the model's image of that.

    None where the photo cannot carry them.
    """
    photo, plain = person.photo, mixer.draw(person)
    edits = [part for part in weaker(applied, avatar.share) if part.is_edit and part.amount]
    if photo is None or not edits or avatar.masked:
        return photo, plain
    photo = shrink_photo(photo, size) if isinstance(size, int) else photo
    after = mixer.draw(person, edits)
    return edit_photo(photo, plain, after, mixer.model.template), after


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
    drawings_alone = all(part.by_student for part in applied)
    alone = all(part.by_student or part.is_edit for part in applied) and not avatar.masked
    alone = alone or (drawings_alone and avatar.region is not None)
    if alone and not isinstance(size, int) and not drawings_alone:
        photo = edited_photo(mixer, person, avatar, applied)[0]
        alone = photo is not None
    if size in ("photo", "portrait") and not alone:
        raise StylemixError(
            "got other styles or colours to keep beside a drawn style for the output "
            f"size {size}; expected drawn styles alone; use crop, or a size in px"
        )
    area: Area = "crop"
    if photo is not None and alone and size in (None, "photo", "portrait"):
        area = "photo" if size == "photo" else "portrait"
        drawings = [part for part in weaker(applied, avatar.share) if part.by_student]
        if area == "photo":
            image = draw_whole(photo, mixer.model.template, drawings, mixer.device)
        else:
            canvas = box_canvas(photo, mixer.model.template, portrait_box(photo))
            image = to_pil(draw_students(canvas, drawings, mixer.device)[0])
        image = _within_region(image, photo, avatar, area)
    else:
        image = to_pil(avatar.image)
        if size == "crop" and person.photo is not None:
            image = resize(image, crop_px(person.photo))
        elif isinstance(size, int):
            image = resize(image, size)
    return Finished(image, f"drawn, {image.width} x {image.height} px", area)


def _within_region(
    drawn: Image.Image, photo: AlignedPhoto, avatar: Avatar, area: Area
) -> Image.Image:
    """A drawing of a photo, or of its portrait, where the styles act; elsewhere the photo."""
    if avatar.region is None:
        return drawn
    box = portrait_box(photo) if area == "portrait" else (0, 0, *photo.photo_size)
    plain = open_image(photo.source).convert("RGB")
    mask = _region_mask(avatar.region, photo.alignment.matrix, plain.size, photo)
    plain, mask = (
        image.resize(drawn.size, Image.Resampling.LANCZOS, box) for image in (plain, mask)
    )
    return Image.composite(drawn, plain, mask)


def model_image(image: Tensor, template: Template, size: int | None = None) -> Image.Image:
    """A model's image [1, C, H, W] with a longer side of `size` px, by the finisher if larger.

    None stands for its own size, but at least 256 px.
    """
    fits = size is not None and size <= max(image.shape[2:])
    done = to_pil(image if fits else enlarge(image, template))
    return resize(done, fit_size(done.size, size or max(*done.size, MIN_OUTPUT)))
