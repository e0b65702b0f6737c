"""Names of output files that replace neither an earlier result nor an input."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Sequence
from functools import cache
from hashlib import blake2b
from itertools import chain, count
from mimetypes import guess_type
from pathlib import Path

from stylemix.errors import StylemixError
from stylemix.io.files import StrPath

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LATENT_SUFFIX = ".latent.safetensors"
ENDINGS = (LATENT_SUFFIX, ".aligned.png")  # more than an extension
Beside = Callable[[Path], Sequence[Path]]  # the further files that are written with an output


def free_path(
    path: Path,
    beside: Beside = lambda _: (),
    is_same: Callable[[Path], bool] = lambda _: False,
    used: Container[Path] = (),
) -> Path:
    """The path, or else NAME-2.EXT, NAME-3.EXT, ..., the first one that no file has.

    No other process that runs may have claimed it, and this one claims it. What is written `beside`
    it must be free, too. A file that `is_same` as the one to be written may be replaced.
    Files that this process will write are `used`.
    """
    stem, ending = _split(path.name)
    numbered = (path.with_name(f"{stem}-{number}{ending}") for number in count(2))
    return next(
        path
        for path in chain([path], numbered)
        if (path not in used and not _is_taken(path, beside)) or is_same(path)
    )


def claim(path: Path) -> bool:
    """Claims a name until `release` or the end of this process; False if another process has it.

    A claim is the kernel's lock on one byte of a file of this user, so it ends with its process,
    however that ends. Without such locks, as on Windows, and between machines nothing is claimed;
    there only `stylemix.io.atomic.expect_new` keeps files apart.
    """
    return _lock(path, True)


def release(path: Path) -> None:
    """Gives a claim back, such as that of a file that exists by now."""
    _lock(path, False)


def _lock(path: Path, take: bool) -> bool:
    if (locks := _locks()) is not None:
        name = os.fsencode(os.path.realpath(path))
        place = int.from_bytes(blake2b(name, digest_size=7).digest(), "big")
        try:
            how = fcntl.LOCK_EX | fcntl.LOCK_NB if take else fcntl.LOCK_UN
            fcntl.lockf(locks, how, 1, place)
        except (BlockingIOError, PermissionError):
            return False
        except OSError:  # a file system without locks
            pass
    return True


@cache
def _locks() -> int | None:
    if fcntl is None:
        return None
    from stylemix.ops import cache as ops_cache  # with torch
    from stylemix.ops.errors import NativeUnavailable

    try:
        ops_cache.prepare(ops_cache.private())
        return os.open(ops_cache.private() / "outputs.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except (OSError, NativeUnavailable):
        return None


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
    for file in (path, *beside(path)):
        if not claim(file):
            return True
        if os.path.lexists(file):  # after the claim: who had it may have written the file by now
            release(file)
            return True
    return False


def _split(name: str) -> tuple[str, str]:
    for ending in ENDINGS:
        if name.endswith(ending):
            return name.removesuffix(ending), ending
    return Path(name).stem, Path(name).suffix
