"""From a photo to what a model takes: aligned, as a tensor, and its latent."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stylemix.faces.alignment import Alignment, align_photo
from stylemix.images.read import load_image
from stylemix.images.sources import ImageSource
from stylemix.images.tensors import resize, to_tensor
from stylemix.inversion.encoder import Encoder
from stylemix.inversion.latent import Latent
from stylemix.inversion.projection import Projection, project
from stylemix.inversion.settings import ProjectionSettings
from stylemix.models.model import Model
from stylemix.progress import progress_bar


@dataclass
class AlignedPhoto:
    """A photo as a model sees it: image [C, H, W] in [-1, 1], and how it was cut out."""

    name: str
    image: Tensor
    alignment: Alignment


def read_portrait(
    photo: str | os.PathLike[str] | ImageSource, model: Model, face: int | None = None
) -> AlignedPhoto:
    """Reads a photo and aligns its face to the model; StylemixError where there is none to use.

    `face` picks one of several, 1 for the largest. A model without a face template gets the
    middle of the photo.
    """
    config, name = model.generator.config, str(photo)
    clear = config.img_channels == 4 and model.template.kind == "none"  # faces are cut from RGB
    mode = "RGBA" if clear else "RGB"
    if isinstance(photo, ImageSource):
        picture = photo.open(mode=mode)
    else:
        picture = load_image(photo, mode=mode)
    if clear or config.height != config.width:
        alignment = _middle(picture, config.width, config.height)
    else:
        alignment = align_photo(picture, model.template, config.height, face, name)
    image = to_tensor(alignment.crop, channels=config.img_channels)[0]
    return AlignedPhoto(name, image, alignment)


def _middle(picture: Image.Image, width: int, height: int) -> Alignment:
    """The middle of a photo of any mode at `width` x `height` px."""
    scale = max(width / picture.width, height / picture.height)
    x, y = (width - scale * picture.width) / 2, (height - scale * picture.height) / 2
    matrix = np.array([[scale, 0, x], [0, scale, y], [0, 0, 1]])
    return Alignment(resize(picture, (width, height)), matrix, np.zeros((0, 2)), 1.0)


def project_portraits(
    portraits: Sequence[AlignedPhoto],
    model: Model,
    settings: ProjectionSettings | None = None,
    show: bool = True,
    mask: Tensor | None = None,
    encoder: Encoder | None = None,
) -> tuple[Projection, list[Latent]]:
    """Projects portraits together, with a progress bar if `show`; also as latents to save.

    `mask` and `encoder` are those of `project`.
    """
    settings = settings or ProjectionSettings()
    images = torch.stack([portrait.image for portrait in portraits])
    what = portraits[0].name if len(portraits) == 1 else f"{len(portraits)} photos"
    with progress_bar(f"Projecting {os.path.basename(what)}", disable=not show) as progress:
        started = time.perf_counter()
        projection = project(model, images, settings, progress, mask, encoder)
        seconds = (time.perf_counter() - started) / len(portraits)
    rows = zip(projection.ws, portraits, projection.metrics, projection.details, strict=True)
    latents = []
    for ws, one, metrics, detail in rows:
        told = metrics | {"seconds": seconds}
        matrix = one.alignment.matrix
        latents.append(Latent(ws, model.fingerprint, matrix, model.template, told, detail))
    return projection, latents
