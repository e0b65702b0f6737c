"""What several sources are: folders and zips, with one person in each file."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stylemix.errors import StylemixError
from stylemix.images.sources import EXTENSIONS, ImageSource, list_images
from stylemix.styles.style import check_strength

Source = str | ImageSource  # as it was written, or found in a folder
OnError = Callable[[StylemixError], None]
# What files say of themselves
STYLE, LATENT, MODEL = "stylemix-style", "stylemix-latent", "stylemix-model"
LATENT_ENDING = ".latent.safetensors"


def list_sources(sources: Sequence[str]) -> list[Source]:
    """Sources with what is in folders and zips in place of them: their latents, else pictures."""
    found: list[Source] = []
    for what in sources:
        found += _list_folder(Path(what).expanduser()) if is_several(what) else [what]
    return found


def is_several(what: str) -> bool:
    """Whether a source or style is a folder or a zip."""
    path = Path(what).expanduser()
    return path.is_dir() or path.suffix.lower() == ".zip"


def _list_folder(path: Path) -> list[ImageSource]:
    """What `stylemix project` wrote into a folder, if anything; else the pictures in it."""
    latents = sorted(path.rglob(f"*{LATENT_ENDING}"))
    if latents:
        return [ImageSource(file.relative_to(path).as_posix(), file) for file in latents]
    return list_images(path)


@dataclass(frozen=True)
class StyleArgument:
    """A `--source` or `--style` as it was written: what, and for a style with which weight."""

    what: str
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

    @property
    def name(self) -> str:
        """A short name for labels and files."""
        if self.what.startswith("seed:"):
            return self.what.replace(":", "")
        return Path(self.what).absolute().stem.removesuffix(".latent")

    @property
    def label(self) -> str:
        """The name with the weight, where there is one."""
        return self.name if self.weight is None else f"{self.name} {self.weight:g}"


def as_path(what: str, option: str) -> Path:
    """The path that was given for an option; StylemixError when it is empty."""
    if not what:
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
