"""What students learn from: photos and their drawings, or faces that a generator draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from stylemix.avatars.finisher import enlarge
from stylemix.avatars.render import AppliedStyle, render
from stylemix.errors import StylemixError
from stylemix.faces.alignment import align_photo
from stylemix.faces.templates import FACES128
from stylemix.faces.warp import warp
from stylemix.images.read import load_image
from stylemix.images.tensors import as_rgb
from stylemix.models.checkpoint import load_model
from stylemix.models.loading import DEFAULT_MODEL
from stylemix.models.model import Model
from stylemix.networks.batches import batch_size
from stylemix.networks.latents import sample_ws
from stylemix.networks.student import SCALE
from stylemix.progress import Progress
from stylemix.styles.style import Style
from stylemix.training.adapt.draw_kit import check_drawing, pair_images
from stylemix.training.adapt.student_training import PHOTO

PSI = 0.8  # truncation of generated faces: faces that differ, without the rarest
BATCH = 16


def photo_pairs(
    photos: Path, drawings: Path, progress: Progress | None = None
) -> tuple[Tensor, Tensor]:
    """Faces of photos [N, 3, 256, 256] and of their drawings [N, 3, 512, 512], 0..255.

    Photos and drawings have the same names, and a drawing shows the whole photo, in any size; the
    face is cropped from both alike. Raises StylemixError where that is not so.
    """
    pairs = pair_images(photos, drawings)
    inputs = torch.empty([len(pairs), 3, PHOTO, PHOTO], dtype=torch.uint8)
    targets = torch.empty([len(pairs), 3, SCALE * PHOTO, SCALE * PHOTO], dtype=torch.uint8)
    for number, (photo_path, drawing_path) in enumerate(pairs):
        photo, drawing = load_image(photo_path), load_image(drawing_path)
        check_drawing(drawing_path, drawing.size, photo.size)
        aligned = align_photo(photo, FACES128, PHOTO, None, str(photo_path))
        zoom = np.diag([SCALE, SCALE, 1.0])
        shrink = np.diag([photo.width / drawing.width, photo.height / drawing.height, 1.0])
        drawn = warp(drawing, zoom @ aligned.matrix @ shrink, SCALE * PHOTO)
        inputs[number] = _bytes(np.asarray(aligned.crop))
        targets[number] = _bytes(np.asarray(drawn))
        if progress is not None:
            progress(number + 1, len(pairs))
    return inputs, targets


@torch.no_grad()
def generated_pairs(
    model: Model, style: Style, count: int, seed: int = 0, progress: Progress | None = None
) -> tuple[Tensor, Tensor]:
    """Faces of a model [N, 3, 256, 256] and its drawings of them [N, 3, 512, 512], 0..255.

    Raises StylemixError for a model of another template than faces128, whose faces students know.
    """
    if model.template.name != FACES128.name:
        raise StylemixError(
            f"got a model with the alignment template {model.template.name!r}; expected "
            f"{FACES128.name}; give photos and drawings with --pairs"
        )
    inputs, targets = [], []
    most = batch_size(model.generator, BATCH)
    for ws in sample_ws(model.generator, count, seed, PSI).split(most):
        inputs.append(_pixels(render(model.generator, ws), PHOTO))
        drawn = render(model.generator, ws, [AppliedStyle(style)])
        targets.append(_pixels(drawn, SCALE * PHOTO))
        if progress is not None:
            progress(sum(map(len, inputs)), count)
    return torch.cat(inputs), torch.cat(targets)


@torch.no_grad()
def generated_faces(count: int, seed: int = 0, device: str | torch.device = "cpu") -> Tensor:
    """Faces of the default model [N, 3, 256, 256], by the finisher, 0..255."""
    model = load_model(DEFAULT_MODEL, torch.device(device))
    parts = sample_ws(model.generator, count, seed, PSI).split(batch_size(model.generator, BATCH))
    faces = (enlarge(render(model.generator, ws), model.template) for ws in parts)
    return torch.cat([_pixels(each, PHOTO) for each in faces])


def _bytes(pixels: np.ndarray) -> Tensor:  # type: ignore[type-arg]
    """An image [H, W, 3] as a tensor [3, H, W]."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def _pixels(images: Tensor, size: int) -> Tensor:
    """Images [N, C, H, W] in [-1, 1] as RGB [N, 3, size, size] in 0..255, on the CPU."""
    rgb = as_rgb(images).float()
    return to_bytes(functional.interpolate(rgb, [size, size], mode="bicubic", antialias=True))


def to_bytes(images: Tensor) -> Tensor:
    """Images in [-1, 1] as 0..255, uint8, on the CPU."""
    return (images.clamp(-1, 1) * 127.5 + 128).clamp(0, 255).to("cpu", torch.uint8)
