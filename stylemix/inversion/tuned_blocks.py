"""The finer blocks of a synthesis network, with separate weights for each photo of a batch.

Photos are stacked as channel groups (grouped convolution), so that one pass renders all of them:
in a small network, the overhead of calls exceeds the arithmetic.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from stylemix.networks.generator import FeatureOverride, SynthesisLayer, SynthesisNetwork, ToRGB
from stylemix.networks.latents import Styles
from stylemix.networks.layers import Conv2d

FIRST_TUNED_PX = 16  # coarser blocks control pose and shape, and stay fixed to preserve editing
MIN_TUNED_BLOCKS = 2  # also in a model with fewer blocks from `FIRST_TUNED_PX` on
LAST_TUNED_PX = 256  # 3 x 3 convolutions above it stay: they take half of the time
NOT_TUNED = ("noise_strength", "const")


def tuned_blocks(network: SynthesisNetwork) -> list[str]:
    """Names of the blocks whose weights are tuned, coarsest first."""
    sizes = network.config.resolutions
    first = min(sum(size < FIRST_TUNED_PX for size in sizes), max(len(sizes) - MIN_TUNED_BLOCKS, 0))
    return list(network.blocks())[first:]


class TunedBlocks:
    """Renders ws [N, K, L, w_dim] of N photos with optimised weights in `learned`.

    The coarser blocks, which stay fixed, are computed once.
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
        self.x, self.img = self._stack(x), None if img is None else self._stack(img)
        self.network = copy.deepcopy(network).float().requires_grad_(False)
        self.learned = {key: value for name in names for key, value in self._widen(name).items()}

    def _stack(self, x: Tensor) -> Tensor:
        """[N * K, C, ...] to [K, N * C, ...]: photos as channel groups."""
        rows: Tensor = x.unflatten(0, (self.photos, -1)).transpose(0, 1).flatten(1, 2)
        return rows.contiguous(memory_format=torch.channels_last) if rows.ndim == 4 else rows

    def _unstack(self, x: Tensor) -> Tensor:
        """[K, N * C, ...] to [N, K, C, ...]."""
        photos: Tensor = x.unflatten(1, (self.photos, -1)).transpose(0, 1)
        return photos

    def _widen(self, name: str) -> dict[str, Tensor]:
        """Repeats the weights of a block for all photos; returns the parameters to optimise."""
        block, learned = self.network.get_submodule(name), dict[str, Tensor]()
        large = int(name[1:]) > LAST_TUNED_PX
        for module in block.modules():
            if isinstance(module, SynthesisLayer | ToRGB | Conv2d):
                module.groups = self.photos
        for key, parameter in list(block.named_parameters()):
            if not key.endswith(NOT_TUNED):
                fixed = large and parameter.shape[2:] == (3, 3)
                parent, _, last = key.rpartition(".")
                repeated = parameter.repeat(self.photos, *[1] * (parameter.ndim - 1))
                repeated = nn.Parameter(repeated, requires_grad=not fixed)
                setattr(block.get_submodule(parent), last, repeated)
                if not fixed:
                    learned[f"{name}.{key}"] = repeated
        return learned

    def _styles(self, rows: list[int]) -> Styles:
        """The styles [K, N * C] of the tuned layers, from the affine weights of each photo."""
        return {
            name: {
                kind: self._style(f"{name}.{kind}", self.ws[:, rows, index])
                for kind, index in layers.items()
            }
            for name, layers in self.indices.items()
        }

    def _style(self, layer: str, w: Tensor) -> Tensor:
        weight, bias = (
            self.learned[f"{layer}.affine.{key}"].unflatten(0, (self.photos, -1))
            for key in ("weight", "bias")
        )
        scaled = weight * self.network.get_submodule(f"{layer}.affine").weight_gain
        return self._stack(torch.baddbmm(bias[:, None], w, scaled.mT).flatten(0, 1))

    def _run(
        self, rows: list[int], override: FeatureOverride | None = None, stop: int | None = None
    ) -> tuple[Tensor, Tensor | None]:
        state = self.x[rows], None if self.img is None else self.img[rows]
        styles = self._styles(rows)
        return self.network.run(styles, "const", self.dtype, override, self.first, stop, state)

    def draw(self, rows: list[int], override: FeatureOverride | None = None) -> Tensor:
        """Images [N, K, C, H, W] of the given rows of each photo's ws.

        The override has features [N, C, h, w] and masks [K, N, h, w].
        """
        if override is not None:
            mask = override.mask.repeat_interleave(override.features.shape[1], dim=1)
            override = FeatureOverride(override.features.flatten(0, 1)[None], mask)
        _, images = self._run(rows, override)
        assert images is not None
        return self._unstack(images)

    @torch.no_grad()
    def features(self, size: int) -> Tensor:
        """Features [N, C, h, w] of each photo's first row, after the block of resolution `size`."""
        stop = self.original.config.resolutions.index(size) + 1
        return self._unstack(self._run([0], stop=stop)[0])[:, 0].float()

    def changes(self, photo: int) -> dict[str, Tensor]:
        """The differences between a photo's weights and those of the network."""
        return {
            name: value.detach().unflatten(0, (self.photos, -1))[photo]
            - self.original.get_parameter(name)
            for name, value in self.learned.items()
        }
