"""Makes training images of a photo: cropped, resized with a named filter, measured, encoded."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from stylemix.errors import StylemixError, check_choice
from stylemix.faces.alignment import MIN_EYE_DISTANCE, align_face
from stylemix.faces.detector import Face, load_detector
from stylemix.faces.recognition import CHIP_SIZE, DLIB_CHIP, load_identity_network
from stylemix.faces.templates import TEMPLATES, Template, find_template
from stylemix.images.color_modes import to_rgb
from stylemix.images.sources import ImageSource
from stylemix.images.tensors import resize
from stylemix.training.curation.filters import perceptual_hash, sharpness

# Pillow's names. All of them antialias when downsampling; nearest does not and is left out.
FILTERS = ("lanczos", "bicubic", "hamming", "bilinear", "box")
CROPS = ("faces", "centre", "none")
FACES = ("all", "largest")
MODES = {"grey": "L", "rgb": "RGB", "rgba": "RGBA"}
FORMATS = ("png", "jpeg", "webp")
SIZES = (16, 4096)  # px, smallest and largest side
_MAX_OVERSAMPLING = 4  # a face is aligned at up to this many times the requested size


@dataclass(frozen=True)
class CropSettings:
    """How photos become images of one size: everything that determines their bytes.

    Args:
        size: width and height in px.
        crop: "faces" aligns faces, "centre" crops the centre to the aspect ratio of `size`,
            "none" accepts images of this aspect ratio only.
        template: alignment of faces: "faces128", "ffhq", a template or its file.
        faces: "all" clear faces of a photo or the "largest".
        filter: resampling filter, one of `FILTERS`.
        channels: "grey", "rgb" or "rgba".
        format: "png", "jpeg" or "webp".
        quality: of jpeg and webp, 1 to 100.
    """

    size: tuple[int, int] = (256, 256)
    crop: str = "faces"
    template: str | Template = "faces128"
    faces: str = "all"
    filter: str = "lanczos"
    channels: str = "rgb"
    format: str = "png"
    quality: int = 95

    def __post_init__(self) -> None:
        choices = {
            "crop": CROPS, "faces": FACES, "filter": FILTERS, "channels": tuple(MODES),
            "format": FORMATS,
        }  # fmt: skip
        for name, allowed in choices.items():
            check_choice(name, getattr(self, name), allowed)
        template = find_template(self.template)
        if template.eyes is None:
            raise StylemixError(
                f"got template {template.name!r} for faces; expected one with eyes; use --crop "
                "centre for images of anything else"
            )
        # Of a file its points are the setting, not its path.
        known = TEMPLATES.get(template.name) == template
        object.__setattr__(self, "template", template.name if known else template)
        width, height = self.size
        if not all(SIZES[0] <= side <= SIZES[1] for side in self.size):
            raise StylemixError(
                f"got size {width}x{height}; expected sides of {SIZES[0]} to {SIZES[1]} px"
            )
        if self.crop == "faces" and width != height:
            raise StylemixError(
                f"got size {width}x{height} for aligned faces; expected a square; give one side "
                "only, or use --crop centre"
            )
        if self.channels == "rgba" and self.format == "jpeg":
            raise StylemixError(
                "got channels rgba with format jpeg; expected a format with transparency; "
                "use png or webp"
            )
        if not 1 <= self.quality <= 100:
            raise StylemixError(f"got quality {self.quality}; expected 1 to 100")


def parse_size(text: str) -> tuple[int, int]:
    """Returns width and height of "128" (a square) or of "WIDTHxHEIGHT"."""
    try:
        sides = [int(part) for part in text.lower().split("x")]
        width, height = sides * 2 if len(sides) == 1 else sides
    except ValueError:
        raise StylemixError(
            f"got size {text!r}; expected a side such as 128, or WIDTHxHEIGHT such as 128x96"
        ) from None
    return width, height


@dataclass(frozen=True)
class Measures:
    """Measurements of a finished image.

    `upscale` is its size over that of its crop in the photo, `face` counts from the largest,
    `face_width` is in pixels of the photo, `descriptor` [128] is that of its face.
    """

    hash: int
    sharpness: float
    upscale: float
    face: int | None = None
    face_width: float | None = None
    descriptor: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Refusal:
    """The reason why a photo, or one of its faces, was rejected."""

    reason: str
    detail: str
    face: int | None = None


@dataclass(frozen=True)
class Crop:
    """A finished image as an encoded file, with its measurements."""

    data: bytes
    measures: Measures


def cut_photo(
    source: ImageSource, settings: CropSettings, device: str = "cpu", identity: bool = False
) -> list[Crop | Refusal]:
    """Reads a photo and crops its images; with `identity` each gets the descriptor of its face.

    A bad photo does not raise but gives a Refusal.
    """
    try:
        photo = source.open(mode="RGBA" if settings.channels == "rgba" else "RGB")
    except StylemixError as error:
        return [Refusal("broken", str(error).removeprefix(f"{source}: "))]
    if settings.crop == "faces":
        return list(_faces(photo, settings, device, identity))
    width, height = settings.size
    scale = min(photo.width / width, photo.height / height)
    excess = max(photo.width - width * scale, photo.height - height * scale)  # px
    if settings.crop == "none" and excess >= 1:  # less is the rounding of a previous resize
        expected = f"expected the aspect ratio of {width} x {height}"
        return [Refusal("shape", f"{photo.width} x {photo.height} px; {expected}")]
    return [_finish(photo, settings, 1 / scale)]


def _faces(
    photo: Image.Image, settings: CropSettings, device: str, identity: bool
) -> Iterator[Crop | Refusal]:
    rgb = to_rgb(photo)
    faces = load_detector(device).detect(rgb)
    clear = [face for face in faces if face.clear]
    if not clear:
        best = f"the best of {len(faces)} scores {faces[0].score:.2f}" if faces else "none at all"
        yield Refusal("no face", f"no clear face; {best}")
    for number, face in enumerate(clear[: 1 if settings.faces == "largest" else None], start=1):
        if face.eye_distance < MIN_EYE_DISTANCE:
            detail = f"eyes {face.eye_distance:.1f} px apart; expected {MIN_EYE_DISTANCE:.0f}"
            yield Refusal("small", detail, number)
            continue
        crop, side = _cut_face(photo, face, settings)
        descriptor = _descriptor(rgb, face, device) if identity else None
        width = float(face.box[2] - face.box[0])
        yield _finish(crop, settings, settings.size[0] / side, number, round(width, 1), descriptor)


def _cut_face(photo: Image.Image, face: Face, settings: CropSettings) -> tuple[Image.Image, float]:
    """Returns an aligned face at about the photo's resolution, and its side in the photo.

    So the requested filter does all of the resizing, up to a factor of four.
    """
    template, size = find_template(settings.template), settings.size[0]
    probe = align_face(photo, face.points, template, SIZES[0]).matrix
    side = float(SIZES[0] / np.hypot(*probe[:2, 0]))
    pixels = max(min(round(side), _MAX_OVERSAMPLING * size), SIZES[0])
    return _align(photo, face, template, pixels), side


def _align(photo: Image.Image, face: Face, template: Template, pixels: int) -> Image.Image:
    crop = align_face(photo, face.points, template, pixels).crop
    if photo.mode == "RGBA":
        alpha = photo.getchannel("A").convert("RGB")
        crop.putalpha(align_face(alpha, face.points, template, pixels).crop.getchannel(0))
    return crop


def _descriptor(photo: Image.Image, face: Face, device: str) -> tuple[float, ...]:
    chip = align_face(photo, face.points, DLIB_CHIP, CHIP_SIZE).crop
    pixels = torch.from_numpy(np.array(chip)).permute(2, 0, 1)[None].to(device, torch.float32)
    with torch.no_grad():
        values = load_identity_network(device)(pixels)[0]
    return tuple(round(float(value), 5) for value in values.cpu())


def _finish(
    image: Image.Image,
    settings: CropSettings,
    upscale: float,
    face: int | None = None,
    face_width: float | None = None,
    descriptor: tuple[float, ...] | None = None,
) -> Crop:
    """Resizes an image at its aspect ratio, converts its channels, measures and encodes it."""
    image = resize(image, settings.size, Image.Resampling[settings.filter.upper()])
    mode = MODES[settings.channels]
    if mode == "RGBA":  # premultiplied by alpha and back: removes colours that alpha hides
        image = image.convert("RGBa")
    image = image.convert(mode)
    rgb = to_rgb(image)
    measures = Measures(
        perceptual_hash(rgb), round(sharpness(rgb), 3), round(upscale, 4),
        face, face_width, descriptor,
    )  # fmt: skip
    return Crop(_encode(image, settings), measures)


def _encode(image: Image.Image, settings: CropSettings) -> bytes:
    """Returns the bytes of an image file without metadata."""
    image.info = {}
    stream = io.BytesIO()
    if settings.format == "png":
        image.save(stream, "PNG")
    elif settings.format == "jpeg":
        image.save(stream, "JPEG", quality=settings.quality, subsampling=0)
    else:
        image.save(stream, "WEBP", quality=settings.quality, method=4)
    return stream.getvalue()
