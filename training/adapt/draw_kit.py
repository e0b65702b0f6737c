"""Pairs to learn a style from: a drawing kit, or photos and their drawings.

A drawing kit has faces of the model with their latents, to be redrawn by an artist or a program.
A kit is a folder: face-001.png and so on, to be replaced by drawings of the same names (or laid
beside them in a folder `drawings`), and kit.safetensors with the latents.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.faces.warp import warp
from stylemix.images.read import load_image
from stylemix.images.sources import has_images, list_images
from stylemix.images.tensors import as_rgb, to_pil, to_tensor
from stylemix.images.write import save_image
from stylemix.inversion.portraits import AlignedPhoto, project_portraits, read_portrait
from stylemix.inversion.settings import LATENTS, PHOTOS_AT_ONCE
from stylemix.io.tensor_files import read_tensors
from stylemix.messages import note
from stylemix.metrics.style_distance import JUDGED_SIDE
from stylemix.models.container import write_safetensors
from stylemix.models.model import Model
from stylemix.networks.batches import batch_size
from stylemix.networks.latents import sample_ws
from stylemix.progress import Progress
from stylemix.training.adapt.pairs import check_pairs
from stylemix.training.adapt.scores import MAX_JUDGED, image_size

FORMAT = "stylemix-draw-kit"
FILE = "kit.safetensors"
SIZE = 512  # px of the faces to draw on
PSI = 0.8  # truncation: faces that differ, without the rarest
MAX_FACES = 1000
SAME_FACE = 0.03  # mean difference, of a range of 2, below which a file is the face as it was
MAX_DEVIATION = 0.02  # of the aspect ratio of a drawing from its photo's


def write_kit(model: Model, folder: Path, count: int, seed: int = 0) -> None:
    """Writes `count` faces of a model with their latents into a folder.

    Raises StylemixError where the folder has a kit already, whose drawings would be lost.
    """
    if (folder / FILE).exists():
        raise StylemixError(
            f"got {folder}, which holds a kit already; expected another folder; choose one"
        )
    if not 1 <= count <= MAX_FACES:
        raise StylemixError(f"got {count} faces for a kit; expected 1 to {MAX_FACES}; change it")
    with torch.no_grad():
        ws = sample_ws(model.generator, count, seed, PSI)
        images = [model.generator.synthesis(one[None], noise_mode="const") for one in ws]
    for number, image in enumerate(images, 1):
        face = to_pil(image)
        face = face.resize((SIZE, round(SIZE * face.height / face.width)))
        # Styles are learned from what is drawn on these pixels: they carry no watermark.
        save_image(folder / f"face-{number:03d}.png", face, metadata_only=True)
    header = {"format": FORMAT, "base": model.fingerprint}
    write_safetensors(folder / FILE, header, {"ws": ws.cpu().contiguous()})


def is_kit(path: object) -> bool:
    """Whether a path is the folder of a kit."""
    return isinstance(path, str | Path) and os.path.isfile(Path(path) / FILE)


def read_kit(model: Model, folder: Path) -> tuple[Tensor, Tensor, Tensor]:
    """The latents [N, L, w_dim] and drawings [N, C, H, W] in [-1, 1] of a kit that was drawn.

    The last value is up to `MAX_JUDGED` of the drawings in 256 px or more.

    Faces that are still as the kit had them are left out. Raises StylemixError for a kit of
    another model, and for one without drawings.
    """
    header, tensors = read_tensors(folder / FILE)
    if header.get("format") != FORMAT or header.get("base") != model.fingerprint:
        raise StylemixError(
            f"{folder}: got a kit of the model {str(header.get('base'))[:40]}; expected one of "
            f"{model.fingerprint}; name its own --model"
        )
    ws, channels = tensors["ws"], model.generator.config.img_channels
    place = folder / "drawings" if has_images(folder / "drawings") else folder
    chosen: list[int] = []
    drawings: list[Tensor] = []
    large: list[Tensor] = []
    for source in list_images(place):
        number = source.stem.removeprefix("face-")
        if source.path.parent != place or not number.isdigit() or not 0 < int(number) <= len(ws):
            continue
        index = int(number) - 1
        image = source.open(mode="RGBA" if channels == 4 else "RGB")
        drawing = to_tensor(image, image_size(model)[::-1], channels)
        if place != folder or not _is_face(model, ws[index], drawing):
            chosen.append(index)
            drawings.append(drawing)
            if len(large) < MAX_JUDGED:
                large.append(to_tensor(image, image_size(model, JUDGED_SIDE)[::-1], channels))
    if not drawings:
        raise StylemixError(
            f"{folder}: got no drawing; expected face-001.png and so on, drawn anew; draw some"
        )
    return ws[chosen], torch.cat(drawings), torch.cat(large)


@torch.no_grad()
def _is_face(model: Model, w: Tensor, drawing: Tensor) -> bool:
    """Whether an image is still the face that the kit had."""
    own = model.generator.synthesis(w[None].to(model.generator.device), noise_mode="const").cpu()
    # On white, since what is transparent has any colour in a file.
    return float((as_rgb(own.clamp(-1, 1)) - as_rgb(drawing)).abs().mean()) < SAME_FACE


def read_pairs(
    model: Model, photos: Path, drawings: Path, progress: Progress | bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """The latents [N, L, w_dim] of photos and their drawings [N, C, H, W] in [-1, 1].

    The last value is up to `MAX_JUDGED` of the drawings in 256 px or more.

    Photos and drawings have the same names, and a drawing shows the whole photo, in any size; the
    face is cropped from both alike. Raises StylemixError where that is not so.
    """
    pairs = pair_images(photos, drawings)
    check_pairs(len(pairs), len(pairs))  # before the minutes that projections take
    aligned = [read_portrait(photo, model) for photo, _ in pairs]
    paths = [drawing for _, drawing in pairs]
    drawn = [_align_drawing(*pair, model) for pair in zip(paths, aligned, strict=True)]
    few = zip(paths[:MAX_JUDGED], aligned[:MAX_JUDGED], strict=True)
    larger = [_align_drawing(*pair, model, JUDGED_SIDE) for pair in few]
    most = batch_size(model.generator, PHOTOS_AT_ONCE, gradients=True)
    batches = [aligned[i : i + most] for i in range(0, len(aligned), most)]
    latents = [
        one.w for part in batches for one in project_portraits(part, model, LATENTS, progress)[1]
    ]
    return torch.stack(latents), torch.cat(drawn), torch.cat(larger)


def pair_images(photos: Path, drawings: Path) -> list[tuple[Path, Path]]:
    """Files of two folders with the same names; StylemixError where there are none."""
    by_name = {source.stem: source.path for source in list_images(drawings)}
    sources = list_images(photos)
    pairs = [(s.path, by_name[s.stem]) for s in sources if s.stem in by_name]
    if pairs and len(pairs) < max(len(sources), len(by_name)):
        note(
            f"Note: {len(pairs)} of {len(sources)} photos and {len(by_name)} drawings have a "
            "partner of the same name; the others are left out"
        )
    if not pairs:
        raise StylemixError(
            f"got no pair in {photos} and {drawings}; expected images of the same names in both; "
            "rename them"
        )
    return pairs


def check_drawing(path: Path, drawing: tuple[int, int], photo: tuple[int, int]) -> None:
    """Raises StylemixError for a drawing of another aspect ratio than its photo's, both in px."""
    scale = drawing[0] / photo[0]
    if abs(drawing[1] / scale - photo[1]) > MAX_DEVIATION * photo[1]:
        raise StylemixError(
            f"{path}: got a drawing of {drawing[0]} x {drawing[1]} px for a photo of "
            f"{photo[0]} x {photo[1]} px; expected the same aspect ratio; export it uncropped"
        )


def _align_drawing(path: Path, photo: AlignedPhoto, model: Model, smallest: int = 0) -> Tensor:
    """A drawing [1, C, H, W] cropped as the photo that it was made of, in `image_size`."""
    drawing = load_image(path)
    check_drawing(path, drawing.size, photo.photo_size)
    if model.template.kind == "none" and not smallest:  # the centre, with its transparency
        return read_portrait(path, model).image[None]
    scale = drawing.width / photo.photo_size[0]
    height, width = image_size(model, smallest)
    larger = width / model.generator.config.width
    matrix = np.diag([larger, larger, 1.0]) @ photo.alignment.matrix
    matrix = matrix @ np.diag([1 / scale, 1 / scale, 1.0])
    crop = warp(drawing, matrix, max(width, height)).crop((0, 0, width, height))
    return to_tensor(crop, channels=model.generator.config.img_channels)
