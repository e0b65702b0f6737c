"""Mixing people and styles: reads sources and styles, projects their photos and renders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import torch
from PIL import Image
from torch import Tensor

from stylemix.avatars.avatar import Avatar, AvatarOptions, draw_avatar
from stylemix.avatars.derived_styles import blend_style, look_factor, person_style, profile_style
from stylemix.avatars.inputs import OnError, Source, StyleArgument, short_name
from stylemix.avatars.reader import Reader
from stylemix.avatars.render import AppliedStyle, render
from stylemix.errors import StylemixError, shown
from stylemix.faces.alignment import Box
from stylemix.faces.regions import REGIONS, painted_mask, region_mask
from stylemix.images.read import load_image
from stylemix.images.sources import ImageSource
from stylemix.inversion.encoder import Encoder
from stylemix.inversion.latent import Latent
from stylemix.inversion.portraits import AlignedPhoto
from stylemix.inversion.residual import Residual
from stylemix.inversion.settings import ProjectionSettings
from stylemix.models.model import Model
from stylemix.networks.latents import parse_layers
from stylemix.progress import Progress
from stylemix.styles.named_directions import find_directions
from stylemix.styles.style import Style, check_strength

MIN_CELL = 192  # px of an image on a sheet


@dataclass(frozen=True, eq=False)
class Person:
    """A person to render: a name for labels and files, and a latent, a photo, or both.

    A photo without a latent is projected when the latent is needed (`Mixer.latent`).
    """

    name: str
    latent: Latent | None
    photo: AlignedPhoto | None = None


@dataclass(frozen=True, eq=False)
class StyleInput:
    """A style that has been read: a `Style`, or the latents of other images."""

    name: str
    weight: float | None = None
    style: Style | None = None
    latents: tuple[Latent, ...] = ()

    @property
    def label(self) -> str:
        """The name, with the weight if there is one."""
        return self.name if self.weight is None else f"{self.name} {self.weight:g}"


class Mixer:
    """Reads people and styles for a model and renders them.

    Args:
        model: the model that renders.
        layers: layers where styles act; None for the layers that each style recommends.
        face: which of several faces of a photo to use, 1 for the largest.
        layer_strengths: factors of all strengths by layer, from `parse_strength`.
        settings: settings of the projection of photos.
        encoder: encoder for the start of projections; None for the model's shipped encoder.
        progress: progress of a projection: a function of (done, total, loss), or True for a bar.
        cache: store latents in the user's cache, and reuse those stored there.
        fast: let the students of styles draw, where they have one.
        box: the subject of the sources' photos, for a model without a face template.
    """

    def __init__(
        self,
        model: Model,
        layers: str | None = None,
        face: int | None = None,
        layer_strengths: tuple[float, ...] | None = None,
        settings: ProjectionSettings | None = None,
        encoder: Encoder | None = None,
        progress: Progress | bool = True,
        cache: bool = False,
        fast: bool = False,
        box: Box | None = None,
    ) -> None:
        self.model, self.layers, self.fast = model, layers, fast
        self.layer_strengths = layer_strengths
        self.settings = settings or ProjectionSettings()
        self.reader = Reader(model, face, box, encoder, progress, cache)
        self.base, self.generator = model.fingerprint, model.generator
        self.device = model.generator.device
        if layers is not None:
            parse_layers(layers, model.generator.img_resolution)
        # Weak, since the people of a folder are many, and each has a photo.
        self._masks: WeakKeyDictionary[Person, dict[tuple[str, ...], Tensor]] = WeakKeyDictionary()
        self._latents: WeakKeyDictionary[Person, Latent] = WeakKeyDictionary()

    def read(
        self,
        sources: Sequence[Source],
        styles: Sequence[StyleArgument],
        on_error: OnError | None = None,
    ) -> tuple[list[Person], list[StyleInput]]:
        """Reads styles and people, and projects their photos; see `read_lazily`."""
        people, inputs = self.read_lazily(sources, styles, on_error)
        return list(people), inputs

    def read_lazily(
        self,
        sources: Sequence[Source],
        styles: Sequence[StyleArgument],
        on_error: OnError | None = None,
    ) -> tuple[Iterator[Person], list[StyleInput]]:
        """Reads styles, and returns an iterator that reads and projects people in batches.

        Styles and the sources that were named one by one are read first, so that their errors are
        reported before the long computation. With `on_error`, errors of unusable photos in folders
        (`list_sources`) are passed to it and the photos skipped. Photos that only students draw
        are not projected.
        """
        contents = [self.reader.style(item.what, on_error) for item in styles]
        only_photos = bool(contents) and all(
            isinstance(style, Style) and AppliedStyle(style, fast=self.fast).by_student
            for style in contents
        )
        known: dict[str, Latent | AlignedPhoto] = {}  # a source named twice is read once
        reads: list[Latent | AlignedPhoto | ImageSource] = []
        for source in sources:
            if isinstance(source, ImageSource):
                reads.append(source)
                continue
            read = known.get(source) if isinstance(source, str) else None
            reads.append(read or self.reader.source(source))
            if isinstance(source, str):
                known[source] = reads[-1]  # type: ignore[assignment]
        inputs = self._project_styles(styles, contents)
        named = zip(map(short_name, sources), reads, strict=True)
        return self._people(named, only_photos, on_error), inputs

    def _project_styles(
        self,
        styles: Sequence[StyleArgument],
        contents: Sequence[Style | list[Latent | AlignedPhoto]],
    ) -> list[StyleInput]:
        settings = self.settings
        if not (self.layers or self.layer_strengths):  # only the latent of a photo is used
            settings = replace(settings, refine_steps=0)
        images = [image for content in contents if isinstance(content, list) for image in content]
        projected = iter(self.reader.project(images, settings))
        inputs = []
        for item, content in zip(styles, contents, strict=True):
            name = short_name(item.what)
            if isinstance(content, Style):
                inputs.append(StyleInput(name, item.weight, content))
            else:
                own = tuple(next(projected) for _ in content)
                inputs.append(StyleInput(name, item.weight, latents=own))
        return inputs

    def _people(
        self,
        named: Iterable[tuple[str, Latent | AlignedPhoto | ImageSource]],
        only_photos: bool,
        on_error: OnError | None,
    ) -> Iterator[Person]:
        """Yields people in order; with `only_photos`, without latents of their photos.

        Photos are read until a batch of them is to be projected, so that batches are full although
        the latents of some photos are kept and others are unusable.
        """
        waiting: list[Person] = []
        for name, source in named:
            try:
                read = self.reader.source(source)
            except StylemixError as error:
                if on_error is None:
                    raise
                on_error(error)
                continue
            photo = read if isinstance(read, AlignedPhoto) else None
            if photo is not None and only_photos:
                yield Person(name, None, photo)
                continue
            latent = self.reader.kept(read, self.settings)
            waiting.append(Person(name, latent, photo))
            missing = sum(person.latent is None for person in waiting)
            if missing == 0 or missing >= self.reader.batch:
                yield from self._with_latents(waiting)
                waiting = []
        yield from self._with_latents(waiting)

    def _with_latents(self, people: Sequence[Person]) -> list[Person]:
        reads = [person.latent or person.photo for person in people]
        latents = self.reader.project([read for read in reads if read is not None], self.settings)
        return [replace(person, latent=w) for person, w in zip(people, latents, strict=True)]

    def with_photo(self, person: Person, source: Source) -> Person:
        """A person whose latent was given, with the photo that it is the latent of."""
        photo = self.reader.source(source)
        if not isinstance(photo, AlignedPhoto):
            raise StylemixError(
                f"got a latent beside the source {shown(source)}; expected a photo, whose latent "
                "it is; leave one of them out"
            )
        return replace(person, photo=photo)

    def latent(self, person: Person | Latent) -> Latent:
        """The latent of a person, whose photo is projected if it was not."""
        if isinstance(person, Latent):
            return person
        if person.latent is not None:
            return person.latent
        if person not in self._latents:
            assert person.photo is not None
            self._latents[person] = self.reader.project([person.photo], self.settings)[0]
        return self._latents[person]

    def apply(
        self,
        style: StyleInput,
        person: Person | Latent,
        strength: float | None = None,
        layers: str | None = None,
    ) -> AppliedStyle:
        """Applies a style to a person, at `layers` if given instead of the mixer's layers."""
        layers = layers or self.layers
        toward, effect = None, style.style
        if effect is None:
            latent = self.latent(person)
            ws = torch.stack([image.w for image in style.latents]).to(self.device)
            factor = None if layers or self.layer_strengths else look_factor(self.generator)
            if len(ws) > 1:
                effect = profile_style(self.generator, self.base, ws, factor)
            elif factor is None:  # whole layers of another person
                other = style.latents[0]
                effect = person_style(self.generator, self.base, latent, other)
                toward = other.detail or Residual()
            else:
                effect = blend_style(self.base, latent.w.to(self.device), ws[0], factor)
        weight = style.weight
        if strength is not None:
            weight = strength * (1.0 if weight is None else weight)
        if self.layer_strengths and not layers:
            layers = "all"  # the strengths by layer define where a style acts
        return AppliedStyle(effect, weight, layers, self.layer_strengths, toward, self.fast)

    def apply_all(
        self,
        styles: Sequence[StyleInput],
        person: Person,
        strength: float | None = None,
        layers: str | None = None,
    ) -> list[AppliedStyle]:
        """Applies all styles to a person."""
        return [self.apply(style, person, strength, layers) for style in styles]

    def draw(self, person: Person | Latent, applied: Sequence[AppliedStyle] = ()) -> Tensor:
        """The model's image [1, C, H, W] of a person in the sum of the styles."""
        latent = self.latent(person)
        return render(self.generator, latent.w[None].to(self.device), applied, latent.detail)

    def plain(self, person: Person) -> Tensor:
        """The image [1, C, H, W] of a person without styles: the photo where it has no latent."""
        if person.latent is None and person.photo is not None:
            return person.photo.image[None].to(self.device, self.generator.dtype)
        return self.draw(person)

    def avatar(
        self,
        person: Person,
        applied: Sequence[AppliedStyle] = (),
        options: AvatarOptions | None = None,
    ) -> Avatar:
        """The avatar of a person in the sum of the styles, with options."""
        options = options or AvatarOptions()
        mask = self.mask(person, options.regions)
        only_photo = person.latent is None and all(part.by_student for part in applied)
        latent = None if only_photo and applied else self.latent(person)
        return draw_avatar(self.model, latent, applied, options, mask, person.photo)

    def mask(self, person: Person, regions: tuple[str, ...]) -> Tensor | None:
        """The mask [1, 1, H, W] where styles act: the union of named regions and mask images."""
        if not regions:
            return None
        known = self._masks.setdefault(person, {})
        if regions not in known:
            masks = []
            if named := [name for name in regions if name in REGIONS]:
                masks.append(region_mask(named, self.plain(person), self.model.template))
            for name in set(regions) - set(REGIONS):
                masks.append(self.painted(person, load_image(name, mode="RGBA"), name))
            known[regions] = torch.stack([mask.to(self.device) for mask in masks]).amax(dim=0)
        return known[regions]

    def painted(self, person: Person, rgba: Image.Image, name: str) -> Tensor:
        """The mask [1, 1, H, W] of an image painted on a person's photo or crop; see `mask`."""
        config, matrix, photo_size = self.generator.config, None, None
        if person.photo is not None:
            matrix, photo_size = person.photo.alignment.matrix, person.photo.photo_size
        elif person.latent is not None:
            matrix = person.latent.matrix
        size = config.width, config.height
        return painted_mask(rgba, size, matrix, photo_size, name).to(self.device)


def direction_styles(mixer: Mixer, amounts: Mapping[str, float]) -> list[AppliedStyle]:
    """Directions by name with their strengths, in the mixer's layers.

    Raises StylemixError for no direction, an unknown name or a strength out of range.
    """
    for amount in amounts.values():
        check_strength(amount)
    if not amounts:
        raise StylemixError(
            "got nothing to change; expected smile, yaw, pitch, mouth, light or another direction "
            "with a number; add one (--smile 2, --direction NAME:STRENGTH)"
        )
    styles = find_directions(mixer.model, list(amounts))
    return [AppliedStyle(styles[name], amounts[name], mixer.layers) for name in amounts]
