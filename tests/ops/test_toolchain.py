"""For what is compiled, with what: architectures, versions of CUDA, ninja, ahead of time."""

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from stylemix.ops import architectures, jit, toolchain
from stylemix.ops.errors import NativeUnavailable
from tests.support.toy_ops import ROOT

NVCC = """#!/bin/sh
case "$1" in
  --version) echo 'Cuda compilation tools, release {version}, V{version}.1' ;;
  --list-gpu-arch) printf 'compute_80\\ncompute_90\\ncompute_100\\ncompute_103\\ncompute_120\\n' ;;
esac
"""

KERNEL = """
#include <cuda_runtime.h>
#include <torch/csrc/stable/library.h>
__global__ void twice(float* x) { x[threadIdx.x] *= 2; }
void launch(float* x) { twice<<<1, 32>>>(x); }
"""

BUILD = """
import sys
from setuptools import build_meta
print(build_meta.build_wheel(sys.argv[1]))
"""


@pytest.fixture
def cuda(toy, monkeypatch):
    """A toolkit that is none, beside a torch with CUDA 13.0 on a machine without a device."""
    (toy.folder / "bin").mkdir()
    toy.script("bin/nvcc", NVCC.format(version="13.0"))
    toy.write("one.cu", KERNEL)
    monkeypatch.setenv("CUDA_HOME", str(toy.folder))
    for name in ("CUDA_PATH", "TORCH_CUDA_ARCH_LIST", "CXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return toy


def _devices(monkeypatch, *capabilities):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(capabilities))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capabilities[index])


def _codes(toy):
    words = toolchain.recipe("cuda", toy.sources).compile
    return [word.rsplit("=", 1)[1] for word in words if word.startswith("-gencode=")]


def test_cuda_is_compiled_for_the_devices_here_and_later_ones(cuda, monkeypatch):
    _devices(monkeypatch, (9, 0), (8, 0), (9, 0))
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "12.0")  # of the container, for other devices
    assert _codes(cuda) == ["sm_80", "sm_90", "compute_90"]
    known = toolchain.identity("cuda", cuda.sources)
    assert (known["architecture"], known["cuda"], known["processor"]) == ("80 90", "13", "")
    assert jit.status("cuda") == ("not built", None, "")


@pytest.mark.parametrize(
    ("asked", "codes"),
    [
        ("9.0", ["sm_90", "compute_90"]),
        ("12.0+PTX;8.0", ["sm_80", "sm_120", "compute_120"]),
        ("80 90,120", ["sm_80", "sm_90", "sm_120", "compute_120"]),
        ("9.0a", ["sm_90a", "compute_90a"]),
    ],
)
def test_cuda_is_compiled_for_what_is_asked_for(cuda, monkeypatch, asked, codes):
    _devices(monkeypatch, (8, 0))
    monkeypatch.setenv("STYLEMIX_CUDA_ARCHS", asked)
    assert _codes(cuda) == codes


def test_torch_may_name_the_architectures_where_there_is_no_device(cuda, monkeypatch):
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "8.0;9.0+PTX")
    assert _codes(cuda) == ["sm_80", "sm_90", "compute_90"]


def test_a_device_that_nvcc_does_not_know_yet_gets_ptx(cuda, monkeypatch):
    _devices(monkeypatch, (9, 0), (13, 0))
    assert _codes(cuda) == ["sm_90", "compute_120"]


def test_a_device_that_nvcc_no_longer_knows_is_refused(cuda, monkeypatch):
    _devices(monkeypatch, (7, 0))
    with pytest.raises(NativeUnavailable, match=r"does not know sm_70; use the CUDA toolkit that"):
        _codes(cuda)


@pytest.mark.parametrize("asked", ["Hopper", "9.0;x", "9", "1234"])
def test_architectures_that_are_none_are_refused(cuda, monkeypatch, asked):
    monkeypatch.setenv("STYLEMIX_CUDA_ARCHS", asked)
    with pytest.raises(NativeUnavailable, match="; set STYLEMIX_CUDA_ARCHS like "):
        _codes(cuda)


def test_without_a_device_the_architecture_must_be_named(cuda):
    with pytest.raises(NativeUnavailable, match="no CUDA device; set STYLEMIX_CUDA_ARCHS"):
        _codes(cuda)


def test_versions_of_cuda_must_agree(cuda, monkeypatch):
    cuda.script("bin/nvcc", NVCC.format(version="12.9"))
    toolchain.version_of.cache_clear()
    with pytest.raises(NativeUnavailable) as caught:
        _codes(cuda)
    nvcc = cuda.folder / "bin" / "nvcc"
    expected = f"{nvcc} is of CUDA 12.9 and torch of CUDA 13.0; set CUDA_HOME to a CUDA 13 toolkit"
    assert str(caught.value) == expected


def test_a_missing_nvcc_is_told(cuda, monkeypatch):
    monkeypatch.delenv("CUDA_HOME")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(toolchain, "USUAL_CUDA", cuda.folder / "nowhere")
    with pytest.raises(NativeUnavailable, match="no nvcc; install the CUDA toolkit 13"):
        _codes(cuda)


