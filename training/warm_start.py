"""Initialization from a trained model: weights by name, also into wider networks, and Freeze-D."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stylemix.networks.config import DiscriminatorConfig
from stylemix.networks.discriminator import Discriminator
from stylemix.networks.generator import SynthesisLayer, SynthesisNetwork
from stylemix.networks.layers import FullyConnected, MinibatchStddev

# Tensors without channels to widen: with another shape they keep their new values.
NOT_WIDENED = ("noise_const", "resample_filter", "w_avg", "noise_strength")


@dataclass(frozen=True)
class Transfer:
    """The names of a network's tensors that were copied, widened, or left fresh."""

    copied: list[str]
    widened: list[str]
    fresh: list[str]

    def __str__(self) -> str:
        counts = f"{len(self.copied)} copied, {len(self.widened)} widened"
        return f"{counts}, {len(self.fresh)} fresh"


@torch.no_grad()
def transfer(source: Mapping[str, Tensor], network: nn.Module) -> Transfer:
    """Copies weights by name, as far as they fit, and returns which.

    A tensor that is larger in `network` has the old values in its first channels, zeros from new
    inputs to old outputs, and fresh values elsewhere: a wider network of the same resolution
    computes the same function (Net2Net, arXiv 1511.05641, with zeros instead of copies, since
    demodulation would rescale copies). Only the discriminator's minibatch deviation, of all
    features at the coarsest block, changes. Blocks above those of the source contribute zero at
    first: in the generator toRGB is zero, so that the image is the upsampled old one; in a
    discriminator with `fromrgb_at` the features are zero, so that its scores are unchanged.
    """
    modules = dict(network.named_modules())
    copied, widened, fresh = [], [], []
    torgb = {name for name in source if ".torgb." in name}
    grown = bool(torgb) and torgb <= network.state_dict().keys()
    config = getattr(network, "config", None)
    haar = getattr(config, "head", "rgb") == "haar"  # RGBA has four times the channels of grey, too
    sizes = config.fromrgb_at if isinstance(config, DiscriminatorConfig) else ()
    joins = {f"b{2 * size}.{layer}.weight" for size in sizes for layer in ("conv1", "skip")}
    for name, value in network.state_dict().items():
        owner, _, leaf = name.rpartition(".")
        old = source.get(name)
        of_torgb = owner.endswith(".torgb")
        if old is not None and haar and of_torgb and value.shape[0] == 4 * old.shape[0]:
            old = _to_subbands(old)
        if old is not None and haar and name.endswith("fromrgb.weight"):
            old = _from_subbands(old) if value.shape[1] == 4 * old.shape[1] else old
        if old is not None and old.shape == value.shape:
            value.copy_(old)
            copied.append(name)
        elif old is None or leaf in NOT_WIDENED or not _fits(old, value):
            fresh.append(name)
            if old is None and ((grown and of_torgb) or name in joins):
                value.zero_()  # the added block contributes nothing at first
        elif leaf == "weight":
            _widen(old.to(value), value, modules[owner], _appended(modules, owner))
            widened.append(name)
        else:  # biases and the constant input have one value per channel
            value[: old.shape[0]] = old
            widened.append(name)
    if "mapping.embed.weight" in widened:
        _keep_labels(source, modules)
    return Transfer(copied, widened, fresh)


def _keep_labels(source: Mapping[str, Tensor], modules: Mapping[str, nn.Module]) -> None:
    """Keeps the effect of labels where their embedding is wider: both its scales are means.

    The embedding is normalised, and the projection of a conditional discriminator divided by the
    root of its width. What is new contributes nothing to either at first.
    """
    embed, first = modules["mapping.embed"], modules["mapping.fc0"]
    assert isinstance(embed, FullyConnected)
    assert isinstance(first, FullyConnected)
    old, new = len(source["mapping.embed.weight"]), len(embed.weight)
    embed.weight[old:] = 0
    start = first.weight.shape[1] - new  # after z
    first.weight[: len(source["mapping.fc0.weight"]), start : start + old] *= math.sqrt(old / new)
    scores = modules.get("b4.out")
    if isinstance(scores, FullyConnected):
        for value in (scores.weight, scores.bias):
            value[old:] = 0
            value.mul_(math.sqrt(new / old))


def _from_subbands(old: Tensor) -> Tensor:
    """Converts fromRGB weights [O, C, 1, 1] to Haar subbands, using the LL band only.

    LL is twice the colour, and the run-time gain of four times the inputs is half as large.
    """
    new = old.new_zeros([len(old), 4 * old.shape[1], 1, 1])
    new[:, ::4] = old
    return new


def _to_subbands(old: Tensor) -> Tensor:
    """Converts toRGB weights or biases [C, ...] to Haar subbands [4 C, ...], LL band only."""
    new = old.new_zeros([4 * old.shape[0], *old.shape[1:]])
    new[::4] = 2 * old
    return new


@torch.no_grad()
def silence(synthesis: SynthesisNetwork, noise: str | None) -> None:
    """Sets the noise strengths of layers without noise in the mode `noise` to 0."""
    first = {"random": 0, "fine": synthesis.fine_noise_start}.get(str(noise), math.inf)
    for layer in synthesis.modules():
        if isinstance(layer, SynthesisLayer) and layer.noise_start < first:
            layer.noise_strength.zero_()


def _fits(old: Tensor, new: Tensor) -> bool:
    """Returns whether `old` is no larger than `new`, and equal after the channel dimensions."""
    return (
        old.ndim == new.ndim
        and all(a <= b for a, b in zip(old.shape, new.shape, strict=True))
        and old.shape[2:] == new.shape[2:]
        and (old.ndim != 3 or old.shape[1:] == new.shape[1:])
    )


def _appended(modules: dict[str, nn.Module], owner: str) -> int:
    """Returns the number of a layer's inputs after the features: minibatch standard deviations."""
    parent, _, leaf = owner.rpartition(".")
    stddev = getattr(modules[parent], "mbstd", None) if leaf == "conv" else None
    return stddev.num_channels if isinstance(stddev, MinibatchStddev) else 0


def _widen(old: Tensor, new: Tensor, layer: nn.Module, appended: int) -> None:
    """Copies weights [O, I, ...] into wider weights, in place."""
    outputs, inputs = old.shape[:2]
    # The run-time gain 1 / sqrt(fan-in) depends on the width; demodulated weights have none.
    gain = 1.0 if isinstance(layer, SynthesisLayer) else math.sqrt(new.shape[1] / inputs)
    new[:outputs] = 0
    last = inputs - appended
    new[:outputs, :last] = old[:, :last] * gain
    if appended:
        new[:outputs, -appended:] = old[:, last:] * gain


def finest_layers(discriminator: Discriminator, count: int) -> frozenset[str]:
    """Returns the parameter names of the `count` finest layers, for Freeze-D (arXiv 2002.10964).

    Layers are counted from the input: in a residual discriminator fromrgb, then conv0, conv1
    and skip of each block.
    """
    names = [name for name, _ in discriminator.named_parameters()]
    order = list(dict.fromkeys(name.rpartition(".")[0] for name in names))
    return frozenset(name for name in names if name.rpartition(".")[0] in order[:count])
