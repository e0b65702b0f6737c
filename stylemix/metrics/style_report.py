"""An evaluation as JSON values, and as a table to read."""

from __future__ import annotations

import torch
from torch import Tensor

from stylemix.io.atomic import Json
from stylemix.metrics.avatars import harmonic_interval, interval

Record = dict[str, Json]
# Figures of which less is better; of all others more is.
LESS = ("mse", "feature distance", "pose moved", "landmarks moved", "seconds a photo")
COLUMNS = {
    "MSE": ("reconstruction", "mse", 4),
    "PSNR": ("reconstruction", "psnr", 1),
    "MS-SSIM": ("reconstruction", "ms-ssim", 3),
    "features": ("reconstruction", "feature distance", 3),
    "identity": ("reconstruction", "identity", 3),
    "smile": ("edits", "smile", 2),
    "yaw": ("edits", "yaw", 2),
    "id found": ("avatars", "identity found", 2),
    "style found": ("avatars", "style found", 2),
    "H": ("avatars", "h", 3),
    "style accuracy": ("avatars", "style accuracy", 3),
    "avatar identity": ("avatars", "identity", 3),
    "expression": ("avatars", "expression kept", 2),
    "seconds": ("cost", "seconds a photo", 1),
}


def told(values: tuple[float, float, float]) -> Json:
    """A mean with its 95 % interval, rounded."""
    mean, low, high = (float(f"{value:.5g}") for value in values)
    return {"mean": mean, "low": low, "high": high}


def summarise(figures: dict[str, Tensor], names: list[str] | None = None) -> Record:
    """Means and intervals of figures [K, N] (or [N]) by name, with H where both shares are there.

    With the `names` of the K styles also those of each, under "styles".
    """
    rows = {key: value if value.ndim == 2 else value[None] for key, value in figures.items()}
    out: Record = {key: told(interval(value)) for key, value in rows.items()}
    if {"identity found", "style found"} <= set(rows):
        out["h"] = told(harmonic_interval(rows))
    if names is not None:
        each = [{key: value[i : i + 1] for key, value in rows.items()} for i in range(len(names))]
        out["styles"] = {name: summarise(own) for name, own in zip(names, each, strict=True)}
    return out


def table(methods: dict[str, Record]) -> str:
    """A Markdown table: a row for each method, its mean figures, an interval for H."""
    used = {
        title: place
        for title, place in COLUMNS.items()
        if any(_value(record, *place[:2]) is not None for record in methods.values())
    }
    lines = ["| | " + " | ".join(used) + " |", "| --- |" + " --- |" * len(used)]
    for name, record in methods.items():
        cells = [_cell(record, *place) for place in used.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _value(record: Record, part: str, key: str) -> Json:
    group = record.get(part)
    return group.get(key) if isinstance(group, dict) else None


def _cell(record: Record, part: str, key: str, digits: int) -> str:
    value = _value(record, part, key)
    if not isinstance(value, dict):
        return "" if value is None else f"{float(str(value)):.{digits}f}"
    text = f"{float(str(value['mean'])):.{digits}f}"
    if key == "h":
        text += f" ({float(str(value['low'])):.2f} to {float(str(value['high'])):.2f})"
    return text


def as_row(values: list[float]) -> Tensor:
    """Figures of N photos as a tensor [N]."""
    return torch.tensor(values, dtype=torch.float64)
