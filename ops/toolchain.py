"""The toolchain for the ops: compilers, flags, ninja."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import torch

from stylemix.ops.architectures import (
    cpu_march,
    cpu_misfit,
    cuda_archs,
    cuda_misfit,
    gencode,
    processor,
)
from stylemix.ops.errors import NativeUnavailable, NativeUnsupported

TORCH_TARGET = (2, 10)  # the first release with all of the stable ABI that the ops use
SUFFIXES = {"cpu": (".cpp", ".h"), "cuda": (".cu", ".cuh", ".h")}  # sources first, then headers

CPU_FLAGS = ["-O3", "-std=c++17", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra"]
CPU_FLAGS += ["-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-fopenmp-simd"]
if platform.machine() in ("x86_64", "AMD64"):
    CPU_FLAGS.append("-mprefer-vector-width=512")  # where the architecture has 512-bit vectors
CUDA_FLAGS = ["-O3", "-std=c++17", "--expt-relaxed-constexpr", "-DUSE_CUDA", "--cudart=static"]
CUDA_FLAGS += ["-Xptxas", "-v", "-Xcompiler", "-fPIC,-fvisibility=hidden,-Wall,-Wextra"]
USUAL_CUDA = Path("/usr/local/cuda")
LAUNCHERS = ("ccache", "sccache", "distcc")  # in CXX before the compiler
PATIENCE = 30.0  # seconds after which a program that does not say its version is taken for hung
LIBRARIES = {"cpu": ["c10", "torch_cpu", "torch"]}
LIBRARIES["cuda"] = ["c10_cuda", "torch_cuda", *LIBRARIES["cpu"]]


class Recipe(NamedTuple):
    """How to build a library: commands without file names, and the identity of the result."""

    kind: str
    sources: list[Path]
    compile: list[str]
    link: list[str]
    identity: dict[str, str]  # of the result, independent of the compiler
    compiler: str  # path and version

    @property
    def name(self) -> str:
        """A name that changes with everything that affects the library."""
        return f"{family(self.kind, self.identity)}-{_digest(self.compiler)[:8]}"


def family(kind: str, identity: dict[str, str]) -> str:
    """Returns the part of a recipe's name that does not depend on the compiler."""
    return f"{kind}-{_digest(json.dumps(identity, sort_keys=True))[:16]}"


def source_hash(kind: str, folder: Path) -> str:
    """Returns a hash of names and contents of all sources and headers of a kind."""
    total = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in SUFFIXES[kind] and path.is_file():
            total.update(f"{path.name}\0{_digest(path.read_bytes())}\0".encode())
    return total.hexdigest()


def identity(kind: str, folder: Path, march: str | None = None) -> dict[str, str]:
    """Returns what determines a library: sources, flags, torch, architecture."""
    march = cpu_march() if march is None else march
    flags = CPU_FLAGS
    if kind == "cuda":
        extra = ("NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS")
        flags = [*CUDA_FLAGS, *(os.environ.get(name, "") for name in extra)]
    return {
        "sources": source_hash(kind, folder),
        "flags": " ".join(flags),
        "torch": ".".join(map(str, torch_release())),
        "torch_target": ".".join(map(str, TORCH_TARGET)),
        "system": _system(),
        "architecture": " ".join(cuda_archs()) if kind == "cuda" else march,
        "cuda": _cuda_major() if kind == "cuda" else "",
        "processor": processor() if kind == "cpu" and march == "native" else "",
    }


def recipe(kind: str, folder: Path, march: str | None = None, objects: bool = False) -> Recipe:
    """Returns how to build the library of `kind` from `folder`; raises NativeUnavailable.

    With `objects` only compiling matters: any nvcc is accepted, also with a torch without CUDA.
    """
    _check_torch(kind, objects)
    sources = sorted(folder.glob(f"*{SUFFIXES[kind][0]}"))
    if not sources:
        raise NativeUnavailable(f"no *{SUFFIXES[kind][0]} in {folder}; install stylemix again")
    command, version = compiler(kind)
    about = "\n".join([command[0], *_host_compiler(), version])
    if kind == "cuda":
        if not objects:
            _check_cuda_versions(command[0], version)
        command = [*command, *_host_compiler(), *CUDA_FLAGS, *gencode(command[0], cuda_archs())]
    else:
        march = cpu_march() if march is None else march
        command = [*command, *CPU_FLAGS, *([f"-march={march}"] if march else [])]
    target = f"0x{TORCH_TARGET[0]:02x}{TORCH_TARGET[1]:02x}{0:012x}"
    includes = ["-I", str(folder), "-isystem", str(torch_folder("include"))]
    link = [*command, "-shared", "-L", str(torch_folder("lib"))]
    known = identity(kind, folder, march)
    commands = [*command, f"-DTORCH_TARGET_VERSION={target}", *includes]
    return Recipe(kind, sources, commands, link, known, about)


def libraries(kind: str) -> list[str]:
    """Returns the libraries at the end of the link command."""
    named = [f"-l{name}" for name in LIBRARIES[kind]]
    if platform.system() == "Darwin":
        return [*named, f"-Wl,-rpath,{torch_folder('lib')}"]
    return named  # resolved by name when loaded, since torch has already loaded them


