"""The search space of a sweep: `lr=0.0005..0.005:log`, `augment_pipe=bg,bgc`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from stylemix.errors import StylemixError, did_you_mean
from stylemix.training.config import TrainConfig
from stylemix.training.settings import FILES, SETTINGS

# Settings that make trials incomparable, or that do not affect training.
FIXED = {
    "resolution", "channels", "kimg", "batch_gpu", "seed", "conditional",
    *(name for name, setting in SETTINGS.items() if setting.section == FILES),
}  # fmt: skip
FORMS = "LOW..HIGH, LOW..HIGH:log or VALUE,VALUE"
SWITCH = {"on": True, "off": False}
DIGITS = 3  # significant digits of proposed numbers


@dataclass(frozen=True)
class Vary:
    """One setting: a range of numbers, or `choices`."""

    name: str
    low: float = 0
    high: float = 0
    log: bool = False
    choices: tuple[Any, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether the range is of integers."""
        return not self.choices and SETTINGS[self.name].kind is int

    def __contains__(self, value: Any) -> bool:
        """Returns whether the space contains this value."""
        if self.choices:
            return value in self.choices
        return isinstance(value, (int, float)) and self.low <= value <= self.high

    def tidy(self, value: Any) -> Any:
        """Rounds a proposed value to `DIGITS`, within the range."""
        if self.choices or self.whole:
            return value
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)

    def __str__(self) -> str:
        if self.choices:
            return f"{self.name}={','.join(map(shown, self.choices))}"
        return f"{self.name}={self.low:g}..{self.high:g}{':log' if self.log else ''}"


def shown(value: Any) -> str:
    """Formats a value as on the command line."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def parse_space(texts: Sequence[str], base: TrainConfig) -> tuple[Vary, ...]:
    """Parses all --vary options; each value must be valid in `base`.

    Args:
        texts: NAME=LOW..HIGH, NAME=LOW..HIGH:log or NAME=VALUE,VALUE.
        base: all other settings.
    """
    space = tuple(_parse(text, base) for text in texts)
    names = [vary.name for vary in space]
    for name in names:
        if names.count(name) > 1:
            raise StylemixError(
                f"got --vary {name} twice; expected it once; name all values in one"
            )
    return space


def _parse(text: str, base: TrainConfig) -> Vary:
    written, equals, values = text.partition("=")
    name = written.strip().lstrip("-").replace("-", "_")
    if name not in SETTINGS:
        near = did_you_mean(name, [n for n in SETTINGS if n not in FIXED])
        hint = near or "; see 'stylemix train --help'"
        raise StylemixError(f"got --vary {text}; expected the name of a training option{hint}")
    if name in FIXED:
        raise StylemixError(
            f"got --vary {name}; expected an option that affects training and keeps metrics "
            "comparable, such as lr, r1_gamma or augment_pipe"
        )
    if not equals or not values:
        raise StylemixError(f"got --vary {text}; expected {name}={FORMS}")
    numbers = _kind(name) in (int, float)
    vary = _range(name, values) if ".." in values and numbers else _choices(name, values)
    for value in vary.choices or (vary.low, vary.high):
        replace(base, **{name: value})  # raises for values that are invalid for the option
    return vary


def _range(name: str, text: str) -> Vary:
    ends, _, scale = text.partition(":")
    first, _, last = ends.partition("..")
    low, high = _value(name, first), _value(name, last)
    if scale not in ("", "log"):
        raise StylemixError(f"got --vary {name}={text}; expected {name}={FORMS}")
    if not low < high:
        raise StylemixError(f"got --vary {name}={text}; expected a lower end below the upper one")
    if scale and low <= 0:
        raise StylemixError(f"got --vary {name}={text}; expected a lower end above 0 with :log")
    return Vary(name, low, high, bool(scale))


def _choices(name: str, text: str) -> Vary:
    values = tuple(dict.fromkeys(_value(name, part.strip()) for part in text.split(",")))
    if len(values) < 2:
        raise StylemixError(f"got --vary {name}={text}; expected two values or more, as {FORMS}")
    return Vary(name, choices=values)


def _kind(name: str) -> type:
    """Returns the type of a value; choices are strings."""
    return str if SETTINGS[name].choices else SETTINGS[name].kind


def _value(name: str, text: str) -> Any:
    """Parses a value of a setting."""
    kind = _kind(name)
    try:
        return SWITCH[text] if kind is bool else kind(text)
    except (ValueError, KeyError):
        expected = {bool: "on,off", int: "whole numbers"}.get(kind, "numbers")
        raise StylemixError(
            f"got {text!r} in --vary {name}; expected {expected}, as {FORMS}"
        ) from None
