"""Forms of sources and styles: names, files, folders, images, latents and styles."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from stylemix.errors import StylemixError, shown, similar_file
from stylemix.images.sources import EXTENSIONS, ImageSource, Photo, list_images
from stylemix.inversion.latent import Latent
from stylemix.io.files import StrPath, user_path
from stylemix.io.outputs import LATENT_SUFFIX
from stylemix.styles.style import Style, check_strength, check_style, shipped_styles

Source = Photo | Latent  # a string may also name a latent file, or be "seed:7"
StyleSource = Source | Style  # a string may also name a style, a folder or a generator file
Several = Sequence[Source]
Styles = StyleSource | Mapping[Any, float] | Sequence[StyleSource]
OnError = Callable[[StylemixError], None]


def list_sources(sources: Sequence[str]) -> list[Source]:
    """Expands folders and zips among the sources to their latent files, or else their images.

    Raises StylemixError for a missing file, before anything is loaded.
    """
    expanded: list[Source] = []
    for source in sources:
        check_source(source)
        expanded += _list_folder(user_path(source)) if is_several(source) else [source]
    return expanded


def check_source(source: str) -> None:
    """Raises StylemixError for a source that is neither "seed:7" nor the name of a file."""
    if source.startswith("seed:"):
        parse_seed(source)
    elif not os.path.exists(as_path(source, "--source")):
        raise StylemixError(
            f"{source}: got no such file; expected a photo, a latent file, a folder or zip of "
            f"photos, or seed:N; check the name{similar_file(source)}"
        )


def parse_styles(texts: Sequence[str]) -> list[StyleArgument]:
    """Parses "STYLE" or "STYLE:WEIGHT"; StylemixError for a missing file or an unknown name."""
    arguments = [StyleArgument.parse(text) for text in texts]
    for argument in arguments:
        what = str(argument.what)
        as_path(what, "--style")
        if what.startswith("seed:"):
            parse_seed(what)
        else:
            check_style(what)
    return arguments


def is_several(what: object) -> bool:
    """Whether a source or style is a folder or a zip."""
    if not isinstance(what, str | os.PathLike):
        return False
    path = user_path(what)
    return os.path.isdir(path) or path.suffix.lower() == ".zip"


def single(source: Any) -> Any:
    """Returns a source unchanged; raises StylemixError for a folder or zip of several."""
    if isinstance(source, str | os.PathLike):
        as_path(source, "source")
    if is_several(source):
        raise StylemixError(f"got {source}, a folder or zip; expected a single source; name a file")
    return source


def known_or_single(latent: object, source: Any) -> Any:
    """The latent of a source if it is given, else the source; StylemixError for no latent."""
    if latent is None:
        return single(source)
    if not isinstance(latent, Latent):
        raise StylemixError(
            f"got {type(latent).__name__} as the latent; expected a Latent, as of "
            "stylemix.project; read a file by stylemix.Latent.load"
        )
    return latent


def _list_folder(path: Path) -> list[ImageSource]:
    """The latent files of `stylemix project` in a folder; if there are none, its images."""
    latents = sorted(path.rglob(f"*{LATENT_SUFFIX}"))
    if latents:
        return [ImageSource(file.relative_to(path).as_posix(), file) for file in latents]
    return list_images(path)


@dataclass(frozen=True)
class StyleArgument:
    """An unread style and its weight; None for the style's recommended strength."""

    what: StyleSource
    weight: float | None = None

    @classmethod
    def parse(cls, text: str) -> StyleArgument:
        """Parses "STYLE" or "STYLE:WEIGHT"; "seed:7" and "C:\\style.pkl" have no weight.

        Raises StylemixError for a weight that is no number, or not one of a strength.
        """
        match = re.fullmatch(r"(.+):(-?\d*\.?\d+)", text)
        if match is None:
            name, _, wrong = text.rpartition(":")
            if (name in shipped_styles() or os.path.isfile(name)) and not os.path.exists(text):
                raise StylemixError(
                    f"got the weight {wrong!r} of the style {name}; expected a number, as in "
                    f"{name}:0.8"
                )
        if match is None or match[1] == "seed" or os.path.exists(text):
            return cls(text)
        weight = float(match[2])
        check_strength(weight)
        return cls(match[1], weight)


def style_arguments(styles: Styles) -> list[StyleArgument]:
    """Style arguments of a single style, of several, or of weights by name ({"toon": 0.8})."""
    if isinstance(styles, Mapping):
        for what in styles:
            _check_type(what)
        for weight in styles.values():
            check_strength(weight)
        return [StyleArgument(what, float(weight)) for what, weight in styles.items()]
    several = listed(styles)
    for what in several:
        _check_type(what)
    return [StyleArgument.parse(s) if isinstance(s, str) else StyleArgument(s) for s in several]


def listed(items: object) -> list[Any]:
    """One item, or several, as a list."""
    several = isinstance(items, Sequence) and not isinstance(items, str)
    return list(items) if several else [items]  # type: ignore[call-overload]


def named_strengths(directions: object) -> Mapping[str, float]:
    """The strengths of directions, none for None; raises StylemixError for other forms."""
    if isinstance(directions, Mapping) and all(isinstance(name, str) for name in directions):
        return directions
    if directions is not None:
        raise StylemixError(
            f"got the directions {shown(directions)}; expected strengths by name, as in "
            '{"pca-0": 1}; change them'
        )
    return {}


def added(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float]:
    """The strengths of both by name, summed where both have one; None in the second is none.

    Raises StylemixError for strengths that are no numbers, or out of range.
    """
    total = dict(first)
    for name, value in second.items():
        if value is None:
            continue
        check_strength(value)
        check_strength(before := total.get(name, 0.0))
        total[name] = before + value
    return total


def _check_type(what: object) -> None:
    """Raises StylemixError for what cannot be a style."""
    pictures = Image.Image | np.ndarray | Tensor
    if not isinstance(what, str | os.PathLike | ImageSource | pictures | Latent | Style):
        raise StylemixError(
            f"got {shown(what)} as a style; expected a name, a file, an image, a latent, a Style, "
            'a list of them, or weights by name, as in {"toon": 0.8}; change it'
        )


def short_name(what: StyleSource) -> str:
    """A short name of a source or style for labels and files."""
    if isinstance(what, Style):
        return str(what.info.get("name") or "style")
    if not isinstance(what, str | os.PathLike | ImageSource):
        return "latent" if isinstance(what, Latent) else "image"
    text = str(what) if isinstance(what, ImageSource) else os.fspath(what)
    if text.startswith("seed:"):
        return text.replace(":", "")
    return Path(text).absolute().stem.removesuffix(".latent")


def as_path(what: StrPath, option: str) -> Path:
    """The path passed to an option; raises StylemixError if it is empty."""
    if not str(what):
        raise StylemixError(f"got an empty {option}; expected a file or seed:N; give its name")
    return user_path(what)


def is_image_path(path: Path) -> bool:
    """Whether a path has the extension of an image file."""
    return path.suffix.lower() in EXTENSIONS


def parse_seed(what: str) -> tuple[int, int | None]:
    """The seed and class of "seed:7" and "seed:7@2"; raises StylemixError for other strings."""
    match = re.fullmatch(r"seed:(\d{1,10})(?:@(\d{1,5}))?", what)
    if match is None:
        raise StylemixError(
            f"got {what[:40]!r}; expected seed: and a number, as in seed:7, or with a class, as in "
            "seed:7@2"
        )
    return int(match[1]), None if match[2] is None else int(match[2])
