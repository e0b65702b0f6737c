"""Metrics of avatars: identity, style, and their harmonic mean H.

Each avatar is classified twice: by the nearest of all sources, and by the nearest of all styles (or
no style). Both accuracies and their harmonic mean need no choice of scale. The values become a
report in JSON and a Markdown table.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from stylemix.faces.attributes import readings, smile_log_odds
from stylemix.faces.landmarks import LEFT_EYE, RIGHT_EYE, expressions, landmarks, yaw
from stylemix.images.tensors import as_rgb
from stylemix.io.atomic import Json
from stylemix.metrics.attributes import kept_attributes
from stylemix.metrics.identity_judge import judged_embedding
from stylemix.metrics.style_distance import image_statistics, style_distance
from stylemix.models.model import Model

RESAMPLES = 1000  # bootstrap samples of the sources, for intervals
CONFIDENCE = 0.95
KEPT = (" kept", " color")  # ends of the names of `kept_attributes`
Record = dict[str, Json]
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
    "change found": ("avatars", "change found", 2),
    "H": ("avatars", "h", 3),
    "style accuracy": ("avatars", "style accuracy", 3),
    "avatar identity": ("avatars", "identity", 3),
    "expression": ("avatars", "expression kept", 2),
    "seconds": ("cost", "seconds a photo", 1),
}


@torch.no_grad()
def read_avatars(model: Model, photos: Tensor, styled: Tensor) -> dict[str, Tensor]:
    """What `judge_avatars` compares, by name; the second dimension of all is that of the people.

    Readings of many people are those of a few at a time, one after the other in that dimension, so
    that their images need not all be kept.

    Args:
        model: a model with the faces' template.
        photos: aligned photos [N, C, H, W] in [-1, 1], of any size.
        styled: their avatars in each of K styles, [K, N, C, H, W], of any size.

    Returns:
        Readings [1 + K, N, ...] of the photos and of their avatars, or [K, N] of avatars beside
        their photos (`attributes.kept_attributes`).
    """
    groups = [photos, *styled]
    readings = {"statistics": torch.stack([image_statistics(images) for images in groups])}
    if model.template.eyes is None:
        return readings
    readers = {
        "embedding": judged_embedding, "landmarks": landmarks, "expressions": expressions,
    }  # fmt: skip
    faces = [as_rgb(images) for images in groups]
    for name, read in readers.items():
        readings[name] = torch.stack([read(images, model.template) for images in faces])
    return readings | kept_attributes(photos, list(styled), model.template)


def judge_avatars(readings: Mapping[str, Tensor], looks: Tensor) -> dict[str, Tensor]:
    """Returns metrics [K, N] of all avatars, by name.

    "identity" is the cosine of embeddings of avatar and photo, and "identity found" whether the
    photo is the nearest of all. "style accuracy" is 1 - d(avatar, look) / mean d(photos, look), and
    "style found" whether the look is the nearest of all, no style included. "change found"
    compares the avatar's change from its photo with the mean change to each look, so that what a
    photo brings itself does not count. "expression kept" is the overlap of expression
    probabilities, "pose moved" the change of yaw (see `stylemix.faces.landmarks.yaw`), "landmarks
    moved" their mean displacement in eye distances; the others are those of
    `attributes.kept_attributes`.
    Metrics of faces need a face template.

    Args:
        readings: those of all people (`read_avatars`).
        looks: mean `image_statistics` of the images of each style, [K, S].
    """
    plain, rows = readings["statistics"][0], readings["statistics"][1:]
    count = len(rows)
    # The last look stands for no style: that of the photos.
    middle = plain.mean(dim=0, keepdim=True)
    looks = torch.cat([looks.to(rows), middle])
    distances = torch.stack([style_distance(rows, look) for look in looks], dim=2)
    # Whatever style it is in, a dark photo looks darker than others: its change does not.
    changes = torch.stack([style_distance(rows - plain, look - middle) for look in looks], dim=2)
    target = torch.arange(count)
    # The mean over all photos, since a photo that has the look already would divide by almost zero.
    before = torch.stack([style_distance(plain, look).mean() for look in looks[:count]])[:, None]
    values = {
        "style accuracy": 1 - distances[target, :, target] / before,
        "style found": (distances.argmin(dim=2) == target[:, None]).float(),
        "change found": (changes.argmin(dim=2) == target[:, None]).float(),
    }
    if "embedding" in readings:
        values |= _face_metrics(readings)
    return {name: value.cpu() for name, value in values.items()}


def _face_metrics(readings: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns metrics [K, N] of faces by name."""
    kept = {name: value for name, value in readings.items() if name.endswith(KEPT)}
    embeddings, points, mood = (readings[k] for k in ("embedding", "landmarks", "expressions"))
    person = torch.arange(embeddings.shape[1])
    cosines = embeddings[1:] @ embeddings[0].t()
    before, after = points[0], points[1:]
    eyes = before[:, RIGHT_EYE].mean(dim=1) - before[:, LEFT_EYE].mean(dim=1)
    displacement = torch.linalg.vector_norm(after - before, dim=3).mean(dim=2)
    yaw_change = torch.stack([yaw(part) for part in after]) - yaw(before)
    return kept | {
        "identity": cosines[:, person, person],
        "identity found": (cosines.argmax(dim=2) == person).float(),
        "expression kept": torch.minimum(mood[1:], mood[0]).sum(dim=2),
        "pose moved": yaw_change.abs(),
        "landmarks moved": displacement / torch.linalg.vector_norm(eyes, dim=1),
    }


