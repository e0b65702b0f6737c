"""The pictures that a style is learned from, cut as the way to learn it wants them."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.faces.alignment import align_photo
from stylemix.images.sources import ImageSource, Photo, list_images
from stylemix.images.tensors import to_channels
from stylemix.models.model import Model
from stylemix.training.adapt.method import MANY, AdaptationPlan, choose_method
from stylemix.training.data.dataset import ImageDataset

MOST_FOR_LOOK = 256
SAMPLE = 16  # pictures that tell how far they are from the model's faces


def read_pictures(sources: Sequence[ImageSource], model: Model, align: bool) -> ImageDataset:
    """The pictures as a data set at the model's size.

    With `align` the face of each is cut out, and pictures without one are left out.
    """
    config = model.generator.config

    def cut(picture: Image.Image) -> Image.Image:
        crop = align_photo(to_channels(picture, 3), model.template, config.height).crop
        return to_channels(crop, config.img_channels)

    size = config.height, config.width
    prepare = cut if align else None
    return ImageDataset(sources, size, prepare=prepare, channels=config.img_channels)


def some_of(dataset: ImageDataset, most: int = MOST_FOR_LOOK) -> Tensor:
    """Up to 256 pictures, evenly from the whole set, [K, C, H, W] in [-1, 1]."""
    count = min(len(dataset), most)
    images, _ = dataset.batch([i * len(dataset) // count for i in range(count)])
    return images.float() / 127.5 - 1


def choose_pictures(
    method: str, paths: Sequence[Photo], model: Model, align: bool | None
) -> tuple[AdaptationPlan, ImageDataset]:
    """The way to learn the style of pictures, and the pictures, cut for that.

    Args:
        method: "auto", or the name of a method, which decides more than the pictures do.
        paths: files, folders and zips.
        model: the base.
        align: whether faces are cut out; None for what the method wants.
    """
    sources = list_images(paths)
    count, has_face = len(sources), model.template.kind != "none"
    if method != "auto":
        cut = has_face and (method != "transfer" if align is None else align)
        parts = {"look": "offsets", "transfer": "all" if count >= MANY else "affine"}
        choice = AdaptationPlan(method, parts.get(method, "all"), None, "as asked")
        return choice, read_pictures(sources, model, cut)
    cut = has_face if align is None else align
    dataset = read_pictures(sources, model, cut)
    try:
        choice = choose_method(model, some_of(dataset, SAMPLE), count)
    except StylemixError:
        if not cut or align:
            raise
        # Nobody finds faces in drawings; whoever made them has cut them.
        dataset = read_pictures(sources, model, False)
        choice = choose_method(model, some_of(dataset, SAMPLE), count)
    if choice.part != "offsets" and align is None and cut:
        dataset = read_pictures(sources, model, False)
    return choice, dataset
