"""From a photo to the input of a model: the aligned image as a tensor, and its latent."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stylemix.faces.alignment import Alignment, Box, align_photo, crop_subject
from stylemix.images.sources import ImageSource, Photo, open_image
from stylemix.images.tensors import to_tensor
from stylemix.inversion.encoder import Encoder
from stylemix.inversion.latent import NOT_RECORDED, Latent
from stylemix.inversion.projection import Projection, project
from stylemix.inversion.settings import ProjectionSettings
from stylemix.models.model import Model
from stylemix.progress import Progress, report_to


@dataclass
class AlignedPhoto:
    """A photo aligned for a model: image [C, H, W] in [-1, 1] and the alignment.

    `photo_size` is the photo's width and height in px, `source` what it is opened from.
    """

    name: str
    image: Tensor
    alignment: Alignment
    photo_size: tuple[int, int] = (0, 0)
    source: Photo = ""


def read_portrait(
    photo: Photo, model: Model, face: int | None = None, box: Box | None = None
) -> AlignedPhoto:
    """Reads a photo in any form and aligns its face, or crops its subject, to the model.

    `face` selects one of several faces, 1 for the largest. For a model without a face template,
    the photo is cropped around `box` (x, y, width and height in px), or at its centre. Raises
    StylemixError if the photo has no usable face, or for a box that does not fit.
    """
    config = model.generator.config
    name = str(photo) if isinstance(photo, str | os.PathLike | ImageSource) else "image"
    transparent = (
        config.img_channels == 4 and model.template.kind == "none"
    )  # faces are cut from RGB
    photo_image = open_image(photo, mode="RGBA" if transparent else "RGB")
    if transparent or config.height != config.width:
        alignment = crop_subject(photo_image, config.width, config.height, box, name)
    else:
        alignment = align_photo(photo_image, model.template, config.height, face, name, box=box)
    image = to_tensor(alignment.crop, channels=config.img_channels)[0]
    return AlignedPhoto(name, image, alignment, photo_image.size, photo)


def project_portraits(
    portraits: Sequence[AlignedPhoto],
    model: Model,
    settings: ProjectionSettings | None = None,
    progress: Progress | bool = True,
    mask: Tensor | None = None,
    encoder: Encoder | None = None,
) -> tuple[Projection, list[Latent]]:
    """Projects portraits as a batch; returns the projection, and a latent for each portrait.

    `progress` is a function of (done, total, loss), or True for a progress bar; `mask` and
    `encoder` are those of `project`.
    """
    settings = settings or ProjectionSettings()
    images = torch.stack([portrait.image for portrait in portraits])
    label = portraits[0].name if len(portraits) == 1 else f"{len(portraits)} photos"
    with report_to(progress, f"Projecting {os.path.basename(label)}") as report:
        started = time.perf_counter()
        projection = project(model, images, settings, report, mask, encoder)
        seconds = (time.perf_counter() - started) / len(portraits)
    about = model.fingerprint
    rows = zip(
        projection.ws, portraits, projection.metrics, projection.details, projection.labels,
        strict=True,
    )  # fmt: skip
    latents = []
    for ws, portrait, errors, detail, own in rows:
        metrics = errors | {"seconds": seconds}
        latent = Latent(ws, about, portrait.alignment.matrix, model.template, metrics, detail)
        latent.label, latent.model = own, model
        latent.consent = None if model.template.eyes is None else NOT_RECORDED
        latents.append(latent)
    return projection, latents
