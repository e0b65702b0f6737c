"""Conversion of every Pillow mode to 8-bit sRGB on white: bit depth, palette, profile, alpha."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from stylemix.errors import StylemixError

_SAVE_AS = "save it as an 8-bit or 16-bit PNG"
_PROFILE_SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_BITS_PER_SAMPLE, _PHOTOMETRIC = 258, 262  # TIFF tags
_WHITE = (255, 255, 255)
_DARKEST = 16  # of 255: the brightest value of a float image below which it shows nothing


def to_rgb(image: Image.Image) -> Image.Image:
    """Converts a loaded image of any mode to 8-bit sRGB, composited on white.

    16-bit and float values are scaled, and an embedded colour profile is applied. May return
    `image` itself if nothing changes. Raises StylemixError for values of unknown scale.
    """
    image, alpha = _split_alpha(image)
    if alpha is None or alpha.getextrema() == (255, 255):
        return image
    composite = Image.new("RGB", image.size, _WHITE)
    composite.paste(image, mask=alpha)
    return composite


def to_grey(image: Image.Image) -> Image.Image:
    """Converts a loaded image of any mode to L: the luma (BT.601) of `to_rgb`."""
    return to_rgb(image).convert("L")


def to_rgba(image: Image.Image) -> Image.Image:
    """Converts a loaded image of any mode to RGBA: colours as in `to_rgb`, alpha preserved."""
    image, alpha = _split_alpha(image)
    image = image.convert("RGBA")
    if alpha is not None:
        image.putalpha(alpha)
    return image


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Returns the colours as sRGB, and the alpha channel as L or None."""
    profile = image.info.get("icc_profile")
    image = _with_alpha(_to_eight_bits(image))
    alpha = image.getchannel("A") if image.mode in ("RGBA", "LA") else None
    if alpha is not None:
        image = image.convert("RGB" if image.mode == "RGBA" else "L")
    return _to_srgb(image, profile), alpha


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Scales grey modes of more than 8 bits to L, or to LA if one value is transparent."""
    if image.mode.startswith("I;16") or image.mode == "I":
        values = np.asarray(image)
        if image.mode == "I" and (values.min() < 0 or values.max() > 65535):
            raise StylemixError(
                f"got 32-bit values from {values.min()} to {values.max()}; "
                f"expected 8 or 16 bits a channel; {_SAVE_AS}"
            )
        grey = Image.fromarray(_table16(image, int(values.max()))[values])
    elif image.mode == "F":
        values = np.asarray(image)
        grey = Image.fromarray(_from_float(values))
    else:
        return image
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        alpha = np.where(values == transparent, np.uint8(0), np.uint8(255))
        grey.putalpha(Image.fromarray(alpha))
    return grey


def _table16(image: Image.Image, highest: int) -> NDArray[np.uint8]:
    """Returns the lookup table from 16-bit sample values to uint8, rounded to nearest, [65536].

    Scanners store 12 bits, and programs 8, in samples of 16 or 32 bits: no value of an image that
    is above neither says which.
    """
    tags = getattr(image, "tag_v2", {})
    sizes = tags.get(_BITS_PER_SAMPLE, (16,))
    bits = int(sizes[0] if isinstance(sizes, tuple) else sizes)
    if bits > 12:
        bits = next((usual for usual in (8, 12) if highest < 1 << usual), 16)
    peak = (1 << bits) - 1 if 8 <= bits <= 16 else 65535  # Pillow opens 12-bit scans as I;16 too
    scaled = (np.arange(65536, dtype=np.uint32).clip(max=peak) * 255 + peak // 2) // peak
    if tags.get(_PHOTOMETRIC) == 0:  # WhiteIsZero, which Pillow inverts for 8 bits only
        scaled = 255 - scaled
    table: NDArray[np.uint8] = scaled.astype(np.uint8)
    return table


def _from_float(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    low, high = float(values.min()), float(values.max())
    # Highlights above 1 are not 1 of 255: the picture would be black.
    if not (low >= 0 and (high <= 1 or _DARKEST <= high <= 255)):  # false for NaN too
        raise StylemixError(
            f"got float values from {low:g} to {high:g}; expected 0 to 1 or 0 to 255; {_SAVE_AS}"
        )
    scale = 255.0 if high <= 1 else 1.0
    pixels: NDArray[np.uint8] = np.rint(values * scale).astype(np.uint8)
    return pixels


def _with_alpha(image: Image.Image) -> Image.Image:
    """Converts palettes and all forms of transparency to L, LA, RGB, RGBA, CMYK or LAB."""
    transparent = image.info.get("transparency")
    if image.mode in ("P", "PA"):
        return image.convert("RGB" if transparent is None and image.mode == "P" else "RGBA")
    if image.mode in ("La", "RGBa"):  # premultiplied, from TIFF
        return image.convert(image.mode.upper())
    if image.mode == "1":
        image = image.convert("L")
    if transparent is not None and image.mode in ("L", "RGB"):
        if isinstance(transparent, tuple) and max(transparent) > 255:  # 16-bit PNG opened as 8-bit
            image = image.copy()  # the caller's stays as it is
            image.info["transparency"] = tuple(value >> 8 for value in transparent)
        return image.convert("RGBA" if image.mode == "RGB" else "LA")
    if image.mode in ("RGBX", "YCbCr", "HSV"):
        return image.convert("RGB")
    return image


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Converts by the embedded profile; without a valid one, by Pillow's default conversion."""
    try:
        if image.mode == "LAB":
            source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        elif profile:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            expected = _PROFILE_SPACES.get(source.profile.xcolor_space.strip())
            if expected == "RGB" and image.mode == "L":
                image = image.convert("RGB")
            if expected != image.mode:
                return image.convert("RGB")
        else:
            return image if image.mode == "RGB" else image.convert("RGB")
        srgb = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, source, srgb, outputMode="RGB")
    except (ImageCms.PyCMSError, ImportError, OSError, ValueError, TypeError):
        converted = None
    return converted if converted is not None else image.convert("RGB")
