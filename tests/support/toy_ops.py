"""A small library instead of the compiled ops: sources, cache, a compiler that counts its runs."""

import ctypes
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from stylemix.ops import jit, toolchain
from tests.support.native import skip_if_torch_is_old

ROOT = Path(__file__).resolve().parents[2]

SOURCE = """
#include "value.h"
extern "C" __attribute__((visibility("default"))) int value() { return VALUE; }
"""

# Where the file `hold` exists the compiler waits until it is gone.
COMPILER = """#!/bin/sh
for word in "$@"; do
  if [ "$word" = -c ]; then
    echo run $$ >> '{folder}/runs'
    while [ -e '{folder}/hold' ]; do sleep 0.02; done
  fi
done
exec {command} "$@"
"""

# Ctrl-C counts even where the tests run in the background of a shell, which makes it ignored.
PROCESS = """
import signal, sys, warnings
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, {root!r})
from stylemix.ops import jit
jit.SOURCES = Path({sources!r})
warnings.simplefilter("error")
sys.exit(0 if jit.load("cpu") else 3)
"""


class Toy:
    """A folder with the sources of a library of one function, and settings that select it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        skip_if_torch_is_old()
        self.folder, self._patch = folder, monkeypatch
        self.sources, self.cache, self.temporary = (
            folder / name for name in ("the $ources", "cache", "temporary")
        )
        self.sources.mkdir()
        self.temporary.mkdir()
        self.write("one.cpp", SOURCE)
        self.write("value.h", "#define VALUE 1\n")
        command, _ = toolchain.compiler("cpu")
        self.compiler = self.script(
            "c++", COMPILER.format(folder=folder, command=shlex.join(command))
        )
        for name in ("STYLEMIX_OPS", "STYLEMIX_MARCH", "STYLEMIX_CUDA_ARCHS", "MAX_JOBS"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("CXX", f"'{self.compiler}'")
        monkeypatch.setenv("STYLEMIX_CACHE", str(self.cache))
        monkeypatch.setenv("TMPDIR", str(self.temporary))
        monkeypatch.setattr(tempfile, "tempdir", str(self.temporary))
        monkeypatch.setattr(jit, "SOURCES", self.sources)
        self.forget()

    def write(self, name: str, text: str) -> None:
        (self.sources / name).write_text(text, encoding="utf-8")

    def script(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
        return path

    def forget(self) -> None:
        """Reset the loading state of this process."""
        self._patch.setattr(jit, "_finished", {})

    def runs(self) -> int:
        """Number of runs of the compiler."""
        path = self.folder / "runs"
        return path.read_text().count("run") if path.exists() else 0

    def compilers(self) -> list[int]:
        """Process ids of the compilers, running or ended."""
        return [int(line.split()[1]) for line in (self.folder / "runs").read_text().splitlines()]

    def start(self, stderr: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        """Starts another process that loads the library: exit code 0, or 3 on failure."""
        code = PROCESS.format(root=str(ROOT), sources=str(self.sources))
        command = [sys.executable, "-c", code]
        return subprocess.Popen(command, text=True, stderr=stderr)

    def hold(self) -> None:
        (self.folder / "hold").touch()

    def release(self) -> None:
        (self.folder / "hold").unlink()


def value(library: Path) -> int:
    """Returns the result of the library's function."""
    result: int = ctypes.CDLL(str(library)).value()
    return result
