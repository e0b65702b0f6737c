"""JSON from files of others: parsed only if its values fit into memory, with one kind of error."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

MAX_VALUE_BYTES = 2**28  # of all values; a dataset.json of 70,000 labels of 25 numbers has 90 MB
_CONTAINER_BYTES, _ITEM_BYTES = 80, 40  # in CPython, at most, beside their text


def parse_json(
    text: str | bytes, pairs: Callable[[list[tuple[str, Any]]], object] | None = None
) -> Any:
    """Parses a JSON text; `pairs` makes objects, as in `json.loads`.

    Raises ValueError alone: for another text, for values that are nested too deeply, and, before
    any is made, for more than would fit into `MAX_VALUE_BYTES`.
    """
    marks = ("[", "{", ",") if isinstance(text, str) else (b"[", b"{", b",")
    lists, tables, items = (text.count(mark) for mark in marks)  # type: ignore[arg-type]
    if _CONTAINER_BYTES * (lists + tables) + _ITEM_BYTES * items + len(text) > MAX_VALUE_BYTES:
        raise ValueError("its JSON has far too many values")
    try:
        return json.loads(text, object_pairs_hook=pairs)
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None
