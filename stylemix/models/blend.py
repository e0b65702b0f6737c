"""Blends of generators: layers swapped between models, and weighted averages of their weights.

Both need models that were trained from a common one (Pinkney and Adler, arXiv 2010.05334).
"""

from __future__ import annotations

import copy
import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from stylemix.devices import find_device
from stylemix.errors import StylemixError, check_choice, check_range, is_number, shown
from stylemix.io.atomic import Json
from stylemix.models.checkpoint import load_model
from stylemix.models.loading import AnyModel
from stylemix.models.model import Model
from stylemix.networks.config import GeneratorConfig
from stylemix.networks.generator import Generator
from stylemix.progress import Progress, report_to
from stylemix.version import __version__

MappingChoice = Literal["first", "average"]

# Sizes of the synthesis network, and those of the mapping network, which may differ where only that
# of the first model is used. A clamp of the features is no size: that of the first model holds.
SYNTHESIS_SIZES = (
    "img_resolution", "base", "img_channels", "w_dim", "architecture", "head", "resample_filter",
)  # fmt: skip
MAPPING_SIZES = ("z_dim", "c_dim", "mapping_layers")
MAX_WEIGHT_DISTANCE = 1.0  # relative; beyond it two generators share no training


@torch.no_grad()
def blend(
    models: Sequence[AnyModel],
    *,
    swap: str | None = None,
    ramp: float = 0.0,
    reverse: bool = False,
    weights: Sequence[float] | None = None,
    mapping: MappingChoice = "first",
    device: str = "auto",
    progress: Progress | bool = False,
) -> Model:
    """Blends generators of the same sizes to a model with the first one's latent space.

    Discriminator, template and (with `mapping` "first") mapping network are those of the first
    model, so that its latents and styles fit. The card records all models with their licences.

    Args:
        models: shipped names, files (ours or other programs') or loaded models; two or more.
        swap: resolution at which one model's layers end and the next one's begin: "32px"; for N
            models N - 1 of them, "16px,64px". The first model has the coarsest layers.
        ramp: number of layers over which a swap changes linearly; 0 for none.
        reverse: the first model has the finest layers.
        weights: average with these weights, which are divided by their sum, in all layers; without
            `swap` and `weights` all models count alike.
        mapping: "first", or "average" for snapshots of one run.
        device: where models given by name or file are loaded: "cpu", "cuda", "cuda:1" or "auto".
        progress: a function of (done, total), or True for a progress bar.

    >>> import stylemix
    >>> stylemix.blend(["faces-64", "faces-64"], swap="32px").fingerprint
    'b0581d392c2c1129'
    """
    if not isinstance(models, Sequence) or isinstance(models, str) or len(models) < 2:
        got = "a single model" if isinstance(models, Sequence | os.PathLike | Model) else models
        raise StylemixError(f"got {got}; expected two or more to blend; name another")
    target = find_device(device)
    first, name = _load(models[0], target)
    config = first.generator.config
    recipe = Recipe.of(config, len(models), swap, ramp, reverse, weights, mapping)
    total, parents = _Sum(recipe, first.generator.device), list[Parent]()
    with report_to(progress, "Blending", "model") as report:
        for number, item in enumerate(models):
            model, other = (first, name) if number == 0 else _load(item, target)
            _check_sizes(config, name, model.generator.config, other, mapping)
            total.add(number, model.generator)
            parents.append(Parent.of(model, other, first.generator))
            if report is not None:
                report(number + 1, len(models))
    generator = copy.deepcopy(first.generator)
    generator.load_state_dict(total.state())
    origins = [parent.origin for parent in parents if parent.origin != "stylemix"]
    return replace(
        first,
        generator=generator,
        card=_card(parents, recipe),
        origin=origins[0] if origins else "stylemix",  # whose licence binds the blend, too
        latents_of=(first.fingerprint, *first.latents_of) if mapping == "first" else (),
    )


