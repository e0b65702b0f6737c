"""Files of projected photos, so marked that a call can be stopped, continued and shared."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.faces.warp import paste_back
from stylemix.images.contact_sheet import grid
from stylemix.images.sources import ImageSource
from stylemix.images.tensors import to_pil
from stylemix.images.write import save_image
from stylemix.inversion.encoder import Encoder
from stylemix.inversion.latent import Latent, load_latent, save_latent
from stylemix.inversion.portraits import AlignedPhoto, project_portraits
from stylemix.inversion.settings import ProjectionSettings
from stylemix.models.model import Model

CELL = 256  # px of an image side by side with others
SUFFIX = ".latent.safetensors"


def own_share(sources: list[ImageSource]) -> list[int]:
    """Which photos this process does when torchrun has started several; all of them alone."""
    rank, world = (int(os.environ.get(key, d)) for key, d in (("RANK", "0"), ("WORLD_SIZE", "1")))
    return list(range(rank, len(sources), world))


def mark_of(
    portrait: AlignedPhoto,
    model: Model,
    settings: ProjectionSettings,
    mask: Tensor | None = None,
    salt: str | None = None,
) -> str:
    """A mark "salt:hash" of what a projection depends on: the face's pixels, model and settings.

    The salt is a new one unless given, so that marks of one photo in two files are not alike.
    """
    salt = salt or secrets.token_hex(8)
    digest = hashlib.blake2b(key=salt.encode(), digest_size=16)
    digest.update(f"{model.fingerprint} {sorted(asdict(settings).items())}".encode())
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
) -> Latent | None:
    """The latent of a file that was made of the same photo in the same way; None for others."""
    if not path.is_file():
        return None
    try:
        latent = load_latent(path, model)
    except StylemixError:
        return None  # of another model, or cut short: it is made again
    if latent.photo is None or ":" not in latent.photo:
        return None
    salt = latent.photo.partition(":")[0]
    same = latent.photo == mark_of(portrait, model, settings, mask, salt)
    return latent if same else None


@dataclass
class PhotoToProject:
    """A photo whose projection is to be stored.

    Attributes:
        name: of its files, without an ending.
        portrait: the photo, aligned.
        mask: as for `project`, [1, 1, H, W].
        source: the whole photo, to put the new face back into; None for no such image.
    """

    name: str
    portrait: AlignedPhoto
    mask: Tensor | None = None
    source: ImageSource | None = None


def project_missing(
    photos: Iterable[PhotoToProject],
    model: Model,
    settings: ProjectionSettings,
    folder: Path,
    batch: int = 8,
    encoder: Encoder | None = None,
    again: bool = False,
) -> Iterator[tuple[str, Latent, bool]]:
    """Projects photos that a folder has no files of, and writes their files.

    Photos are taken one after another, so that only a batch of them is in memory. Masks belong to
    all photos or to none.

    Args:
        photos: what is to be there in the end.
        model: what to project into.
        settings: of the projection.
        folder: where files are looked for and written.
        batch: photos that are projected at once.
        encoder: as for `project`.
        again: whether photos whose files are there are projected, too.

    Yields:
        Names and latents, and whether they are new.
    """
    waiting: list[PhotoToProject] = []
    for photo in photos:
        path = folder / f"{photo.name}{SUFFIX}"
        done = None if again else find_done(path, photo.portrait, model, settings, photo.mask)
        if done is not None:
            yield photo.name, done, False
            continue
        waiting.append(photo)
        if len(waiting) == batch:
            yield from _project(waiting, model, settings, folder, encoder)
            waiting = []
    if waiting:
        yield from _project(waiting, model, settings, folder, encoder)


def _project(
    photos: list[PhotoToProject],
    model: Model,
    settings: ProjectionSettings,
    folder: Path,
    encoder: Encoder | None,
) -> Iterator[tuple[str, Latent, bool]]:
    masks = [photo.mask for photo in photos if photo.mask is not None]
    projection, latents = project_portraits(
        [photo.portrait for photo in photos],
        model,
        settings,
        mask=torch.cat(masks) if masks else None,
        encoder=encoder,
    )
    folder.mkdir(parents=True, exist_ok=True)
    images = zip(projection.image_start, projection.image, strict=True)
    for photo, latent, (start, image) in zip(photos, latents, images, strict=True):
        latent.photo = mark_of(photo.portrait, model, settings, photo.mask)
        if photo.source is not None:
            save_pasted(folder / f"{photo.name}.pasted.png", photo.source.open(), latent, image)
        save_projection(folder, photo.name, photo.portrait, latent, (start, image))
        yield photo.name, latent, True


def save_projection(
    folder: Path, stem: str, portrait: AlignedPhoto, latent: Latent, images: tuple[Tensor, Tensor]
) -> Path:
    """Writes latent, reconstruction and side-by-side image of a photo; returns the latent's path.

    `images` are what the start and the result show, [C, H, W] in [-1, 1].
    """
    path = folder / f"{stem}{SUFFIX}"
    before, after = (to_pil(image) for image in images)
    save_image(folder / f"{stem}.recon.png", after, generated="composite")
    sheet = grid(
        [portrait.alignment.crop, before, after],
        columns=3,
        column_labels=["photo", "start", "reconstruction"],
        cell=max(*after.size, CELL),
    )
    save_image(folder / f"{stem}.side-by-side.png", sheet, generated="composite")
    save_latent(path, latent)  # last: who finds it finds the images too
    return path


def save_pasted(path: Path, photo: Image.Image, latent: Latent, image: Tensor) -> None:
    """Writes a photo with an image [C, H, W] put back where its face was cut out."""
    if latent.matrix is None:
        raise StylemixError("got a latent without its photo's alignment; project the photo again")
    pasted = paste_back(photo, to_pil(image), latent.matrix)
    save_image(path, pasted, generated="composite")
