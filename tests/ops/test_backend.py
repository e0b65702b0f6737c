"""The dispatch: which implementation of an op runs, and what forcing one does."""

import pytest
import torch

from stylemix.ops import backend, backends, bias_act, filter2d, grid_sample, register, use


@pytest.fixture(autouse=True)
def _own_table(monkeypatch):
    monkeypatch.setattr(backend, "_registered", {})


def _is_double(x):
    return x.dtype == torch.float64


def _register(name="fake", value=7.0, supports=_is_double, op="bias_act"):
    register(op, name, lambda x, *_: torch.full_like(x, value), supports)


def test_without_backends_everything_is_torch():
    assert backends("bias_act") == ["torch"]
    assert bias_act(torch.ones([1, 1], dtype=torch.float64)).item() == 1


def test_a_registered_backend_serves_what_it_supports():
    _register()
    assert backends("bias_act") == ["fake", "torch"]
    assert backends("upfirdn2d") == ["torch"]
    assert bias_act(torch.ones([1, 1], dtype=torch.float64)).item() == 7
    assert bias_act(torch.ones([1, 1])).item() == 1


def test_the_first_that_supports_a_tensor_is_taken():
    _register("picky", 1.0)
    _register("easy", 2.0, lambda x: True)
    assert backends("bias_act") == ["picky", "easy", "torch"]
    assert bias_act(torch.zeros([1, 1], dtype=torch.float64)).item() == 1
    assert bias_act(torch.zeros([1, 1])).item() == 2


def test_a_backend_gets_complete_arguments():
    seen = []
    register("bias_act", "fake", lambda *args: seen.append(args) or args[0], lambda x: True)
    register("upfirdn2d", "fake", lambda *args: seen.append(args) or args[0], lambda x: True)
    register("grid_sample", "fake", lambda *args: seen.append(args) or args[0], lambda x: True)
    x = torch.zeros([1, 2, 4, 4])
    bias_act(x, act="lrelu")
    filter2d(x, None, padding=1)
    grid_sample(x, torch.zeros([1, 2, 2, 2]))
    assert seen[0][1:] == (None, 1, "lrelu", 0.2, 2**0.5, -1.0)
    assert seen[1][1].tolist() == [[1]]
    assert seen[1][2:] == ((1, 1), (1, 1), (1, 1, 1, 1), False, 1)
    assert seen[2][1].shape == (1, 2, 2, 2)


def test_use_forces_a_backend_and_ends_with_its_block():
    _register()
    x = torch.ones([1, 1], dtype=torch.float64)
    with use("torch"):
        assert bias_act(x).item() == 1
        with use("fake"):
            assert bias_act(x).item() == 7
        assert bias_act(x).item() == 1
    assert bias_act(x).item() == 7
    with pytest.raises(KeyError), use("torch"):
        raise KeyError
    assert bias_act(x).item() == 7


def test_a_forced_backend_never_falls_back():
    _register()
    with use("fake"):
        with pytest.raises(RuntimeError, match=r"'fake' has no bias_act for torch\.float32 on cpu"):
            bias_act(torch.ones([1, 1]))
        with pytest.raises(RuntimeError, match="'fake' has no upfirdn2d"):
            filter2d(torch.ones([1, 1, 2, 2]), None)


def test_an_unknown_backend_is_named():
    _register()
    with (
        pytest.raises(
            ValueError, match=r"got backend 'nosuch'; expected one of \['fake', 'torch'\]"
        ),
        use("nosuch"),
    ):
        pass
