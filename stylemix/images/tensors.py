"""Conversion between images and tensors in [-1, 1], and resizing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from stylemix.errors import StylemixError
from stylemix.images.color_modes import to_grey, to_rgb, to_rgba

MOST_BRIGHT = 8.0  # images of generators are in about [-1, 1], those in 0 to 255 are not
_CHANNELS = {1: to_grey, 3: to_rgb, 4: to_rgba}


def to_tensor(
    images: Image.Image | Sequence[Image.Image],
    size: int | tuple[int, int] | None = None,
    channels: int = 3,
) -> Tensor:
    """Converts images to float32 [N, C, H, W] in [-1, 1], resized to a `size` as by `resize`.

    `channels` is as for `to_channels`. Raises StylemixError if the images differ in size and `size`
    is None.
    """
    batch = [images] if isinstance(images, Image.Image) else list(images)
    if not batch:
        raise StylemixError("got no images; expected at least one; name an image")
    batch = [to_channels(image, channels) for image in batch]
    if size is not None:
        batch = [resize(image, size) for image in batch]
    sizes = sorted({image.size for image in batch})
    if len(sizes) > 1:
        raise StylemixError(
            f"got images of {sizes[0]} and of {sizes[-1]} px; expected one size; resize them first"
        )
    pixels = torch.from_numpy(np.stack([np.array(image) for image in batch]))
    pixels = pixels.reshape(*pixels.shape[:3], channels)
    return pixels.permute(0, 3, 1, 2).to(torch.float32).contiguous() / 127.5 - 1


def to_channels(image: Image.Image, channels: int) -> Image.Image:
    """Converts an image of any mode to grey (1 channel), RGB on white (3) or RGBA (4).

    Raises StylemixError for another number of channels, which a model may have.
    """
    _check_channels(channels)
    return _CHANNELS[channels](image)


def _check_channels(channels: int) -> None:
    if channels not in _CHANNELS:
        raise StylemixError(
            f"got images of {channels} channels; expected 1 (grey), 3 (RGB) or 4 (RGBA); choose "
            "such images, or another model: one of others can only be converted and exported"
        )


def to_pil(image: Tensor) -> Image.Image:
    """Converts a tensor [C, H, W] (or a batch of one) in [-1, 1] to a grey, RGB or RGBA image.

    Rounds as StyleGAN2 does, floor(x * 127.5 + 128) clamped to 0..255, the exact inverse of
    `to_tensor`. Raises StylemixError for NaN and infinite values, and for other channels.
    """
    if image.ndim == 4 and image.shape[0] == 1:
        image = image[0]
    if image.ndim != 3:
        raise ValueError(f"got a tensor of shape {list(image.shape)}; expected [1, 3 or 4, H, W]")
    _check_channels(len(image))
    values = image.detach().to("cpu", torch.float32) * 127.5 + 128
    if not bool(torch.isfinite(values).all()):  # black areas would not say what is wrong
        raise StylemixError(
            "got an image with NaN or infinite values; expected numbers; the model, the style or "
            "the latent has values that are too large: get or make it again"
        )
    pixels = values.clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    return Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if len(image) == 1 else pixels))


def picture(values: Tensor) -> Image.Image:
    """The image of a tensor, of uint8 or in [-1, 1]; StylemixError for others and other shapes."""
    floating, got = values.is_floating_point(), f"a tensor of {values.dtype}"
    usable = values.layout is torch.strided and not (values.is_meta or values.is_complex())
    usable &= values.dtype is not torch.bool
    if usable and values.numel():
        least, most = (float(value) for value in values.detach().float().aminmax())
        low, high = (-MOST_BRIGHT, MOST_BRIGHT) if floating else (0.0, 255.0)
        usable = low <= least <= most <= high  # false for NaN, too
        got += f" from {least:g} to {most:g}"
    if not usable:
        raise StylemixError(
            f"got {got}; expected uint8, or floating point in [-1, 1]; convert it, as by "
            "x / 127.5 - 1"
        )
    try:
        return to_pil(values if floating else values / 127.5 - 1)
    except ValueError as error:
        raise StylemixError(f"{error}; pass one image") from error


def resize(
    image: Image.Image,
    size: int | tuple[int, int],
    method: Image.Resampling = Image.Resampling.LANCZOS,
) -> Image.Image:
    """Resizes an image to `size` (width, height) with antialiasing and a centre crop.

    An integer is a square. The crop preserves the aspect ratio of the content.
    """
    width, height = (size, size) if isinstance(size, int) else size
    if image.size == (width, height):
        return image.copy()
    scale = min(image.width / width, image.height / height)
    left = (image.width - width * scale) / 2
    top = (image.height - height * scale) / 2
    box = (left, top, image.width - left, image.height - top)
    return image.resize((width, height), method, box=box)


def as_rgb(images: Tensor) -> Tensor:
    """Converts images [N, 1, 3 or 4, H, W] in [-1, 1] to RGB [N, 3, H, W], with alpha on white.

    Differentiable. Raises StylemixError for another number of channels.
    """
    channels = images.shape[1]
    _check_channels(channels)
    if channels == 4:
        alpha = (images[:, 3:] + 1).clamp(0, 2) / 2
        return images[:, :3] * alpha + (1 - alpha)
    return images if channels == 3 else images.repeat(1, 3, 1, 1)


def bring_within(images: Tensor, smallest: int, largest: int) -> Tensor:
    """Scales images [N, C, H, W] to a shorter side of `smallest` to `largest` px."""
    shorter = min(images.shape[2:])
    side = min(max(shorter, smallest), largest)
    if side == shorter:
        return images
    size = [round(n * side / shorter) for n in images.shape[2:]]
    return functional.interpolate(images, size, mode="bilinear", antialias=True)
