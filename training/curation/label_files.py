"""Labels for photos, from their folders or from a JSON or CSV file."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from pathlib import Path

from stylemix.errors import StylemixError
from stylemix.io.files import read_file
from stylemix.io.json_text import MAX_VALUE_BYTES, parse_json

_ROW_BYTES, _CELL_BYTES = 320, 50  # in CPython, with the text of a short name
_BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"  # of str.splitlines
Label = int | list[float]


def folder_labels(names: Iterable[str]) -> tuple[dict[str, Label], list[str]]:
    """Returns class numbers by the top folder of each name, and the folder names in order.

    A name without a folder gets no label.
    """
    tops = {name: name.split("/")[0] for name in names if "/" in name}
    classes = sorted(set(tops.values()))
    numbers = {top: number for number, top in enumerate(classes)}
    return {name: numbers[top] for name, top in tops.items()}, classes


def read_labels(path: Path) -> tuple[dict[str, Label], list[str] | None]:
    """Returns the labels of a file by name, and the class names where the labels are names.

    JSON: {name: label} or {"labels": [[name, label], ...]}. CSV: lines `name,label` or
    `name,number,number,...`; a header line that starts with name, file or image is skipped. A
    label is a class number, a class name, or a list of numbers.
    """
    try:
        text = read_file(path, MAX_VALUE_BYTES).decode("utf-8-sig")
        pairs = _json_pairs(text) if path.suffix.lower() == ".json" else _csv_pairs(text)
        return _checked(dict(pairs))
    except (OSError, ValueError, TypeError, OverflowError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StylemixError(
            f"{path}: got no labels ({reason}); expected JSON with {{name: label}} or CSV with "
            "lines of name,label; see the page on packing"
        ) from error


def _json_pairs(text: str) -> list[tuple[str, object]]:
    data = parse_json(text)
    if isinstance(data, dict) and isinstance(data.get("labels"), list):
        data = dict(data["labels"])
    if not isinstance(data, dict) or not data:
        raise ValueError("no names with labels in it")
    return list(data.items())


def _csv_pairs(text: str) -> list[tuple[str, object]]:
    rows_of_text = sum(map(text.count, _BREAKS))
    if _ROW_BYTES * rows_of_text + _CELL_BYTES * text.count(",") > MAX_VALUE_BYTES:
        raise ValueError("it has far too many lines")
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines()) if any(row)]
    if rows and rows[0][0].lower() in ("name", "file", "image"):
        rows = rows[1:]
    if not rows or min(map(len, rows)) < 2:
        raise ValueError("a line without a label" if rows else "no lines")
    return [(row[0], [float(c) for c in row[1:]] if len(row) > 2 else row[1]) for row in rows]


def _checked(labels: dict[str, object]) -> tuple[dict[str, Label], list[str] | None]:
    """Returns labels of one kind, and the class names where labels are names."""
    values = list(labels.values())
    if all(isinstance(value, list) for value in values):
        vectors = {name: _vector(value) for name, value in labels.items()}
        lengths = sorted({len(vector) for vector in vectors.values()})
        if len(lengths) > 1:
            raise ValueError(f"vectors of {lengths[0]} and of {lengths[-1]} numbers")
        return dict(vectors), None
    texts = [
        str(value) for value in values if not isinstance(value, bool | list | dict | float | None)
    ]
    if len(texts) != len(values):
        raise ValueError("some labels are neither a class nor a list of numbers like the others")
    if all(text.isdecimal() for text in texts):
        return {name: int(text) for name, text in zip(labels, texts, strict=True)}, None
    classes = sorted(set(texts))
    numbers = {label: number for number, label in enumerate(classes)}
    return {name: numbers[text] for name, text in zip(labels, texts, strict=True)}, classes


def _vector(value: object) -> list[float]:
    numbers = [float(number) for number in value] if isinstance(value, list) else []
    if not numbers or not all(map(math.isfinite, numbers)):
        raise ValueError(f"a label that reads {str(value)[:40]!r}")
    return numbers
