"""The finer blocks of a synthesis network, with weights of their own for each of several photos.

The photos lie side by side as groups of channels, so that all of them are one pass: what a small
network costs is less its arithmetic than its many calls.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from stylemix.networks.generator import (
    FeatureOverride,
    SynthesisBlock,
    SynthesisLayer,
    SynthesisNetwork,
    ToRGB,
)
from stylemix.networks.layers import Conv2d

FINE = 16  # px from which on weights are tuned: below, pose and shape are decided, to stay editable
LEAST = 2  # blocks that are tuned in a model that has hardly anything finer
NOT_TUNED = ("noise_strength", "const")


def tuned_blocks(network: SynthesisNetwork) -> list[str]:
    """Names of the blocks whose weights are tuned, coarsest first."""
    sizes = network.config.resolutions
    first = min(sum(size < FINE for size in sizes), max(len(sizes) - LEAST, 0))
    return list(network.blocks())[first:]


class TunedBlocks:
    """Draws ws [N, K, L, w_dim] of N photos, whose weights in `learned` are to be optimised.

    The coarser blocks, which stay as they are, are computed once.
    """

    @torch.no_grad()
    def __init__(self, network: SynthesisNetwork, ws: Tensor, dtype: torch.dtype) -> None:
        self.network, self.ws, self.dtype, self.photos = network, ws, dtype, len(ws)
        self.blocks: dict[str, SynthesisBlock] = {}
        self.learned: dict[str, Tensor] = {}
        self.places: dict[str, int] = {}  # of the w that a layer takes
        place, tuned = 0, tuned_blocks(network)
        styles = network.styles(ws.flatten(0, 1))
        x = network.get_parameter("b4.const").expand(ws.shape[:2].numel(), -1, -1, -1)
        x, img = x.contiguous(memory_format=torch.channels_last), None
        for name, block in network.blocks().items():
            for offset, kind in enumerate(block.layers):
                self.places[f"{name}.{kind}"] = place + offset
            place += 1 if block.first else 2
            if name in tuned:
                self.blocks[name] = self._widen(name, block)
            else:
                own = {kind: styles[f"{name}.{kind}"] for kind in block.layers}
                x, img = block(x.to(dtype), img, own, "const")
        self.x, self.img = self._aside(x), None if img is None else self._aside(img)

    def _aside(self, x: Tensor) -> Tensor:
        """[N * K, C, ...] to [K, N * C, ...]: photos side by side."""
        rows: Tensor = x.unflatten(0, (self.photos, -1)).transpose(0, 1).flatten(1, 2)
        return rows.contiguous(memory_format=torch.channels_last) if rows.ndim == 4 else rows

    def _apart(self, x: Tensor) -> Tensor:
        """[K, N * C, ...] to [N, K, C, ...]."""
        photos: Tensor = x.unflatten(1, (self.photos, -1)).transpose(0, 1)
        return photos

    def _widen(self, name: str, block: SynthesisBlock) -> SynthesisBlock:
        """A block with the weights of all photos, which are then among the learned."""
        wide = copy.deepcopy(block).requires_grad_(False)
        for part in wide.modules():
            if isinstance(part, SynthesisLayer | ToRGB | Conv2d):
                part.groups = self.photos
        for key, parameter in list(wide.named_parameters()):
            if not key.endswith(NOT_TUNED):
                module, _, last = key.rpartition(".")
                repeated = parameter.repeat(self.photos, *[1] * (parameter.ndim - 1))
                setattr(wide.get_submodule(module), last, nn.Parameter(repeated))
                self.learned[f"{name}.{key}"] = wide.get_parameter(key)
        return wide

    def _style(self, name: str, rows: list[int]) -> Tensor:
        """The style [K, N * C] of a layer, by the affine weights of each photo."""
        affine = self.network.get_submodule(f"{name}.affine")
        weight, bias = (
            self.learned[f"{name}.affine.{key}"].unflatten(0, (self.photos, -1))
            for key in ("weight", "bias")
        )
        gained = weight * affine.weight_gain
        ws = self.ws[:, rows, self.places[name]]
        return self._aside(torch.baddbmm(bias[:, None], ws, gained.mT).flatten(0, 1))

    def draw(self, rows: list[int], kept: FeatureOverride | None = None) -> Tensor:
        """Images [N, K, C, H, W] of some rows of each photo's ws.

        Of `kept` features are [N, C, h, w] and masks [K, N, h, w].
        """
        if kept is not None:
            width = kept.features.shape[1]
            mask = kept.mask.repeat_interleave(width, dim=1)
            kept = FeatureOverride(kept.features.flatten(0, 1)[None], mask)
        x, img = self.x[rows], None if self.img is None else self.img[rows]
        for name, block in self.blocks.items():
            styles = {kind: self._style(f"{name}.{kind}", rows) for kind in block.layers}
            x, img = block(x.to(self.dtype), img, styles, "const", kept)
        assert img is not None
        return self._apart(img)

    @torch.no_grad()
    def features(self, size: int) -> Tensor:
        """Features [N, C, h, w] of each photo's first row, behind the block of a nominal size."""
        found: list[Tensor] = []
        block = self.blocks[f"b{size}"]
        handle = block.register_forward_hook(lambda _module, _inputs, out: found.append(out[0]))
        try:
            self.draw([0])
        finally:
            handle.remove()
        return self._apart(found[0])[:, 0].float()

    def changes(self, photo: int) -> dict[str, Tensor]:
        """How far the weights of a photo have moved."""
        original = dict(self.network.named_parameters())
        return {
            name: value.detach().unflatten(0, (self.photos, -1))[photo] - original[name]
            for name, value in self.learned.items()
        }
