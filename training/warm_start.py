"""Starting from a trained model: weights by name, also into wider networks, and Freeze-D."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stylemix.networks.config import DiscriminatorConfig
from stylemix.networks.discriminator import Discriminator
from stylemix.networks.generator import SynthesisLayer, SynthesisNetwork
from stylemix.networks.layers import MinibatchStddev

# Statistics rather than features: what is new in them is not drawn but left as it is.
WHOLE = ("noise_const", "resample_filter", "w_avg", "noise_strength")


@dataclass(frozen=True)
class Transfer:
    """What became of a network's tensors, by name."""

    copied: list[str]
    widened: list[str]
    fresh: list[str]


@torch.no_grad()
def transfer(source: Mapping[str, Tensor], network: nn.Module) -> Transfer:
    """Copies weights by name, as far as they fit, and says what it did.

    A tensor that is larger in `network` keeps its fresh values outside the old block, and where old
    outputs would read new inputs, zeros: a wider network of the same resolution computes what the
    narrower one did, and has room to learn more (function-preserving widening as in Net2Net,
    arXiv 1511.05641, with zeros instead of copies, since demodulation would rescale copies). Only
    the discriminator's minibatch deviation, of all features at the coarsest block, sees new ones.
    Blocks above those of the source begin with nothing to add: in the generator with colours of
    zero, so that the image is the old one, enlarged; in a discriminator with `fromrgb_at` with
    features of zero, so that it judges as before.
    """
    modules = dict(network.named_modules())
    copied, widened, fresh = [], [], []
    colours = {name for name in source if ".torgb." in name}
    grown = bool(colours) and colours <= network.state_dict().keys()
    config = getattr(network, "config", None)
    sizes = config.fromrgb_at if isinstance(config, DiscriminatorConfig) else ()
    joins = {f"b{2 * size}.{layer}.weight" for size in sizes for layer in ("conv1", "skip")}
    for name, value in network.state_dict().items():
        owner, _, leaf = name.rpartition(".")
        old = source.get(name)
        of_torgb = owner.endswith(".torgb")
        if old is not None and of_torgb and value.shape[0] == 4 * old.shape[0]:
            old = _to_subbands(old)
        if old is not None and name.endswith("fromrgb.weight"):
            old = _from_subbands(old) if value.shape[1] == 4 * old.shape[1] else old
        if old is not None and old.shape == value.shape:
            value.copy_(old)
            copied.append(name)
        elif old is None or leaf in WHOLE or not _fits(old, value):
            fresh.append(name)
            if old is None and ((grown and of_torgb) or name in joins):
                value.zero_()  # the added block changes nothing yet
        elif leaf == "weight":
            _widen(old.to(value), value, modules[owner], _appended(modules, owner))
            widened.append(name)
        else:  # biases and the constant have one value per channel
            value[: old.shape[0]] = old
            widened.append(name)
    return Transfer(copied, widened, fresh)


def _from_subbands(old: Tensor) -> Tensor:
    """Weights [O, C, 1, 1] on colours as those on subbands: the mean, twice the colour, alone.

    The run-time gain of four times the inputs is half of theirs.
    """
    new = old.new_zeros([len(old), 4 * old.shape[1], 1, 1])
    new[:, ::4] = old
    return new


def _to_subbands(old: Tensor) -> Tensor:
    """Weights or biases of colours [C, ...] as those of Haar subbands [4 C, ...]: means alone."""
    new = old.new_zeros([4 * old.shape[0], *old.shape[1:]])
    new[::4] = 2 * old
    return new


@torch.no_grad()
def silence(synthesis: SynthesisNetwork, noise: str | None) -> None:
    """Sets to 0 the strengths of noise that a training with `noise` does not have."""
    first = {"random": 0, "fine": synthesis.fine_noise_start}.get(str(noise), math.inf)
    for layer in synthesis.modules():
        if isinstance(layer, SynthesisLayer) and layer.noise_start < first:
            layer.noise_strength.zero_()


def _fits(old: Tensor, new: Tensor) -> bool:
    """Whether `old` is no larger than `new`, and equal behind the two channel dimensions."""
    return (
        old.ndim == new.ndim
        and all(a <= b for a, b in zip(old.shape, new.shape, strict=True))
        and old.shape[2:] == new.shape[2:]
        and (old.ndim != 3 or old.shape[1:] == new.shape[1:])
    )


def _appended(modules: dict[str, nn.Module], owner: str) -> int:
    """Input channels of a layer that come behind the features: minibatch standard deviations."""
    parent, _, leaf = owner.rpartition(".")
    stddev = getattr(modules[parent], "mbstd", None) if leaf == "conv" else None
    return stddev.num_channels if isinstance(stddev, MinibatchStddev) else 0


def _widen(old: Tensor, new: Tensor, layer: nn.Module, appended: int) -> None:
    """Puts weights [O, I, ...] into wider ones, in place."""
    outputs, inputs = old.shape[:2]
    # The run-time gain 1 / sqrt(fan-in) falls with the width; demodulated weights have none.
    gain = 1.0 if isinstance(layer, SynthesisLayer) else math.sqrt(new.shape[1] / inputs)
    new[:outputs] = 0
    last = inputs - appended
    new[:outputs, :last] = old[:, :last] * gain
    if appended:
        new[:outputs, -appended:] = old[:, last:] * gain


def finest_layers(discriminator: Discriminator, count: int) -> frozenset[str]:
    """Names of the parameters of the `count` finest layers, for Freeze-D (arXiv 2002.10964).

    Layers are counted from the image on: in a residual discriminator fromrgb, then conv0, conv1
    and skip of each block.
    """
    names = [name for name, _ in discriminator.named_parameters()]
    order = list(dict.fromkeys(name.rpartition(".")[0] for name in names))
    return frozenset(name for name in names if name.rpartition(".")[0] in order[:count])
