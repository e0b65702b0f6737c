"""Figures of avatars: who they still show, which style they have, and both at once.

Every avatar is asked two questions: which of all sources is it, and which of all styles (or none)?
The shares of right answers and their harmonic mean need no scale that has to be agreed on. The
values become a report of JSON values, and a table to read.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stylemix.faces.attributes import readings, smile_log_odds
from stylemix.faces.landmarks import LEFT_EYE, RIGHT_EYE, expressions, landmarks, yaw
from stylemix.images.tensors import as_rgb
from stylemix.io.atomic import Json
from stylemix.metrics.identity_judge import judged_embedding
from stylemix.metrics.style_distance import StyleMeter, style_distance
from stylemix.models.model import Model

RESAMPLES = 1000  # of the sources, for intervals
CONFIDENCE = 0.95
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


@dataclass
class Avatars:
    """What is measured.

    Attributes:
        photos: aligned photos [N, C, H, W] in [-1, 1].
        plain: their reconstructions.
        styled: in each of K styles, [K, N, C, H, W].
        looks: what the styles should look like, [K, S] of `StyleMeter`.
    """

    photos: Tensor
    plain: Tensor
    styled: Tensor
    looks: Tensor


def judge_avatars(model: Model, avatars: Avatars, meter: StyleMeter) -> dict[str, Tensor]:
    """Figures [K, N] of every avatar, by name.

    "identity" is the cosine of embeddings of avatar and photo, "identity found" whether the photo
    is the nearest of all; "style accuracy" is 1 - d(avatar, look) / mean d(reconstructions, look),
    "style found" whether its look is the nearest of all and of no style at all; "expression kept"
    is the overlap of probabilities, "pose moved" the change of yaw (see `face_readings.yaw`),
    "landmarks moved" their mean way in distances of the eyes. Figures of faces need a face
    template.
    """
    count, people = avatars.styled.shape[:2]
    flat = avatars.styled.flatten(0, 1)
    rows = meter.describe(flat).unflatten(0, (count, people))
    plain = meter.describe(avatars.plain)
    # No style at all is a look, too: that of the reconstructions.
    looks = torch.cat([avatars.looks.to(rows), plain.mean(dim=0, keepdim=True)])
    distances = torch.stack([style_distance(rows, look) for look in looks], dim=2)
    own = torch.arange(count)
    # Of all photos together: one that looks like the style by itself would divide by nothing.
    before = torch.stack([style_distance(plain, look).mean() for look in looks[:count]])[:, None]
    found = {
        "style accuracy": 1 - distances[own, :, own] / before,
        "style found": (distances.argmin(dim=2) == own[:, None]).float(),
    }
    if model.template.eyes is not None:
        found |= _faces(model, avatars.photos, flat, count)
    return {name: value.cpu() for name, value in found.items()}


@torch.no_grad()
def _faces(model: Model, photos: Tensor, flat: Tensor, count: int) -> dict[str, Tensor]:
    template, people = model.template, len(photos)
    theirs, ours = judged_embedding(photos, template), judged_embedding(flat, template)
    cosines = (ours @ theirs.t()).unflatten(0, (count, people))
    own = torch.arange(people)
    before = landmarks(as_rgb(photos), template)
    after = torch.cat([landmarks(as_rgb(part), template) for part in flat.split(32)])
    after = after.unflatten(0, (count, people))
    eyes = before[:, RIGHT_EYE].mean(dim=1) - before[:, LEFT_EYE].mean(dim=1)
    way = torch.linalg.vector_norm(after - before, dim=3).mean(dim=2)
    turned = torch.stack([yaw(points) for points in after]) - yaw(before)
    shown = torch.cat([expressions(as_rgb(part), template) for part in flat.split(32)])
    shown = shown.unflatten(0, (count, people))
    felt = torch.minimum(shown, expressions(as_rgb(photos), template)).sum(dim=2)
    return {
        "identity": cosines[:, own, own],
        "identity found": (cosines.argmax(dim=2) == own).float(),
        "expression kept": felt,
        "pose moved": turned.abs(),
        "landmarks moved": way / torch.linalg.vector_norm(eyes, dim=1),
    }


def harmonic_mean(a: float, b: float) -> float:
    """The harmonic mean of two shares; 0 where one is."""
    return 2 * a * b / (a + b) if a > 0 and b > 0 else 0.0


def interval(values: Tensor, seed: int = 0) -> tuple[float, float, float]:
    """Mean of figures [K, N] and its 95 % interval, by drawing the N sources again and again."""
    draw = torch.Generator().manual_seed(seed)
    people = values.shape[1]
    chosen = torch.randint(people, [RESAMPLES, people], generator=draw)
    means = values.double().mean(dim=0)[chosen].mean(dim=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = means.quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return float(values.double().mean()), low, high


def harmonic_interval(figures: dict[str, Tensor], seed: int = 0) -> tuple[float, float, float]:
    """H, the harmonic mean of both shares found, and its 95 % interval."""
    draw = torch.Generator().manual_seed(seed)
    who, style = (figures[key].double() for key in ("identity found", "style found"))
    people = who.shape[1]
    chosen = torch.randint(people, [RESAMPLES, people], generator=draw)
    pairs = zip(
        who.mean(dim=0)[chosen].mean(dim=1).tolist(),
        style.mean(dim=0)[chosen].mean(dim=1).tolist(),
        strict=True,
    )
    all_h = torch.tensor([harmonic_mean(a, b) for a, b in pairs], dtype=torch.float64)
    tail = (1 - CONFIDENCE) / 2
    low, high = all_h.quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return harmonic_mean(float(who.mean()), float(style.mean())), low, high


def edit_magnitude(model: Model, less: Tensor, more: Tensor, name: str) -> Tensor:
    """How much a reading ("smile", "yaw", ...) rises from images to images [N, C, H, W], [N].

    Of smiles the log-odds as they are, not cut off as directions learn them: a face that goes from
    surely to more surely happy has moved, too.
    """
    pairs = ((as_rgb(images), model.template) for images in (less, more))
    if name == "smile":
        before, after = (smile_log_odds(*pair) for pair in pairs)
    else:
        before, after = (readings(*pair)[name] for pair in pairs)
    return after - before


def _rounded(values: tuple[float, float, float]) -> Json:
    """A mean with its 95 % interval, rounded."""
    mean, low, high = (float(f"{value:.5g}") for value in values)
    return {"mean": mean, "low": low, "high": high}


def summarise(figures: dict[str, Tensor], names: list[str] | None = None) -> Record:
    """Means and intervals of figures [K, N] (or [N]) by name, with H where both shares are there.

    With the `names` of the K styles also those of each, under "styles".
    """
    rows = {key: value if value.ndim == 2 else value[None] for key, value in figures.items()}
    out: Record = {key: _rounded(interval(value)) for key, value in rows.items()}
    if {"identity found", "style found"} <= set(rows):
        out["h"] = _rounded(harmonic_interval(rows))
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
