"""`stylemix align`: crop faces from photos, aligned to the template of a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from PIL import Image

from stylemix.devices import find_device
from stylemix.errors import StylemixError
from stylemix.faces.alignment import Alignment, Box, align_photo, crop_subject, cut_face
from stylemix.faces.detector import FaceDetector, load_detector
from stylemix.faces.templates import FACES128, Template, find_template
from stylemix.images.contact_sheet import fit_size
from stylemix.images.sources import ImageSource, list_images
from stylemix.images.write import check_folder, check_image_path, save_image
from stylemix.io.atomic import Json, write_json
from stylemix.messages import problem, result, wrote
from stylemix.models.checkpoint import load_model
from stylemix.tools.options import TEMPLATE_NAMES, device_option, subject_options
from stylemix.tools.outputs import output_file, output_in

DEFAULT_SIZE = 256
# An output with one of these suffixes is a file; formats that cannot be written are refused.
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic")


@dataclass(frozen=True)
class Target:
    """The target of crops: template, longer side in px, which face (None: the only one) or box.

    `shape` is the width and height of what is not square, as of an oblong model.
    """

    template: Template
    size: int
    face: int | None = None
    all_faces: bool = False
    box: Box | None = None
    shape: tuple[int, int] | None = None


def align_image(
    image: Image.Image, target: Target, detector: FaceDetector, name: str = "photo"
) -> list[Alignment]:
    """The crop of a photo; with `all_faces`, the crops of all clear faces, largest first."""
    template, size = target.template, target.size
    if target.shape is not None:
        return [crop_subject(image, *target.shape, target.box, name)]
    if not target.all_faces or template.kind == "none":
        return [align_photo(image, template, size, target.face, name, detector, target.box)]
    faces = [face for face in detector.detect(image) if face.clear]
    if not faces:
        return [align_photo(image, template, size, None, name, detector)]  # raises the error
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
    """The data to paste a crop back into its photo, as JSON values without names or paths."""
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
    """Writes the crop to `path`, and its matrix beside it as NAME.align.json."""
    save_image(path, alignment.crop, generated=False)
    write_json(_json_beside(path)[0], describe(alignment, target, photo_size))


def _choose_target(
    template: str | None, size: int | None, model: str | None, face: int | None, all_faces: bool,
    box: Box | None,
) -> Target:  # fmt: skip
    chosen, pixels, sizes = FACES128, DEFAULT_SIZE, None
    if model is not None:
        loaded = load_model(model)
        sizes = loaded.generator.config
        chosen, pixels = loaded.template, min(sizes.height, sizes.width)
    if template is not None:
        chosen = find_template(template)
    if sizes is None or sizes.height == sizes.width or chosen.kind != "none":
        return Target(chosen, size or pixels, face, all_faces, box)
    longer = size or sizes.longer_side
    shape = fit_size((sizes.width, sizes.height), longer)
    return Target(chosen, longer, face, all_faces, box, shape)


class _Names:
    """Unique file names for the crops."""

    def __init__(self, output: str | None, single: bool, inputs: Sequence[str]) -> None:
        path = Path(output or ".")
        self.file = path if path.suffix.lower() in SUFFIXES and not path.is_dir() else None
        self.folder, self.inputs = path, inputs
        if self.file is not None:
            check_image_path(path)
            if not single:
                raise StylemixError(
                    f"got several photos or faces for a single file {path}; expected a folder; "
                    "pass --output a name without extension"
                )
            self.file = output_file(path, inputs, _json_beside)
        else:
            check_folder(path)
        self.seen: set[str] = set()

    def paths(self, source: ImageSource, crops: Sequence[Image.Image]) -> Iterator[Path]:
        """Yields one path for each of the crops of a photo."""
        if self.file is not None:
            yield self.file
            return
        stem, number = source.stem, 2
        while stem.casefold() in self.seen:
            stem, number = f"{source.stem}-{number}", number + 1
        self.seen.add(stem.casefold())
        for index, crop in enumerate(crops):
            face = f".face{index + 1}" if len(crops) > 1 else ""
            asked = self.folder / f"{stem}{face}.aligned.png"
            yield output_in(asked, crop, self.inputs, _json_beside)


def _json_beside(path: Path) -> list[Path]:
    """The file with the transform of the crop `path`."""
    return [path.with_name(f"{path.stem.removesuffix('.aligned')}.align.json")]


def _align_one(source: ImageSource, target: Target, detector: FaceDetector, names: _Names) -> None:
    """Crops the faces of a photo, writes the crops and prints their paths."""
    image = source.open()
    crops = align_image(image, target, detector, source.name)
    for crop, path in zip(crops, names.paths(source, [crop.crop for crop in crops]), strict=True):
        save_alignment(path, crop, target, image.size)
        side = target.size / float(np.hypot(*crop.matrix[:2, 0]))
        which = "per side" if target.shape is None else "on the longer side"
        about = f"of {source.name}, {side:.0f} px {which} in the photo"
        wrote(path, about, photo=str(source), side=side, score=crop.score)


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
    help=f"Alignment: {TEMPLATE_NAMES}.  [default: the model's, or faces128]",
)
@click.option(
    "--size",
    type=click.IntRange(16, 4096),
    help=f"Side of the crop in px.  [default: the model's, or {DEFAULT_SIZE}]",
)
@click.option("--model", help="Use the template and size of this model: a shipped name or a file.")
@subject_options
@click.option("--all-faces", is_flag=True, help="Crop every face, to NAME.face1.aligned.png, ...")
@device_option
def align_command(
    photos: tuple[str, ...],
    output: str | None,
    template: str | None,
    size: int | None,
    model: str | None,
    face: int | None,
    box: Box | None,
    all_faces: bool,
    device: str,
) -> None:
    """Crop the face of each PHOTO, aligned to the template of a model.

    A PHOTO is an image file, or a folder or zip of images. A small file beside each crop stores the
    transform from the photo to the crop, so that a result can be pasted back.

    Photos that fail are reported and the others are processed; the exit code is then 2.

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
    names = _Names(output, len(sources) == 1 and not all_faces, photos)
    target = _choose_target(template, size, model, face, all_faces, box)
    detector = load_detector(str(find_device(device)))
    failed = 0
    for source in sources:
        try:
            _align_one(source, target, detector, names)
        except StylemixError as error:
            if len(sources) == 1:
                raise
            failed += 1
            problem(f"Error: {error}")
    result(photos=len(sources), failed=failed, size=target.size, template=target.template.name)
    if failed:
        raise StylemixError(
            f"got no crop from {failed} of {len(sources)} photos; see the errors above; "
            "the others are written"
        )
