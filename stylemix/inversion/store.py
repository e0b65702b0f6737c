"""Files of projected photos, marked so that a run can be resumed, and shared among processes."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from stylemix.devices import launched_rank
from stylemix.errors import StylemixError
from stylemix.faces.warp import paste_back
from stylemix.images.contact_sheet import grid
from stylemix.images.sources import ImageSource
from stylemix.images.tensors import to_pil
from stylemix.images.write import save_image
from stylemix.inversion.encoder import Encoder
from stylemix.inversion.latent import NOT_RECORDED, Latent, load_latent, save_latent
from stylemix.inversion.portraits import AlignedPhoto, project_portraits
from stylemix.inversion.settings import PHOTOS_AT_ONCE, ProjectionSettings
from stylemix.io.outputs import LATENT_SUFFIX, free_path
from stylemix.models.model import Model, fingerprint
from stylemix.networks.batches import batch_size
from stylemix.networks.labels import label_of

PASTED = ".pasted.png"  # end of the name of the photo with the reconstruction in place
MIN_TILE = 256  # px of an image on the side-by-side sheet


def own_share(sources: list[ImageSource]) -> list[int]:
    """Indices of the photos of this process under torchrun; all photos for a single process."""
    rank, world = launched_rank()
    return list(range(rank, len(sources), world))


def mark_of(
    portrait: AlignedPhoto,
    model: Model,
    settings: ProjectionSettings,
    mask: Tensor | None = None,
    encoder: Encoder | None = None,
    salt: str | None = None,
) -> str:
    """A mark "salt:hash" of the inputs of a projection.

    They are the pixels, the model, its label, the settings, and an encoder that was chosen.

    The salt is random unless given, so that two files do not reveal that their photo is the same.
    """
    salt = salt or secrets.token_hex(8)
    digest = hashlib.blake2b(key=salt.encode(), digest_size=16)
    digest.update(f"{model.fingerprint} {sorted(asdict(settings).items())}".encode())
    if (label := label_of(model.generator.mapping)) is not None:
        digest.update(f" {label}".encode())
    if encoder is not None:
        digest.update(f" encoder {fingerprint(encoder)}".encode())
    for tensor in (portrait.image, mask):
        if tensor is not None:
            digest.update(tensor.cpu().float().numpy().tobytes())
    return f"{salt}:{digest.hexdigest()}"


def find_done(
    path: Path,
    portrait: AlignedPhoto,
    model: Model,
    settings: ProjectionSettings,
    mask: Tensor | None = None,
    encoder: Encoder | None = None,
) -> Latent | None:
    """The latent of a file made from the same inputs (`mark_of`); None otherwise."""
    if not path.is_file():
        return None
    try:
        latent = load_latent(path, model)
    except StylemixError:
        return None  # of another model, or truncated: it is projected again
    if latent.photo is None or ":" not in latent.photo:
        return None
    if latent.template not in (None, model.template):
        return None
    salt = latent.photo.partition(":")[0]
    same = latent.photo == mark_of(portrait, model, settings, mask, encoder, salt)
    return latent if same else None


@dataclass
class PhotoToProject:
    """A photo whose projection is to be stored.

    Attributes:
        name: name of its files, without suffix.
        portrait: the aligned photo.
        mask: mask of `project`, [1, 1, H, W].
        source: the whole photo, to paste the reconstruction back into; None for no such image.
        consent: how the person on it consented, for the latent's file.
    """

    name: str
    portrait: AlignedPhoto
    mask: Tensor | None = None
    source: ImageSource | None = None
    consent: str = NOT_RECORDED


class Stored(NamedTuple):
    """A photo's name, its latent and the file of that, and whether it is new."""

    name: str
    latent: Latent
    path: Path
    is_new: bool


