"""Chooses how to learn a style from its images: method, cropping, layers.

Photos in another light are near the base domain: a few thousand parameters are enough for any
number of them. Drawings are far: a student redraws faces like them, and where there are no faces,
the generator is trained, as much of it as their number allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from PIL import Image
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.faces.alignment import align_photo
from stylemix.faces.templates import FACES128
from stylemix.images.filters import mirrored_blur
from stylemix.images.sources import ImageSource, Photo, list_images
from stylemix.images.tensors import to_channels
from stylemix.messages import note
from stylemix.metrics.style_distance import JUDGED_SIDE, image_statistics, style_statistics
from stylemix.models.model import Model
from stylemix.networks.batches import batch_size
from stylemix.networks.latents import layer_resolutions, sample_ws
from stylemix.networks.student import SCALE
from stylemix.styles.style import Style
from stylemix.training.adapt.scores import (
    FACES_SEED,
    MAX_JUDGED,
    image_size,
    resized,
    score_style,
    worth,
)
from stylemix.training.adapt.student_pairs import generated_faces
from stylemix.training.adapt.student_training import PHOTO
from stylemix.training.data.dataset import ImageDataset

# Measured (docs/log.md): photos in any light, blurred or grainy, up to .13, drawings from .24 on.
FAR_THRESHOLD = 0.18
FAR_WITHOUT_FACES = 0.34
BLURS, GRAINS = (1.5, 4.0), (0.03, 0.07, 0.16)  # px of 256, and deviations, that photos may have
MIDDLE, SPREAD = -0.1, 0.45  # of the grey of all images that are compared with photos
FACES, SCORED_FACES = 64, 32  # generated faces, for distances and for scores
PHOTOS = 16  # generated faces that stand for photos: twice as many change no distance by .01
MIN_FOR_TRANSFER, MIN_FOR_ALL_WEIGHTS = 10, 100  # images; below the second affine layers only
FLAT = 0.01  # deviation up to which an image shows nothing
MAX_EXAMPLES, MAX_DRAWINGS = 256, 64  # images that styles are learned from, but for transfers
DISTANCE_IMAGES = 16  # images whose distance from the model's faces is measured


@dataclass(frozen=True)
class AdaptationPlan:
    """How a style is learned: method, trained parameters, starting style, and the reason.

    `other` is what to say where the reason is mistaken.
    """

    method: str
    part: str
    start: str | None
    why: str
    other: str = ""

    def __str__(self) -> str:
        begin = "" if self.start in (None, "none") else f", from {self.start} on"
        of = f" of {self.part}" if self.part else ""
        other = f"; {self.other}" if self.other else ""
        return f"{self.why}: {self.method}{of}{begin}{other}"


@torch.no_grad()
def distance_from_photos(images: Tensor) -> float:
    """Returns how far images [K, 3, H, W] in [-1, 1] are from photos of faces, by MobileNetV2.

    Only textures count: all are grey, 256 px, and have the same mean and contrast. Photos are
    generated faces, as they are, blurred, and with grain; it is the distance from the nearest.
    """
    ours = style_statistics(_grey(resized(images.cpu(), (PHOTO, PHOTO))))
    return min(float((ours - photo).square().sum()) for photo in _photo_statistics())


@cache
def _photo_statistics() -> list[Tensor]:
    """The statistics [S] of the photos, of each of their states."""
    faces = _grey(generated_faces(PHOTOS, FACES_SEED).float() / 127.5 - 1)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(FACES_SEED)
        noise = torch.randn_like(faces[:, :1])
    grainy = [(faces + grain * noise).clamp(-1, 1) for grain in GRAINS]
    photos = [faces, *(mirrored_blur(faces, sigma) for sigma in BLURS), *grainy]
    return [style_statistics(each) for each in photos]


def _grey(images: Tensor) -> Tensor:
    """Images [N, 3, H, W] as grey ones of the same mean and contrast."""
    grey = images.mean(dim=1, keepdim=True)
    mean, std = grey.mean((2, 3), keepdim=True), grey.std((2, 3), keepdim=True)
    same = (grey - mean) / std.clamp(min=0.02) * SPREAD + MIDDLE
    return same.clamp(-1, 1).expand(-1, 3, -1, -1)


@torch.no_grad()
def domain_distance(model: Model, images: Tensor) -> float:
    """Returns the distance of images [K, C, H, W] from those of a model, by MobileNetV2."""
    most = batch_size(model.generator, 16)
    faces = [
        model.generator.synthesis(ws, noise_mode="const")
        for ws in sample_ws(model.generator, FACES, FACES_SEED).split(most)
    ]
    difference = style_statistics(torch.cat(faces)) - style_statistics(images.to(faces[0]))
    return float(difference.square().sum())


def choose_without_faces(model: Model, images: Tensor, count: int) -> AdaptationPlan:
    """Returns the plan of a model of anything for `count` images, by some [K, C, H, W] of them."""
    distance = domain_distance(model, images)
    far = distance >= FAR_WITHOUT_FACES
    near = "far from" if far else "near"
    why = f"{count} image{'' if count == 1 else 's'}, {near} the model's own ({distance:.2f})"
    if not far:
        return AdaptationPlan("look", "offsets", None, why)
    if count < MIN_FOR_TRANSFER or model.discriminator is None:
        return AdaptationPlan("look", "affine", None, why)
    part = "all" if count >= MIN_FOR_ALL_WEIGHTS else "affine"
    return AdaptationPlan("transfer", part, None, why)


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


def read_images(
    sources: Sequence[ImageSource], model: Model, align: bool, smallest: int = 0
) -> ImageDataset:
    """Returns the images as a dataset at the model's resolution, or `smallest` px if that is more.

    With `align` faces are cropped and aligned, and images without a face are skipped.
    """
    config, size = model.generator.config, image_size(model, smallest)

    def cut(image: Image.Image) -> Image.Image:
        crop = align_photo(to_channels(image, 3), model.template, size[0]).crop
        return to_channels(crop, config.img_channels)

    prepare = cut if align else None
    return ImageDataset(sources, size, prepare=prepare, channels=config.img_channels)


class Drawings(ImageDataset):
    """Drawings of 512 px, with faces where students know them.

    Where no face is detected, as in many drawings, the centre is taken; with `align` such a drawing
    is skipped, and with False nothing is detected.

    Attributes:
        centred: the number of those read so far whose centre was taken.
    """

    def __init__(self, sources: Sequence[ImageSource], align: bool | None) -> None:
        self.align, self.centred = align, 0
        prepare = None if align is False else self._cut
        super().__init__(sources, SCALE * PHOTO, prepare=prepare, channels=3)

    def _cut(self, image: Image.Image) -> Image.Image:
        try:
            return align_photo(to_channels(image, 3), FACES128, SCALE * PHOTO).crop
        except StylemixError:
            if self.align:
                raise
            self.centred += 1
            return image


def read_examples(plan: AdaptationPlan, dataset: ImageDataset) -> Tensor:
    """Returns images [K, C, H, W] to learn a style from; notes those without a face."""
    examples = some_of(dataset, MAX_DRAWINGS if plan.method == "drawing" else MAX_EXAMPLES)
    if examples.std(dim=(2, 3)).max() < FLAT:
        raise StylemixError(
            "got images of a single colour; expected drawings or photos, of which a style can be "
            "learned; use others"
        )
    if isinstance(dataset, Drawings) and dataset.centred:
        found = f"no face is found in {dataset.centred} of {len(examples)} images"
        note(f"Note: {found}; their centre is taken, for colours and strokes")
    return examples


def judged_statistics(dataset: ImageDataset, model: Model) -> Tensor:
    """Returns the mean statistics [S] of a dataset's images, as avatars are compared with them."""
    if isinstance(dataset, Drawings):
        images = some_of(dataset, MAX_JUDGED)
    else:
        align = dataset.prepare is not None
        images = some_of(read_images(readable(dataset), model, align, JUDGED_SIDE), MAX_JUDGED)
    return image_statistics(images).mean(dim=0)


