"""A sheet of the generated images that are nearest to training images, to look at."""

from __future__ import annotations

import torch
from PIL import Image

from stylemix.images.contact_sheet import grid
from stylemix.images.tensors import to_pil
from stylemix.metrics.extractors import ImageSet, generated_images
from stylemix.models.model import Model
from stylemix.privacy.audit import Audit

COLUMNS = 8  # images of a row: four pairs
CELL = 128  # px of an image


@torch.no_grad()
def pairs_sheet(model: Model, data: ImageSet, audit: Audit, psi: float = 1.0) -> Image.Image:
    """Returns the nearest pairs of each space, each generated image beside its training image.

    It shows training images: it is for the eyes of who may see these. `psi` is that of the audit.
    """
    images, labels, rows = list[Image.Image | None](), list[str](), list[str]()
    for name, space in audit.spaces.items():
        start = len(images)
        for pair in space.pairs:
            made = generated_images(model.generator, [pair.seed], psi, data)
            real = data.batch([pair.train])[0] / 127.5 - 1
            images += [to_pil(made.float().cpu()), to_pil(real)]
            labels += [f"seed {pair.seed}", f"{pair.distance:.3g} from image {pair.train + 1}"]
        empty = -len(images) % COLUMNS
        images += [None] * empty
        labels += [""] * empty
        rows += [f"by {name}"] * ((len(images) - start) // COLUMNS)
    title = "Generated images and the nearest training images, nearest first"
    return grid(images, COLUMNS, row_labels=rows, labels=labels, title=title, cell=CELL)
