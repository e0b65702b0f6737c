"""Writing images, with the marks of generated ones."""

import os
from pathlib import Path

from PIL import Image
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.images.color_modes import to_rgb
from stylemix.images.credentials import sign_file
from stylemix.images.provenance import Generated, png_text, provenance_marks, xmp_packet
from stylemix.images.read import cannot_read
from stylemix.images.sources import EXTENSIONS
from stylemix.images.tensors import picture
from stylemix.images.watermark import add_watermark
from stylemix.io.atomic import atomic_write, check_writable
from stylemix.io.files import StrPath, user_path

_KINDS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_QUALITY = 95
_COMPRESSION = 4  # of PNG: half the time of zlib's default, 6, for 5 % more bytes
_OF_RESULTS = (".safetensors", ".pkl", ".json")  # that nobody means to be a folder's


def check_image_path(path: StrPath) -> str:
    """Returns the Pillow format by the extension of `path`; StylemixError for an unknown one.

    Commands call it before a long computation, whose result a wrong name would lose.
    """
    extension = user_path(path).suffix.lower()
    kind = _KINDS.get(extension)
    if kind is None:
        got = f"the extension {extension!r}" if extension else "no extension"
        raise StylemixError(f"{path}: got {got}; expected .png, .jpg or .webp; rename the output")
    return kind


def check_folder(path: StrPath) -> None:
    """Raises StylemixError if `path` is no folder that can be written, or has a file's extension.

    Commands call it before a long computation.
    """
    folder = Path(path)
    if not folder.is_dir():
        if os.path.lexists(folder):  # or a link to nothing
            raise StylemixError(
                f"got the file {path}; expected a folder for the results; give another --output"
            )
        if folder.suffix.lower() in (*EXTENSIONS, *_OF_RESULTS):
            raise StylemixError(
                f"got one file, {path}, for several results; expected a folder; "
                "give --output a name without extension"
            )
    check_writable(folder, is_folder=True)


def save_image(
    path: StrPath,
    image: Image.Image | Tensor,
    generated: Generated = True,
    metadata_only: bool = False,
) -> None:
    """Writes an image (or a tensor, as in `api`) atomically as PNG, JPEG or WebP, with marks.

    The marks say that the image was generated (True) or composed with generated content
    ("composite", such as an edited photo): IPTC's digital source type and the version of stylemix,
    as text chunks in PNG and XMP in JPEG and WebP, the invisible watermark of
    `stylemix.images.watermark`, and Content Credentials where the extra `c2pa` is installed. False
    leaves all of them out; `metadata_only` leaves the pixels as they are, and signs nothing. All
    other metadata of `image` are removed.
    """
    kind = check_image_path(path)
    output = as_written(image, generated, not metadata_only, alpha=kind != "JPEG")
    marks = provenance_marks(generated)
    with atomic_write(path) as temporary:
        if kind == "PNG":
            text = png_text(marks)
            output.save(temporary, kind, pnginfo=text, compress_level=_COMPRESSION)
        elif kind == "JPEG":
            xmp = {"xmp": xmp_packet(marks)} if marks else {}
            output.save(temporary, kind, quality=_QUALITY, subsampling=0, **xmp)
        else:
            output.save(temporary, kind, quality=_QUALITY, method=4, xmp=xmp_packet(marks))
        if not metadata_only:
            sign_file(temporary, marks)


def as_written(
    image: Image.Image | Tensor,
    generated: Generated = True,
    watermark: bool = True,
    alpha: bool = True,
) -> Image.Image:
    """The image as `save_image` writes it: its colours with the watermark, without metadata."""
    if not isinstance(image, Image.Image | Tensor):
        raise StylemixError(
            f"got {type(image).__name__} as an image; expected a PIL image or a tensor; convert it"
        )
    try:
        output = picture(image) if isinstance(image, Tensor) else image.copy()
    except (OSError, SyntaxError, ValueError) as error:  # of a file that is read only now
        raise cannot_read(error) from error
    if not all(output.size):
        raise StylemixError(
            f"got an image of {output.width} x {output.height} px; expected pixels; choose another"
        )
    if not (output.mode in ("L", "RGB") or (output.mode == "RGBA" and alpha)):
        output = to_rgb(output)
    if watermark and provenance_marks(generated):
        output = add_watermark(output)
    output.info = {}
    return output
