"""Face detection with five landmarks: MTCNN (Zhang et al. 2016, arXiv 1604.02878).

Three small networks in a row. The first slides over an image pyramid and proposes boxes, the
second throws most of them away, the third decides and places eyes, nose and mouth corners.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from stylemix.io.assets import Weights, frozen_network, load_weights

Array = NDArray[np.float64]

LARGEST_SIDE = 1600  # larger photos are looked at in this size
SMALLEST_FACE = 20  # pixels of the image that is looked at
CLEAR_SCORE = 0.9
PYRAMID_STEP = 0.709  # about 1 / sqrt(2), as in the paper
CELL, STRIDE = 12, 2  # what one output of the first network sees, and how far the next one is
THRESHOLDS = (0.6, 0.7, 0.7)
# Shifts of x0, y0, x1, y1 in fractions of a box, among which landmarks are averaged.
SHIFTS = [[0, 0, 0, 0], [1, 0, 1, 0], [-1, 0, -1, 0], [0, 1, 0, 1], [0, -1, 0, -1]]
ZOOMS = [[-1, -1, 1, 1], [1, 1, -1, -1]]
JITTER = 0.05 * np.array([*SHIFTS, *ZOOMS], dtype=np.float64)
MIRROR = [1, 0, 2, 4, 3]  # the points' order in a mirrored face
CHUNK = 256  # boxes looked at together; bounds the memory


@dataclass(frozen=True)
class Face:
    """One face: box [4] (x0, y0, x1, y1), score in 0..1 and points [5, 2] in photo pixels.

    The points are the viewer's left eye, right eye, the nose tip, left and right mouth corner.
    """

    box: Array
    score: float
    points: Array

    @property
    def area(self) -> float:
        """Square pixels of the box."""
        return float(np.prod(np.maximum(self.box[2:] - self.box[:2], 0)))

    @property
    def clear(self) -> bool:
        """True where the score leaves little doubt; true frontal faces reach .96 and more."""
        return self.score >= CLEAR_SCORE

    @property
    def eye_distance(self) -> float:
        """Pixels between the eyes."""
        return float(np.hypot(*(self.points[1] - self.points[0])))


class Stage(nn.Module):
    """One of the three networks: convolutions with PReLU and pooling, then its heads."""

    def __init__(self, weights: Weights, prefix: str, pools: tuple[int, ...]) -> None:
        super().__init__()
        self.pools = pools  # kernel of the max pooling after each convolution, 0 for none
        for name, value in weights.items():
            if name.startswith(prefix):
                self.register_buffer(name[len(prefix) :].replace(".", "_"), value.float())

    def _has(self, name: str) -> bool:
        return name in self._buffers

    def _layer(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self.get_buffer(f"{name}_weight"), self.get_buffer(f"{name}_bias")
        if weight.ndim == 4:
            y = functional.conv2d(x, weight, bias)
        else:
            y = functional.linear(x, weight, bias)
        if not self._has(f"{name}_slope"):
            return y
        return functional.prelu(y, self.get_buffer(f"{name}_slope"))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images [N, 3, H, W] in [-1, 1] to score, box offsets and, in the last, points."""
        for index, pool in enumerate(self.pools):
            x = self._layer(x, f"conv{index + 1}")
            if pool:
                x = functional.max_pool2d(x, pool, 2, ceil_mode=True)
        if self._has("dense_weight"):
            x = self._layer(x.flatten(1), "dense")
        heads = [name for name in ("score", "box", "points") if self._has(f"{name}_weight")]
        score, *rest = (self._layer(x, name) for name in heads)
        return (score.softmax(dim=1)[:, 1], *rest)


