"""The finisher: enlarges faces of a 64 px model four times, and adds what such images lack.

A network of the students' kind that was trained on photos (docs/recipes/train_finisher.py).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from stylemix.faces.templates import FACES128, Template
from stylemix.io.assets import frozen_network, load_weights
from stylemix.networks.student import SCALE, Student

SMALL, TIMES = 64, 4  # px of the images that it knows, and how much it enlarges them


class Finisher(nn.Module):
    """Maps images [N, 3, 64, 64] in [-1, 1] to [N, 3, 256, 256]."""

    def __init__(self) -> None:
        super().__init__()
        self.student = Student()
        weights = {key: value.float() for key, value in load_weights("finisher").items()}
        self.student.load_state_dict(weights)

    def forward(self, images: Tensor) -> Tensor:
        """Returns enlarged images, clipped to [-1, 1]."""
        half = functional.interpolate(images, scale_factor=TIMES / SCALE, mode="bicubic")
        plain = functional.interpolate(half, scale_factor=float(SCALE), mode="bicubic")
        out: Tensor = plain + self.student.draw(half)
        return out.clamp(-1, 1)


@torch.inference_mode()
def enlarge(images: Tensor, template: Template) -> Tensor:
    """Images [N, C, H, W] of a model, in 256 px if they are faces that the finisher knows.

    These are RGB faces of 64 px on the template faces128; others are returned as they are.
    """
    if images.shape[1:] != (3, SMALL, SMALL) or template.name != FACES128.name:
        return images
    network = frozen_network("finisher", images.device, Finisher)
    out: Tensor = network(images.float().clamp(-1, 1))
    return out
