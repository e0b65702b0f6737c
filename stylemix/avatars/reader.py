"""Reads sources and styles for a mix: files, photos and latents, and projects photos."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from stylemix.avatars.derived_styles import generator_style
from stylemix.avatars.inputs import (
    OnError,
    Source,
    StyleSource,
    as_path,
    is_image_path,
    is_several,
    parse_seed,
    short_name,
)
from stylemix.errors import StylemixError
from stylemix.faces.alignment import Box
from stylemix.images.sources import ImageSource, Photo, list_images
from stylemix.inversion.cache import LatentCache
from stylemix.inversion.encoder import Encoder
from stylemix.inversion.latent import Latent, fitting, load_latent
from stylemix.inversion.portraits import AlignedPhoto, project_portraits, read_portrait
from stylemix.inversion.settings import PHOTOS_AT_ONCE, ProjectionSettings
from stylemix.models.checkpoint import load_model
from stylemix.models.container import LATENT, MODEL, STYLE
from stylemix.models.model import Model
from stylemix.networks.batches import batch_size
from stylemix.networks.labels import at_label, label_of
from stylemix.networks.latents import map_latents, z_from_seed
from stylemix.progress import Progress
from stylemix.styles.style import Style, find_style, format_of, load_style

SEED_PSI = 0.7  # truncation of the faces of seeds


class Reader:
    """Reads what a mix is made of; the arguments are those of `Mixer`."""

    def __init__(
        self, model: Model, face: int | None, box: Box | None, encoder: Encoder | None,
        progress: Progress | bool, cache: bool,
    ) -> None:  # fmt: skip
        self.model, self.face, self.box, self.encoder = model, face, box, encoder
        self.progress = progress
        self.cache = cache and encoder is None  # the files do not say which encoder they began with

    @property
    def batch(self) -> int:
        """The number of photos that are projected at once: as many as there is memory for."""
        return batch_size(self.model.generator, PHOTOS_AT_ONCE, gradients=True)

    def kept(self, item: Latent | AlignedPhoto, settings: ProjectionSettings) -> Latent | None:
        """The latent of an item, None for a photo that is still to be projected."""
        if isinstance(item, Latent):
            return item
        return LatentCache(self.model, settings).load(item) if self.cache else None

    def project(
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
        most = self.batch
        for start in range(0, len(photos), most):
            batch = photos[start : start + most]
            latents = project_portraits(
                batch, self.model, settings, self.progress, encoder=self.encoder
            )[1]
            for photo, latent in zip(batch, latents, strict=True):
                done[id(photo)] = latent
                if cache is not None:
                    cache.save(photo, latent)
        return [item if isinstance(item, Latent) else done[id(item)] for item in items]

    def source(self, source: Source | AlignedPhoto) -> Latent | AlignedPhoto:
        """Reads a source: a latent, or an aligned photo, which is still to be projected.

        What has been read is returned as it is; StylemixError for a latent of another model.
        """
        if isinstance(source, Latent):
            return fitting(source, self.model)
        if isinstance(source, AlignedPhoto):
            return source
        if isinstance(source, str) and source.startswith("seed:"):
            return self._sampled(source)
        if isinstance(source, str | os.PathLike | ImageSource):
            path = as_path(str(source) if isinstance(source, ImageSource) else source, "--source")
            if not is_image_path(path) and os.path.isfile(path):
                return load_latent(path, self.model)
            source = source if isinstance(source, ImageSource) else path
        return read_portrait(source, self.model, self.face, self.box)

    @torch.no_grad()
    def _sampled(self, what: str) -> Latent:
        seed, number = parse_seed(what)
        generator = self.model.generator
        if number is None and generator.needs_label:
            raise StylemixError(
                f"got {what} for a model of {generator.c_dim} classes; expected its class; write "
                f"{what}@N (0 to {generator.c_dim - 1}), or pass --class or --label for all"
            )
        generator = at_label(generator, number)
        label = label_of(generator.mapping)
        ws = map_latents(generator, z_from_seed(seed, generator.z_dim), SEED_PSI)
        return Latent(ws[0], self.model.fingerprint, label=label)

    def style(
        self, what: StyleSource, on_error: OnError | None
    ) -> Style | list[Latent | AlignedPhoto]:
        """Reads a style, or latents and aligned photos, which are still to be projected."""
        if isinstance(what, Style):
            return what.check(self.model, short_name(what))
        if isinstance(what, Latent):
            return [fitting(what, self.model)]
        if not isinstance(what, str | os.PathLike):
            return [self._read_look(what)]
        what = os.fspath(what)
        as_path(what, "--style")
        path = find_style(what)
        if what.startswith("seed:"):
            return [self._sampled(what)]
        if is_several(path):
            return self._read_looks(list_images(path), on_error)
        if is_image_path(path):
            return [self._read_look(path)]
        form = format_of(path) if os.path.exists(path) else STYLE
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
        other = load_model(path, self.model.generator.device)
        return generator_style(
            self.model.generator, self.model.fingerprint, other.generator, str(path)
        )

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
