"""Reading image files safely as plain RGB images without metadata."""

import codecs
import errno
import re
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, cast

from PIL import Image, UnidentifiedImageError

from stylemix.errors import StylemixError, similar_file
from stylemix.images.color_modes import to_grey, to_rgb, to_rgba
from stylemix.images.cost import prepare_decoding, too_large
from stylemix.images.pillow_fixes import correct_header, keep_quiet
from stylemix.io.files import StrPath, open_file

MAX_UNENDED_BYTES = 2**26  # of a JPEG without its end marker, which is read into memory

# No decoder that starts another program (EPS) or accepts arbitrary bytes (TGA).
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "AVIF", "JPEG2000", "HEIF")
# Pillow's modules that decode them; `Image.init()` would import thirty others.
_PLUGINS = ("Jpeg", "Png", "WebP", "Gif", "Bmp", "Tiff", "Ppm", "Avif", "Jpeg2K")
_RAW_EXTENSIONS = {".arw", ".cr2", ".dng", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".srw"}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_EXPECTED = "expected a JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC image"
_SAVE_AS = "save it as JPEG or PNG first"
_ORIENTATION = 0x0112  # the EXIF tag
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Entropy-coded data of several bit patterns; some change nothing behind some bytes.
_TAILS = (b"", b"\x5a" * 64, b"\xc3" * 64, b"\x99" * 64)
_lock = threading.Lock()
_decoding = 0  # threads that are decoding
_quiet: list[object] = []  # the warning filter that they share


