"""bias_act against values worked out by hand, golden values and float64 NumPy."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from stylemix.ops import ACTIVATIONS, bias_act
from tests.support import reference

GOLDEN = Path(__file__).parents[1] / "golden"
with np.load(GOLDEN / "ops.npz") as _file:
    FILE = {key: value for key, value in _file.items() if key.startswith("bias_act.")}
CASES = [c for c in json.loads((GOLDEN / "ops_cases.json").read_text()) if c["op"] == "bias_act"]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6, torch.bfloat16: 2e-2}

pytestmark = pytest.mark.usefixtures("backend")


@pytest.mark.parametrize(
    ("x", "options", "expected"),
    [
        ([-1.0, 2.0], {}, [-0.5, 3.0]),
        ([-1.0, 2.0], {"gain": 3.0}, [-1.5, 9.0]),
        ([-1.0, 2.0], {"act": "relu", "gain": 1.0}, [0.0, 3.0]),
        ([-1.0, 2.0], {"act": "lrelu", "gain": 1.0}, [-0.1, 3.0]),
        ([-1.0, 2.0], {"act": "lrelu", "gain": 2.0, "alpha": 0.5}, [-0.5, 6.0]),
        ([-1.0, 2.0], {"act": "lrelu"}, [-0.1 * 2**0.5, 3 * 2**0.5]),
        ([-1.0, 2.0], {"clamp": 0.25}, [-0.25, 0.25]),
        ([-1.0, 2.0], {"clamp": 0.0}, [0.0, 0.0]),
        ([-1.0, 2.0], {"clamp": -1.0}, [-0.5, 3.0]),
        ([-0.5, -1.0], {"act": "sigmoid", "gain": 2.0}, [1.0, 1.0]),
        ([-0.5, -1.0], {"act": "tanh"}, [0.0, 0.0]),
        ([-0.5, -1.0], {"act": "softplus"}, [np.log(2), np.log(2)]),
    ],
)
def test_values(device, x, options, expected):
    b = torch.tensor([0.5, 1.0], device=device)
    y = bias_act(torch.tensor([x], device=device), b, **options)
    assert y[0].tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['act']}-{c['clamp']}")
def test_golden(device, case):
    kinds = ("x", "b", "dy", "v", "y", "dx", "db", "ddy", "d2x")
    d = {k: torch.from_numpy(FILE[f"bias_act.{case['index']}.{k}"]).to(device) for k in kinds}
    x, b, dy = (d[k].requires_grad_() for k in ("x", "b", "dy"))
    y = bias_act(x, b, act=case["act"], **{k: case[k] for k in ("alpha", "gain", "clamp")})
    dx, db = torch.autograd.grad(y, [x, b], dy, create_graph=True)
    second = torch.autograd.grad((dx * d["v"]).sum(), [dy, x], allow_unused=True)
    ddy, d2x = (torch.zeros_like(x) if t is None else t for t in second)
    for name, value in (("y", y), ("dx", dx), ("db", db), ("ddy", ddy), ("d2x", d2x)):
        torch.testing.assert_close(value, d[name], rtol=1e-11, atol=1e-11, msg=name)


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize("act", list(ACTIVATIONS))
def test_reference(device, act, dtype):
    rng = np.random.RandomState(0)
    x, b, dy = (rng.randn(*s) for s in ([3, 5, 7, 1], [7], [3, 5, 7, 1]))
    options = {"dim": 2, "act": act, "gain": 1.3, "clamp": 0.9}
    y, first, _ = reference.bias_act(x, b, **options)
    tx, tb, tdy = (torch.tensor(v, dtype=dtype, device=device) for v in (x, b, dy))
    tx.requires_grad_()
    tb.requires_grad_()
    ty = bias_act(tx, tb, **options)
    dx, db = torch.autograd.grad(ty, [tx, tb], tdy)
    assert (ty.dtype, dx.dtype, db.dtype) == (dtype, dtype, dtype)
    got, limit = ty.detach().double().cpu().numpy(), TOLERANCE[dtype]
    assert np.abs(got - y).max() <= limit
    if dtype != torch.bfloat16:  # rounding moves values over the edges, where the slope jumps
        assert np.abs(dx.double().cpu().numpy() - dy * first).max() <= limit
        expected = (dy * first).sum(axis=(0, 1, 3))
        assert np.abs(db.double().cpu().numpy() - expected).max() <= 5 * limit


def test_defaults_equal_the_reference_ones():
    x = np.random.RandomState(1).randn(4, 3)
    for act in ACTIVATIONS:
        y = bias_act(torch.from_numpy(x), act=act).numpy()
        assert np.allclose(y, reference.bias_act(x, act=act)[0], rtol=0, atol=1e-12), act


def test_a_bias_of_another_dtype_is_cast():
    y = bias_act(torch.ones([1, 2], dtype=torch.bfloat16), torch.tensor([0.5, 1.0]))
    assert y.dtype == torch.bfloat16
    assert y.tolist() == [[1.5, 2.0]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("clamp", [0.9, 256 * 0.5**0.5, 256 * 2**0.5, 2.9])
def test_no_gradient_where_the_result_is_clamped(device, clamp, dtype):
    """Also where the limit is no number of the type, and is rounded towards zero."""
    x = torch.tensor([[9000.0, -9000.0, 0.5]], dtype=dtype, device=device, requires_grad=True)
    y = bias_act(x, act="lrelu", gain=1.0, clamp=clamp)
    limit = torch.tensor(clamp, dtype=dtype).item()
    assert y.tolist() == [[limit, -limit, 0.5]]
    y.sum().backward()
    assert x.grad.tolist() == [[0, 0, 1]]


def test_one_dimension_twice(device):
    """Each number has a bias of its own, so that there is nothing to sum."""
    x = torch.tensor([0.5, -1.0], dtype=torch.float64, device=device, requires_grad=True)
    b = torch.tensor([0.25, 2.0], dtype=torch.float64, device=device, requires_grad=True)
    (dx,) = torch.autograd.grad(bias_act(x, b, 0, "tanh").sum(), x, create_graph=True)
    t = torch.tanh(x + b).detach()
    for grad in torch.autograd.grad(dx.sum(), [x, b]):
        torch.testing.assert_close(grad, -2 * t * (1 - t * t))


@pytest.mark.parametrize("act", list(ACTIVATIONS))
def test_gradcheck(device, act):
    torch.manual_seed(0)
    x = torch.randn([2, 3, 2], dtype=torch.float64, device=device, requires_grad=True)
    b = torch.randn([3], dtype=torch.float64, device=device, requires_grad=True)
    assert gradcheck(lambda x, b: bias_act(x, b, act=act, gain=1.1, clamp=0.8), (x, b))


@pytest.mark.parametrize("act", list(ACTIVATIONS))
def test_gradgradcheck(device, act):
    torch.manual_seed(0)
    x = torch.randn([2, 3, 2], dtype=torch.float64, device=device, requires_grad=True)
    b = torch.randn([3], dtype=torch.float64, device=device, requires_grad=True)
    assert gradgradcheck(lambda x, b: bias_act(x, b, act=act, gain=1.1, clamp=0.8), (x, b))


def test_noncontiguous(device):
    x = torch.randn([3, 7, 5, 4], device=device)
    views = [x.transpose(1, 3), x[:, ::2], x.expand(2, 3, 7, 5, 4)[1]]
    b = torch.randn([14], device=device)[::2]
    for view in views:
        bias = b[: view.shape[1]]
        assert torch.equal(bias_act(view, bias), bias_act(view.contiguous(), bias.contiguous()))


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 3, 4, 4), (2, 3, 0, 4)])
def test_empty(device, shape):
    x = torch.zeros(shape, device=device, requires_grad=True)
    y = bias_act(x, torch.zeros([shape[1]], device=device), act="lrelu", clamp=1.0)
    assert y.shape == shape
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.shape == shape


def test_channels_last(device):
    x = torch.randn([2, 8, 5, 3], device=device)
    b = torch.randn([8], device=device)
    y = bias_act(x.contiguous(memory_format=torch.channels_last), b, act="lrelu", clamp=0.7)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(y, bias_act(x, b, act="lrelu", clamp=0.7))


def test_input_is_left_alone():
    x, b = torch.full([2, 3], -1.0), torch.ones([3])
    bias_act(x, b, act="lrelu", gain=2.0, clamp=0.5)
    assert x.eq(-1).all()
    assert b.eq(1).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"act": "gelu"}, "got activation 'gelu'; expected one of"),
        ({"b": torch.zeros([4])}, r"got bias \(4,\); expected \(3,\) for dim 1"),
        ({"b": torch.zeros([3], device="meta")}, "got bias on meta; expected cpu, where x is"),
        ({"b": torch.zeros([3, 1])}, r"got bias \(3, 1\); expected \(3,\) for dim 1"),
    ],
)
def test_exception(options, message):
    with pytest.raises(ValueError, match=message):
        bias_act(torch.zeros([2, 3]), **options)
