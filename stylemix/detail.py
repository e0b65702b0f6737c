"""What a photo shows and its latent does not say: changes of the generator for one photo.

Weights inside what the generator knows, features outside it (hybrid refinement, arXiv 2301.12141).
Both are kept beside the latent and used whenever the person is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.generator import Generator, Kept

WEIGHT = "weight."


@dataclass
class Detail:
    """Changes for one photo.

    Attributes:
        weights: added to parameters of the synthesis network, {"b8.conv0.weight": [...], ...}.
        features: what `kept` is made of, [C, h, w] behind the last convolution of h px.
        mask: where they replace the generator's own, [1, h, w], 0 to 1.
    """

    weights: dict[str, Tensor] = field(default_factory=dict)
    features: Tensor | None = None
    mask: Tensor | None = None

    def kept(self, like: Tensor) -> Kept | None:
        """What the synthesis network takes, on the device and in the type of a tensor."""
        if self.features is None or self.mask is None:
            return None
        return Kept(self.features.to(like)[None], self.mask.to(like)[None])

    def tensors(self) -> dict[str, Tensor]:
        """The parts in half precision, under the names of the file."""
        found = {WEIGHT + name: value for name, value in self.weights.items()}
        if self.features is not None and self.mask is not None:
            found |= {"features": self.features, "mask": self.mask}
        return {k: v.detach().to("cpu", torch.float16).contiguous() for k, v in found.items()}

    def check(self, generator: Generator, name: str) -> None:
        """Raises StylemixError in one line for parts that are not of this generator."""
        own = dict(generator.synthesis.named_parameters())
        for key, value in self.weights.items():
            if key not in own or own[key].shape != value.shape:
                raise StylemixError(
                    f"{name}: got {key[:60]!a} of shape {list(value.shape)}; expected a parameter "
                    "of the model; project the photo again with this model"
                )
        if self.features is None or self.mask is None:
            return
        places = [
            [block.conv1.weight.shape[0], *block.conv1.noise_const.shape]
            for block in generator.synthesis.blocks().values()
        ]
        shape = list(self.features.shape)
        if shape not in places or list(self.mask.shape) != [1, *shape[1:]]:
            raise StylemixError(
                f"{name}: got features of shape {shape} and a mask of {list(self.mask.shape)}; "
                "expected those of the model; project the photo again with this model"
            )


def read_detail(tensors: Mapping[str, Tensor], name: str) -> Detail:
    """The detail of a file's other tensors; StylemixError for unknown or damaged ones."""
    detail = Detail()
    for key, value in tensors.items():
        known = key.startswith(WEIGHT) or key in ("features", "mask")
        if not known or not value.is_floating_point() or not bool(torch.isfinite(value).all()):
            raise StylemixError(
                f"{name}: got the unknown or damaged part {key[:60]!a}; expected what stylemix "
                "project writes; project the photo again"
            )
        if key.startswith(WEIGHT):
            detail.weights[key.removeprefix(WEIGHT)] = value.float()
        elif key == "features":
            detail.features = value.float()
        else:
            detail.mask = value.float()
    return detail
