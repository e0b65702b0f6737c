"""Chooses how to learn a style from its images: method, cropping, layers.

Photos in another light are near the base domain: a few thousand parameters are enough for any
number of them. Drawings are far; how much of the generator is trained depends on their number.
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
from stylemix.networks.batches import batch_size
from stylemix.networks.latents import layer_resolutions, sample_ws
from stylemix.styles.style import Style
from stylemix.training.adapt.base_style import shipped_transfers, with_style
from stylemix.training.adapt.scores import FACES_SEED, score_style, worth
from stylemix.training.data.dataset import ImageDataset

FAR_THRESHOLD = 0.34  # measured: graded photos .10 to .25, drawings from .43 on (docs/log.md)
FACES, SCORED_FACES = 64, 32  # generated faces, for distances and for scores
MIN_FOR_TRANSFER, MIN_FOR_ALL_WEIGHTS = 10, 100  # images; below the second affine layers only
MAX_FOR_LOOK = 256  # images
DISTANCE_IMAGES = 16  # images whose distance from the model's faces is measured


@dataclass(frozen=True)
class AdaptationPlan:
    """How a style is learned: method, trained parameters, starting style, and the reason."""

    method: str
    part: str
    start: str | None
    why: str

    def __str__(self) -> str:
        begin = "" if self.start in (None, "none") else f", from {self.start} on"
        return f"{self.why}: {self.method} of {self.part}{begin}"


@torch.no_grad()
def domain_distance(model: Model, images: Tensor) -> float:
    """Returns the distance of images [K, C, H, W] from the model's faces, by MobileNetV2.

    It is 0 for faces of the model, below `FAR_THRESHOLD` for photos in any light, and above it
    for drawings.
    """
    most = batch_size(model.generator, 16)
    faces = [
        model.generator.synthesis(ws, noise_mode="const")
        for ws in sample_ws(model.generator, FACES, FACES_SEED).split(most)
    ]
    difference = style_statistics(torch.cat(faces)) - style_statistics(images.to(faces[0]))
    return float(difference.square().sum())


def choose_method(model: Model, images: Tensor, count: int) -> AdaptationPlan:
    """Returns the plan for `count` images, by a sample `images` [K, C, H, W] in [-1, 1].

    For few drawings it starts from the nearest shipped style, where one is nearer than photos.
    """
    distance = domain_distance(model, images)
    far = distance >= FAR_THRESHOLD
    why = f"{count} images, {'far from' if far else 'near'} the model's faces ({distance:.2f})"
    if not far:
        return AdaptationPlan("look", "offsets", None, why)
    if count >= MIN_FOR_ALL_WEIGHTS and model.discriminator is not None:
        return AdaptationPlan("transfer", "all", None, why)
    start, nearest = None, distance
    for name, style in shipped_transfers(model).items():
        styled_distance = domain_distance(with_style(model, style), images)
        if styled_distance < nearest:
            start, nearest = name, styled_distance
    if start is not None:
        why += f", {nearest:.2f} from {start}"
    if count < MIN_FOR_TRANSFER or model.discriminator is None:
        return AdaptationPlan("look", "affine", start, why)
    return AdaptationPlan("transfer", "affine", start, why)


def choose_layers(model: Model, style: Style, images: Tensor) -> Style:
    """Returns the style with the layers that score best on images [K, C, H, W].

    A style of weights may act on all layers, or leave coarse layers to the base, which preserves
    the person's facial structure (layer swapping, arXiv 2010.05334).
    """
    last = model.generator.img_resolution
    starts = [px for px in sorted(set(layer_resolutions(last))) if 4 < px <= 32 and px < last]
    ranges = ["all", *(f"{px}-{last}px" for px in starts)]
    candidates = [replace(style, layers=layers) for layers in ranges]
    scores = [worth(score_style(model, c, images, SCORED_FACES)) for c in candidates]
    return candidates[scores.index(max(scores))]


def read_images(sources: Sequence[ImageSource], model: Model, align: bool) -> ImageDataset:
    """Returns the images as a dataset at the model's resolution.

    With `align` faces are cropped and aligned, and images without a face are skipped.
    """
    config = model.generator.config

    def cut(image: Image.Image) -> Image.Image:
        crop = align_photo(to_channels(image, 3), model.template, config.height).crop
        return to_channels(crop, config.img_channels)

    size = config.height, config.width
    prepare = cut if align else None
    return ImageDataset(sources, size, prepare=prepare, channels=config.img_channels)


def some_of(dataset: ImageDataset, limit: int = MAX_FOR_LOOK) -> Tensor:
    """Returns up to `limit` images, evenly spaced in the dataset, [K, C, H, W] in [-1, 1]."""
    count = min(len(dataset), limit)
    images, _ = dataset.batch([i * len(dataset) // count for i in range(count)])
    return images.float() / 127.5 - 1


def choose_images(
    method: str, paths: Sequence[Photo], model: Model, align: bool | None
) -> tuple[AdaptationPlan, ImageDataset]:
    """Returns the plan for images, and the images, cropped as the plan needs.

    Args:
        method: "auto" chooses by the images; the name of a method takes precedence.
        paths: files, folders and zips.
        model: the base.
        align: whether faces are cropped and aligned; None lets the method decide.
    """
    sources = list_images(paths)
    count, has_face = len(sources), model.template.kind != "none"
    if method != "auto":
        cut = has_face and (method != "transfer" if align is None else align)
        transfer_part = "all" if count >= MIN_FOR_ALL_WEIGHTS else "affine"
        part = {"look": "offsets", "transfer": transfer_part}.get(method, "all")
        plan = AdaptationPlan(method, part, None, "as requested")
        return plan, read_images(sources, model, cut)
    cut = has_face if align is None else align
    dataset = read_images(sources, model, cut)
    try:
        plan = choose_method(model, some_of(dataset, DISTANCE_IMAGES), count)
    except StylemixError:
        if not cut or align:
            raise
        # The detector finds no faces in drawings; they are taken as already cropped.
        dataset = read_images(sources, model, False)
        plan = choose_method(model, some_of(dataset, DISTANCE_IMAGES), count)
    if plan.part != "offsets" and align is None and cut:
        dataset = read_images(sources, model, False)
    return plan, dataset
