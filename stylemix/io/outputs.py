"""Names of output files that replace neither an earlier result nor an input."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, count
from mimetypes import guess_type
from pathlib import Path

from stylemix.errors import StylemixError
from stylemix.io.files import StrPath

LATENT_SUFFIX = ".latent.safetensors"
ENDINGS = (LATENT_SUFFIX, ".aligned.png")  # more than an extension
Beside = Callable[[Path], Sequence[Path]]  # the further files that are written with an output


def free_path(
    path: Path,
    beside: Beside = lambda _: (),
    is_same: Callable[[Path], bool] = lambda _: False,
) -> Path:
    """The path, or else NAME-2.EXT, NAME-3.EXT, ..., the first one that no file has.

    What is written `beside` it must be free, too. A file that `is_same` as the one to be written
    may be replaced.
    """
    stem, ending = _split(path.name)
    numbered = (path.with_name(f"{stem}-{number}{ending}") for number in count(2))
    return next(p for p in chain([path], numbered) if not _is_taken(p, beside) or is_same(p))


def is_input(path: Path, inputs: Iterable[StrPath]) -> bool:
    """Whether a file is one of the inputs, or one of the images or latents in a folder of them."""
    if not path.exists():
        return False
    target = Path(os.path.realpath(path))
    given = [Path(os.path.realpath(os.path.expanduser(name))) for name in inputs if str(name)]
    kind = guess_type(path.name, strict=False)[0] or ""
    readable = kind.startswith("image/") or path.name.endswith(ENDINGS)
    return target in given or (readable and any(folder in target.parents for folder in given))


def check_not_input(path: Path, inputs: Iterable[StrPath]) -> None:
    """Raises StylemixError for an output that would replace an input."""
    if is_input(path, inputs):
        raise StylemixError(
            f"got the output {path}, which is an input, too; expected another file, since an input "
            "is never replaced; change the name of the output"
        )


def _is_taken(path: Path, beside: Beside) -> bool:
    return any(os.path.lexists(file) for file in (path, *beside(path)))


def _split(name: str) -> tuple[str, str]:
    for ending in ENDINGS:
        if name.endswith(ending):
            return name.removesuffix(ending), ending
    return Path(name).stem, Path(name).suffix
