"""`stylemix align`: cut faces out of photos, upright, where a model expects them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from PIL import Image

from stylemix.devices import find_device
from stylemix.errors import StylemixError
from stylemix.faces.alignment import Alignment, align_photo, cut_face
from stylemix.faces.detector import FaceDetector, load_detector
from stylemix.faces.templates import TEMPLATES, Template
from stylemix.images.sources import ImageSource, list_images
from stylemix.images.write import check_image_path, save_image
from stylemix.io.atomic import Json, write_json
from stylemix.models.checkpoint import load_model

DEFAULT_SIZE = 256
# An output with one of these is meant as a file; those that cannot be written are refused.
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic")


@dataclass(frozen=True)
class Target:
    """What crops are to look like: the template, pixels a side, and which face (None: the one)."""

    template: Template
    size: int
    face: int | None = None
    all_faces: bool = False


def align_image(
    image: Image.Image, target: Target, detector: FaceDetector, name: str = "photo"
) -> list[Alignment]:
    """The crops of a photo: one, or one for each clear face, largest first, with `all_faces`."""
    template, size = target.template, target.size
    if not target.all_faces or template.kind == "none":
        return [align_photo(image, template, size, target.face, name, detector)]
    faces = [face for face in detector.detect(image) if face.clear]
    if not faces:
        return [align_photo(image, template, size, None, name, detector)]  # says what is wrong
    crops, last = [], None
    for face in faces:
        try:
            crops.append(cut_face(image, face, template, size, name))
        except StylemixError as error:  # a small face in the background
            last = error
    if last is not None and not crops:
        raise last
    return crops


def describe(alignment: Alignment, target: Target, photo_size: tuple[int, int]) -> Json:
    """What is needed to put a crop back into its photo, as plain values without names or paths."""
    return {
        "format": "stylemix-align",
        "version": 1,
        "template": target.template.to_json(),
        "size": target.size,
        "photo_size": list(photo_size),
        "matrix": np.round(alignment.matrix, 9).tolist(),
        "points": np.round(alignment.points, 3).tolist(),
        "score": round(alignment.score, 4),
    }


def save_alignment(
    path: Path, alignment: Alignment, target: Target, photo_size: tuple[int, int]
) -> None:
    """Write the crop to `path`, and its matrix beside it as NAME.align.json."""
    save_image(path, alignment.crop, generated=False)
    stem = path.stem.removesuffix(".aligned")
    write_json(path.with_name(f"{stem}.align.json"), describe(alignment, target, photo_size))


def _choose_target(
    template: str | None, size: int | None, model: str | None, face: int | None, all_faces: bool
) -> Target:
    chosen, pixels = TEMPLATES["faces128"], DEFAULT_SIZE
    if model is not None:
        loaded = load_model(model)
        sizes = loaded.generator.config
        chosen, pixels = loaded.template, min(sizes.height, sizes.width)
    if template is not None:
        chosen = TEMPLATES[template]
    return Target(chosen, size or pixels, face, all_faces)


class _Names:
    """Names for the crops, each given once."""

    def __init__(self, output: str | None, single: bool) -> None:
        path = Path(output or ".")
        self.file = path if path.suffix.lower() in PICTURES and not path.is_dir() else None
        self.folder = path
        if self.file is not None:
            check_image_path(path)
            if not single:
                raise StylemixError(
                    f"got several photos or faces for one file {path}; expected a folder; "
                    "give --output a name without extension"
                )
        self.seen: set[str] = set()

    def paths(self, source: ImageSource, count: int) -> Iterator[Path]:
        """Yield one path for each of the `count` crops of a photo."""
        if self.file is not None:
            yield self.file
            return
        stem, number = source.stem, 2
        while stem.casefold() in self.seen:
            stem, number = f"{source.stem}-{number}", number + 1
        self.seen.add(stem.casefold())
        for index in range(count):
            face = f".face{index + 1}" if count > 1 else ""
            yield self.folder / f"{stem}{face}.aligned.png"


def _align_one(source: ImageSource, target: Target, detector: FaceDetector, names: _Names) -> None:
    """Cut the faces of one photo, write them and say so."""
    image = source.open()
    crops = align_image(image, target, detector, source.name)
    for crop, path in zip(crops, names.paths(source, len(crops)), strict=True):
        save_alignment(path, crop, target, image.size)
        scale = 1 / np.hypot(*crop.matrix[:2, 0])
        click.echo(f"{source.name} -> {path} ({scale * target.size:.0f} px of the photo a side)")


@click.command()
@click.argument("photos", nargs=-1, required=True, metavar="PHOTO...")
@click.option(
    "--output",
    metavar="DIR|FILE",
    help="Folder for NAME.aligned.png and NAME.align.json, or, for a single photo, a file "
    "(.png, .jpg, .webp).  [default: the current folder]",
)
@click.option(
    "--template",
    type=click.Choice(list(TEMPLATES)),
    help="Where the face goes: faces128 (close, as the shipped models want it), ffhq (with hair "
    "and shoulders, as NVIDIA's face models want it), none (the middle square, no face looked "
    "for).  [default: the model's, or faces128]",
)
@click.option(
    "--size",
    type=click.IntRange(16, 4096),
    help=f"Pixels a side of the crop.  [default: the model's, or {DEFAULT_SIZE}]",
)
@click.option("--model", help="Take template and size from this model: a shipped name or a file.")
@click.option(
    "--face",
    type=click.IntRange(1),
    help="Which face, where a photo shows several: 1 is the largest.",
)
@click.option("--all-faces", is_flag=True, help="Cut every face, as NAME.face1.aligned.png, ...")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
def align_command(
    photos: tuple[str, ...],
    output: str | None,
    template: str | None,
    size: int | None,
    model: str | None,
    face: int | None,
    all_faces: bool,
    device: str,
) -> None:
    """Cut the face out of each PHOTO, upright, where a model expects it.

    A PHOTO is an image file, a folder or a zip of them. Beside each crop a small file keeps the
    matrix that leads from the photo to the crop, so that a result can be put back.

    A photo that fails is reported and the others go on; the exit code is then 2.

    \b
    Examples:
      stylemix align me.jpg
      stylemix align party.jpg --face 2 --output me.png
      stylemix align holiday/ --all-faces --output faces --size 512
      stylemix align me.jpg --model ffhq.pkl
    """
    if face is not None and all_faces:
        raise click.UsageError("got --face and --all-faces; expected one of them; leave one out")
    sources = list_images(photos)
    names = _Names(output, single=len(sources) == 1 and not all_faces)
    target = _choose_target(template, size, model, face, all_faces)
    detector = load_detector(str(find_device(device)))
    failed = 0
    for source in sources:
        try:
            _align_one(source, target, detector, names)
        except StylemixError as error:
            if len(sources) == 1:
                raise
            failed += 1
            click.echo(f"Error: {error}", err=True)
    if failed:
        raise StylemixError(
            f"got no crop from {failed} of {len(sources)} photos; the lines above say why; "
            "the others are written"
        )
