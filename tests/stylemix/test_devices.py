"""Devices and their fast precision."""

import pytest
import torch

from stylemix.devices import cpu_has_bf16, find_device, search_dtype, slow_precision
from stylemix.errors import StylemixError
from stylemix.ops import architectures

CPU = torch.device("cpu")


def test_cpu_and_auto():
    assert find_device("cpu") == torch.device("cpu")
    there = "cuda" if torch.cuda.is_available() else "cpu"
    assert find_device("auto").type == there


@pytest.mark.parametrize("name", ["", "tpu", "mps", "meta", "cuda:x", "cpu cpu"])
def test_unknown_names(name):
    with pytest.raises(StylemixError, match="expected cpu, cuda, cuda:N or auto") as caught:
        find_device(name)
    assert f"got device {name!r}" in str(caught.value)


def test_a_missing_device():
    with pytest.raises(StylemixError, match=r"CUDA devices here; use --device cpu"):
        find_device("cuda:99")


@pytest.mark.parametrize(
    ("count", "name", "fine"), [(0, "cuda", 0), (2, "cuda:1", 1), (2, "cuda:2", 0)]
)
def test_counting_cuda_devices(monkeypatch, count, name, fine):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    if fine:
        assert find_device(name) == torch.device(name)
    else:
        with pytest.raises(StylemixError, match=f"with {count} CUDA devices here"):
            find_device(name)


@pytest.mark.parametrize(
    ("features", "fast"),
    [
        ({"avx2", "fma"}, False), ({"avx512f", "avx512bw", "avx512vl", "avx512dq"}, False),
        ({"avx512f", "avx512_bf16"}, True), ({"amx_tile", "amx_bf16"}, True),
        ({"asimd", "bf16"}, True), ({"asimd", "asimdhp"}, False), (set(), False),
    ],
)  # fmt: skip
def test_processors_with_bf16(monkeypatch, features, fast):
    monkeypatch.setattr(architectures, "cpu_features", lambda: features)
    assert cpu_has_bf16() == fast
    assert search_dtype(CPU) == (torch.bfloat16 if fast else torch.float32)
    assert bool(slow_precision("bf16", CPU)) == (not fast)
    assert slow_precision("fp32", CPU) == slow_precision("auto", CPU) == ""
    assert slow_precision("bf16", torch.device("cuda")) == ""
