"""The choice of the device."""

import pytest
import torch

from stylemix.devices import find_device
from stylemix.errors import StylemixError


def test_cpu_and_auto():
    assert find_device("cpu") == torch.device("cpu")
    there = "cuda" if torch.cuda.is_available() else "cpu"
    assert find_device("auto").type == there


@pytest.mark.parametrize("name", ["", "tpu", "mps", "meta", "cuda:x", "cpu cpu"])
def test_unknown_names(name):
    with pytest.raises(StylemixError, match="expected cpu, cuda, cuda:N or auto") as caught:
        find_device(name)
    assert f"got device {name!r}" in str(caught.value)


def test_a_device_that_is_not_there():
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
