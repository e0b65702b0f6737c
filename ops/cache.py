"""Where compiled libraries are kept: the cache, its private substitute, and whom to trust there."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import secrets
import shlex
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from stylemix.ops.errors import NativeUnavailable

OLD = 86400.0  # seconds; then a half-done build is of a process that was killed


def usual() -> Path | None:
    """The folder that libraries are kept in, which may not exist yet; None without a home."""
    given, base = os.environ.get("STYLEMIX_CACHE"), os.environ.get("XDG_CACHE_HOME")
    if given:
        return Path(given).expanduser().absolute() / "ops"
    if base:
        return Path(base).absolute() / "stylemix" / "ops"
    home = "~/Library/Caches" if platform.system() == "Darwin" else "~/.cache"
    try:
        return Path(home).expanduser() / "stylemix" / "ops"
    except RuntimeError:
        return None


def private() -> Path:
    """The folder for locks, and for libraries when the usual one cannot be written."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir()) / f"stylemix-{user}" / "ops"


def places() -> list[Path]:
    """The folders that may hold libraries, the preferred one first."""
    first = usual()
    return [private()] if first is None else [first, private()]


def note_on(path: Path) -> str:
    """Why a library is not in the usual place."""
    first = usual()
    if private() not in path.parents or first is None:
        return ""
    return f"kept in {private()}, since {first} cannot be written"


def file_of(folder: Path, kind: str, suffix: str = ".so") -> Path:
    """The library of a kind in a folder, or with another suffix what belongs to it."""
    return folder / f"_native_{kind}{suffix}"


def manifest(folder: Path, kind: str) -> dict[str, str]:
    """How the library in a folder was built; empty where that is not known."""
    try:
        data = json.loads(file_of(folder, kind, ".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in data.items()} if isinstance(data, dict) else {}


def seal(folder: Path, kind: str, facts: dict[str, str]) -> None:
    """Write the manifest of a fresh library and bring both to the disk."""
    library = file_of(folder, kind)
    library.chmod(0o755)  # some have a umask that lets their group write
    facts = facts | {"sha256": hashlib.sha256(library.read_bytes()).hexdigest()}
    text = json.dumps(facts, indent=2) + "\n"
    file_of(folder, kind, ".json").write_text(text, encoding="utf-8")
    for path in (library, file_of(folder, kind, ".json")):
        with path.open("rb") as handle:
            os.fsync(handle.fileno())


def is_whole(folder: Path, kind: str) -> bool:
    """Whether a library is what its manifest says; loading one that was cut off may crash."""
    try:
        data = file_of(folder, kind).read_bytes()
    except OSError:
        return False
    return manifest(folder, kind).get("sha256") == hashlib.sha256(data).hexdigest()


def find(kind: str, pattern: str) -> Path | None:
    """The library in a folder whose name fits; raises NativeUnavailable for unsafe places."""
    for place in places():
        try:
            folders = sorted(place.glob(pattern)) if place.is_dir() else []
            for folder in [folder for folder in folders if is_whole(folder, kind)]:
                _check_owner(place.parent, place, folder, file_of(folder, kind))
                return file_of(folder, kind)
        except OSError:
            continue  # as good as empty
    return None


def prepare(place: Path) -> None:
    """Make a place where only we can put files; OSError where it cannot be written."""
    ours = place == private()
    place.parent.parent.mkdir(parents=True, exist_ok=True)
    for folder in (place.parent, place):
        folder.mkdir(mode=0o700 if ours else 0o755, exist_ok=True)
    if ours and place.parent.is_symlink():
        raise NativeUnavailable(f"{place.parent} is a link; remove it")
    _check_owner(place.parent, place)


def new_folder(name: str) -> tuple[Path, Path]:
    """The place to keep a library in, and a new folder beside it to build it in."""
    reasons = []
    for place in places():
        try:
            prepare(place)
            for old in place.glob(".*.tmp"):
                if time.time() - old.stat().st_mtime > OLD:
                    shutil.rmtree(old, ignore_errors=True)
            folder = place / f".{name}.{secrets.token_hex(4)}.tmp"
            folder.mkdir(mode=0o755)
            return place, folder
        except OSError as error:
            reasons.append(f"cannot write to {place} ({error.strerror or error})")
    raise NativeUnavailable(f"{' nor '.join(reasons)}; set STYLEMIX_CACHE to a folder of your own")


def settle(scratch: Path, target: Path, kind: str, replace: bool) -> None:
    """Give a finished folder its name; whoever finds it finds all of it.

    A whole library that is there by now, from another machine, stays unless `replace` says that
    it is useless.
    """
    if is_whole(target, kind) and not replace:
        return
    former = scratch.with_suffix(".old.tmp")
    with suppress(FileNotFoundError):
        target.rename(former)
    try:
        scratch.rename(target)
    except OSError:
        if not is_whole(target, kind):  # else it came between the two lines
            raise
    finally:
        shutil.rmtree(former, ignore_errors=True)
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _check_owner(root: Path, *inside: Path) -> None:
    """Refuse libraries that somebody else could have put there: to load one is to run it."""
    if not hasattr(os, "geteuid"):
        return
    for path in (root, *inside):
        about = path.stat()
        if about.st_uid not in (os.geteuid(), 0):
            cause = f"{path} belongs to another user"
            raise NativeUnavailable(f"{cause}; set STYLEMIX_CACHE to a folder of your own")
        # A group may share the root: nobody can get a file into our folder in it that way.
        if about.st_mode & (0o002 if path == root else 0o022):
            cure = f"chmod go-w {shlex.quote(str(path))}, or set STYLEMIX_CACHE to another folder"
            raise NativeUnavailable(f"others may write to {path}; {cure}")
