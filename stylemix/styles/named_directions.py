"""Directions by name: shipped directions, style files, and directions computed on request."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from stylemix.errors import StylemixError, did_you_mean
from stylemix.io.cache import cache_folder
from stylemix.messages import note
from stylemix.models.model import Model
from stylemix.networks.labels import label_of
from stylemix.progress import Progress, progress_bar
from stylemix.styles.channel_directions import channel_style, reading_channels
from stylemix.styles.directions import (
    Direction,
    principal_directions,
    read_directions,
    semantic_directions,
)
from stylemix.styles.style import Style, find_style, load_style, save_style

READINGS = ("smile", "yaw", "pitch", "mouth", "light")
CHANNELS = tuple(f"{name}-channels" for name in READINGS)
_COMPONENT = re.compile(r"(sefa|pca)-(\d{1,4})")
_CHANNEL = re.compile(r"channel-(.+)-(\d{1,5})")


def named_directions(
    model: Model, names: Sequence[str], progress: Progress | None = None
) -> dict[str, Style]:
    """The styles of directions, by name.

    A name is a reading ("smile") or the channels that control it ("smile-channels"), both shipped
    for the default model and otherwise learned from generated faces and cached for the user;
    "sefa-N"; "pca-N"; a channel ("channel-b16.conv0-37"); or a style file.

    Raises StylemixError for an unknown name, or a file that does not fit the model.
    """
    styles: dict[str, Style] = {}
    for name in names:
        if name in READINGS or name in CHANNELS:
            styles[name] = _reading(model, name, progress)
        elif match := _COMPONENT.fullmatch(name):
            styles[name] = _nth(model, match[1], int(match[2])).style(model)
        elif match := _CHANNEL.fullmatch(name):
            styles[name] = channel_style(model, match[1], int(match[2]))
        elif os.path.isfile(find_style(name)):
            styles[name] = load_style(name, model)
        else:
            raise StylemixError(
                f"got the direction {name[:60]!a}; expected {', '.join(READINGS)} (or with "
                "-channels after it), sefa-N, pca-N, channel-LAYER-N or a style file; check "
                f"the name{did_you_mean(name, [*READINGS, *CHANNELS])}"
            )
    return styles


def find_directions(model: Model, names: Sequence[str]) -> dict[str, Style]:
    """`named_directions` with a progress bar while directions of a new model are learned."""
    with progress_bar("Learning directions", leave=False) as progress:
        return named_directions(model, names, progress)


def _nth(model: Model, kind: str, number: int) -> Direction:
    width = model.generator.w_dim
    if number >= width:
        raise StylemixError(f"got {kind}-{number}; expected {kind}-0 to {kind}-{width - 1}")
    compute = semantic_directions if kind == "sefa" else principal_directions
    return compute(model.generator, count=number + 1)[number]


def _reading(model: Model, name: str, progress: Progress | None) -> Style:
    if model.template.eyes is None:
        raise StylemixError(
            f"got {name} for a model without a face template; expected one, since faces are read; "
            "say which with --template if it generates faces, or else use --direction sefa-N"
        )
    shipped = find_style(name)
    if shipped.is_file():
        style = load_style(shipped)
        if model.reads(style.base):
            return style.check(model, name)
    folder = _folder(model)
    if folder is not None and os.path.isfile(folder / f"{name}.pkl"):
        with suppress(StylemixError, OSError):  # a damaged file is learned and written again
            return load_style(folder / f"{name}.pkl", model)
    if name in CHANNELS:
        learned = reading_channels(model, progress=progress)
    else:
        learned = {d.name: d.style(model) for d in read_directions(model, progress=progress)}
    if folder is not None:
        _keep(folder, learned)
    return learned[name]


def _keep(folder: Path, learned: dict[str, Style]) -> None:
    try:
        for key, style in learned.items():
            save_style(folder / f"{key}.pkl", style)
    except (StylemixError, OSError) as error:  # the cache is optional
        note(f"Directions are not cached: {error}")


def _folder(model: Model) -> Path | None:
    """The cache folder of a model's directions by template and label; None without a home."""
    folder = cache_folder("directions")
    if folder is None:
        return None
    about = f"{model.template.to_json()} {label_of(model.generator.mapping)}"
    digest = hashlib.blake2b(about.encode(), digest_size=4).hexdigest()
    return folder / f"{model.fingerprint}-{digest}"
