"""What a photo shows and its latent does not say: changes of the generator for one photo.

Weights inside what the generator knows, features outside it (hybrid refinement, arXiv 2301.12141).
Both are kept beside the latent and used whenever the person is drawn.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.networks.generator import FeatureOverride, Generator, SynthesisNetwork

WEIGHT = "weight."


@dataclass
class Residual:
    """Changes for one photo.

    Attributes:
        weights: added to parameters of the synthesis network, {"b8.conv0.weight": [...], ...}.
        features: what `kept` is made of, [C, h, w] behind the last convolution of h px.
        mask: where they replace the generator's own, [1, h, w], 0 to 1.
        noise: a row with the noise of all layers, [noise_size]; None for the stored maps.
    """

    weights: dict[str, Tensor] = field(default_factory=dict)
    features: Tensor | None = None
    mask: Tensor | None = None
    noise: Tensor | None = None

    def kept(self, like: Tensor) -> FeatureOverride | None:
        """What the synthesis network takes, on the device and in the type of a tensor."""
        if self.features is None or self.mask is None:
            return None
        return FeatureOverride(self.features.to(like)[None], self.mask.to(like)[None])

    def noise_mode(self, like: Tensor) -> str | Tensor:
        """What the synthesis network takes for its noise."""
        return "const" if self.noise is None else self.noise.to(like)[None]

    @torch.no_grad()
    def draw(self, network: SynthesisNetwork, ws: Tensor) -> Tensor:
        """Images [N, C, H, W] of ws [N, L, w_dim] with this detail and nothing else."""
        if self.weights:
            network = copy.deepcopy(network)
            for name, parameter in network.named_parameters():
                if name in self.weights:
                    parameter.add_(self.weights[name].to(ws))
        drawn: Tensor = network(ws, noise_mode=self.noise_mode(ws), kept=self.kept(ws))
        return drawn

    def tensors(self) -> dict[str, Tensor]:
        """The parts in half precision, under the names of the file."""
        found = {WEIGHT + name: value for name, value in self.weights.items()}
        if self.features is not None and self.mask is not None:
            found |= {"features": self.features, "mask": self.mask}
        if self.noise is not None:
            found["noise"] = self.noise
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
        size = generator.synthesis.noise_size
        if self.noise is not None and list(self.noise.shape) != [size]:
            raise StylemixError(
                f"{name}: got noise of shape {list(self.noise.shape)}; expected [{size}]; "
                "project the photo again with this model"
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


def read_detail(tensors: Mapping[str, Tensor], name: str) -> Residual:
    """The detail of a file's other tensors; StylemixError for unknown or damaged ones."""
    detail = Residual()
    for key, value in tensors.items():
        known = key.startswith(WEIGHT) or key in ("features", "mask", "noise")
        if not known or not value.is_floating_point() or not bool(torch.isfinite(value).all()):
            raise StylemixError(
                f"{name}: got the unknown or damaged part {key[:60]!a}; expected what stylemix "
                "project writes; project the photo again"
            )
        if key.startswith(WEIGHT):
            detail.weights[key.removeprefix(WEIGHT)] = value.float()
        else:
            setattr(detail, key, value.float())
    return detail


def blend_details(
    network: SynthesisNetwork, first: Residual | None, second: Residual | None, along: float
) -> Residual | None:
    """The detail on the way from one (0) to another (1), where None changes nothing.

    Raises StylemixError for features of two sizes.
    """
    if along in (0, 1) or first is second:
        return second if along == 1 else first
    shares = [(first or Residual(), 1 - along), (second or Residual(), along)]
    total = Residual()
    for detail, share in shares:
        for name, value in detail.weights.items():
            total.weights[name] = total.weights.get(name, 0) + share * value.cpu()
    kept = [
        (detail.features.cpu(), share * detail.mask.cpu())
        for detail, share in shares
        if detail.features is not None and detail.mask is not None
    ]
    if len({features.shape for features, _ in kept}) > 1:
        raise StylemixError(
            f"got features of {' and of '.join(str(list(f.shape)) for f, _ in kept)} for two "
            "people; expected one size; project both photos again"
        )
    if kept:
        # What shows is a mask times its features: that is what has to cross evenly.
        total.mask = torch.stack([mask for _, mask in kept]).sum(dim=0)
        shown = torch.stack([mask * features for features, mask in kept]).sum(dim=0)
        total.features = shown / total.mask.clamp(min=torch.finfo(torch.float32).tiny)
    if any(detail.noise is not None for detail, _ in shares):
        stored = torch.cat([v.flatten() for k, v in network.named_buffers() if "noise_const" in k])
        noise = [stored if detail.noise is None else detail.noise for detail, _ in shares]
        total.noise = torch.lerp(noise[0].cpu(), noise[1].cpu(), along)
    return total
