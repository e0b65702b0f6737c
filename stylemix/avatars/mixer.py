"""What the sources and styles of a command may name: read once each, then rendered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
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
    LATENT,
    MODEL,
    STYLE,
    OnError,
    Source,
    StyleArgument,
    as_path,
    is_image_path,
    is_several,
    parse_seed,
)
from stylemix.avatars.render import AppliedStyle, render
from stylemix.errors import StylemixError
from stylemix.faces.regions import REGIONS, painted_mask, region_mask
from stylemix.images.contact_sheet import fit_size
from stylemix.images.read import load_image
from stylemix.images.sources import ImageSource, list_images
from stylemix.images.tensors import resize, to_pil
from stylemix.inversion.latent import Latent, load_latent
from stylemix.inversion.portraits import AlignedPhoto, project_portraits, read_portrait
from stylemix.inversion.projection import seed_latent
from stylemix.inversion.residual import Residual
from stylemix.inversion.settings import ProjectionSettings
from stylemix.models.checkpoint import load_model
from stylemix.models.model import Model
from stylemix.networks.latents import parse_layers
from stylemix.styles.style import Style, find_style, format_of, load_style

SMALLEST_OUTPUT = 256  # px; a 64 px avatar is hard to see
SMALLEST_CELL = 192  # px of a picture on a grid
BATCH = 8  # photos that are projected at once


class Mixer:
    """A model with what `--source` and `--style` may name; each is read once.

    Args:
        model: what everything is drawn with.
        layers: where styles act; None for their own advice.
        face: which of several faces of a photo, 1 for the largest.
        shares: factors of all strengths by layer, as `parse_strength` gives them.
    """

    def __init__(
        self,
        model: Model,
        layers: str | None = None,
        face: int | None = None,
        shares: tuple[float, ...] | None = None,
    ) -> None:
        self.model, self.layers, self.face, self.shares = model, layers, face, shares
        self.base, self.generator = model.fingerprint, model.generator
        self.device = model.generator.device
        if layers is not None:
            parse_layers(layers, model.generator.img_resolution)
        self.people: dict[str, Latent] = {}
        self.looks: dict[str, Latent] = {}  # other pictures that are one style each
        self.photos: dict[str, Path | ImageSource] = {}  # of the people, where they are not latents
        self.masks: dict[tuple[str, tuple[str, ...]], Tensor] = {}
        self.styles: dict[str, Style | Tensor] = {}  # or ws [K, L, w_dim] of other pictures

    def read(
        self, sources: Sequence[Source], styles: Sequence[str], on_broken: OnError | None = None
    ) -> list[str]:
        """Reads everything by name: files and faces first, projecting all photos together last.

        So what is wrong with any of them is told before the work begins. With `on_broken` photos
        of folders (`list_sources`) that cannot be used are told to it and left out. Returns the
        names of those in `people`, in order.
        """
        looks = {what: self._read_style(what, on_broken) for what in dict.fromkeys(styles)}
        people: dict[str, Style | Latent | list[AlignedPhoto]] = {}
        for source in dict.fromkeys(sources):
            try:
                people[str(source)] = self._read_source(source)
            except StylemixError as error:
                if on_broken is None or isinstance(source, str):
                    raise
                on_broken(error)
        settings = ProjectionSettings()
        for what, found in self._projected(people, settings).items():
            assert isinstance(found, list)
            self.people[what] = found[0]
        if not (self.layers or self.shares):  # a look takes no more of a photo than its latent
            settings = replace(settings, refine_steps=0)
        for what, found in self._projected(looks, settings).items():
            if isinstance(found, Style):
                self.styles[what] = found
            else:
                self.looks[what] = found[0]
                self.styles[what] = torch.stack([one.w for one in found]).to(self.device)
        return [str(source) for source in sources if str(source) in self.people]

    def _projected(
        self, found: Mapping[str, Style | Latent | list[AlignedPhoto]], settings: ProjectionSettings
    ) -> dict[str, Style | list[Latent]]:
        """What was read, with latents in place of photos."""
        waiting = [one for value in found.values() if isinstance(value, list) for one in value]
        parts = [waiting[i : i + BATCH] for i in range(0, len(waiting), BATCH)]
        latents = [x for part in parts for x in project_portraits(part, self.model, settings)[1]]
        out: dict[str, Style | list[Latent]] = {}
        for what, value in found.items():
            if isinstance(value, list):
                out[what], latents = latents[: len(value)], latents[len(value) :]
            else:
                out[what] = [value] if isinstance(value, Latent) else value
        return out

    def _read_source(self, source: Source) -> Latent | list[AlignedPhoto]:
        """The latent of a latent file or "seed:N", or a photo that is to be projected."""
        what = str(source)
        if what.startswith("seed:"):
            return self._drawn(what)
        path = as_path(what, "--source")
        if not is_image_path(path) and path.is_file():
            return self._read_latent(path)
        photo = source if isinstance(source, ImageSource) else path
        self.photos[what] = photo
        return [read_portrait(photo, self.model, self.face)]

    def _drawn(self, what: str) -> Latent:
        return Latent(seed_latent(self.generator, parse_seed(what))[0], self.base)

    def _read_style(self, what: str, told: OnError | None) -> Style | Latent | list[AlignedPhoto]:
        """A style, latents, or photos that are to be projected."""
        as_path(what, "--style")
        path = find_style(what)
        if what.startswith("seed:"):
            return self._drawn(what)
        if is_several(str(path)):
            return self._read_looks(list_images(path), told)
        if is_image_path(path):
            return [self._read_look(path)]
        form = format_of(path) if path.exists() else STYLE
        if form == STYLE:
            return load_style(what, self.model)
        if form == LATENT:
            return self._read_latent(path)
        if form == MODEL:
            return self._difference(load_model(path, self.device), path)
        try:  # files of other programs do not say what they are
            return self._read_latent(path)
        except StylemixError as no_latent:
            try:
                other = load_model(path, self.device)
            except StylemixError:
                raise no_latent from None
        return self._difference(other, path)

    def _read_latent(self, path: Path) -> Latent:
        return load_latent(path, self.model)

    def _difference(self, other: Model, path: Path) -> Style:
        return generator_style(self.generator, self.base, other.generator, str(path))

    def _read_look(self, photo: Path | ImageSource) -> AlignedPhoto:
        """A photo of `--style`; `--face` is for the sources, and here only where it is needed."""
        try:
            return read_portrait(photo, self.model)
        except StylemixError:
            if self.face is None:
                raise
            return read_portrait(photo, self.model, self.face)

    def _read_looks(self, photos: list[ImageSource], told: OnError | None) -> list[AlignedPhoto]:
        """The photos of a folder; those that cannot be used are told and left out."""
        good: list[AlignedPhoto] = []
        for number, photo in enumerate(photos, 1):
            try:
                good.append(self._read_look(photo))
            except StylemixError as error:
                if told is None or (number == len(photos) and not good):
                    raise
                told(error)
        return good

    def ingredient(
        self,
        wanted: StyleArgument,
        person: Latent,
        strength: float | None,
        layers: str | None = None,
    ) -> AppliedStyle:
        """What a `--style` adds to a person, at `layers` instead of the mixer's own."""
        style, layers = self.styles[wanted.what], layers or self.layers
        toward = None
        if isinstance(style, Tensor):
            factor = None if layers or self.shares else look_factor(self.generator)
            if len(style) > 1:
                style = profile_style(self.generator, self.base, style, factor)
            elif factor is None:  # whole layers of somebody
                other = self.looks[wanted.what]
                style = person_style(self.generator, self.base, person, other)
                toward = other.detail or Residual()
            else:
                style = blend_style(self.base, person.w.to(self.device), style[0], factor)
        weight = wanted.weight
        if strength is not None:
            weight = strength * (1.0 if weight is None else weight)
        if self.shares and not layers:
            layers = "all"  # shares say themselves where a style acts
        return AppliedStyle(style, weight, layers, self.shares, toward)

    def show(self, person: Latent, parts: Sequence[AppliedStyle] = ()) -> Tensor:
        """The image [1, C, H, W] of a person with these ingredients, added."""
        return render(self.generator, person.w[None].to(self.device), parts, person.detail)

    def render(
        self, person: Latent, wanted: Sequence[StyleArgument], strength: float | None
    ) -> Image.Image:
        """The picture of a person in the given styles, added."""
        return to_pil(self.show(person, [self.ingredient(i, person, strength) for i in wanted]))

    def parts(
        self,
        who: str,
        wanted: Sequence[StyleArgument],
        strength: float | None = None,
        layers: str | None = None,
    ) -> list[AppliedStyle]:
        """What all styles add to a person by name."""
        person = self.people[who]
        return [self.ingredient(item, person, strength, layers) for item in wanted]

    def avatar(
        self, who: str, parts: Sequence[AppliedStyle] = (), finish: AvatarOptions | None = None
    ) -> Avatar:
        """A person by name with these ingredients, added, finished as asked for."""
        finish = finish or AvatarOptions()
        mask = self.mask(who, finish.regions)
        return draw_avatar(self.model, self.people[who], parts, finish, mask)

    def mask(self, who: str, regions: tuple[str, ...]) -> Tensor | None:
        """Where styles act on a person, [1, 1, H, W]: named regions and painted ones together."""
        if regions and (who, regions) not in self.masks:
            person, masks = self.people[who], []
            if named := [name for name in regions if name in REGIONS]:
                masks.append(region_mask(named, self.show(person), self.model.template))
            config, photo = self.generator.config, self._photo_size(who, regions)
            size = config.width, config.height
            for name in set(regions) - set(REGIONS):
                picture = load_image(name, mode="RGBA")
                masks.append(painted_mask(picture, size, person.matrix, photo, name))
            whole = torch.stack([mask.to(self.device) for mask in masks]).amax(dim=0)
            self.masks[who, regions] = whole
        return self.masks.get((who, regions))

    def _photo_size(self, who: str, regions: tuple[str, ...]) -> tuple[int, int] | None:
        photo = self.photos.get(who)
        if photo is None or set(regions) <= set(REGIONS):
            return None
        return (photo.open() if isinstance(photo, ImageSource) else load_image(photo)).size


def enlarge(picture: Image.Image, size: int | None = None) -> Image.Image:
    """A picture with a longer side of `size` px; None for its own, but at least 256 px."""
    return resize(picture, fit_size(picture.size, size or max(*picture.size, SMALLEST_OUTPUT)))
