"""Every op test runs on each backend: a forced one never falls back."""

import pytest

from stylemix.ops import backends, use
from tests.toy_ops import Toy


@pytest.fixture(params=["torch", "native"])
def backend(request, device):
    """Runs the test with one backend forced."""
    if request.param == "native" and "native" not in backends("bias_act", device.type):
        pytest.fail(f"no native ops for {device.type}: see stylemix info")
    with use(request.param):
        yield request.param


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Sources that compile in no time, in place of the real ones, with a cache of their own."""
    return Toy(tmp_path, monkeypatch)