def some_of(dataset: ImageDataset, limit: int = MAX_EXAMPLES) -> Tensor:
    """Returns up to `limit` images, evenly spaced in the dataset, [K, C, H, W] in [-1, 1].

    An image that is read in place of a broken one is returned once.
    """
    count = min(len(dataset), limit)
    indices = [i * len(dataset) // count for i in range(count)]
    images, _ = dataset.batch(indices)
    once = {dataset.stand_in(index): row for row, index in enumerate(indices)}
    return images[[once[index] for index in sorted(once)]].float() / 127.5 - 1


def readable(dataset: ImageDataset) -> list[ImageSource]:
    """The sources of a dataset but those found broken so far."""
    return [each for i, each in enumerate(dataset.sources) if dataset.stand_in(i) == i]


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
    if method == "drawing":
        if model.template.eyes is None:
            raise StylemixError(
                "got --method drawing for a model without faces; expected a model of faces, whose "
                "photos are redrawn; use --method transfer"
            )
        return AdaptationPlan(method, "", None, "as requested"), Drawings(sources, align)
    if method != "auto":
        cut = has_face and (method != "transfer" if align is None else align)
        transfer_part = "all" if count >= MIN_FOR_ALL_WEIGHTS else "affine"
        part = {"look": "offsets", "transfer": transfer_part}.get(method, "all")
        plan = AdaptationPlan(method, part, None, "as requested")
        return plan, read_images(sources, model, cut)
    if not has_face:
        dataset = read_images(sources, model, False)
        seen = some_of(dataset, DISTANCE_IMAGES)
        return choose_without_faces(model, seen, len(readable(dataset))), dataset
    dataset = Drawings(sources, align)
    seen = some_of(dataset, DISTANCE_IMAGES)
    distance, left = distance_from_photos(seen), readable(dataset)
    far = distance >= FAR_THRESHOLD
    why = f"{len(left)} image{'' if len(left) == 1 else 's'}, {'unlike' if far else 'like'} photos"
    why = f"{why} ({distance:.2f})"
    if far:
        return AdaptationPlan("drawing", "", None, why), dataset
    plan = AdaptationPlan("look", "offsets", None, why, "of drawings say --method drawing")
    faces = align is not False and dataset.centred < len(seen)
    if align is None and not faces:
        note("Note: no face is found, so the images are taken as they are")
    return plan, read_images(left, model, faces)