def load_image(path: StrPath, min_side: int | None = None, mode: str = "RGB") -> Image.Image:
    """Reads the first frame of an image file as 8-bit sRGB, upright, on white, without metadata.

    `mode` "L" returns grey and "RGBA" preserves transparency. With `min_side`, large JPEGs are
    decoded at 1/2, 1/4 or 1/8 of their size, with a shorter side of at least `min_side` px, which
    is several times faster; JPEGs above 64 megapixels are always decoded at half width. Raises
    StylemixError for a file that is not a complete image with sides of at least 16 px, of at most
    100 megapixels, and that costs more memory than `cost.MAX_DECODING_BYTES`.
    """
    path = Path(path)
    try:
        stream = open_file(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the name
        raise _cannot_open(path, error) from error
    with stream:
        return read_image(stream, str(path), min_side, mode)


def read_image(
    stream: BinaryIO, name: str, min_side: int | None = None, mode: str = "RGB"
) -> Image.Image:
    """Reads an image from a seekable stream as `load_image` does; `name` is for messages."""
    head = stream.read(512)
    stream.seek(0)
    if not head:
        raise StylemixError(f"{name}: got an empty file; {_EXPECTED}; copy or download it again")
    if _is_raw(head, name):
        raise StylemixError(f"{name}: got a camera's raw file; {_EXPECTED}; {_SAVE_AS}")
    with quiet_decoder():
        image = _open_header(stream, name, head)
        prepare_decoding(image, stream, name, min_side)
        kind, width, height = image.format or "image", image.width, image.height
        try:
            correct_header(image)
            return _plain_and_closed(_loaded(image, stream), mode)
        except StylemixError as error:
            raise StylemixError(f"{name}: {error}") from error
        except MemoryError as error:
            raise too_large(name, f"{width} x {height} px") from error
        except Exception as error:  # decoders raise nearly any exception for malformed data
            raise _damaged(name, kind, error) from error


def cannot_read(error: Exception) -> StylemixError:
    """Returns the error for an image of Pillow whose file is damaged, or was closed."""
    return StylemixError(
        f"got an image that cannot be read ({error}); expected a complete, open one; load it again"
    )


def plain_image(image: Image.Image, mode: str = "RGB") -> Image.Image:
    """Converts a Pillow image as `load_image` does: upright, sRGB, in `mode`, without metadata."""
    orientation, converted = _orientation(image), _convert(image, mode)
    if converted is image:  # the caller's, with metadata beside the pixels
        converted = image.copy()
    return _upright(converted, orientation)


def _plain_and_closed(image: Image.Image, mode: str) -> Image.Image:
    """`plain_image` for an image of our own, which is closed as soon as it is converted.

    Two copies of a large image would not fit into the memory that one may take.
    """
    orientation, converted = _orientation(image), _convert(image, mode)
    if converted is image:
        converted = image._new(image.im)  # the same pixels, without metadata
    else:
        image.close()
    return _upright(converted, orientation)


def _loaded(image: Image.Image, stream: BinaryIO) -> Image.Image:
    """Decodes an opened image, also a JPEG that is complete but for its end marker.

    Whether it is complete shows in the pixels: other data behind the last ones must not change
    them. Raises the exceptions of the decoder.
    """
    size = image.size
    try:
        image.load()
    except OSError:
        stream.seek(0)
        data = stream.read(MAX_UNENDED_BYTES + 1)
        if image.format not in ("JPEG", "MPO") or len(data) > MAX_UNENDED_BYTES:
            raise
        data = data.removesuffix(b"\xff")
        sums = set()
        for tail in _TAILS:
            image = Image.open(BytesIO(data + tail + b"\xff\xd9"), formats=["JPEG"])
            image.draft(None, (size[0] - 1, size[1] - 1))  # rounded up at reduced scales
            image.load()
            sums.add(_checksum(image))
            if len(sums) > 1 or image.size != size:
                raise
    return image


def _checksum(image: Image.Image) -> int:
    """Returns the CRC-32 of the pixels, without a copy of all."""
    crc = 0
    for top in range(0, image.height, 64):
        strip = image.crop((0, top, image.width, min(top + 64, image.height)))
        crc = zlib.crc32(strip.tobytes(), crc)
    return crc


@contextmanager
def quiet_decoder() -> Iterator[None]:
    """Suppresses Pillow's warnings, since this module checks sizes itself.

    The filters of `warnings` are global and several threads may decode at once: the first thread
    adds a filter and the last one removes it. Filters of other code are unchanged.
    """
    global _decoding
    with _lock:
        _decoding += 1
        if _decoding == 1:
            warnings.filterwarnings("ignore", module="PIL")
            _quiet.append(warnings.filters[0])
    try:
        yield
    finally:
        with _lock:
            _decoding -= 1
            if not _decoding:
                with suppress(ValueError):  # other code may have replaced the filters
                    cast(list[object], warnings.filters).remove(_quiet.pop())


@cache
def _load_plugins() -> None:
    keep_quiet()
    for name in _PLUGINS:
        with suppress(ImportError):  # Pillow without AVIF
            import_module(f"PIL.{name}ImagePlugin")


@cache
def _load_heif() -> bool:
    """Teaches Pillow to read HEIC; whether the package for it is here."""
    try:
        from pillow_heif import register_heif_opener  # an extra
    except ImportError:
        return False
    register_heif_opener(thumbnails=False)
    return True


def _open_header(stream: BinaryIO, name: str, head: bytes) -> Image.Image:
    _load_plugins()
    if _is_heic(head):
        _load_heif()
    try:
        return Image.open(stream, formats=[kind for kind in _FORMATS if kind in Image.OPEN])
    except Image.DecompressionBombError as error:
        # Pillow rejects the largest images itself, with the size only in its message.
        count = re.search(r"\((\d+) pixels\)", str(error))
        got = f"{int(count[1]) / 1e6:,.0f} megapixels" if count else "far more"
        raise too_large(name, got) from error
    except UnidentifiedImageError as error:
        kind, advice = _recognise(head)
        raise StylemixError(f"{name}: got {kind}; {_EXPECTED}; {advice}") from error
    except Exception as error:
        raise _damaged(name, "image", error) from error


def _convert(image: Image.Image, mode: str) -> Image.Image:
    if mode == "RGB":
        return to_rgb(image)
    return to_rgba(image) if mode == "RGBA" else to_grey(image)


def _orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation, 1 to 8; 1 for a damaged EXIF block."""
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged EXIF raises nearly any exception, but the image may be intact
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    method = _UPRIGHT.get(orientation)
    if method is not None:
        image = image.transpose(method)
    image.info = {}
    return image


def _is_raw(head: bytes, name: str) -> bool:
    """Returns whether a file is a camera raw, most of which are TIFFs with a tiny preview first."""
    tiff_like = head[:4] in (b"II*\0", b"MM\0*") or head[:4] in (b"IIRO", b"IIU\0", b"FUJI")
    return tiff_like and Path(name).suffix.lower() in _RAW_EXTENSIONS


def _brand(head: bytes) -> bytes:
    """Returns the four letters of an ISO media file's kind, nothing for other files."""
    return head[8:12] if head[4:8] == b"ftyp" else b""


def _is_heic(head: bytes) -> bool:
    return _brand(head) in _HEIC_BRANDS


def _recognise(head: bytes) -> tuple[str, str]:
    """Returns the kind of an unreadable image by its first bytes, and the advice for it."""
    again = "copy or download it again"
    brand = _brand(head)
    if _is_heic(head):
        if _load_heif():
            return "a damaged or truncated HEIC photo", again
        return (
            "a HEIC photo, as iPhones take, and no package that reads it",
            "pip install 'stylemix[heic]', or export it as JPEG (on the phone: Settings > Camera "
            "> Formats > Most Compatible)",
        )
    if brand.startswith(b"avi"):
        return "an AVIF image that this Pillow cannot read", f"update Pillow or {_SAVE_AS}"
    if brand.startswith(b"crx"):
        return "a camera's raw file", _SAVE_AS
    if brand or (head[:4] == b"RIFF" and head[8:11] == b"AVI") or head[:4] == b"\x1aE\xdf\xa3":
        return "a video", "save one frame of it as JPEG or PNG"
    if head[:2] == b"\xff\x0a" or head[4:8] == b"JXL ":
        return "a JPEG XL image", _SAVE_AS
    if head[:3] == b"\xff\xd8\xff" or head[:4] == b"\x89PNG" or head[:4] in (b"RIFF", b"GIF8"):
        return "a damaged or truncated image", again
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "a TIFF that is damaged or of an uncommon kind", "save it as an 8-bit or 16-bit PNG"
    for magic, kind in ((b"%PDF", "a PDF"), (b"%!PS", "PostScript"), (b"8BPS", "a PSD file")):
        if head.startswith(magic):
            return kind, _SAVE_AS
    if head[:2] == b"PK":
        return "a zip or office file", "pass a .zip where a folder of images is accepted"
    return _recognise_text(head)


def _recognise_text(head: bytes) -> tuple[str, str]:
    try:  # an incremental decoder, since `head` may end within a character
        text = codecs.getincrementaldecoder("utf-8")().decode(head).lower()
    except UnicodeDecodeError:
        text = "\0"
    if "<svg" in text:
        return "an SVG drawing", _SAVE_AS
    if "<html" in text or "<!doctype html" in text:
        return "a web page", "download the image itself"
    if all(letter.isprintable() or letter.isspace() for letter in text):
        return "text", "use a real image (renaming a file does not convert it)"
    return "bytes of no known image format", _SAVE_AS


def _cannot_open(path: Path, error: Exception) -> StylemixError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        near = similar_file(path)
        return StylemixError(f"{path}: got no such file; expected an image; check the name{near}")
    if getattr(error, "errno", None) in (errno.EACCES, errno.EPERM):
        return StylemixError(
            f"{path}: got no permission to read it; expected a readable image; "
            "change its permissions"
        )
    reason = getattr(error, "strerror", None) or str(error)
    return StylemixError(f"{path}: got {reason!r}; expected an image; check the name")


def _damaged(name: str, kind: str, error: Exception) -> StylemixError:
    reason = str(error) or type(error).__name__
    return StylemixError(
        f"{name}: got a damaged or truncated {kind} ({reason}); expected a complete image; "
        "copy or export it again"
    )
