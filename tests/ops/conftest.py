"""Every op test runs on each backend: a forced one never falls back."""

import pytest

from stylemix.ops import backends, use


@pytest.fixture(params=["torch", "native"])
def backend(request, device):
    """Runs the test with one backend forced."""
    if request.param == "native" and "native" not in backends("bias_act", device.type):
        pytest.fail(f"no native ops for {device.type}: see stylemix info")
    with use(request.param):
        yield request.param
