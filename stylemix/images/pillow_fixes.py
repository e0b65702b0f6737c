"""What Pillow gets wrong about some files, put right before they are decoded."""

from __future__ import annotations

import ctypes
import logging
from contextlib import suppress
from functools import cache

from PIL import Image, ImagePalette

from stylemix.errors import StylemixError

_BITS_PER_SAMPLE, _PLANAR, _COLORMAP = 258, 284, 320  # TIFF tags
_GREY_STEPS = {"L;2": 85, "L;4": 17}  # from values of a few bits to 8 bits, by Pillow's raw mode


@cache
def keep_quiet() -> None:
    """Keeps what libtiff and Pillow print about damaged files, some for each row, off the terminal.

    Errors are raised as well. On Windows, libtiff is within Pillow and prints nevertheless.
    """
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    with suppress(AttributeError, OSError):
        core = Image.core  # type: ignore[attr-defined]
        ctypes.CDLL(core.__file__).TIFFSetErrorHandler(None)


def correct_header(image: Image.Image) -> None:
    """Corrects an image that is opened and not yet decoded; StylemixError for what cannot be."""
    if image.format == "PNG":
        _scale_transparent_grey(image)
    elif image.format == "TIFF":
        _correct_planes(image)
        _correct_palette(image)


def _raw_mode(tile: object) -> str:
    args = getattr(tile, "args", "")
    return str(args[0] if isinstance(args, tuple) and args else args)


def _scale_transparent_grey(image: Image.Image) -> None:
    """Grey of 2 or 4 bits is scaled to 8 bits; Pillow forgets the value that is transparent."""
    value, tiles = image.info.get("transparency"), getattr(image, "tile", [])
    if isinstance(value, int) and tiles:
        image.info["transparency"] = value * _GREY_STEPS.get(_raw_mode(tiles[0]), 1)


def _correct_planes(image: Image.Image) -> None:
    """Channels that are stored one after the other: Pillow reads 16 bits as 8, and no alpha."""
    tags, tiles = getattr(image, "tag_v2", {}), getattr(image, "tile", [])
    if tags.get(_PLANAR) != 2 or len(image.getbands()) == 1 or not tiles:
        return
    raw = all(tile.codec_name == "raw" for tile in tiles)
    if raw and set(tags.get(_BITS_PER_SAMPLE, ())) == {16} and image.mode in ("RGB", "RGBA"):
        order = "L" if getattr(tags, "prefix", b"") == b"II" else "B"
        image.tile = [  # type: ignore[attr-defined]
            tile._replace(args=(f"{_raw_mode(tile)};16{order}", *tile.args[1:])) for tile in tiles
        ]
    elif image.mode == "LA" or (raw and max(tags.get(_BITS_PER_SAMPLE, (8,))) > 8):
        raise StylemixError(
            f"got a TIFF of the mode {image.mode} whose channels are stored one after the other; "
            "expected them pixel by pixel; save it anew, or as PNG"
        )


def _correct_palette(image: Image.Image) -> None:
    """Palettes have 16 bits a value; some programs write 8, which Pillow draws as black."""
    colors = getattr(image, "tag_v2", {}).get(_COLORMAP, ())
    if image.mode in ("P", "PA") and colors and max(colors) < 256:
        image.palette = ImagePalette.raw("RGB;L", bytes(colors))
