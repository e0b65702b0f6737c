"""Mixing people and styles: reads sources and styles, projects their photos and renders."""

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
BATCH = 8  # photos projected at once


@dataclass(frozen=True, eq=False)
class Person:
    """A person to render: a name for labels and files, a latent, and the photo, if any."""

    name: str
    latent: Latent
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
        """Reads all files and faces first, and projects all photos together last.

        So errors in any input are reported before the long computation. With `on_error`, errors
        of unusable photos in folders (`list_sources`) are passed to it and the photos skipped.
        """
        contents = [self._read_style(item.what, on_error) for item in styles]
        named: list[tuple[str, Latent | AlignedPhoto]] = []
        known: dict[str, Latent | AlignedPhoto] = {}  # a source named twice is read once
        for source in sources:
            try:
                read = known.get(source) if isinstance(source, str) else None
                read = read or self._read_source(source)
                named.append((short_name(source), read))
                if isinstance(source, str):
                    known[source] = read
            except StylemixError as error:
                if on_error is None or not isinstance(source, ImageSource):
                    raise
                on_error(error)
        latents = self._project([read for _, read in named], self.settings)
        people = [
            Person(name, latent, read if isinstance(read, AlignedPhoto) else None)
            for (name, read), latent in zip(named, latents, strict=True)
        ]
        settings = self.settings
        if not (self.layers or self.layer_strengths):  # only the latent of a photo is used
            settings = replace(settings, refine_steps=0)
        images = [image for content in contents if isinstance(content, list) for image in content]
        projected = iter(self._project(images, settings))
        inputs = []
        for item, content in zip(styles, contents, strict=True):
            name = short_name(item.what)
            if isinstance(content, Style):
                inputs.append(StyleInput(name, item.weight, content))
            else:
                own = tuple(next(projected) for _ in content)
                inputs.append(StyleInput(name, item.weight, latents=own))
        return people, inputs

    def _project(
        self, items: Sequence[Latent | AlignedPhoto], settings: ProjectionSettings
    ) -> list[Latent]:
        """Projects the photos among the items; returns the latents of all items."""
        photos = list({id(item): item for item in items if isinstance(item, AlignedPhoto)}.values())
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
        return [item if isinstance(item, Latent) else done[id(item)] for item in items]

    def _read_source(self, source: Source) -> Latent | AlignedPhoto:
        """Reads a source: a latent, or an aligned photo, which is still to be projected."""
        if isinstance(source, Latent):
            return source
        if isinstance(source, str) and source.startswith("seed:"):
            return self._sampled(source)
        if isinstance(source, str | os.PathLike | ImageSource):
            path = as_path(str(source), "--source")
            if not is_image_path(path) and path.is_file():
                return load_latent(path, self.model)
            source = source if isinstance(source, ImageSource) else path
        return read_portrait(source, self.model, self.face)

    def _sampled(self, what: str) -> Latent:
        return Latent(seed_latent(self.generator, parse_seed(what))[0], self.base)

    def _read_style(
        self, what: StyleSource, on_error: OnError | None
    ) -> Style | list[Latent | AlignedPhoto]:
        """Reads a style, or latents and aligned photos, which are still to be projected."""
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
            return [self._sampled(what)]
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
        except StylemixError as latent_error:
            if form == LATENT:
                raise
            try:  # files of other programs do not declare their kind
                return self._difference(path)
            except StylemixError:
                raise latent_error from None

    def _difference(self, path: Path) -> Style:
        other = load_model(path, self.device)
        return generator_style(self.generator, self.base, other.generator, str(path))

    def _read_look(self, photo: Photo) -> AlignedPhoto:
        """Reads a photo as a style; `face` is used only if the photo has several faces."""
        try:
            return read_portrait(photo, self.model)
        except StylemixError:
            if self.face is None:
                raise
            return read_portrait(photo, self.model, self.face)

    def _read_looks(
        self, photos: list[ImageSource], on_error: OnError | None
    ) -> list[Latent | AlignedPhoto]:
        """Reads the photos of a folder; passes errors to `on_error` and skips their photos."""
        usable: list[Latent | AlignedPhoto] = []
        for number, photo in enumerate(photos, 1):
            try:
                usable.append(self._read_look(photo))
            except StylemixError as error:
                if on_error is None or (number == len(photos) and not usable):
                    raise
                on_error(error)
        return usable

    def apply(
        self,
        style: StyleInput,
        person: Person | Latent,
        strength: float | None = None,
        layers: str | None = None,
    ) -> AppliedStyle:
        """Applies a style to a person, at `layers` if given instead of the mixer's layers."""
        latent = person.latent if isinstance(person, Person) else person
        layers = layers or self.layers
        toward, effect = None, style.style
        if effect is None:
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
        return AppliedStyle(effect, weight, layers, self.layer_strengths, toward)

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
        """The image [1, C, H, W] of a person in the sum of the styles."""
        latent = person.latent if isinstance(person, Person) else person
        return render(self.generator, latent.w[None].to(self.device), applied, latent.detail)

    def avatar(
        self,
        person: Person,
        applied: Sequence[AppliedStyle] = (),
        options: AvatarOptions | None = None,
    ) -> Avatar:
        """The avatar of a person in the sum of the styles, with options."""
        options = options or AvatarOptions()
        mask = self.mask(person, options.regions)
        return draw_avatar(self.model, person.latent, applied, options, mask)

    def mask(self, person: Person, regions: tuple[str, ...]) -> Tensor | None:
        """The mask [1, 1, H, W] where styles act: the union of named regions and mask images."""
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
            union = torch.stack([mask.to(self.device) for mask in masks]).amax(dim=0)
            self._masks[person, regions] = union
        return self._masks[person, regions]


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
