"""Labels of images: class numbers, sets of classes, or vectors; validated when read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches

import numpy as np
import torch
from torch import Tensor

from stylemix.errors import StylemixError, shown
from stylemix.io.json_text import parse_json
from stylemix.messages import problem

_FORMS = 'a class number, {"classes": [numbers]} or a list of numbers'
_LARGEST = float(np.finfo(np.float32).max)
MAX_CLASSES = 100_000  # each adds a value to every label; more is taken for a mistake
MAX_VALUES = 2**28  # of all labels, of 4 bytes: ImageNet's would need five times as many


def label_vectors(
    values: Sequence[object], name: Callable[[int], str], classes: int | None = None
) -> Tensor:
    """Validates labels and returns them as vectors float32 [N, c_dim].

    Vectors are unchanged. Class numbers and sets of classes become one-hot or multi-hot vectors.

    Args:
        values: for each image a class number, {"classes": [numbers]} or a list of numbers.
        name: returns the name of an image for errors.
        classes: number of classes; None for the highest class number plus one.
    """
    if all(isinstance(value, list) for value in values):
        return _vectors(values, name)
    sets = [_classes(value, i, name) for i, value in enumerate(values)]
    highest = max((max(numbers) for numbers in sets if numbers), default=-1)
    c_dim = highest + 1 if classes is None else classes
    if highest >= c_dim or not 0 < c_dim <= MAX_CLASSES:
        where = next((name(i) for i, numbers in enumerate(sets) if highest in numbers), name(0))
        raise StylemixError(
            f"{where}: got class {shown(highest)} of {shown(c_dim)} classes; expected numbers "
            "from 0 on below the number of classes, which is at most "
            f"{MAX_CLASSES}; correct the labels"
        )
    if len(sets) * c_dim > MAX_VALUES:
        raise StylemixError(
            f"{name(0)}: got {len(sets)} labels of {c_dim} classes; expected at most {MAX_VALUES} "
            "values, which fit into memory; correct the labels"
        )
    out = torch.zeros(len(sets), c_dim)
    for row, numbers in zip(out, sets, strict=True):
        row[numbers] = 1
    if c_dim > 1 and not out[:, 0].any() and bool(out[:, 1:].any(0).all()):
        problem(
            f"Class 0 has no image, while classes 1 to {c_dim - 1} have: classes count from 0, so "
            "it will not be learned; count the labels from 0 if they were counted from 1"
        )
    return out


def parse_labels(text: bytes, where: str) -> tuple[dict[str, object], int | None]:
    """Parses a dataset.json: the label of each name, and the number of classes if it is given."""
    try:
        document = parse_json(text)
        if isinstance(document, dict) and document.get("labels", ()) is None:
            raise StylemixError(
                f"{where}: got a dataset without labels; expected one for each image; pack it "
                "again with --labels, or leave out --conditional"
            )
        pairs = [(_plain_name(str(name)), value) for name, value in document["labels"]]
        classes = document.get("classes")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StylemixError(
            f"{where}: got no table of labels ({type(error).__name__}: {error}); expected "
            '{"labels": [[name, label], ...]}; correct it'
        ) from error
    if classes is not None and (not isinstance(classes, int) or isinstance(classes, bool)):
        raise StylemixError(
            f"{where}: got {shown(classes)} classes; expected their number; correct it"
        )
    table = dict(pairs)
    for name, value in pairs if len(table) < len(pairs) else ():
        if table[name] != value:
            raise StylemixError(
                f"{where}: got two labels for {name[:80]}, {shown(value)} and "
                f"{shown(table[name])}; expected one; correct it"
            )
    return table, classes


def _plain_name(name: str) -> str:
    """A name as `list_images` gives it: Windows and `find` write others."""
    return name.replace("\\", "/").removeprefix("./")


def labels_of(names: Sequence[str], table: Mapping[str, object], where: str) -> list[object]:
    """Returns the label of each name; StylemixError where some are missing."""
    missing = [name for name in names if name not in table]
    if missing:
        known = set(names)
        others = [name for name in table if name not in known]
        near = get_close_matches(missing[0], others[:1000], 1, 0) or ["no other image"]
        raise StylemixError(
            f"{where}: got no label for {len(missing)} of {len(names)} images, the first is "
            f"{missing[0]}, while it names {near[0][:80]}; expected the names of the images below "
            "the folder, one per image; correct them or leave the images out"
        )
    return [table[name] for name in names]


def _classes(value: object, index: int, name: Callable[[int], str]) -> list[int]:
    numbers = value.get("classes") if isinstance(value, Mapping) else [value]
    if not isinstance(numbers, list) or isinstance(value, list):
        raise StylemixError(
            f"{name(index)}: got the label {shown(value)}, while others are of another kind; "
            f"expected {_FORMS}; correct it"
        )
    for number in numbers:
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            raise StylemixError(
                f"{name(index)}: got the class {shown(number)}; expected a whole number from 0 on; "
                "correct it"
            )
    return numbers


def _vectors(values: Sequence[object], name: Callable[[int], str]) -> Tensor:
    rows = [value for value in values if isinstance(value, list)]
    for i, row in enumerate(rows):
        if len(row) != len(rows[0]) or not row:
            raise StylemixError(
                f"{name(i)}: got a label of {len(row)} numbers; expected as many as {name(0)} has, "
                f"{len(rows[0])}, and at least one; correct it"
            )
        wrong = [number for number in row if not _is_finite(number)]
        if wrong:
            raise StylemixError(
                f"{name(i)}: got {shown(wrong[0])} in its label; expected finite numbers; "
                "correct it"
            )
    return torch.tensor(rows, dtype=torch.float32)


def _is_finite(number: object) -> bool:
    if isinstance(number, bool) or not isinstance(number, int | float):
        return False
    return -_LARGEST <= number <= _LARGEST  # false for NaN