class _Sum:
    """The weighted sum of generators, in float64, of which one is in memory at a time."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.recipe, self.device = recipe, device
        self.sums: dict[str, Tensor] = {}
        self.signs: dict[str, Tensor] = {}

    def add(self, number: int, generator: Generator) -> None:
        """Adds the generator of a number with its shares."""
        for key, value in generator.state_dict().items():
            shares = self.recipe.shares(key)
            if not shares[number]:
                continue
            term = shares[number] * value.to(self.device, torch.float64)
            if key.endswith("noise_strength"):  # magnitudes, since the signs have no meaning
                if number == _leader(shares):
                    self.signs[key] = torch.where(term < 0, -1.0, 1.0)
                term = term.abs()
            self.sums[key] = self.sums[key] + term if key in self.sums else term

    def state(self) -> dict[str, Tensor]:
        """The state of the blended generator."""
        return {k: (self.signs.get(k, 1) * value).float() for k, value in self.sums.items()}


def unrelated(model: Model) -> bool:
    """Whether a blend has parents that were not trained from one another, by its card."""
    recipe = model.card["blend"]
    distances = recipe["distances"] if isinstance(recipe, dict) else None
    assert isinstance(distances, list)
    return any(isinstance(d, float) and d > MAX_WEIGHT_DISTANCE for d in distances)


def weight_distance(first: Generator, other: Generator) -> float:
    """The difference of two synthesis networks, relative to the norm of the first one's weights.

    It is about 1.4 for independent networks.
    """
    theirs = other.synthesis.get_parameter
    pairs = [(p, theirs(name).to(p)) for name, p in first.synthesis.named_parameters()]
    change = sum(float((b - a).square().sum()) for a, b in pairs)
    norm = sum(float(a.square().sum()) for a, _ in pairs)
    return math.sqrt(change / norm)


@dataclass(frozen=True)
class Recipe:
    """Which share of each layer comes from which model.

    Attributes:
        count: number of models.
        swaps: resolutions in px at which the layers of the next model begin; none for an average.
        ramp: layers over which a swap changes.
        reverse: the first model has the finest layers.
        weights: shares of an average, with the sum 1; equal ones for a swap.
        mapping: the mapping network, "first" or "average".
    """

    count: int
    swaps: tuple[int, ...]
    ramp: float
    reverse: bool
    weights: tuple[float, ...]
    mapping: MappingChoice

    @classmethod
    def of(
        cls,
        config: GeneratorConfig,
        count: int,
        swap: str | None,
        ramp: float,
        reverse: bool,
        weights: Sequence[float] | None,
        mapping: MappingChoice,
    ) -> Recipe:
        """Checks and returns a recipe; the arguments are those of `blend`."""
        check_choice("mapping", mapping, ("first", "average"))
        if swap is not None and (weights is not None or mapping == "average"):
            raise StylemixError(
                "got a swap together with weights or an average mapping; expected one of them; "
                "make two blends, one of them from the other"
            )
        if swap is None and (ramp or reverse):
            raise StylemixError("got a ramp or reverse without a swap; expected one; add --swap")
        check_range("a ramp in layers of", ramp, 0, 2 * len(config.resolutions))
        check_choice("reverse", reverse, (True, False))
        swaps = () if swap is None else _parse_swap(swap, config, count)
        return cls(count, swaps, ramp, reverse, _normalized(weights, count), mapping)

    def shares(self, name: str) -> tuple[float, ...]:
        """The share of each model in a tensor of the generator's state ("synthesis.b8.const")."""
        network, _, rest = name.partition(".")
        if network == "mapping":
            return self.weights if self.mapping == "average" else _one_of(0, self.count)
        shares = self._synthesis_shares(rest) if self.swaps else self.weights
        if rest.endswith("noise_const"):  # an average of noise would be weaker noise
            return _one_of(_leader(shares), self.count)
        return shares

    def _synthesis_shares(self, name: str) -> tuple[float, ...]:
        """The shares of a swap, by the position of a layer, two to a resolution from 8 px on."""
        block, kind = name.split(".")[:2]
        position = _position(int(block[1:]), kind == "conv0")
        width = max(self.ramp, 1.0)
        later = [1.0]  # share of this model and of all that follow
        for px in self.swaps:
            middle = _position(px, first=True) - 0.5
            later.append(min(max(0.5 + (position - middle) / width, 0.0), 1.0))
        shares = tuple(a - b for a, b in zip(later, [*later[1:], 0.0], strict=True))
        return shares[::-1] if self.reverse else shares

    def to_json(self) -> dict[str, Json]:
        """The recipe for the model card."""
        out: dict[str, Json] = {"mapping": self.mapping}
        if self.swaps:
            return {**out, "swap": list(self.swaps), "ramp": self.ramp, "reverse": self.reverse}
        return {**out, "weights": [round(weight, 6) for weight in self.weights]}


