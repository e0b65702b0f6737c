"""What sources and styles may be: names, files, folders, images, latents, styles."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stylemix.errors import StylemixError
from stylemix.images.sources import EXTENSIONS, ImageSource, Photo, list_images
from stylemix.inversion.latent import Latent
from stylemix.styles.style import Style, check_strength

Source = Photo | Latent  # a text may name a latent file, too, or be "seed:7"
StyleSource = Source | Style  # or a shipped style, a style file, a folder, a generator's file
Several = list[Source] | tuple[Source, ...]
Styles = StyleSource | Mapping[str, float] | list[StyleSource] | tuple[StyleSource, ...]
OnError = Callable[[StylemixError], None]
LATENT_ENDING = ".latent.safetensors"


def list_sources(sources: Sequence[str]) -> list[Source]:
    """Sources with what is in folders and zips in place of them: their latents, else images."""
    found: list[Source] = []
    for what in sources:
        found += _list_folder(Path(what).expanduser()) if is_several(what) else [what]
    return found


def is_several(what: object) -> bool:
    """Whether a source or style is a folder or a zip."""
    if not isinstance(what, str | os.PathLike):
        return False
    path = Path(what).expanduser()
    return path.is_dir() or path.suffix.lower() == ".zip"


def _list_folder(path: Path) -> list[ImageSource]:
    """What `stylemix project` wrote into a folder, if anything; else the images in it."""
    latents = sorted(path.rglob(f"*{LATENT_ENDING}"))
    if latents:
        return [ImageSource(file.relative_to(path).as_posix(), file) for file in latents]
    return list_images(path)


@dataclass(frozen=True)
class StyleArgument:
    """A style as it was given, with its weight; None for the style's own strength."""

    what: StyleSource
    weight: float | None = None

    @classmethod
    def parse(cls, text: str) -> StyleArgument:
        """Reads "STYLE" or "STYLE:WEIGHT"; "seed:7" and "C:\\style.pkl" are no weights."""
        found = re.fullmatch(r"(.+):(-?\d*\.?\d+)", text)
        if found is None or found[1] == "seed" or Path(text).exists():
            return cls(text)
        weight = float(found[2])
        check_strength(weight)
        return cls(found[1], weight)


def style_arguments(styles: Styles) -> list[StyleArgument]:
    """The styles of one of them, of several, or of weights by name ({"toon": 0.8})."""
    if isinstance(styles, Mapping):
        for weight in styles.values():
            check_strength(weight)
        return [StyleArgument(what, float(weight)) for what, weight in styles.items()]
    several = styles if isinstance(styles, list | tuple) else [styles]
    return [StyleArgument.parse(s) if isinstance(s, str) else StyleArgument(s) for s in several]


def short_name(what: StyleSource) -> str:
    """A short name of a source or style for labels and files."""
    if isinstance(what, Style):
        return str(what.info.get("name") or "style")
    if not isinstance(what, str | os.PathLike | ImageSource):
        return "latent" if isinstance(what, Latent) else "image"
    text = str(what)
    if text.startswith("seed:"):
        return text.replace(":", "")
    return Path(text).absolute().stem.removesuffix(".latent")


def as_path(what: str | os.PathLike[str], option: str) -> Path:
    """The path that was given for an option; StylemixError when it is empty."""
    if not str(what):
        raise StylemixError(f"got an empty {option}; expected a file or seed:N; give its name")
    return Path(what).expanduser()


def is_image_path(path: Path) -> bool:
    """Whether a path has the extension of an image file."""
    return path.suffix.lower() in EXTENSIONS


def parse_seed(what: str) -> int:
    """The number in "seed:7"; StylemixError when there is none."""
    found = re.fullmatch(r"seed:(\d{1,10})", what)
    if found is None:
        raise StylemixError(f"got {what[:40]!r}; expected seed: and a number, as in seed:7")
    return int(found[1])
