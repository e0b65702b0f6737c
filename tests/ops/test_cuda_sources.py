"""The CUDA sources without a GPU: they compile, and their threads' work is right on the host."""

import ctypes
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from stylemix.ops import jit, toolchain, upfirdn2d, use
from tests.support.native import skip_if_torch_is_old

HERE = Path(__file__).parent


def _nvcc():
    try:
        return toolchain.compiler("cuda")
    except jit.NativeUnavailable as error:
        pytest.skip(str(error))


@pytest.mark.slow
def test_compile_without_warnings_or_spills(tmp_path, monkeypatch):
    """Every kernel; nothing goes from registers to memory.

    For one generation of GPUs, since each takes two minutes of a core; for others set the variable.
    """
    _nvcc()
    archs = os.environ.get("STYLEMIX_CUDA_ARCHS", "9.0")
    monkeypatch.setenv("STYLEMIX_CUDA_ARCHS", archs)
    log = jit.compile_objects("cuda", tmp_path)
    assert not re.findall(r"^.*warning\b ?[:#].*$", log, re.M | re.I)
    for arch in archs.split(";"):
        assert f"for 'sm_{arch.replace('.', '')}'" in log
    spills = [int(n) for n in re.findall(r"(\d+) bytes spill", log)]
    assert spills
    assert max(spills) == 0


@pytest.fixture(scope="module")
def threads(tmp_path_factory):
    """strips.cpp as a library."""
    skip_if_torch_is_old()
    found = shutil.which("g++") or shutil.which("clang++")
    if not found:
        pytest.skip("no C++ compiler")
    library = tmp_path_factory.mktemp("strips") / "strips.so"
    include = ["-I", str(toolchain.torch_folder("include")), "-I", str(HERE.parents[1] / "ops")]
    flags = ["-O1", "-std=c++17", "-fPIC", "-shared"]
    command = [found, *flags, *include, str(HERE / "strips.cpp"), "-o", str(library)]
    subprocess.run(command, check=True, capture_output=True)
    return ctypes.CDLL(str(library)).filter_by_strips


def _pointer(t):
    return ctypes.cast(t.data_ptr(), ctypes.POINTER(ctypes.c_double))


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(
    ("kind", "up", "down", "padding", "size"),
    [
        (0, (3, 2), (2, 3), (2, -1, 3, 1), (5, 3)),
        (0, (1, 1), (1, 1), (1, 1, 1, 1), (4, 4)),
        (1, (1, 1), (1, 1), (1, 1, 1, 1), (4, 4)),
        (1, (1, 1), (1, 1), (3, 3, 3, 3), (4, 4)),
        (1, (1, 1), (1, 1), (-1, 2, 0, -2), (4, 4)),
        (2, (2, 2), (1, 1), (2, 1, 2, 1), (4, 4)),
        (3, (2, 1), (1, 1), (6, 5, 0, 0), (1, 12)),
    ],
)
def test_threads_on_the_host(threads, kind, up, down, padding, size, last):
    """Strips that end inside the image, windows over the edges, packs of channels."""
    torch.manual_seed(0)
    n, c, h, w = 2, 4, 9, 7
    x = torch.randn(n, c, h, w, dtype=torch.float64)
    f = torch.randn(size, dtype=torch.float64)
    with use("torch"):
        expected = upfirdn2d(x, f, up, down, padding, flip_filter=True)
    format = torch.channels_last if last else torch.contiguous_format
    x = x.contiguous(memory_format=format)
    y = torch.full_like(expected, torch.nan).contiguous(memory_format=format)
    numbers = [n, c, h, w, *y.shape[2:], *x.stride(), *y.stride(), *up, *down]
    numbers += [padding[0], padding[2], size[1], size[0]]
    array = (ctypes.c_int64 * len(numbers))(*numbers)
    threads(array, kind, last, _pointer(x), _pointer(f), _pointer(y))
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
