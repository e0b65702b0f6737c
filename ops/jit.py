"""The compiled ops: located, or compiled at first use, and loaded once per process.

A library is taken from beside the sources (built ahead of time), else from the cache, else
compiled by ninja into the cache. A failure is reported once, with its cause and its cure.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch

from stylemix.ops import cache, lock, toolchain
from stylemix.ops.architectures import portable_march
from stylemix.ops.errors import NativeUnavailable, NativeUnsupported
from stylemix.ops.progress import Line
from stylemix.ops.toolchain import Recipe

KINDS = ("cpu", "cuda")
SOURCES = Path(__file__).resolve().parent
SECONDS = {"cpu": 20, "cuda": 60}  # duration of a build on two cores, for its progress message
TICK = 0.25  # seconds between polls of a build
ERROR = re.compile(r"\berror\b|undefined reference|cannot find -l|\bfatal\b", re.IGNORECASE)
LONGEST = 300  # characters of a compiler's message that a warning quotes


class Status(NamedTuple):
    """The status of a library, determined without building it."""

    state: str  # "loaded", "built", "not built", "failed" or "off"
    where: Path | None
    reason: str


_finished: dict[str, Status] = {}
_one_thread = threading.RLock()


def load(kind: str) -> bool:
    """Loads the compiled ops of `kind`, compiling them if necessary; returns False on failure.

    The first call does the work and warns once of a failure; later calls return the result.
    """
    if _is_off():
        return False
    if kind not in _finished:
        with _one_thread:
            if kind not in _finished:
                _load_first(kind)
    return _finished[kind].state == "loaded"


def library(kind: str, verbose: bool = False) -> Path:
    """Returns the library of `kind`, compiled if there is none; raises NativeUnavailable.

    With `verbose` the output of the compilers is printed to standard error.
    """
    return _find(kind)[0] or _build(kind, verbose)


def status(kind: str) -> Status:
    """Returns what `load(kind)` did or would do; builds and loads nothing."""
    if _is_off():
        return Status("off", None, "STYLEMIX_OPS=torch")
    if kind in _finished:
        return _finished[kind]
    try:
        path, note = _find(kind)
        if path is None:
            toolchain.recipe(kind, SOURCES)
            toolchain.ninja()
    except NativeUnavailable as error:
        return Status("not built", None, str(error))
    return Status("built" if path else "not built", path, note)


def build_into(kind: str, folder: Path) -> Path:
    """Compiles `kind` ahead of time into `folder`, for this and similar machines.

    Installed beside the sources, `library` prefers it. Raises NativeUnavailable.
    """
    recipe = toolchain.recipe(kind, SOURCES, portable_march())
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        _compile(recipe, scratch, folder / "build.log")
        for suffix in (".json", ".so"):
            shutil.copyfile(
                cache.file_of(scratch, kind, suffix), cache.file_of(folder, kind, suffix)
            )
    return cache.file_of(folder, kind)


def compile_objects(kind: str, folder: Path) -> str:
    """Compiles every source of `kind` into `folder` without linking; returns the output.

    Checks CUDA sources on machines with nvcc but no GPU, for the architectures in
    STYLEMIX_CUDA_ARCHS. Raises NativeUnavailable.
    """
    recipe = toolchain.recipe(kind, SOURCES, objects=True)
    return _run_ninja(recipe, folder, folder / "build.log", link=False)


def _is_off() -> bool:
    return os.environ.get("STYLEMIX_OPS") == "torch"


def _load_first(kind: str) -> None:
    try:
        _finished[kind] = _try_to_load(kind)
    except NativeUnavailable as error:
        _finished[kind] = Status("failed", None, str(error))
        if isinstance(error, NativeUnsupported):
            return
        warnings.warn(
            f"the compiled {kind} ops are not used: {error} (STYLEMIX_OPS=torch silences this)",
            RuntimeWarning,
            stacklevel=3,
        )


def _try_to_load(kind: str) -> Status:
    useless: list[Path] = []
    while True:
        found, note = _find(kind, useless)
        path = found or _build(kind, useless=useless)
        try:
            torch.ops.load_library(str(path))
        except OSError as error:
            # An existing library may be damaged or built elsewhere; a new one must load.
            if found is None:
                text = _one_line(str(error))
                cure = "set STYLEMIX_CACHE to a folder that programs may be run from"
                raise NativeUnavailable(f"the library does not load ({text}); {cure}") from error
            useless.append(found)
        else:
            return Status("loaded", path, note or cache.note_on(path))


def _find(kind: str, useless: Sequence[Path] = ()) -> tuple[Path | None, str]:
    """Returns an existing library, or None, and a note on it."""
    path, note = _find_bundled(kind, useless)
    if path is not None:
        return path, note
    try:
        pattern = toolchain.recipe(kind, SOURCES).name
    except NativeUnavailable:  # it may have been built while there was a compiler
        pattern = toolchain.family(kind, toolchain.identity(kind, SOURCES)) + "-*"
    path = cache.find(kind, pattern)
    return (None, note) if path in useless else (path, note)


def _find_bundled(kind: str, useless: Sequence[Path]) -> tuple[Path | None, str]:
    path, about = cache.file_of(SOURCES, kind), cache.manifest(SOURCES, kind)
    if not path.is_file():
        return None, ""
    if path in useless:
        problem = "it does not load"
    elif about.get("sources") != toolchain.source_hash(kind, SOURCES):
        problem = "it was built from other sources"
    elif not cache.is_whole(SOURCES, kind):
        problem = "it is damaged"
    else:
        problem = toolchain.misfit(kind, about)
    return (None, f"ignores {path.name}: {problem}") if problem else (path, "built ahead of time")


def _build(kind: str, verbose: bool = False, useless: Sequence[Path] = ()) -> Path:
    """Compiles into the cache, or waits for another process that does."""
    recipe = toolchain.recipe(kind, SOURCES)
    toolchain.ninja()
    with suppress(OSError, NativeUnavailable):  # without a lock a build may be repeated
        cache.prepare(cache.private())
    waiting_for = f"another process that compiles the {kind} ops"
    with lock.one_at_a_time(cache.private() / f"{recipe.name}.lock", waiting_for):
        found = cache.find(kind, recipe.name)
        if found is not None and found not in useless:
            return found
        place, scratch = cache.new_folder(recipe.name)
        try:
            with Line(f"compiling the {kind} ops", SECONDS[kind]) as line:
                said = _compile(recipe, scratch, place / f"{recipe.name}.log", line.tick)
            cache.settle(scratch, place / recipe.name, kind, replace=found is not None)
        except OSError as error:
            cause = f"cannot write to {place} ({error.strerror or error})"
            raise NativeUnavailable(f"{cause}; free some room or set STYLEMIX_CACHE") from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        if verbose:
            print(said, file=sys.stderr)
        return cache.file_of(place / recipe.name, kind)


def _compile(
    recipe: Recipe, folder: Path, log: Path, tick: Callable[[], None] = lambda: None
) -> str:
    """Builds the library and its manifest in `folder`; a failure writes its output to `log`."""
    start = time.monotonic()
    said = _run_ninja(recipe, folder, log, link=True, tick=tick)
    log.unlink(missing_ok=True)  # from an earlier failure
    if toolchain.source_hash(recipe.kind, SOURCES) != recipe.identity["sources"]:
        raise NativeUnavailable("the sources changed while they were compiled; start again")
    facts = {"compiler": recipe.compiler, "seconds": f"{time.monotonic() - start:.1f}"}
    facts["command"] = shlex.join(recipe.compile)
    cache.seal(folder, recipe.kind, recipe.identity | facts)
    for path in folder.glob("*.o"):
        path.unlink()
    cache.file_of(folder, recipe.kind, ".log").write_text(said, encoding="utf-8")
    return said


def _run_ninja(
    recipe: Recipe, folder: Path, log: Path, link: bool, tick: Callable[[], None] = lambda: None
) -> str:
    (folder / "build.ninja").write_text(_build_file(recipe, link), encoding="utf-8")
    jobs = ["-j", os.environ["MAX_JOBS"]] if os.environ.get("MAX_JOBS", "").isdigit() else []
    try:
        code, said = _run([*toolchain.ninja(), "-v", *jobs, "-C", str(folder)], tick)
    except OSError as error:
        raise NativeUnavailable(f"ninja does not run ({error}); pip install ninja") from error
    if code == 0:
        return said
    log.write_text(said, encoding="utf-8")
    lines = [line for line in said.splitlines() if line.strip()] or ["no output"]
    telling = next((line for line in lines if ERROR.search(line)), lines[-1])
    raise NativeUnavailable(f"compiling failed ({_one_line(telling)[:LONGEST]}); see {log}")


def _run(command: list[str], tick: Callable[[], None]) -> tuple[int, str]:
    """Runs a command while calling `tick` regularly; returns its exit code and output."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        try:
            while True:
                tick()
                with suppress(subprocess.TimeoutExpired):
                    said, _ = process.communicate(timeout=TICK)
                    return process.returncode, said
        except BaseException:
            process.terminate()  # so that ninja ends its compilers, which a kill would orphan
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)
            process.kill()
            raise


def _build_file(recipe: Recipe, link: bool) -> str:
    """Returns the text of build.ninja, without headers, since any change gives another folder."""
    objects = {path: f"{path.stem}.o" for path in recipe.sources}
    library = f"_native_{recipe.kind}.so"
    lines = [
        f"rule compile\n  command = {_command(recipe.compile)} -c $in -o $out",
        f"rule link\n  command = {_command(recipe.link)} $in -o $out "
        + _command(toolchain.libraries(recipe.kind)),
        *(f"build {name}: compile {_escape(str(path))}" for path, name in objects.items()),
    ]
    if link:
        lines.append(f"build {library}: link {' '.join(map(_escape, objects.values()))}")
    return "\n".join(lines) + "\n"


def _command(words: list[str]) -> str:
    return shlex.join(words).replace("$", "$$")


def _escape(path: str) -> str:
    return re.sub(r"([$ :])", r"$\1", path)


def _one_line(text: str) -> str:
    return " ".join(text.split())
