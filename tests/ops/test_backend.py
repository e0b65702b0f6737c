"""The dispatch: which implementation of an op runs, and what forcing one does."""

import pytest
import torch

from stylemix.ops import backend, backends, bias_act, grid_sample, jit, upfirdn2d, use


@pytest.fixture
def native(monkeypatch):
    """A native bias_act of our own, that fills with sevens."""
    table = {"bias_act": lambda x, *_: torch.full_like(x, 7)}
    monkeypatch.setattr(backend, "_native", table)
    monkeypatch.setattr(jit, "load", lambda kind: kind == "cpu")
    return table


@pytest.fixture
def nothing(monkeypatch):
    monkeypatch.setattr(jit, "load", lambda kind: False)


@pytest.mark.usefixtures("nothing")
def test_without_a_library_everything_is_torch():
    assert backends("bias_act") == ["torch"]
    assert bias_act(torch.ones([1, 1])).item() == 1


@pytest.mark.usefixtures("native")
def test_the_native_op_is_preferred_for_its_types():
    assert backends("bias_act") == ["native", "torch"]
    assert backends("bias_act", "cuda") == ["torch"]
    assert backends("grid_sample") == ["torch"]
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        assert bias_act(torch.ones([1, 1], dtype=dtype)).item() == 7
    assert bias_act(torch.ones([1, 1], dtype=torch.complex64)).item() == 1


def test_the_native_op_gets_complete_arguments(native):
    seen = []
    native["bias_act"] = native["upfirdn2d"] = lambda *args: seen.append(args) or args[0]
    x = torch.zeros([1, 2, 4, 4])
    bias_act(x, dim=-1, act="lrelu")
    upfirdn2d(x, None, padding=1)
    assert seen[0][1:] == (None, 3, "lrelu", 0.2, 2**0.5, -1.0)
    assert seen[1][1].tolist() == [[1]]
    assert seen[1][2:] == ((1, 1), (1, 1), (1, 1, 1, 1), False, 1)


@pytest.mark.usefixtures("native")
def test_use_forces_a_backend_and_ends_with_its_block():
    x = torch.ones([1, 1])
    with use("torch"):
        assert bias_act(x).item() == 1
        with use("native"):
            assert bias_act(x).item() == 7
        assert bias_act(x).item() == 1
    assert bias_act(x).item() == 7
    with pytest.raises(KeyError), use("torch"):
        raise KeyError
    assert bias_act(x).item() == 7


@pytest.mark.usefixtures("nothing")
def test_a_forced_native_without_a_library_never_falls_back():
    with use("native"), pytest.raises(RuntimeError, match=r"'native' forced; there is none: see"):
        bias_act(torch.ones([1, 1]))


@pytest.mark.usefixtures("native")
def test_a_forced_native_op_that_does_not_exist():
    with use("native"):
        with pytest.raises(RuntimeError, match=r"got bias_act of torch\.complex64 on cpu"):
            bias_act(torch.ones([1, 1], dtype=torch.complex64))
        # Nobody wrote a native grid_sample, so "native" leaves it to PyTorch.
        assert grid_sample(torch.ones([1, 1, 2, 2]), torch.zeros([1, 1, 1, 2])).item() == 1


@pytest.mark.usefixtures("native")
def test_transforms_and_forward_mode_get_plain_pytorch():
    """The compiled ops do not know them; forward derivatives would be zero."""

    def double(x):
        return bias_act(x, gain=2.0)

    x = torch.ones([1, 2])
    transforms = {
        "jvp": lambda: torch.func.jvp(double, (x,), (x * 3,))[1],
        "vmap": lambda: torch.func.vmap(double)(x[None])[0],
        "grad": lambda: torch.func.grad(lambda x: double(x).sum())(x),
    }
    expected = {"jvp": 6, "vmap": 2, "grad": 2}
    for name, run in transforms.items():
        assert run().tolist() == [[expected[name]] * 2], name
        with use("native"), pytest.raises(RuntimeError, match=r"got bias_act in a transform of"):
            run()
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, x * 3)
        tangent = torch.autograd.forward_ad.unpack_dual(double(dual)).tangent
        assert tangent.tolist() == [[6, 6]]
    assert double(x).tolist() == [[7, 7]]


def test_an_unknown_backend_is_named():
    with (
        pytest.raises(ValueError, match="got backend 'nosuch'; expected one of native, torch"),
        use("nosuch"),
    ):
        pass
