"""Contact sheets of a mix: sources by styles, a strip of strengths, and ranges of layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from PIL import Image

from stylemix.avatars.avatar import Avatar, AvatarOptions, describe, likeness, weaker
from stylemix.avatars.drawing import crop_photo, portrait_box
from stylemix.avatars.finish import MIN_OUTPUT, OutputSize, finish, model_image
from stylemix.avatars.mixer import MIN_CELL, Mixer, Person, StyleInput
from stylemix.avatars.render import AppliedStyle
from stylemix.errors import StylemixError
from stylemix.images.contact_sheet import grid
from stylemix.images.sources import open_image
from stylemix.images.tensors import resize
from stylemix.inversion.portraits import AlignedPhoto
from stylemix.networks.latents import layer_resolutions

STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)  # shares of the strength in a strip


@dataclass
class SheetMaker:
    """Renders people in each style separately, all with the same options.

    Attributes:
        size: longer side of an image in px; None for the model's, but at least 192 px; "portrait"
            for photos with head and shoulders instead of the aligned face, in 256 px.

    Raises:
        StylemixError: for other sizes by name.
    """

    mixer: Mixer
    people: Sequence[Person]
    styles: Sequence[StyleInput]
    strength: float | None = None
    options: AvatarOptions = field(default_factory=AvatarOptions)
    size: OutputSize = None

    def __post_init__(self) -> None:
        if self.size in ("photo", "crop"):
            raise StylemixError(
                f"got the output size {self.size} for a sheet; expected portrait or px; change it"
            )

    @property
    def cell(self) -> int:
        """The longer side of an image in px."""
        if isinstance(self.size, int):
            return self.size
        return MIN_OUTPUT if self.size else max(self.mixer.generator.config.longer_side, MIN_CELL)

    def show(
        self, person: Person, avatar: Avatar, parts: Sequence[AppliedStyle] = ()
    ) -> Image.Image:
        """The image of a cell: the photo in this look where nothing moves."""
        if self.size == "portrait" and person.photo is not None:
            whole = finish(self.mixer, person, avatar, parts).image
            return self.portrait(person.photo, whole)
        side = max(self.cell, *avatar.image.shape[2:])  # the sheet itself makes it smaller
        return finish(self.mixer, person, avatar, parts, side).image

    def portrait(self, photo: AlignedPhoto, image: Image.Image) -> Image.Image:
        """Head and shoulders of a photo, if the image is all of it, in the size of a cell."""
        image = image.crop(portrait_box(photo)) if image.size == photo.photo_size else image
        return resize(image, self.cell)

    def plain(self, person: Person) -> Image.Image:
        """The image of the first cell: the photo, or the model's image where there is none."""
        if person.photo is not None and self.size == "portrait":
            return self.portrait(person.photo, open_image(person.photo.source))
        if person.photo is not None:
            return crop_photo(person.photo, self.cell)
        image = self.mixer.draw(person)
        return model_image(image, self.mixer.model.template, self.cell)

    def style_grid(self) -> Image.Image:
        """A grid of people (rows) by their photo and each style (columns)."""
        images, labels = [], []
        first = "photo" if all(person.photo for person in self.people) else "without a style"
        for person in self.people:
            images.append(self.plain(person))
            labels.append("")
            for item in self.styles:
                parts = [self.mixer.apply(item, person, self.strength)]
                avatar = self.mixer.avatar(person, parts, self.options)
                images.append(self.show(person, avatar, parts))
                labels.append(describe(avatar, parts))
        return grid(
            images,
            columns=1 + len(self.styles),
            column_labels=[first, *(item.label for item in self.styles)],
            row_labels=[person.name for person in self.people],
            labels=None if self.options.min_identity is None else labels,
            cell=self.cell,
        )

    def strength_strip(self) -> Image.Image:
        """A row for each person and style, from the reconstruction to the full strength.

        With a minimum identity, the last column has the greatest strength that preserves it.
        """
        images, labels, rows = [], [], []
        for person in self.people:
            for item in self.styles:
                parts = [self.mixer.apply(item, person, self.strength)]
                for avatar in self.sweep(person, parts):
                    images.append(self.show(person, avatar, parts))
                    labels.append(describe(avatar, parts))
                rows.append(f"{person.name} {item.label}")
        return grid(images, columns=len(STEPS), row_labels=rows, labels=labels, cell=self.cell)

    def sweep(self, person: Person, parts: Sequence[AppliedStyle]) -> list[Avatar]:
        """The avatars of a row of a strip, with identities if the model has a face template."""
        model, unlimited = self.mixer.model, replace(self.options, min_identity=None)
        full = self.mixer.avatar(person, parts, self.options).share
        shares = [step * full for step in STEPS]
        avatars = [self.mixer.avatar(person, weaker(parts, s), unlimited) for s in shares]
        identities: list[float | None] = [None] * len(avatars)
        if model.template.eyes is not None:
            likeness_of = likeness(model, avatars[0].image)
            identities = [likeness_of(avatar.image) for avatar in avatars]
        rows = zip(avatars, shares, identities, strict=True)
        return [replace(avatar, share=s, identity=kept) for avatar, s, kept in rows]

    def layer_grid(self) -> Image.Image:
        """A style at every range of layers: rows are the first resolution, columns the last."""
        if len(self.people) != 1 or len(self.styles) != 1:
            raise StylemixError(
                f"got {len(self.people)} sources and {len(self.styles)} styles for --layer-grid; "
                "expected one of each; leave out the others"
            )
        person, images = self.people[0], list[Image.Image | None]()
        pixels = sorted(set(layer_resolutions(self.mixer.generator.img_resolution)))
        for first in pixels:
            for last in pixels:
                if first > last:
                    images.append(None)
                    continue
                layers = f"{first}-{last}px"
                parts = self.mixer.apply_all(self.styles, person, self.strength, layers)
                avatar = self.mixer.avatar(person, parts, self.options)
                images.append(self.show(person, avatar, parts))
        return grid(
            images,
            columns=len(pixels),
            column_labels=[f"to {px} px" for px in pixels],
            row_labels=[f"from {px} px" for px in pixels],
            title=f"{self.styles[0].label} in {person.name}, by layers",
            cell=self.cell,
        )
