"""People in styles: sources and styles read once each, projected together, then rendered."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from stylemix.avatars.avatar import Avatar, AvatarOptions, draw_avatar
from stylemix.avatars.derived_styles import (
    blend_style,
    generator_style,
    look_factor,
    person_style,
    profile_style,
)
from stylemix.avatars.inputs import (
    OnError,
    Source,
    StyleArgument,
    StyleSource,
    as_path,
    is_image_path,
    is_several,
    parse_seed,
    short_name,
)
from stylemix.avatars.render import AppliedStyle, render
from stylemix.errors import StylemixError
from stylemix.faces.regions import REGIONS, painted_mask, region_mask
from stylemix.images.read import load_image
from stylemix.images.sources import ImageSource, Photo, list_images
from stylemix.inversion.cache import LatentCache
from stylemix.inversion.encoder import Encoder
from stylemix.inversion.latent import Latent, load_latent
from stylemix.inversion.portraits import AlignedPhoto, project_portraits, read_portrait
from stylemix.inversion.projection import seed_latent
from stylemix.inversion.residual import Residual
from stylemix.inversion.settings import ProjectionSettings
from stylemix.models.checkpoint import load_model
from stylemix.models.container import LATENT, MODEL, STYLE
from stylemix.models.model import Model
from stylemix.networks.latents import parse_layers
from stylemix.progress import Progress
from stylemix.styles.named_directions import find_directions
from stylemix.styles.style import Style, check_strength, find_style, format_of, load_style

MIN_CELL = 192  # px of an image on a sheet
BATCH = 8  # photos that are projected at once


@dataclass(frozen=True, eq=False)
class Person:
    """Who is drawn: a latent, a name for labels and files, and the photo, if there is one."""

    name: str
    latent: Latent
    photo: AlignedPhoto | None = None


@dataclass(frozen=True, eq=False)
class StyleInput:
    """A style as it was given, read: a `Style`, or the latents of other images."""

    name: str
    weight: float | None = None
    style: Style | None = None
    latents: tuple[Latent, ...] = ()

    @property
    def label(self) -> str:
        """The name with the weight, where there is one."""
        return self.name if self.weight is None else f"{self.name} {self.weight:g}"


class Mixer:
    """A model with how people and styles are read for it.

    Args:
        model: what everything is drawn with.
        layers: where styles act; None for their own advice.
        face: which of several faces of a photo, 1 for the largest.
        layer_strengths: factors of all strengths by layer, as `parse_strength` gives them.
        settings: of the projection of photos.
        encoder: where projections start; None for the model's shipped one.
        progress: of a projection: a function of (done, total, loss), or True for a bar.
        cache: keep latents in the user's cache, and take them from there.
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
    ) -> None:
        self.model, self.layers, self.face = model, layers, face
        self.layer_strengths = layer_strengths
        self.settings, self.encoder = settings or ProjectionSettings(), encoder
        self.progress = progress
        self.cache = cache and encoder is None  # the files do not say which encoder they began with
        self.base, self.generator = model.fingerprint, model.generator
        self.device = model.generator.device
        if layers is not None:
            parse_layers(layers, model.generator.img_resolution)
        self._masks: dict[tuple[Person, tuple[str, ...]], Tensor] = {}

    def read(
        self,
        sources: Sequence[Source],
        styles: Sequence[StyleArgument],
        on_error: OnError | None = None,
    ) -> tuple[list[Person], list[StyleInput]]:
        """Reads everything: files and faces first, projecting all photos together last.

        So what is wrong with any of them is said before the work begins. With `on_error` photos
        of folders (`list_sources`) that cannot be used are passed to it and left out.
        """
        looks = [self._read_style(item.what, on_error) for item in styles]
        people: list[tuple[str, Latent | AlignedPhoto]] = []
        known: dict[str, Latent | AlignedPhoto] = {}  # what is named twice is read once
        for source in sources:
            try:
                read = known.get(source) if isinstance(source, str) else None
                read = read or self._read_source(source)
                people.append((short_name(source), read))
                if isinstance(source, str):
                    known[source] = read
            except StylemixError as error:
                if on_error is None or not isinstance(source, ImageSource):
                    raise
                on_error(error)
        latents = self._project([read for _, read in people], self.settings)
        drawn = [
            Person(name, latent, read if isinstance(read, AlignedPhoto) else None)
            for (name, read), latent in zip(people, latents, strict=True)
        ]
        settings = self.settings
        if not (self.layers or self.layer_strengths):  # takes no more of a photo than its latent
            settings = replace(settings, refine_steps=0)
        several = [one for look in looks if isinstance(look, list) for one in look]
        found = iter(self._project(several, settings))
        inputs = []
        for item, look in zip(styles, looks, strict=True):
            name = short_name(item.what)
            if isinstance(look, Style):
                inputs.append(StyleInput(name, item.weight, look))
            else:
                own = tuple(next(found) for _ in look)
                inputs.append(StyleInput(name, item.weight, latents=own))
        return drawn, inputs

    def _project(
        self, items: Sequence[Latent | AlignedPhoto], settings: ProjectionSettings
    ) -> list[Latent]:
        """Latents in place of photos."""
        photos = list({id(one): one for one in items if isinstance(one, AlignedPhoto)}.values())
        cache = LatentCache(self.model, settings) if self.cache else None
        done: dict[int, Latent] = {}
        if cache is not None:
            known = {id(photo): cache.load(photo) for photo in photos}
            done = {key: latent for key, latent in known.items() if latent is not None}
            photos = [photo for photo in photos if id(photo) not in done]
        for start in range(0, len(photos), BATCH):
            batch = photos[start : start + BATCH]
            latents = project_portraits(
                batch, self.model, settings, self.progress, encoder=self.encoder
            )[1]
            for photo, latent in zip(batch, latents, strict=True):
                done[id(photo)] = latent
                if cache is not None:
                    cache.save(photo, latent)
        return [one if isinstance(one, Latent) else done[id(one)] for one in items]

    def _read_source(self, source: Source) -> Latent | AlignedPhoto:
        """The latent of a latent, its file or "seed:N", or a photo that is to be projected."""
        if isinstance(source, Latent):
            return source
        if isinstance(source, str) and source.startswith("seed:"):
            return self._drawn(source)
        if isinstance(source, str | os.PathLike | ImageSource):
            path = as_path(str(source), "--source")
            if not is_image_path(path) and path.is_file():
                return load_latent(path, self.model)
            source = source if isinstance(source, ImageSource) else path
        return read_portrait(source, self.model, self.face)

    def _drawn(self, what: str) -> Latent:
        return Latent(seed_latent(self.generator, parse_seed(what))[0], self.base)

    def _read_style(
        self, what: StyleSource, on_error: OnError | None
    ) -> Style | list[Latent | AlignedPhoto]:
        """A style, or latents and photos that are to be projected."""
        if isinstance(what, Style):
            return what.check(self.model, short_name(what))
        if isinstance(what, Latent):
            return [what]
        if not isinstance(what, str | os.PathLike):
            return [self._read_look(what)]
        what = str(what)
        as_path(what, "--style")
        path = find_style(what)
        if what.startswith("seed:"):
            return [self._drawn(what)]
        if is_several(path):
            return self._read_looks(list_images(path), on_error)
        if is_image_path(path):
            return [self._read_look(path)]
        form = format_of(path) if path.exists() else STYLE
        if form == STYLE:
            return load_style(what, self.model)
        if form == MODEL:
            return self._difference(path)
        try:
            return [load_latent(path, self.model)]
        except StylemixError as no_latent:
            if form == LATENT:
                raise
            try:  # files of other programs do not say what they are
                return self._difference(path)
            except StylemixError:
                raise no_latent from None

    def _difference(self, path: Path) -> Style:
        other = load_model(path, self.device)
        return generator_style(self.generator, self.base, other.generator, str(path))

    def _read_look(self, photo: Photo) -> AlignedPhoto:
        """A photo as a style; `face` is for the sources, and here only where it is needed."""
        try:
            return read_portrait(photo, self.model)
        except StylemixError:
            if self.face is None:
                raise
            return read_portrait(photo, self.model, self.face)

    def _read_looks(
        self, photos: list[ImageSource], on_error: OnError | None
    ) -> list[Latent | AlignedPhoto]:
        """The photos of a folder; those that cannot be used are passed on and left out."""
        good: list[Latent | AlignedPhoto] = []
        for number, photo in enumerate(photos, 1):
            try:
                good.append(self._read_look(photo))
            except StylemixError as error:
                if on_error is None or (number == len(photos) and not good):
                    raise
                on_error(error)
        return good

    def apply(
        self,
        style: StyleInput,
        person: Person | Latent,
        strength: float | None = None,
        layers: str | None = None,
    ) -> AppliedStyle:
        """What a style adds to a person, at `layers` instead of the mixer's own."""
        latent = person.latent if isinstance(person, Person) else person
        layers = layers or self.layers
        toward, effect = None, style.style
        if effect is None:
            ws = torch.stack([one.w for one in style.latents]).to(self.device)
            factor = None if layers or self.layer_strengths else look_factor(self.generator)
            if len(ws) > 1:
                effect = profile_style(self.generator, self.base, ws, factor)
            elif factor is None:  # whole layers of somebody
                other = style.latents[0]
                effect = person_style(self.generator, self.base, latent, other)
                toward = other.detail or Residual()
            else:
                effect = blend_style(self.base, latent.w.to(self.device), ws[0], factor)
        weight = style.weight
        if strength is not None:
            weight = strength * (1.0 if weight is None else weight)
        if self.layer_strengths and not layers:
            layers = "all"  # they say themselves where a style acts
        return AppliedStyle(effect, weight, layers, self.layer_strengths, toward)

    def apply_all(
        self,
        styles: Sequence[StyleInput],
        person: Person,
        strength: float | None = None,
        layers: str | None = None,
    ) -> list[AppliedStyle]:
        """What all styles add to a person."""
        return [self.apply(style, person, strength, layers) for style in styles]

    def draw(self, person: Person | Latent, applied: Sequence[AppliedStyle] = ()) -> Tensor:
        """The image [1, C, H, W] of a person in these styles, added."""
        latent = person.latent if isinstance(person, Person) else person
        return render(self.generator, latent.w[None].to(self.device), applied, latent.detail)

    def avatar(
        self,
        person: Person,
        applied: Sequence[AppliedStyle] = (),
        options: AvatarOptions | None = None,
    ) -> Avatar:
        """A person in these styles, added, with what the options ask for."""
        options = options or AvatarOptions()
        mask = self.mask(person, options.regions)
        return draw_avatar(self.model, person.latent, applied, options, mask)

    def mask(self, person: Person, regions: tuple[str, ...]) -> Tensor | None:
        """Where styles act on a person, [1, 1, H, W]: named regions and painted ones together."""
        if not regions:
            return None
        if (person, regions) not in self._masks:
            masks = []
            if named := [name for name in regions if name in REGIONS]:
                masks.append(region_mask(named, self.draw(person), self.model.template))
            config = self.generator.config
            size, matrix = (config.width, config.height), person.latent.matrix
            photo_size = None if person.photo is None else person.photo.photo_size
            for name in set(regions) - set(REGIONS):
                painted = load_image(name, mode="RGBA")
                masks.append(painted_mask(painted, size, matrix, photo_size, name))
            whole = torch.stack([mask.to(self.device) for mask in masks]).amax(dim=0)
            self._masks[person, regions] = whole
        return self._masks[person, regions]


def direction_styles(mixer: Mixer, amounts: Mapping[str, float]) -> list[AppliedStyle]:
    """Directions by name, at their strengths, where the mixer's styles act.

    Raises StylemixError for none, for a name without meaning and for a strength out of range.
    """
    for amount in amounts.values():
        check_strength(amount)
    if not amounts:
        raise StylemixError(
            "got nothing to change; expected smile, yaw, pitch, mouth, light or another direction "
            "with a number; give one (--smile 2, --direction NAME:STRENGTH)"
        )
    styles = find_directions(mixer.model, list(amounts))
    return [AppliedStyle(styles[name], amounts[name], mixer.layers) for name in amounts]
