"""The finer blocks of a synthesis network, with weights of their own for each of several photos.

The photos lie side by side as groups of channels (grouped convolution), so that all of them are one
pass: a small network costs less for its arithmetic than for its many calls.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from stylemix.networks.generator import FeatureOverride, SynthesisLayer, SynthesisNetwork, ToRGB
from stylemix.networks.latents import Styles
from stylemix.networks.layers import Conv2d

FIRST_TUNED_PX = 16  # coarser blocks decide pose and shape, and stay as they are to be editable
MIN_TUNED_BLOCKS = 2  # in a model that has fewer blocks from there on
NOT_TUNED = ("noise_strength", "const")


def tuned_blocks(network: SynthesisNetwork) -> list[str]:
    """Names of the blocks whose weights are tuned, coarsest first."""
    sizes = network.config.resolutions
    first = min(sum(size < FIRST_TUNED_PX for size in sizes), max(len(sizes) - MIN_TUNED_BLOCKS, 0))
    return list(network.blocks())[first:]


class TunedBlocks:
    """Renders ws [N, K, L, w_dim] of N photos, whose weights in `learned` are to be optimised.

    The coarser blocks, which stay as they are, are computed once.
    """

    @torch.no_grad()
    def __init__(self, network: SynthesisNetwork, ws: Tensor, dtype: torch.dtype) -> None:
        self.original, self.ws, self.dtype, self.photos = network, ws, dtype, len(ws)
        names = tuned_blocks(network)
        indices = network.w_indices()
        self.indices = {name: indices[name] for name in names}
        self.first = len(indices) - len(names)  # number of the first tuned block
        styles = network.styles(ws.flatten(0, 1))
        x, img = network.run(styles, "const", dtype, stop=self.first)
        self.x, self.img = self._aside(x), None if img is None else self._aside(img)
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.learned = {key: value for name in names for key, value in self._widen(name).items()}

    def _aside(self, x: Tensor) -> Tensor:
        """[N * K, C, ...] to [K, N * C, ...]: photos side by side."""
        rows: Tensor = x.unflatten(0, (self.photos, -1)).transpose(0, 1).flatten(1, 2)
        return rows.contiguous(memory_format=torch.channels_last) if rows.ndim == 4 else rows

    def _apart(self, x: Tensor) -> Tensor:
        """[K, N * C, ...] to [N, K, C, ...]."""
        photos: Tensor = x.unflatten(1, (self.photos, -1)).transpose(0, 1)
        return photos

    def _widen(self, name: str) -> dict[str, Tensor]:
        """Gives a block the weights of all photos; returns those to be learned."""
        block, learned = self.network.get_submodule(name), dict[str, Tensor]()
        for part in block.modules():
            if isinstance(part, SynthesisLayer | ToRGB | Conv2d):
                part.groups = self.photos
        for key, parameter in list(block.named_parameters()):
            if not key.endswith(NOT_TUNED):
                module, _, last = key.rpartition(".")
                repeated = nn.Parameter(parameter.repeat(self.photos, *[1] * (parameter.ndim - 1)))
                setattr(block.get_submodule(module), last, repeated)
                learned[f"{name}.{key}"] = repeated
        return learned

    def _styles(self, rows: list[int]) -> Styles:
        """The styles [K, N * C] of the tuned layers, by the affine weights of each photo."""
        return {
            name: {
                kind: self._style(f"{name}.{kind}", self.ws[:, rows, index])
                for kind, index in own.items()
            }
            for name, own in self.indices.items()
        }

    def _style(self, layer: str, w: Tensor) -> Tensor:
        weight, bias = (
            self.learned[f"{layer}.affine.{key}"].unflatten(0, (self.photos, -1))
            for key in ("weight", "bias")
        )
        gained = weight * self.network.get_submodule(f"{layer}.affine").weight_gain
        return self._aside(torch.baddbmm(bias[:, None], w, gained.mT).flatten(0, 1))

    def _run(
        self, rows: list[int], override: FeatureOverride | None = None, stop: int | None = None
    ) -> tuple[Tensor, Tensor | None]:
        state = self.x[rows], None if self.img is None else self.img[rows]
        styles = self._styles(rows)
        return self.network.run(styles, "const", self.dtype, override, self.first, stop, state)

    def draw(self, rows: list[int], override: FeatureOverride | None = None) -> Tensor:
        """Images [N, K, C, H, W] of some rows of each photo's ws.

        Features of the override are [N, C, h, w], its masks [K, N, h, w].
        """
        if override is not None:
            mask = override.mask.repeat_interleave(override.features.shape[1], dim=1)
            override = FeatureOverride(override.features.flatten(0, 1)[None], mask)
        _, images = self._run(rows, override)
        assert images is not None
        return self._apart(images)

    @torch.no_grad()
    def features(self, size: int) -> Tensor:
        """Features [N, C, h, w] of each photo's first row, after the block of a nominal size."""
        stop = self.original.config.resolutions.index(size) + 1
        return self._apart(self._run([0], stop=stop)[0])[:, 0].float()

    def changes(self, photo: int) -> dict[str, Tensor]:
        """The differences of a photo's weights from those of the network."""
        return {
            name: value.detach().unflatten(0, (self.photos, -1))[photo]
            - self.original.get_parameter(name)
            for name, value in self.learned.items()
        }