class FaceDetector(nn.Module):
    """Finds faces in an image; the same image always gives the same numbers on one device."""

    def __init__(self) -> None:
        super().__init__()
        weights = load_weights("mtcnn")
        self.propose = Stage(weights, "pnet.", (2, 0, 0))
        self.refine = Stage(weights, "rnet.", (3, 3, 0))
        self.output = Stage(weights, "onet.", (3, 3, 2, 0))

    def detect(self, image: Image.Image) -> list[Face]:
        """The faces of an upright photo, largest first; doubtful ones only if none is clear.

        Where none is clear, the photo is looked at once more with mirrored borders: tight crops
        need that.
        """
        faces = self._detect(image, 0.0)
        if not any(face.clear for face in faces):
            faces = self._detect(image, 0.25) or faces
        return [face for face in faces if face.clear] or faces

    @torch.no_grad()
    def _detect(self, image: Image.Image, pad: float) -> list[Face]:
        scale = min(1.0, LARGEST_SIDE / max(image.size))
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        small = image.convert("RGB").resize(size, Image.Resampling.BOX, reducing_gap=3.0)
        border = round(pad * max(size))
        pixels = np.asarray(small, dtype=np.float32)
        pixels = np.pad(pixels, ((border, border), (border, border), (0, 0)), mode="symmetric")
        tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None].to(next(self.buffers()).device)
        boxes, scores, points = self._cascade((tensor - 127.5) / 128)
        ratio = np.array([image.width / size[0], image.height / size[1]])
        boxes = (boxes - border) * np.tile(ratio, 2)
        points = (points - border) * ratio
        faces = [
            Face(box, float(score), five)
            for box, score, five in zip(boxes, scores, points, strict=True)
            if (five.mean(axis=0) > 0).all() and (five.mean(axis=0) < image.size).all()
        ]
        return sorted(faces, key=lambda face: -face.area)

    def _cascade(self, image: Tensor) -> tuple[Array, Array, Array]:
        """Boxes [K, 4], scores [K] and points [K, 5, 2] in an image [1, 3, H, W] in [-1, 1]."""
        boxes, scores = self._proposals(image)
        levels = _halvings(image)
        if len(boxes):
            scores, offsets, _ = _look(self.refine, levels, boxes, 24)
            keep = np.nonzero(scores > THRESHOLDS[1])[0]
            keep = keep[suppress(boxes[keep], scores[keep], 0.7)]
            boxes = square(regress(boxes[keep], offsets[keep]))
        if not len(boxes):
            return np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2))
        scores, offsets, _ = _look(self.output, levels, boxes, 48)
        keep = np.nonzero(scores > THRESHOLDS[2])[0]
        found = regress(boxes[keep], offsets[keep])
        best = suppress(found, scores[keep], 0.7, of_smaller=True)
        keep = keep[best]
        return found[best], scores[keep], self._steady_points(levels, boxes[keep])

    def _steady_points(self, levels: list[Tensor], boxes: Array) -> Array:
        """Points [K, 5, 2] for boxes [K, 4], the mean over small shifts, zooms and mirroring.

        One look places a point to about 2 % of the eye distance; the mean of many is steadier.
        """
        mirrored = [level.flip(3) for level in levels]
        width = levels[0].shape[3]
        total = np.zeros((len(boxes), 5, 2))
        for move in JITTER:
            near = regress(boxes, np.tile(move, (len(boxes), 1)))
            total += _points(_look(self.output, levels, near, 48)[2], near)
            near = np.stack([width - near[:, 2], near[:, 1], width - near[:, 0], near[:, 3]], 1)
            swapped = _points(_look(self.output, mirrored, near, 48)[2], near)[:, MIRROR]
            total += swapped * (-1, 1) + (width, 0)
        return total / (2 * len(JITTER))

    def _proposals(self, image: Tensor) -> tuple[Array, Array]:
        """Square boxes [K, 4] and scores [K] from the sliding network over the pyramid."""
        height, width = image.shape[2:]
        found: list[Array] = [np.zeros((0, 5))]
        scale = CELL / SMALLEST_FACE
        while min(height, width) * scale >= CELL:
            size = (math.ceil(height * scale), math.ceil(width * scale))
            level = functional.interpolate(image, size, mode="bilinear", antialias=True)
            score, offsets = self.propose(level)
            rows, columns = torch.nonzero(score[0] > THRESHOLDS[0], as_tuple=True)
            values = score[0, rows, columns].double().cpu().numpy()
            shifts = offsets[0, :, rows, columns].T.double().cpu().numpy()
            corner = STRIDE * np.stack([columns.cpu().numpy(), rows.cpu().numpy()], axis=1)
            boxes = np.concatenate([corner, corner + CELL], axis=1)
            boxes = boxes / np.tile([size[1] / width, size[0] / height], 2)
            keep = suppress(boxes, values, 0.5)
            boxes = regress(boxes[keep], shifts[keep])
            found.append(np.concatenate([boxes, values[keep, None]], axis=1))
            scale *= PYRAMID_STEP
        together = np.concatenate(found)
        together = together[suppress(together[:, :4], together[:, 4], 0.7)]
        return square(together[:, :4]), together[:, 4]


