"""The residual of a photo: changes of the generator for what its latent does not reproduce.

Weights inside the generator's domain, features outside of it (hybrid refinement, arXiv 2301.12141).
Both are stored with the latent and applied whenever the person is rendered.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from stylemix.errors import StylemixError
from stylemix.networks.generator import FeatureOverride, Generator, SynthesisNetwork

WEIGHT = "weight."
Network = TypeVar("Network", bound=nn.Module)


@dataclass
class Residual:
    """Changes of the generator for one photo.

    Attributes:
        weights: added to parameters of the synthesis network, {"b8.conv0.weight": [...], ...}.
        features: features after the last convolution of h px, [C, h, w].
        mask: the share at which they replace the generator's own, [1, h, w], 0 to 1.
        noise: flattened noise of all layers, [noise_size]; None for the generator's own maps.
    """

    weights: dict[str, Tensor] = field(default_factory=dict)
    features: Tensor | None = None
    mask: Tensor | None = None
    noise: Tensor | None = None

    def override(self, like: Tensor) -> FeatureOverride | None:
        """The features as input of the synthesis network, with the device and dtype of `like`."""
        if self.features is None or self.mask is None:
            return None
        return FeatureOverride(self.features.to(like)[None], self.mask.to(like)[None])

    def noise_mode(self, like: Tensor) -> str | Tensor:
        """The noise as input of the synthesis network, with the device and dtype of `like`."""
        return "const" if self.noise is None else self.noise.to(like)[None]

    @torch.no_grad()
    def draw(self, network: SynthesisNetwork, ws: Tensor) -> Tensor:
        """Images [N, C, H, W] of ws [N, L, w_dim] with this residual and without styles."""
        weights = {k: network.get_parameter(k) + v.to(ws) for k, v in self.weights.items()}
        options = {"noise_mode": self.noise_mode(ws), "override": self.override(ws)}
        images: Tensor = functional_call(sharing(network), weights, (ws,), options)
        return images

    @staticmethod
    def lerp(
        first: Residual | None, second: Residual | None, t: float, network: SynthesisNetwork
    ) -> Residual | None:
        """Interpolates from `first` (t = 0) to `second` (t = 1); None is no change.

        Raises StylemixError for features of different sizes.
        """
        if t in (0, 1) or first is second:
            return second if t == 1 else first
        parts = [(first or Residual(), 1 - t), (second or Residual(), t)]
        shapes = [list(part.features.shape) for part, _ in parts if part.features is not None]
        if any(shape != shapes[0] for shape in shapes):
            raise StylemixError(
                f"got features of {' and of '.join(map(str, shapes))} for two people; expected "
                "the same size; project both photos again"
            )
        total = Residual()
        for part, share in parts:
            for name, value in part.weights.items():
                total.weights[name] = total.weights.get(name, 0) + share * value.cpu()
        total.features, total.mask = blend_features(parts)
        if any(part.noise is not None for part, _ in parts):
            maps = [v.flatten() for k, v in network.named_buffers() if "noise_const" in k]
            noise = [torch.cat(maps) if part.noise is None else part.noise for part, _ in parts]
            total.noise = torch.lerp(noise[0].cpu(), noise[1].cpu(), t)
        return total

    def tensors(self) -> dict[str, Tensor]:
        """The tensors in half precision, by their names in the file."""
        tensors = {WEIGHT + name: value for name, value in self.weights.items()}
        if self.features is not None and self.mask is not None:
            tensors |= {"features": self.features, "mask": self.mask}
        if self.noise is not None:
            tensors["noise"] = self.noise
        return {k: v.detach().to("cpu", torch.float16).contiguous() for k, v in tensors.items()}

    def check(self, generator: Generator, name: str) -> None:
        """Raises StylemixError for tensors that do not fit the generator."""
        parameters = dict(generator.synthesis.named_parameters())
        for key, value in self.weights.items():
            if key not in parameters or parameters[key].shape != value.shape:
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
        known = [
            [block.conv1.weight.shape[0], *block.conv1.noise_const.shape]
            for block in generator.synthesis.blocks().values()
        ]
        shape = list(self.features.shape)
        if shape not in known or list(self.mask.shape) != [1, *shape[1:]]:
            raise StylemixError(
                f"{name}: got features of shape {shape} and a mask of {list(self.mask.shape)}; "
                "expected those of the model; project the photo again with this model"
            )


def sharing(network: Network) -> Network:
    """A network with the same tensors, for a `functional_call`.

    That one puts other tensors into the modules while it runs, and threads share a model.
    """
    view = copy.copy(network)
    view._parameters, view._buffers = dict(network._parameters), dict(network._buffers)
    view._modules = {
        name: None if module is None else sharing(module)
        for name, module in network._modules.items()
    }
    return view


def read_detail(tensors: Mapping[str, Tensor], name: str) -> Residual:
    """Reads a residual from tensors of a file; StylemixError for an unknown or damaged tensor."""
    detail = Residual()
    for key, value in tensors.items():
        known = key.startswith(WEIGHT) or key in ("features", "mask", "noise")
        if not known or not value.is_floating_point() or not bool(torch.isfinite(value).all()):
            raise StylemixError(
                f"{name}: got the unknown or damaged part {key[:60]!a}; expected a file of "
                "stylemix project; project the photo again"
            )
        if key.startswith(WEIGHT):
            detail.weights[key.removeprefix(WEIGHT)] = value.float()
        else:
            setattr(detail, key, value.float())
    return detail


def blend_features(
    parts: Sequence[tuple[Residual, float]],
) -> tuple[Tensor | None, Tensor | None]:
    """Weighted sum of the features and masks of residuals; different sizes keep the last.

    Features are summed times their mask, which is their contribution to the image.
    """
    features = mask = None
    for residual, share in parts:
        if residual.features is None or residual.mask is None:
            continue
        weight = share * residual.mask
        if features is None or mask is None or features.shape != residual.features.shape:
            features, mask = residual.features, weight
        else:
            weighted = mask * features + (weight * residual.features).to(features)
            mask = mask + weight.to(mask)
            features = weighted / mask.clamp(min=torch.finfo(torch.float32).tiny)
    return features, mask