def project_missing(
    photos: Iterable[PhotoToProject],
    model: Model,
    settings: ProjectionSettings,
    folder: Path,
    encoder: Encoder | None = None,
    again: bool = False,
    replace: bool = False,
) -> Iterator[Stored]:
    """Projects the photos whose files are missing in a folder, and writes their files.

    The files of a name that another photo has in the folder, or the same one with other settings,
    are NAME-2. Those of a finished photo get a pasted image and a consent that are new.

    Photos are read lazily, so that only one batch is in memory. Either all photos have masks or
    none has.

    Args:
        photos: all photos that should have files.
        model: the model to project into.
        settings: settings of the projection.
        folder: folder of the files.
        encoder: encoder of `project`.
        again: whether to project photos again whose files exist, and to replace these.
        replace: whether to replace files that are not of the same photo and settings.
    """
    pending: list[tuple[PhotoToProject, Path]] = []
    used: set[Path] = set()
    most = batch_size(model.generator, PHOTOS_AT_ONCE, gradients=True)
    for photo in photos:
        path = folder / f"{photo.name}{LATENT_SUFFIX}"

        def load(path: Path, photo: PhotoToProject = photo) -> Latent | None:
            return find_done(path, photo.portrait, model, settings, photo.mask, encoder)

        if not (again or replace):
            path = free_path(path, is_same=lambda path: load(path) is not None, used=used)
        used.add(path)
        done = None if again else load(path)
        if done is not None:
            _complete(path, photo, done)
            yield Stored(photo.name, done, path, False)
            continue
        pending.append((photo, path))
        if len(pending) == most:
            yield from _project(pending, model, settings, encoder)
            pending = []
    if pending:
        yield from _project(pending, model, settings, encoder)


def _project(
    pending: list[tuple[PhotoToProject, Path]],
    model: Model,
    settings: ProjectionSettings,
    encoder: Encoder | None,
) -> Iterator[Stored]:
    photos = [photo for photo, _ in pending]
    masks = [photo.mask for photo in photos if photo.mask is not None]
    projection, latents = project_portraits(
        [photo.portrait for photo in photos],
        model,
        settings,
        mask=torch.cat(masks) if masks else None,
        encoder=encoder,
    )
    images = zip(projection.image_start, projection.image, strict=True)
    for (photo, path), latent, (start, image) in zip(pending, latents, images, strict=True):
        folder, stem = path.parent, path.name.removesuffix(LATENT_SUFFIX)
        latent.photo = mark_of(photo.portrait, model, settings, photo.mask, encoder)
        if latent.consent is not None:
            latent.consent = photo.consent
        if photo.source is not None:
            save_pasted(folder / (stem + PASTED), photo.source.open(), latent, to_pil(image))
        save_projection(folder, stem, photo.portrait, latent, (start, image))
        yield Stored(photo.name, latent, path, True)


def save_projection(
    folder: Path, stem: str, portrait: AlignedPhoto, latent: Latent, images: tuple[Tensor, Tensor]
) -> Path:
    """Writes latent, reconstruction and side-by-side image of a photo; returns the latent's path.

    `images` are those of the start and of the result, [C, H, W] in [-1, 1].
    """
    path = folder / f"{stem}{LATENT_SUFFIX}"
    before, after = (to_pil(image) for image in images)
    save_image(folder / f"{stem}.recon.png", after, generated="composite")
    sheet = grid(
        [portrait.alignment.crop, before, after],
        columns=3,
        column_labels=["photo", "start", "reconstruction"],
        cell=max(*after.size, MIN_TILE),
    )
    save_image(folder / f"{stem}.side-by-side.png", sheet, generated="composite")
    save_latent(path, latent)  # last: if this file exists, the images exist too
    return path


def _complete(path: Path, photo: PhotoToProject, latent: Latent) -> None:
    """Adds to the files of a finished photo what this run asks for beside its projection."""
    pasted = path.with_name(path.name.removesuffix(LATENT_SUFFIX) + PASTED)
    if photo.source is not None and not pasted.exists():
        save_pasted(pasted, photo.source.open(), latent, latent.image())
    known = latent.consent in (None, photo.consent)
    if not known and photo.consent != NOT_RECORDED:
        latent.consent = photo.consent
        save_latent(path, latent)


def save_pasted(path: Path, photo: Image.Image, latent: Latent, image: Image.Image) -> None:
    """Writes a photo with an image pasted back in place of its face crop."""
    if latent.matrix is None:
        raise StylemixError("got a latent without its photo's alignment; project the photo again")
    pasted = paste_back(photo, image, latent.matrix)
    save_image(path, pasted, generated="composite")