def harmonic_mean(a: float, b: float) -> float:
    """Returns the harmonic mean of two accuracies; 0 if one is 0."""
    return 2 * a * b / (a + b) if a > 0 and b > 0 else 0.0


def interval(values: Tensor) -> tuple[float, float, float]:
    """Returns the mean of values [K, N] and its 95 % bootstrap interval over the N sources."""
    return (float(values.double().mean()), *_percentiles(_resampled_means(values)))


def harmonic_interval(metrics: dict[str, Tensor]) -> tuple[float, float, float]:
    """Returns H, the harmonic mean of both accuracies, and its 95 % bootstrap interval."""
    accuracies = [metrics[key].double() for key in ("identity found", "style found")]
    pairs = zip(*(_resampled_means(values).tolist() for values in accuracies), strict=True)
    all_h = torch.tensor([harmonic_mean(*pair) for pair in pairs], dtype=torch.float64)
    mean = harmonic_mean(*(float(values.mean()) for values in accuracies))
    return (mean, *_percentiles(all_h))


def _resampled_means(values: Tensor) -> Tensor:
    """The means of values [K, N] over resampled sources, the same ones for each N."""
    people, rng = values.shape[1], torch.Generator().manual_seed(0)
    samples = torch.randint(people, [RESAMPLES, people], generator=rng)
    return values.double().mean(dim=0)[samples].mean(dim=1)


def _percentiles(means: Tensor) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2
    low, high = means.quantile(torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return low, high


def edit_magnitude(model: Model, less: Tensor, more: Tensor, name: str) -> Tensor:
    """Returns the increase [N] of an attribute ("smile", "yaw", ...) from `less` to `more`.

    Both are images [N, C, H, W]. The log-odds of smiles are not clamped as in `readings`, so that a
    change of faces that are happy already counts too.
    """
    pairs = ((as_rgb(images), model.template) for images in (less, more))
    if name == "smile":
        before, after = (smile_log_odds(*pair) for pair in pairs)
    else:
        before, after = (readings(*pair)[name] for pair in pairs)
    return after - before


def _rounded(values: tuple[float, float, float]) -> Json:
    """Returns a mean and its 95 % interval as JSON, rounded to five digits."""
    mean, low, high = (float(f"{value:.5g}") for value in values)
    return {"mean": mean, "low": low, "high": high}


def summarise(metrics: dict[str, Tensor], names: list[str] | None = None) -> Record:
    """Returns means and intervals of metrics [K, N] or [N] by name, with H if both accuracies are.

    With the `names` of the K styles also those of each style, under "styles".
    """
    rows = {key: value if value.ndim == 2 else value[None] for key, value in metrics.items()}
    out: Record = {key: _rounded(interval(value)) for key, value in rows.items()}
    if {"identity found", "style found"} <= set(rows):
        out["h"] = _rounded(harmonic_interval(rows))
    if names is not None:
        each = [{key: value[i : i + 1] for key, value in rows.items()} for i in range(len(names))]
        out["styles"] = {name: summarise(own) for name, own in zip(names, each, strict=True)}
    return out


def table(methods: dict[str, Record]) -> str:
    """Returns a Markdown table with a row of mean values for each method, and an interval for H."""
    used = {
        title: column
        for title, column in COLUMNS.items()
        if any(_value(record, *column[:2]) is not None for record in methods.values())
    }
    lines = ["| | " + " | ".join(used) + " |", "| --- |" + " --- |" * len(used)]
    for name, record in methods.items():
        cells = [_cell(record, *column) for column in used.values()]
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
