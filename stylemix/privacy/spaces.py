"""The feature spaces in which an audit compares images, all of them of shipped networks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stylemix.faces.recognition import load_identity_network, make_chips
from stylemix.faces.templates import Template
from stylemix.metrics.extractors import Extractor
from stylemix.metrics.identity_judge import judged_embedding
from stylemix.metrics.mobilenet import load_feature_network

PIXELS = 112  # of images for MobileNetV2: a sixth of the time of 224


@dataclass(frozen=True)
class Space:
    """A feature space; in one of `faces` near images show the same person."""

    extractor: Extractor
    faces: bool

    @property
    def name(self) -> str:
        """The extractor's name."""
        return self.extractor.name


def feature_spaces(template: Template, device: str | torch.device = "cpu") -> list[Space]:
    """Returns the spaces for images aligned to a template; those of faces only where it has eyes.

    MobileNetV2's pooled features are of the whole image, dlib's descriptor and the embedding of
    the judge are of its face. No training optimises any of them.
    """

    def pooled(images: Tensor) -> Tensor:
        small = F.interpolate(images.to(device), (PIXELS, PIXELS), mode="bilinear", antialias=True)
        return load_feature_network(device).pooled(small)

    def described(images: Tensor) -> Tensor:
        chips = make_chips(images.to(device).float(), template)
        result: Tensor = load_identity_network(device)(chips)
        return result

    def judged(images: Tensor) -> Tensor:
        return judged_embedding(images.to(device), template)

    spaces = [Space(Extractor(f"MobileNetV2-{PIXELS}", pooled, "1"), False)]
    if template.eyes is not None:
        # Increment the version when a network or its crops change.
        version = f"1 {hashlib.sha256(repr(template).encode()).hexdigest()[:16]}"
        spaces.append(Space(Extractor("dlib-face", described, version), True))
        spaces.append(Space(Extractor("judge", judged, version), True))
    return spaces
