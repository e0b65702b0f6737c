"""Every op test runs on each backend: a forced one never falls back."""

import pytest

from stylemix.ops import use
from tests.support.native import expect_native
from tests.support.toy_ops import Toy


@pytest.fixture(params=["torch", "native"])
def backend(request, device):
    """Runs the test with one backend forced."""
    if request.param == "native":
        expect_native("bias_act", device)
    with use(request.param):
        yield request.param


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Sources that compile in no time, in place of the real ones, with a cache of their own."""
    return Toy(tmp_path, monkeypatch)
