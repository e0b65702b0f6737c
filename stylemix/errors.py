"""The exception for problems that a user can solve, checks of values, and suggestions."""

from __future__ import annotations

import operator
import os
import re
import reprlib
from collections.abc import Iterable
from numbers import Integral, Rational, Real
from pathlib import Path

MAX_LINE = 1000  # letters; a name in a file may have millions


class StylemixError(Exception):
    """A problem that the user can solve, as one line: got X; expected Y; do Z.

    The command line prints it as ``Error: ...`` and exits with code 2, without a traceback.
    """

    def __init__(self, message: str) -> None:
        super().__init__(shortened(printable(" ".join(message.split()))))


def printable(line: str) -> str:
    """A line without control codes and broken letters, which file names may contain."""
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def shortened(line: str) -> str:
    """A line without its middle where it is too long: the advice is at the end."""
    half = MAX_LINE // 2 - 5
    return line if len(line) <= MAX_LINE else f"{line[:half]} ... {line[-half:]}"


def shown(value: object) -> str:
    """A value of a file for a message, cut short: a container could be endless."""
    text = reprlib.repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """The end of a message with the name nearest to a mistyped one; "" if none is near."""
    near = _nearest(name, names)
    return "" if near is None else f"; did you mean {near}?"


def _nearest(name: str, names: Iterable[str]) -> str | None:
    from difflib import get_close_matches  # only errors need it

    by_letters = {other.casefold(): other for other in names}
    near = get_close_matches(name.casefold(), by_letters, n=1, cutoff=0.6)
    return by_letters[near[0]] if near else None


def similar_file(path: str | os.PathLike[str]) -> str:
    """`did_you_mean` for a file that is not there: the nearest name in its folder.

    For an address of the web, what to do with it instead.
    """
    if re.match(r"[a-z]{2,}:/", str(path)):  # not C:/; a path of an address has lost a slash
        return "; only models and styles are read from addresses: download it first"
    file = Path(os.path.expanduser(path))
    try:
        # What ends alike is not alike for that: me.jpg is not obama.jpg.
        names = {other.stem: other.name for other in file.parent.iterdir() if other.exists()}
    except (OSError, ValueError, RuntimeError):  # RuntimeError: a loop of links
        return ""
    near = _nearest(file.stem, names)
    return "" if near is None else f"; did you mean {file.parent / names[near]}?"


MAX_SEED = 2**32 - 1


def is_number(value: object) -> bool:
    """Whether a value is a real number of Python or NumPy, with which tensors can be multiplied."""
    return isinstance(value, Real) and (
        isinstance(value, Integral) or not isinstance(value, Rational)
    )


def check_seed(seed: object) -> int:
    """A seed as an integer of Python; StylemixError for what is none, or not in 32 bits."""
    try:
        number = operator.index(seed)  # type: ignore[arg-type]  # of NumPy and PyTorch, too
    except (TypeError, ValueError, RuntimeError):  # the last two of tensors
        number = -1
    if not 0 <= number <= MAX_SEED:
        raise StylemixError(f"got seed {shown(seed)}; expected 0 to {MAX_SEED}; choose another")
    return number


def check_range(name: str, value: float, low: float, high: float, note: str = "") -> None:
    """Raises StylemixError unless `low` <= `value` <= `high`; NaN and what is no number are errors.

    `note` follows the range in the message, as in ", 1 for the full strength".
    """
    if not (is_number(value) and low <= value <= high):
        try:
            got = f"{value:g}" if is_number(value) else shown(value)
        except OverflowError:  # of an integer beyond the floating point numbers
            got = shown(value)
        raise StylemixError(f"got {name} {got}; expected {low:g} to {high:g}{note}; change it")


def check_choice(name: str, value: object, choices: Iterable[object]) -> None:
    """Raises StylemixError unless `value` is one of `choices`; None is not named among them."""
    known = list(choices)
    try:
        chosen = value in known
    except (ValueError, RuntimeError):  # of an array, of a tensor
        chosen = False
    if not chosen:
        expected = ", ".join(str(choice) for choice in known if choice is not None)
        raise StylemixError(f"got {name} {shown(value)}; expected one of {expected}; change it")
