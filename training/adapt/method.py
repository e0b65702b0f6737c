"""What suits some images: which way to learn their style, how they are cut, which layers it needs.

The ladder: photos in another light are near, a few thousand numbers will do for any number of
them. Drawings are far; how much of the generator may change depends on how many there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.faces.alignment import align_photo
from stylemix.images.sources import ImageSource, Photo, list_images
from stylemix.images.tensors import to_channels
from stylemix.metrics.style_distance import style_statistics
from stylemix.models.model import Model
from stylemix.networks.latents import layer_resolutions, sample_ws
from stylemix.styles.style import Style
from stylemix.training.adapt.base_style import shipped_hands, with_style
from stylemix.training.adapt.scores import FACES_SEED, score_style, worth
from stylemix.training.data.dataset import ImageDataset

NEAR = 0.34  # measured: graded photos .10 to .25, drawings from .43 on (docs/log.md)
FACES, LOOKED_AT = 64, 32  # of the generator, for distances and for scores
SOME, MANY = 10, 100  # images that affine layers, and all weights, can learn a hand from
MOST_FOR_LOOK = 256
SAMPLE = 16  # images that say how far they are from the model's faces


@dataclass(frozen=True)
class AdaptationPlan:
    """A way to learn a style: the method, what of the generator changes, from where, and why."""

    method: str
    part: str
    start: str | None
    why: str

    def __str__(self) -> str:
        begin = "" if self.start in (None, "none") else f", from {self.start} on"
        return f"{self.why}: {self.method} of {self.part}{begin}"


@torch.no_grad()
def domain_distance(model: Model, images: Tensor) -> float:
    """How far images [K, C, H, W] are from the model's own faces, by MobileNetV2 statistics.

    0 for faces of the model, less than `NEAR` for photos in any light, more for drawings.
    """
    own = [
        model.generator.synthesis(ws, noise_mode="const")
        for ws in sample_ws(model.generator, FACES, FACES_SEED).split(16)
    ]
    apart = style_statistics(torch.cat(own)) - style_statistics(images.to(own[0]))
    return float(apart.square().sum())


def choose_method(model: Model, images: Tensor, count: int) -> AdaptationPlan:
    """The way for `count` images of which some are `images` [K, C, H, W] in [-1, 1].

    Few drawings begin at the shipped hand that is nearest to them, where one is nearer than photos.
    """
    distance = domain_distance(model, images)
    far = distance >= NEAR
    why = f"{count} images, {'far from' if far else 'near'} the model's faces ({distance:.2f})"
    if not far:
        return AdaptationPlan("look", "offsets", None, why)
    if count >= MANY and model.discriminator is not None:
        return AdaptationPlan("transfer", "all", None, why)
    start, nearest = None, distance
    for name, hand in shipped_hands(model).items():
        if (away := domain_distance(with_style(model, hand), images)) < nearest:
            start, nearest = name, away
    if start is not None:
        why += f", {nearest:.2f} from {start}"
    if count < SOME or model.discriminator is None:
        return AdaptationPlan("look", "affine", start, why)
    return AdaptationPlan("transfer", "affine", start, why)


def choose_layers(model: Model, style: Style, images: Tensor) -> Style:
    """The style with the layers that are worth most on images [K, C, H, W].

    A style of weights may act on all layers, or leave coarse ones to the base, which keeps the
    shape of the person under the new rendering (layer swapping, arXiv 2010.05334).
    """
    last = model.generator.img_resolution
    starts = [px for px in sorted(set(layer_resolutions(last))) if 4 < px <= 32 and px < last]
    texts = ["all", *(f"{px}-{last}px" for px in starts)]
    candidates = [replace(style, layers=text) for text in texts]
    values = [worth(score_style(model, one, images, LOOKED_AT)) for one in candidates]
    return candidates[values.index(max(values))]


def read_pictures(sources: Sequence[ImageSource], model: Model, align: bool) -> ImageDataset:
    """The images as a dataset at the model's size.

    With `align` the face of each is cut out, and images without one are left out.
    """
    config = model.generator.config

    def cut(image: Image.Image) -> Image.Image:
        crop = align_photo(to_channels(image, 3), model.template, config.height).crop
        return to_channels(crop, config.img_channels)

    size = config.height, config.width
    prepare = cut if align else None
    return ImageDataset(sources, size, prepare=prepare, channels=config.img_channels)


def some_of(dataset: ImageDataset, most: int = MOST_FOR_LOOK) -> Tensor:
    """Up to 256 images, evenly from the whole set, [K, C, H, W] in [-1, 1]."""
    count = min(len(dataset), most)
    images, _ = dataset.batch([i * len(dataset) // count for i in range(count)])
    return images.float() / 127.5 - 1


def choose_pictures(
    method: str, paths: Sequence[Photo], model: Model, align: bool | None
) -> tuple[AdaptationPlan, ImageDataset]:
    """The way to learn the style of images, and the images, cut for that.

    Args:
        method: "auto", or the name of a method, which decides more than the images do.
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