def test_a_torch_without_cuda_is_told(cuda, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(NativeUnavailable, match="is a build without CUDA; install one with CUDA"):
        _codes(cuda)


@pytest.mark.parametrize(
    ("built_for", "device", "fits"),
    [
        ("80", (8, 0), True),
        ("80", (8, 6), True),
        ("80", (7, 5), False),
        ("80", (9, 0), True),  # through PTX
        ("86 90", (8, 0), False),
        ("80 120", (9, 0), False),  # PTX is for the last one only
        ("90a", (9, 0), True),
    ],
)
def test_a_library_is_taken_where_it_runs(monkeypatch, built_for, device, fits):
    _devices(monkeypatch, device)
    assert (architectures.cuda_misfit(built_for.split()) == "") == fits


def test_code_for_one_processor_stays_there(monkeypatch):
    here = architectures.processor()
    assert architectures.cpu_misfit("native", here) == ""
    assert architectures.cpu_misfit("native", "other") == "it is for another processor"
    monkeypatch.setattr(
        architectures, "cpu_features", lambda: set(architectures.NEEDS["x86-64-v3"])
    )
    assert architectures.cpu_misfit("x86-64-v3", "other") == ""
    assert "avx512bw" in architectures.cpu_misfit("x86-64-v4", "other")
    assert architectures.cpu_misfit("", "other") == ""


def test_ninja_is_found_without_a_path(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    assert toolchain.ninja() == [str(tmp_path / "python"), "-m", "ninja"]
    (tmp_path / "ninja").touch()
    assert toolchain.ninja() == [str(tmp_path / "ninja")]


@pytest.mark.parametrize(
    ("given", "expected"), [("{0}/ccache g++ -m64", "g++"), ("{0}/ccache", "{0}/ccache")]
)
def test_nvcc_gets_the_compiler_behind_a_launcher(cuda, monkeypatch, given, expected):
    cuda.script("ccache", '#!/bin/sh\nexec "$@"\n')
    monkeypatch.setenv("CXX", given.format(cuda.folder))
    monkeypatch.setenv("STYLEMIX_CUDA_ARCHS", "9.0")
    command = toolchain.recipe("cuda", cuda.sources).compile
    assert command[command.index("-ccbin") + 1] == expected.format(cuda.folder)


@pytest.mark.slow
def test_cuda_sources_compile_without_a_gpu(toy, monkeypatch, tmp_path):
    try:
        toolchain.compiler("cuda")
    except NativeUnavailable as error:
        pytest.skip(str(error))
    monkeypatch.setenv("STYLEMIX_CUDA_ARCHS", "9.0")
    monkeypatch.delenv("CXX")
    monkeypatch.setattr(jit, "SOURCES", tmp_path)  # nvcc takes a dollar in a path for a variable
    (tmp_path / "one.cu").write_text(KERNEL)
    said = jit.compile_objects("cuda", tmp_path)
    assert "ptxas info" in said
    assert "warning" not in said
    assert (tmp_path / "one.o").is_file()


@pytest.fixture
def tree(tmp_path):
    """A checkout with a toy in place of the C++ and CUDA sources, and without the large files."""
    copy = tmp_path / "tree"
    leave_out = shutil.ignore_patterns("__pycache__", "assets", *(f"*{s}" for s in (".h", ".cpp")))
    for name in ("stylemix", "ops", "training", "tools"):
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=leave_out)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    (copy / "ops" / "one.cpp").write_text("int one = 1;\n")
    return copy


def _wheel(tree, asked):
    env = {key: value for key, value in os.environ.items() if not key.startswith("STYLEMIX")}
    command = [sys.executable, "-c", BUILD, str(tree / "dist")]
    env |= {"STYLEMIX_BUILD_OPS": asked}
    done = subprocess.run(command, cwd=tree, env=env, text=True, capture_output=True)
    return done, tree / "dist" / (done.stdout.splitlines() or [""])[-1]


@pytest.mark.slow
def test_a_wheel_with_ops_compiled_ahead_of_time(tree, tmp_path):
    done, wheel = _wheel(tree, "cpu")
    assert done.returncode == 0, done.stderr
    assert "-py3-none-" in wheel.name
    assert "-any" not in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = "from stylemix.ops import jit; print(jit.library('cpu')); print(jit.load('cpu'))"
    env = os.environ | {"STYLEMIX_CACHE": str(tmp_path / "cache"), "PATH": ""}
    printed = subprocess.check_output(
        [sys.executable, "-c", code], cwd=tmp_path / "site", env=env, text=True
    )
    library = tmp_path / "site" / "stylemix" / "ops" / "_native_cpu.so"
    assert printed.split() == [str(library), "True"]
    assert not (tmp_path / "cache").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ("gpu", "STYLEMIX_BUILD_OPS: got 'gpu'; expected cpu, cuda or cpu,cuda"),
        ("cpu", "STYLEMIX_BUILD_OPS=cpu: compiling failed ("),
    ],
)
def test_a_wheel_that_cannot_hold_what_is_asked_for_is_not_built(tree, asked, text):
    Path(tree, "ops", "one.cpp").write_text("nonsense\n")
    done, _ = _wheel(tree, asked)
    assert done.returncode != 0
    assert text in done.stderr.splitlines()[-1]
