"""Face detection with five landmarks: MTCNN (Zhang et al. 2016, arXiv 1604.02878).

A cascade of three small networks. The first proposes boxes over an image pyramid, the second
rejects most of them, the third classifies the rest and locates eyes, nose tip and mouth corners.
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

MAX_SIDE = 1600  # px; larger photos are downsampled to this
MIN_FACE = 20  # px of the downsampled photo
CLEAR_SCORE = 0.9
PYRAMID_FACTOR = 0.709  # about 1 / sqrt(2), as in the paper
RECEPTIVE_FIELD, STRIDE = 12, 2  # px, of one output of the first network
SCORE_THRESHOLDS = (0.6, 0.7, 0.7)  # of the three networks
# Offsets of x0, y0, x1, y1 in fractions of a box; landmarks are averaged over them.
TRANSLATIONS = [[0, 0, 0, 0], [1, 0, 1, 0], [-1, 0, -1, 0], [0, 1, 0, 1], [0, -1, 0, -1]]
SCALINGS = [[-1, -1, 1, 1], [1, 1, -1, -1]]
JITTER = 0.05 * np.array([*TRANSLATIONS, *SCALINGS], dtype=np.float64)
MIRRORED_ORDER = [1, 0, 2, 4, 3]  # of the points in a mirrored image
MAX_BATCH = 256  # boxes; bounds the memory


@dataclass(frozen=True)
class Face:
    """One face: box [4] (x0, y0, x1, y1), score in 0..1 and points [5, 2] in photo pixels.

    The points are left eye, right eye, nose tip, left and right mouth corner, as the viewer sees
    them.
    """

    box: Array
    score: float
    points: Array

    @property
    def area(self) -> float:
        """The area of the box in square pixels."""
        return float(np.prod(np.maximum(self.box[2:] - self.box[:2], 0)))

    @property
    def clear(self) -> bool:
        """Whether the score is at least `CLEAR_SCORE`; frontal faces have 0.96 or more."""
        return self.score >= CLEAR_SCORE

    @property
    def eye_distance(self) -> float:
        """The distance between the eyes in pixels."""
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
        """Maps images [N, 3, H, W] in [-1, 1] to scores, box offsets and, in the last, points."""
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
    """Detects faces; deterministic on one device."""

    def __init__(self) -> None:
        super().__init__()
        weights = load_weights("mtcnn")
        self.propose = Stage(weights, "pnet.", (2, 0, 0))
        self.refine = Stage(weights, "rnet.", (3, 3, 0))
        self.output = Stage(weights, "onet.", (3, 3, 2, 0))

    def detect(self, image: Image.Image) -> list[Face]:
        """Detects the faces of an upright photo, largest first; uncertain faces if none is clear.

        Without a clear face, the photo is searched again with mirrored borders, which tight crops
        need.
        """
        faces = self._detect(image, 0.0)
        if not any(face.clear for face in faces):
            faces = self._detect(image, 0.25) or faces
        return [face for face in faces if face.clear] or faces

    @torch.no_grad()
    def _detect(self, image: Image.Image, pad: float) -> list[Face]:
        scale = min(1.0, MAX_SIDE / max(image.size))
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        color = image if image.mode == "RGB" else image.convert("RGB")  # to RGB is a copy, too
        small = color.resize(size, Image.Resampling.BOX, reducing_gap=3.0)
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
        """Returns boxes [K, 4], scores [K], points [K, 5, 2] of image [1, 3, H, W] in [-1, 1]."""
        boxes, scores = self._proposals(image)
        levels = _half_pyramid(image)
        if len(boxes):
            scores, offsets, _ = _evaluate(self.refine, levels, boxes, 24)
            keep = np.nonzero(scores > SCORE_THRESHOLDS[1])[0]
            keep = keep[suppress(boxes[keep], scores[keep], 0.7)]
            boxes = square(regress(boxes[keep], offsets[keep]))
        if not len(boxes):
            return np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2))
        scores, offsets, _ = _evaluate(self.output, levels, boxes, 48)
        keep = np.nonzero(scores > SCORE_THRESHOLDS[2])[0]
        regressed = regress(boxes[keep], offsets[keep])
        best = suppress(regressed, scores[keep], 0.7, of_smaller=True)
        keep = keep[best]
        return regressed[best], scores[keep], self._averaged_points(levels, boxes[keep])

    def _averaged_points(self, levels: list[Tensor], boxes: Array) -> Array:
        """Returns points [K, 5, 2] for boxes [K, 4], averaged over `JITTER` and mirroring.

        A single prediction has an error of about 2 % of the eye distance; the mean varies less.
        """
        mirrored = [level.flip(3) for level in levels]
        width = levels[0].shape[3]
        total = np.zeros((len(boxes), 5, 2))
        for offset in JITTER:
            moved = regress(boxes, np.tile(offset, (len(boxes), 1)))
            total += _points(_evaluate(self.output, levels, moved, 48)[2], moved)
            moved = np.stack(
                [width - moved[:, 2], moved[:, 1], width - moved[:, 0], moved[:, 3]], 1
            )
            points = _points(_evaluate(self.output, mirrored, moved, 48)[2], moved)
            total += points[:, MIRRORED_ORDER] * (-1, 1) + (width, 0)
        return total / (2 * len(JITTER))

    def _proposals(self, image: Tensor) -> tuple[Array, Array]:
        """Returns square boxes [K, 4] and scores [K] of the first network over the pyramid."""
        height, width = image.shape[2:]
        proposals: list[Array] = [np.zeros((0, 5))]
        scale = RECEPTIVE_FIELD / MIN_FACE
        while min(height, width) * scale >= RECEPTIVE_FIELD:
            size = (math.ceil(height * scale), math.ceil(width * scale))
            level = functional.interpolate(image, size, mode="bilinear", antialias=True)
            score, offsets = self.propose(level)
            rows, columns = torch.nonzero(score[0] > SCORE_THRESHOLDS[0], as_tuple=True)
            values = score[0, rows, columns].double().cpu().numpy()
            shifts = offsets[0, :, rows, columns].T.double().cpu().numpy()
            corner = STRIDE * np.stack([columns.cpu().numpy(), rows.cpu().numpy()], axis=1)
            boxes = np.concatenate([corner, corner + RECEPTIVE_FIELD], axis=1)
            boxes = boxes / np.tile([size[1] / width, size[0] / height], 2)
            keep = suppress(boxes, values, 0.5)
            boxes = regress(boxes[keep], shifts[keep])
            proposals.append(np.concatenate([boxes, values[keep, None]], axis=1))
            scale *= PYRAMID_FACTOR
        merged = np.concatenate(proposals)
        merged = merged[suppress(merged[:, :4], merged[:, 4], 0.7)]
        return square(merged[:, :4]), merged[:, 4]


def _points(outputs: Array, boxes: Array) -> Array:
    """Returns points [K, 5, 2] from outputs [K, 10], x then y in fractions of boxes [K, 4]."""
    sides = boxes[:, 2:] - boxes[:, :2]
    points: Array = outputs.reshape(-1, 2, 5).transpose(0, 2, 1) * sides[:, None]
    return points + boxes[:, None, :2]


def load_detector(device: str | torch.device = "cpu") -> FaceDetector:
    """Returns the detector, loaded once per device."""
    return frozen_network("mtcnn", device, FaceDetector)


def regress(boxes: Array, offsets: Array) -> Array:
    """Moves boxes [K, 4] by offsets [K, 4] in fractions of their width and height."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return boxes + offsets * np.tile(sides, (1, 2))