def torch_release() -> tuple[int, int]:
    """Returns the major and minor version of torch."""
    found = re.match(r"(\d+)\.(\d+)", torch.__version__)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def torch_folder(name: str) -> Path:
    """Returns the folder `include` or `lib` of the installed torch."""
    return Path(torch.__file__).parent / name


def _check_torch(kind: str, objects: bool) -> None:
    if platform.system() not in ("Linux", "Darwin"):
        raise NativeUnsupported("the compiled ops are for Linux and macOS; use WSL for them")
    if torch_release() < TORCH_TARGET:
        least = ".".join(map(str, TORCH_TARGET))
        raise NativeUnavailable(f"got torch {torch.__version__}; upgrade it to {least} or later")
    if not (torch_folder("include") / "torch" / "csrc" / "stable" / "library.h").is_file():
        where = torch_folder("include")
        raise NativeUnavailable(f"no C++ headers in {where}; install torch from its own wheels")
    if kind == "cuda" and not torch.version.cuda and not objects:
        cure = "install one with CUDA to use a GPU"
        raise NativeUnavailable(f"torch {torch.__version__} is a build without CUDA; {cure}")


def compiler(kind: str) -> tuple[list[str], str]:
    """Returns the command of the compiler and its version text."""
    command = _nvcc() if kind == "cuda" else _cxx()
    try:
        return command, version_of(tuple(command))
    except (OSError, subprocess.SubprocessError) as error:
        text = f"{shlex.join(command)} --version fails ({_reason(error)})"
        variable = "CUDA_HOME" if kind == "cuda" else "CXX"
        raise NativeUnavailable(f"{text}; set {variable} to a working one") from error


@functools.cache
def version_of(command: tuple[str, ...]) -> str:
    """Returns the output of a program for --version."""
    done = subprocess.run(
        [*command, "--version"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    return done.stdout.strip()


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.TimeoutExpired):
        return f"no answer in {error.timeout:g} s"
    text = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
    return " ".join(str(text).split()) or type(error).__name__


def _cxx() -> list[str]:
    given = shlex.split(os.environ.get("CXX", ""))
    for words in [given] if given else [["g++"], ["clang++"], ["c++"]]:
        path = shutil.which(words[0])
        if path:
            return [path, *words[1:]]
    if given:
        raise NativeUnavailable(f"CXX names {given[0]!r}, which is not there; correct or unset it")
    raise NativeUnavailable("no C++ compiler; install g++ or clang++, or set CXX to one")


def _nvcc() -> list[str]:
    homes = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    found = [Path(home, "bin", "nvcc") for home in homes]
    on_path = shutil.which("nvcc")
    found += [Path(on_path)] if on_path else []
    package = torch_folder("").parent / "nvidia" / f"cu{_cuda_major()}"
    found += [USUAL_CUDA / "bin" / "nvcc", package / "bin" / "nvcc"]
    for path in found:
        if path.is_file() and os.access(path, os.X_OK):
            return [str(path)]
    cure = f"install the CUDA toolkit {torch.version.cuda or ''}".rstrip()
    raise NativeUnavailable(f"no nvcc; {cure} or set CUDA_HOME to it")


def _host_compiler() -> list[str]:
    """Returns the option for nvcc's host compiler if CXX is set: the compiler behind a launcher."""
    if not os.environ.get("CXX"):
        return []
    words = _cxx()
    behind = len(words) > 1 and Path(words[0]).name in LAUNCHERS
    return ["-ccbin", words[1] if behind else words[0]]


def _check_cuda_versions(nvcc: str, version: str) -> None:
    found = re.search(r"release (\d+)\.(\d+)", version)
    ours = ".".join(found.groups()) if found else "?"
    if ours.split(".")[0] != _cuda_major():
        cause = f"{nvcc} is of CUDA {ours} and torch of CUDA {torch.version.cuda}"
        raise NativeUnavailable(f"{cause}; set CUDA_HOME to a CUDA {_cuda_major()} toolkit")


def misfit(kind: str, about: dict[str, str]) -> str:
    """Returns why a library with this manifest cannot be used here, or ""."""
    if about.get("system") != _system():
        return f"it is for {about.get('system')}"
    if torch_release() < TORCH_TARGET:
        return f"torch {torch.__version__} is too old for it"
    built_for = about.get("architecture", "")
    if kind == "cpu":
        return cpu_misfit(built_for, about.get("processor", ""))
    if about.get("cuda") != _cuda_major():
        return f"it is for CUDA {about.get('cuda')} and torch for {_cuda_major() or 'none'}"
    return cuda_misfit(built_for.split())


def _system() -> str:
    return f"{platform.system()} {platform.machine()}"


def _cuda_major() -> str:
    return (torch.version.cuda or "").split(".")[0]


def ninja() -> list[str]:
    """Returns the command of ninja: beside this Python, its package, or on PATH."""
    beside = Path(sys.executable).parent / "ninja"
    if beside.is_file():
        return [str(beside)]
    if importlib.util.find_spec("ninja") is not None:
        return [sys.executable, "-m", "ninja"]
    path = shutil.which("ninja")
    if path:
        return [path]
    raise NativeUnavailable("no ninja; pip install ninja")


def _digest(data: str | bytes) -> str:
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()
