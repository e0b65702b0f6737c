"""What decoding an image costs, known from its header before a pixel is decoded.

A few kilobytes can stand for a hundred megapixels. Pillow keeps 4 bytes a pixel for colours; some
decoders hold the whole image once or twice more, and so does the conversion of some modes.
"""

from __future__ import annotations

from typing import BinaryIO

from PIL import Image

from stylemix.errors import StylemixError

MAX_PIXELS = 100_000_000
MAX_DECODED_PIXELS = 64_000_000  # of one image in memory; JPEGs above are decoded at half width
MAX_DECODING_BYTES = 416_000_000  # a photo of 52 megapixels with a colour profile
MAX_SCANS = 100  # of a progressive JPEG; encoders write about ten, and each costs all pixels
MIN_SIDE = 16

# Bytes a pixel at the peak, measured: of the decoders that hold copies, and of `color_modes`.
_DECODERS = {"WEBP": 16, "AVIF": 12, "HEIF": 8, "JPEG2000": 20, "TIFF": 7}
_MODES = {
    "RGB": 4, "L": 5, "1": 6, "P": 5, "PA": 13, "I;16": 8, "I;16B": 8, "I;16L": 8, "I": 12, "F": 16,
    "CMYK": 8, "YCbCr": 8, "RGBX": 8, "HSV": 8, "LAB": 8,
}  # fmt: skip
_WITH_ALPHA = 13
_JPEG = ("JPEG", "MPO")


def check_size(size: tuple[int, int], name: str) -> None:
    """Raises StylemixError for an image below 16 px a side or above 100 megapixels."""
    width, height = size
    if width * height > MAX_PIXELS:
        raise too_large(name, f"{width} x {height} px ({width * height / 1e6:.0f} megapixels)")
    if min(size) < MIN_SIDE:
        raise StylemixError(
            f"{name}: got an image of {width} x {height} px; expected at least {MIN_SIDE} px "
            "a side; use a larger image"
        )


def prepare_decoding(
    image: Image.Image, stream: BinaryIO, name: str, min_side: int | None = None
) -> None:
    """Chooses the scale at which an opened image is decoded; StylemixError where it costs too much.

    JPEG alone can be decoded at 1/2, 1/4 or 1/8 of its width: with `min_side`, to a shorter side of
    at least so many px, and images above `MAX_DECODED_PIXELS` or too costly at half width.
    """
    check_size(image.size, name)
    if image.format in _JPEG:
        _check_scans(image, stream, name)
        full = image.size
        if min_side is not None:
            image.draft(None, (min_side, min_side))
        if _is_too_large(image, full):
            image.draft(None, (image.width // 2, image.height // 2))
        if not _is_too_large(image, full):
            return
    elif not _is_too_large(image, image.size):
        return
    millions = image.width * image.height / 1e6
    most = min(MAX_DECODED_PIXELS, MAX_DECODING_BYTES / _bytes_per_pixel(image)) / 1e6
    raise StylemixError(
        f"{name}: got {image.width} x {image.height} px ({millions:.0f} megapixels) as "
        f"{image.format} of the mode {image.mode}; expected at most {most:.0f} megapixels of this "
        "kind, which fit into memory; downsample it or save it as JPEG first"
    )


def too_large(name: str, got: str) -> StylemixError:
    """Returns the error for an image of too many pixels for any format."""
    return StylemixError(
        f"{name}: got an image of {got}; expected at most {MAX_PIXELS // 10**6} megapixels that "
        "fit into memory; downsample it first"
    )


def _bytes_per_pixel(image: Image.Image) -> int:
    mode = _MODES.get(image.mode, _WITH_ALPHA)
    if image.info.get("transparency") is not None:
        mode = max(mode, _WITH_ALPHA)
    if image.info.get("icc_profile"):
        mode = max(mode, 8)
    return max(mode, _DECODERS.get(image.format or "", 0))


def _is_too_large(image: Image.Image, full: tuple[int, int]) -> bool:
    """Whether it is too costly; `full` is the size before it is scaled down in decoding."""
    pixels = image.width * image.height
    cost = pixels * _bytes_per_pixel(image)
    if image.info.get("progressive"):  # all coefficients are held, of 2 bytes, at full size
        cost += full[0] * full[1] * 2 * len(image.getbands())
    return pixels > MAX_DECODED_PIXELS or cost > MAX_DECODING_BYTES


def _check_scans(image: Image.Image, stream: BinaryIO, name: str) -> None:
    if not image.info.get("progressive"):
        return
    position, scans, last = stream.tell(), 0, b""
    stream.seek(0)
    while block := stream.read(2**20):
        scans += (last + block).count(b"\xff\xda")  # start of scan; never within a scan's data
        last = block[-1:]
    stream.seek(position)
    if scans > MAX_SCANS:
        raise StylemixError(
            f"{name}: got a JPEG of {scans} scans; expected at most {MAX_SCANS}; save it anew"
        )