def square(boxes: Array) -> Array:
    """Returns squares [K, 4] with the centres and the longer sides of boxes [K, 4]."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0.0, keepdims=True) / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def suppress(
    boxes: Array, scores: Array, threshold: float, of_smaller: bool = False
) -> NDArray[np.int64]:
    """Non-maximum suppression: return the indices of the boxes [K, 4] to keep, best score first.

    A box is removed if its intersection over union with a better box exceeds `threshold`; with
    `of_smaller`, the intersection is relative to the smaller of the two boxes.
    """
    order = np.argsort(-scores, kind="stable")
    areas = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    keep = []
    while len(order):
        best, rest = order[0], order[1:]
        keep.append(best)
        low = np.maximum(boxes[best, :2], boxes[rest, :2])
        high = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        if of_smaller:
            whole = np.minimum(areas[best], areas[rest])
        else:
            whole = areas[best] + areas[rest] - shared
        order = rest[shared <= threshold * whole]
    return np.array(keep, dtype=np.int64)


def _half_pyramid(image: Tensor) -> list[Tensor]:
    """Returns an image [1, 3, H, W] and its repeated halvings, down to about 48 px a side."""
    levels = [image]
    while min(levels[-1].shape[2:]) >= 96:
        levels.append(functional.avg_pool2d(levels[-1], 2))
    return levels


def _evaluate(
    stage: Stage, levels: list[Tensor], boxes: Array, size: int
) -> tuple[Array, Array, Array]:
    """Returns scores [K], box offsets [K, 4] and points [K, 10] of boxes resampled to `size` px."""
    sides = boxes[:, 2] - boxes[:, 0]
    depth = np.floor(np.log2(np.maximum(sides / size, 1))).astype(int)
    depth = np.minimum(depth, len(levels) - 1)
    score, offsets = np.zeros(len(boxes)), np.zeros((len(boxes), 4))
    points = np.zeros((len(boxes), 10))
    for index in np.unique(depth):
        for chunk in np.array_split(np.nonzero(depth == index)[0], 1 + len(boxes) // MAX_BATCH):
            if len(chunk):
                crops = _crops(levels[index], boxes[chunk] / 2**index, size)
                values = [value.double().cpu().numpy() for value in stage(crops)]
                score[chunk], offsets[chunk] = values[0], values[1]
                if len(values) > 2:
                    points[chunk] = values[2]
    return score, offsets, points


def _crops(image: Tensor, boxes: Array, size: int) -> Tensor:
    """Resamples the boxes [K, 4] of an image [1, 3, H, W] to [K, 3, size, size]."""
    height, width = image.shape[2:]
    fine = 2 * size  # 2x2 samples per pixel, since boxes are up to twice as large as the crops
    steps = (np.arange(fine) + 0.5) / fine
    sides = (boxes[:, 2:] - boxes[:, :2])[:, None]
    positions = boxes[:, None, :2] + steps[None, :, None] * sides
    positions = 2 * positions / np.array([width, height]) - 1
    axes = torch.from_numpy(positions).float().to(image.device)
    x = axes[:, None, :, 0].expand(-1, fine, -1)
    y = axes[:, :, None, 1].expand(-1, -1, fine)
    source = image.expand(len(boxes), -1, -1, -1)
    grid = torch.stack([x, y], dim=3)
    crops = functional.grid_sample(source, grid, padding_mode="border", align_corners=False)
    return functional.avg_pool2d(crops, 2)