def _points(places: Array, boxes: Array) -> Array:
    """Points [K, 5, 2] from the last network's five x and five y in fractions of boxes [K, 4]."""
    sides = boxes[:, 2:] - boxes[:, :2]
    points: Array = places.reshape(-1, 2, 5).transpose(0, 2, 1) * sides[:, None]
    return points + boxes[:, None, :2]


def load_detector(device: str | torch.device = "cpu") -> FaceDetector:
    """The detector, loaded once for each device."""
    return frozen_network("mtcnn", device, FaceDetector)


def regress(boxes: Array, offsets: Array) -> Array:
    """Boxes [K, 4] moved by offsets [K, 4] in fractions of their width and height."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return boxes + offsets * np.tile(sides, (1, 2))


def square(boxes: Array) -> Array:
    """The squares [K, 4] with the centres and the longer sides of boxes [K, 4]."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0.0, keepdims=True) / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def suppress(
    boxes: Array, scores: Array, threshold: float, of_smaller: bool = False
) -> NDArray[np.int64]:
    """Non-maximum suppression: indices of the boxes [K, 4] to keep, best score first.

    A box goes when it shares more than `threshold` of the union with a better one, or of the
    smaller of the two with `of_smaller`.
    """
    order = np.argsort(-scores, kind="stable")
    areas = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    kept = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[rest, :2])
        high = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        if of_smaller:
            whole = np.minimum(areas[best], areas[rest])
        else:
            whole = areas[best] + areas[rest] - shared
        order = rest[shared <= threshold * whole]
    return np.array(kept, dtype=np.int64)


def _halvings(image: Tensor) -> list[Tensor]:
    """An image [1, 3, H, W] and its repeated halvings, down to about 48 pixels."""
    levels = [image]
    while min(levels[-1].shape[2:]) >= 96:
        levels.append(functional.avg_pool2d(levels[-1], 2))
    return levels


def _look(
    stage: Stage, levels: list[Tensor], boxes: Array, size: int
) -> tuple[Array, Array, Array]:
    """Score [K], box offsets [K, 4] and places [K, 10 or 0] of the boxes, seen at `size` pixels."""
    sides = boxes[:, 2] - boxes[:, 0]
    depth = np.floor(np.log2(np.maximum(sides / size, 1))).astype(int)
    depth = np.minimum(depth, len(levels) - 1)
    score, offsets = np.zeros(len(boxes)), np.zeros((len(boxes), 4))
    places = np.zeros((len(boxes), 10))
    for index in np.unique(depth):
        for chunk in np.array_split(np.nonzero(depth == index)[0], 1 + len(boxes) // CHUNK):
            if len(chunk):
                chips = _chips(levels[index], boxes[chunk] / 2**index, size)
                values = [value.double().cpu().numpy() for value in stage(chips)]
                score[chunk], offsets[chunk] = values[0], values[1]
                if len(values) > 2:
                    places[chunk] = values[2]
    return score, offsets, places


def _chips(image: Tensor, boxes: Array, size: int) -> Tensor:
    """The boxes [K, 4] of an image [1, 3, H, W], resampled to [K, 3, size, size]."""
    height, width = image.shape[2:]
    fine = 2 * size  # two samples a pixel and side, then averaged: boxes are up to twice as large
    steps = (np.arange(fine) + 0.5) / fine
    sides = (boxes[:, 2:] - boxes[:, :2])[:, None]
    places = boxes[:, None, :2] + steps[None, :, None] * sides
    places = 2 * places / np.array([width, height]) - 1
    axes = torch.from_numpy(places).float().to(image.device)
    x = axes[:, None, :, 0].expand(-1, fine, -1)
    y = axes[:, :, None, 1].expand(-1, -1, fine)
    source = image.expand(len(boxes), -1, -1, -1)
    grid = torch.stack([x, y], dim=3)
    chips = functional.grid_sample(source, grid, padding_mode="border", align_corners=False)
    return functional.avg_pool2d(chips, 2)
