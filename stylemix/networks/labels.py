"""Labels of conditional networks: classes and vectors, and a network at one label.

At one label a conditional generator is one without labels, so whatever works with a generator
(priors, projections, directions, styles) needs no label of its own.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from numbers import Integral
from typing import TypeVar

import torch
from torch import Tensor, nn

from stylemix.errors import StylemixError, is_number, shown
from stylemix.networks.mapping import MappingNetwork

Label = int | Sequence[float]  # the number of a class, or a value for each
Network = TypeVar("Network", bound=nn.Module)


def label_values(label: Label, c_dim: int) -> tuple[float, ...]:
    """Returns the `c_dim` values of a label: 1 for its class and 0 for the others, or as given.

    Raises StylemixError for a model without labels, a class out of range, a vector of another
    length, and values that are not finite.
    """
    if isinstance(label, Integral):  # of NumPy, too
        label = int(label)
    elif isinstance(label, str | bytes) or not hasattr(label, "__len__") or not _is_row(label):
        raise StylemixError(
            f"got the label {shown(label)}; expected the number of a class, or a value for each; "
            "change it"
        )
    got = f"class {label}" if isinstance(label, int) else f"a label of {_count(len(label))}"
    option = "--class" if isinstance(label, int) else "--label"
    if not c_dim:
        raise StylemixError(f"got {got} for a model without classes; expected none; omit {option}")
    if isinstance(label, int):
        if not 0 <= label < c_dim:
            raise StylemixError(
                f"got {got}; expected 0 to {c_dim - 1} for this model; change {option}"
            )
        return tuple(float(i == label) for i in range(c_dim))
    if len(label) != c_dim:
        raise StylemixError(
            f"got {got}; expected {c_dim} for this model; change {option}, or use --class"
        )
    numbers = label.tolist() if isinstance(label, Tensor) else list(label)
    try:
        values = tuple(float(value) for value in numbers if is_number(value))
    except OverflowError:  # of an integer beyond the floating point numbers
        values = ()
    if len(values) < c_dim or not all(math.isfinite(value) for value in values):
        raise StylemixError(f"got {got}, not all finite; expected numbers; change {option}")
    return values


def _is_row(label: object) -> bool:
    """Whether a container, array or tensor is of one dimension."""
    return getattr(label, "ndim", 1) == 1


def _count(number: int) -> str:
    return "1 value" if number == 1 else f"{number} values"


def label_batch(network: nn.Module, count: int) -> Tensor | None:
    """Returns the labels [N, c_dim] that a network needs: None at a label, zeros for no class."""
    mapping = getattr(network, "mapping", None)
    if mapping is None or not mapping.c_dim or mapping.label is not None:
        return None
    return torch.zeros([count, mapping.c_dim], device=mapping.embed.weight.device)


def class_of(values: Sequence[float]) -> int | None:
    """Returns the class whose value is 1 while the others are 0; None for other labels."""
    chosen = [i for i, value in enumerate(values) if value]
    return chosen[0] if len(chosen) == 1 and values[chosen[0]] == 1 else None


def describe_label(values: Sequence[float]) -> str:
    """Returns "class 3", or "label 0.5,1" for a vector that is not of one class."""
    number = class_of(values)
    text = ",".join(f"{value:g}" for value in values)
    return f"label {text}" if number is None else f"class {number}"


def at_label(network: Network, label: Label | None) -> Network:
    """Returns a generator or discriminator that shares all weights and is at one label.

    A call with labels still uses those. Without a label the network itself is returned.

    Args:
        network: a network with labels.
        label: the number of a class, or the values [c_dim].
    """
    if label is None:
        return network
    values = label_values(label, int(network.c_dim))  # type: ignore[arg-type]
    mapping = network.mapping
    assert isinstance(mapping, MappingNetwork)
    fixed, view = copy.copy(mapping), copy.copy(network)
    fixed.label = torch.tensor(values)
    view._modules = dict(network._modules)  # so that only the view has the other mapping
    view.mapping = fixed
    return view


def label_of(mapping: MappingNetwork) -> tuple[float, ...] | None:
    """Returns the label that a mapping network is at, None without one."""
    return None if mapping.label is None else tuple(mapping.label.tolist())
