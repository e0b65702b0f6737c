"""Facial landmarks (68 points), yaw and expression.

Two small networks of one architecture (face-api.js: densely connected blocks of separable
convolutions). The project never optimises for them, so they can evaluate its results.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from stylemix.faces.crops import MEAN_COLOR, crop_box, crop_faces, dequantise
from stylemix.faces.templates import Template
from stylemix.io.assets import frozen_network, load_weights

SIZE = 112  # px of the crops
EXPRESSIONS = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
# Average positions of the eyes in the square box of a face detector.
CROP_EYES = ((0.31, 0.37), (0.69, 0.37))
LEFT_EYE, RIGHT_EYE = slice(36, 42), slice(42, 48)  # as the viewer sees them
NOSE_TIP, CHIN = 30, 8


class FaceReader(nn.Module):
    """Maps RGB crops [N, 3, 112, 112] in 0..255 to outputs [N, K].

    Args:
        name: "face_landmarks" (K = 136) or "face_expression" (K = 7).
    """

    mean: Tensor
    fc_weights: Tensor
    fc_bias: Tensor

    def __init__(self, name: str) -> None:
        super().__init__()
        weights = load_weights(name)
        self.register_buffer("mean", torch.tensor(MEAN_COLOR)[:, None, None])
        names = {key.removesuffix(".raw") for key in weights if not key.endswith(".range")}
        for key in names:
            value = weights[key] if key in weights else dequantise(weights, key)
            self.register_buffer(key.replace(".", "_"), value)

    def _layer(self, x: Tensor, name: str, stride: int) -> Tensor:
        bias = getattr(self, f"{name}_bias")
        x = _same(x, stride)
        if hasattr(self, f"{name}_filters"):
            return functional.conv2d(x, getattr(self, f"{name}_filters"), bias, stride)
        depthwise = getattr(self, f"{name}_depthwise_filter")
        x = functional.conv2d(x, depthwise, None, stride, groups=x.shape[1])
        return functional.conv2d(x, getattr(self, f"{name}_pointwise_filter"), bias)

    def forward(self, crops: Tensor) -> Tensor:
        """Maps crops [N, 3, 112, 112] in 0..255 to outputs [N, K]."""
        x = (crops - self.mean) / 255
        for block in range(4):
            x = total = functional.relu(self._layer(x, f"dense{block}_conv0", 2))
            for layer in range(1, 4):
                total = total + self._layer(x, f"dense{block}_conv{layer}", 1)
                x = functional.relu(total)
        return functional.linear(x.mean(dim=(2, 3)), self.fc_weights, self.fc_bias)


def _same(x: Tensor, stride: int) -> Tensor:
    """Pads for a 3x3 filter as TensorFlow does: the extra pixel is on the right and below."""
    return functional.pad(x, (0, 1, 0, 1) if stride == 2 else (1, 1, 1, 1))


def load_reader(name: str, device: str | torch.device = "cpu") -> FaceReader:
    """Returns a network by name, loaded once per device, in evaluation mode, without gradients."""
    return frozen_network(name, device, lambda: FaceReader(name))


def face_crops(images: Tensor, template: Template, size: int = SIZE) -> Tensor:
    """Crops images [N, 3, H, H] in [-1, 1], aligned to `template`, to [N, 3, size, size] in 0..255.

    The eyes are placed at `CROP_EYES`; the padding repeats the border.
    """
    return crop_faces(images, template, CROP_EYES, size, "border")


def landmarks(images: Tensor, template: Template) -> Tensor:
    """Returns the landmarks [N, 68, 2] of aligned faces [N, 3, H, H] in [-1, 1].

    They are in fractions of the side, in the order of iBUG 300-W: jaw (0 to 16), brows, nose, eyes
    (36 to 47), mouth (48 to 67). Differentiable.
    """
    reader = load_reader("face_landmarks", images.device)
    side, left, top = crop_box(template, CROP_EYES)
    points: Tensor = reader(face_crops(images.float(), template)).view(-1, 68, 2)
    return points * side + points.new_tensor([left, top])


def expressions(images: Tensor, template: Template) -> Tensor:
    """Returns probabilities [N, 7] of `EXPRESSIONS` for aligned faces [N, 3, H, H] in [-1, 1]."""
    reader = load_reader("face_expression", images.device)
    scores: Tensor = reader(face_crops(images.float(), template))
    return scores.softmax(dim=1)


def yaw(points: Tensor) -> Tensor:
    """Returns the yaw [N] of faces with landmarks [N, 68, 2]: 0 is frontal, positive to the right.

    The displacement of the nose tip from the midpoint of the eyes along the eye axis, in eye
    distances, to the viewer's right. About the sine of the angle times the length of the nose.
    """
    left, right = points[:, LEFT_EYE].mean(dim=1), points[:, RIGHT_EYE].mean(dim=1)
    eye_axis = right - left
    nose = points[:, NOSE_TIP] - (left + right) / 2
    return (nose * eye_axis).sum(dim=1) / eye_axis.square().sum(dim=1)