def _position(px: int, first: bool) -> int:
    """The number of the first or second layer of a resolution: 4 px has one, the others two."""
    return 2 * int(math.log2(px // 4)) - int(first)


def _leader(shares: Sequence[float]) -> int:
    """The number of the model with the greatest share, the first of equal ones."""
    return shares.index(max(shares))


def _one_of(number: int, count: int) -> tuple[float, ...]:
    return tuple(float(i == number) for i in range(count))


def _parse_swap(text: str, config: GeneratorConfig, count: int) -> tuple[int, ...]:
    """Returns the resolutions of "32px" or "16px,64px"."""
    valid = config.resolutions[1:]
    text = str(text)  # a number is read, too
    found = [re.fullmatch(r"(\d{1,5})(?:px)?", part.strip()) for part in text.lower().split(",")]
    swaps = tuple(int(match[1]) if match else 0 for match in found)
    if not set(swaps) <= set(valid):
        raise StylemixError(
            f"got the swap {text[:60]!a}; expected "
            f"{', '.join(f'{px}px' for px in valid) or 'a model of 8 px or more'} in a model of "
            f"{config.size_text}; change it"
        )
    if len(swaps) != count - 1 or list(swaps) != sorted(set(swaps)):
        raise StylemixError(
            f"got the swap {text[:60]!a} for {count} models; expected {count - 1} in ascending "
            "order, one between each model and the next; change it"
        )
    return swaps


def _normalized(weights: Sequence[float] | None, count: int) -> tuple[float, ...]:
    given = [1.0] * count if weights is None else weights
    numbers = list(given) if isinstance(given, Iterable) else []
    real = all(map(is_number, numbers))
    valid = real and all(math.isfinite(one) and one >= 0 for one in numbers)
    if len(numbers) != count or not valid or not sum(numbers) > 0:
        got = ", ".join(f"{one:g}" for one in numbers) if numbers and real else shown(given)
        raise StylemixError(
            f"got the weights {got} for {count} models; expected {count} numbers of 0 or more, not "
            "all 0; change them"
        )
    return tuple(one / sum(numbers) for one in numbers)


def _load(item: AnyModel, device: torch.device) -> tuple[Model, str]:
    """A model and its name for messages and cards, which has no folders."""
    if isinstance(item, Model):
        return item, str(item.card.get("name", item.fingerprint))
    return load_model(item, device), Path(item).name


def _check_sizes(
    config: GeneratorConfig,
    name: str,
    other: GeneratorConfig,
    other_name: str,
    mapping: MappingChoice,
) -> None:
    """Raises StylemixError with the first size of a generator that is not that of the first."""
    for size in SYNTHESIS_SIZES + (MAPPING_SIZES if mapping == "average" else ()):
        got, expected = getattr(other, size), getattr(config, size)
        if got != expected:
            break
    else:
        wrong = [px for px in config.resolutions if config.channels(px) != other.channels(px)]
        if not wrong:
            return
        size = f"channels at {wrong[0]} px"
        got, expected = other.channels(wrong[0]), config.channels(wrong[0])
    raise StylemixError(
        f"{other_name}: got a generator with {size} {got}; expected {expected}, as {name} has it; "
        "blend models of the same sizes, trained from one another"
    )


@dataclass(frozen=True)
class Parent:
    """What the card of a blend records of a model; `distance` is that from the first one."""

    name: str
    fingerprint: str
    origin: str
    card: dict[str, Json]
    distance: float

    @classmethod
    def of(cls, model: Model, name: str, first: Generator) -> Parent:
        """The record of a model, with the difference of its weights relative to their norm."""
        distance = round(weight_distance(first, model.generator), 3)
        return cls(name, model.fingerprint, model.origin, model.card, distance)

    def records(self) -> list[Json]:
        """Its entry and those of its own parents, so that no card grows inside another."""
        card, own = dict(self.card), self.card.get("parents")
        card.pop("parents", None)
        entry: Json = {
            "name": self.name, "fingerprint": self.fingerprint, "origin": self.origin, "card": card,
        }  # fmt: skip
        return [entry, *(own if isinstance(own, list) else [])]


def _card(parents: Sequence[Parent], recipe: Recipe) -> dict[str, Json]:
    """The card of a blend: sources, licences, recipe, and the cards of all its ancestors."""
    stated = (str(parent.card.get("licence", "not recorded")) for parent in parents)
    licences = list(dict.fromkeys(stated))
    sources = dict.fromkeys(str(parent.card.get("source", parent.name)) for parent in parents)
    records: list[Json] = []
    for record in (record for parent in parents for record in parent.records()):
        if record not in records:
            records.append(record)
    return {
        "source": f"blend of {' and '.join(sources)}",
        "licence": licences[0] if len(licences) == 1 else " AND ".join(f"({x})" for x in licences),
        "blend": {
            "models": [parent.fingerprint for parent in parents],
            "distances": [parent.distance for parent in parents],
            **recipe.to_json(),
            "tool": f"stylemix {__version__}",
        },
        "parents": records,
    }
