"""The cache of compiled libraries: its folders, atomic writes, and checks of ownership."""

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

OLD = 86400.0  # seconds after which an unfinished build is that of a killed process


def usual() -> Path | None:
    """Returns the usual cache folder, which may not exist yet; None without a home.

    A relative XDG_CACHE_HOME is ignored, as its specification says: each folder in which somebody
    works would get a cache, with faces in it.
    """
    given, base = os.environ.get("STYLEMIX_CACHE"), os.environ.get("XDG_CACHE_HOME", "")
    if given:
        return Path(os.path.expanduser(given)).absolute() / "ops"
    if os.path.isabs(base):
        return Path(base) / "stylemix" / "ops"
    home = "~/Library/Caches" if platform.system() == "Darwin" else "~/.cache"
    try:
        folder = Path(home).expanduser() / "stylemix" / "ops"
        return folder if folder.is_absolute() else None
    except RuntimeError:
        return None


def private() -> Path:
    """Returns the folder for locks, and for libraries when the usual one is not writable."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    try:
        base = Path(tempfile.gettempdir())
    except FileNotFoundError:  # all of them are read-only, as in some containers
        base = Path("/tmp")
    return base / f"stylemix-{user}" / "ops"


def places() -> list[Path]:
    """Returns the folders that may contain libraries, in order of preference."""
    first = usual()
    return [private()] if first is None else [first, private()]


def note_on(path: Path) -> str:
    """Returns why a library is not in the usual folder, or ""."""
    first = usual()
    if private() not in path.parents or first is None:
        return ""
    existing = next(folder for folder in (first, *first.parents) if os.path.exists(folder))
    if os.path.isdir(existing) and os.access(existing, os.W_OK):  # only at present, or again
        return f"found in {private()}, before {first} was"
    return f"kept in {private()}, since {first} cannot be written"


def file_of(folder: Path, kind: str, suffix: str = ".so") -> Path:
    """Returns the path of a library in a folder, or of its companion file with another suffix."""
    return folder / f"_native_{kind}{suffix}"


def manifest(folder: Path, kind: str) -> dict[str, str]:
    """Returns how the library in a folder was built; empty where that is unknown."""
    try:
        data = json.loads(file_of(folder, kind, ".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(key): str(value) for key, value in data.items()} if isinstance(data, dict) else {}


def seal(folder: Path, kind: str, facts: dict[str, str]) -> None:
    """Writes the manifest of a new library and flushes both to disk."""
    library = file_of(folder, kind)
    library.chmod(0o755)  # a umask may allow group writes
    facts = facts | {"sha256": hashlib.sha256(library.read_bytes()).hexdigest()}
    text = json.dumps(facts, indent=2) + "\n"
    file_of(folder, kind, ".json").write_text(text, encoding="utf-8")
    for path in (library, file_of(folder, kind, ".json")):
        with path.open("rb") as handle:
            os.fsync(handle.fileno())


def is_whole(folder: Path, kind: str) -> bool:
    """Returns whether a library matches its manifest; loading a truncated one may crash."""
    try:
        data = file_of(folder, kind).read_bytes()
    except OSError:
        return False
    return manifest(folder, kind).get("sha256") == hashlib.sha256(data).hexdigest()


def find(kind: str, pattern: str) -> Path | None:
    """Returns a library whose folder matches a pattern; NativeUnavailable for unsafe folders."""
    for place in places():
        try:
            folders = sorted(place.glob(pattern)) if place.is_dir() else []
            for folder in [folder for folder in folders if is_whole(folder, kind)]:
                _check_owner(place.parent, place, folder, file_of(folder, kind))
                return file_of(folder, kind)
        except OSError:
            continue  # unreadable, so treated as empty
    return None


def prepare(place: Path) -> None:
    """Creates a folder that only this user can write; OSError where it is not writable."""
    ours = place == private()
    place.parent.parent.mkdir(parents=True, exist_ok=True)
    for folder in (place.parent, place):
        folder.mkdir(mode=0o700 if ours else 0o755, exist_ok=True)
    if ours and place.parent.is_symlink():
        raise NativeUnavailable(f"{place.parent} is a link; remove it")
    _check_owner(place.parent, place)


def new_folder(name: str) -> tuple[Path, Path]:
    """Returns the cache folder for a library, and a new temporary folder in it for the build."""
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
            reasons.append(f"{place} ({error.strerror or error})")
    tried = " nor to ".join(reasons)
    raise NativeUnavailable(f"cannot write to {tried}; set STYLEMIX_CACHE to a folder of your own")


def settle(scratch: Path, target: Path, kind: str, replace: bool) -> None:
    """Renames a finished build folder atomically to its final name.

    A valid library that another machine has written meanwhile is preserved, unless `replace` says
    that it does not load.
    """
    if is_whole(target, kind) and not replace:
        return
    former = scratch.with_suffix(".old.tmp")
    with suppress(FileNotFoundError):
        target.rename(former)
    try:
        scratch.rename(target)
    except OSError:
        if not is_whole(target, kind):  # else it was written between the two renames
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
    """Rejects folders that other users could have written: loading a library runs its code."""
    if not hasattr(os, "geteuid"):
        return
    for path in (root, *inside):
        about = path.stat()
        if about.st_uid not in (os.geteuid(), 0):
            cause = f"{path} belongs to another user"
            raise NativeUnavailable(f"{cause}; set STYLEMIX_CACHE to a folder of your own")
        # A group may share the root: that does not give write access to our folder in it.
        if about.st_mode & (0o002 if path == root else 0o022):
            cure = f"chmod go-w {shlex.quote(str(path))}, or set STYLEMIX_CACHE to another folder"
            raise NativeUnavailable(f"others may write to {path}; {cure}")
