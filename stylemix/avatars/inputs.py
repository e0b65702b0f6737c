"""What several sources are: folders and zips, with one person in each file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from stylemix.errors import StylemixError
from stylemix.images.sources import ImageSource, list_images

Source = str | ImageSource  # as it was written, or found in a folder
Told = Callable[[StylemixError], None]
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
