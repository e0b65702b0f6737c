"""The epilogue of a synthesis layer against its parts, float64 and finite differences."""

import itertools

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from stylemix.ops import bias_act, epilogue, setup_filter, upfirdn2d
from tests.support import reference

pytestmark = pytest.mark.usefixtures("backend")
TOLERANCE = {torch.float64: 1e-12, torch.float32: 3e-6, torch.bfloat16: 3e-2}
PARTS = ("f", "demod", "noise", "strength", "b", "post")


def _inputs(device, dtype=torch.float64, shape=(2, 5, 6, 7), images=2, seed=0):
    """x and every part for it, in float64 on the CPU first so that all dtypes see the same."""
    torch.manual_seed(seed)
    n, c, h, w = shape
    d = {
        "x": torch.randn(n, c, h, w, dtype=torch.float64),
        "f": setup_filter([1, 3, 3, 1]).double(),
        "demod": torch.rand(n, c, dtype=torch.float64) + 0.5,
        "noise": torch.randn(images, 1, h - 1, w - 1, dtype=torch.float64),
        "strength": torch.tensor(0.7, dtype=torch.float64),
        "b": torch.randn(c, dtype=torch.float64),
        "post": torch.randn(n, c, dtype=torch.float64),
    }
    small = torch.float64 if dtype == torch.float64 else torch.float32
    return {k: v.to(device=device, dtype=dtype if k == "x" else small) for k, v in d.items()}


def _call(d, last=False, **options):
    d = dict(d)
    x = d.pop("x")
    if last:
        x = x.contiguous(memory_format=torch.channels_last)
    if d.get("f") is None and d.get("noise") is not None:
        d["noise"] = torch.nn.functional.pad(d["noise"], [0, 1, 0, 1])
    return epilogue(x, padding=1 if d.get("f") is not None else 0, filter_gain=4.0, **d, **options)


def test_values(device):
    x = torch.tensor([[[[1.0, -2.0]], [[0.5, 3.0]]]], device=device)
    demod, post = torch.tensor([[2.0, 1.0]], device=device), torch.tensor([[1.0, -3.0]]).to(device)
    noise = torch.tensor([[[[0.0, 10.0]]]], device=device)
    strength, b = torch.tensor(0.1, device=device), torch.tensor([1.0, -1.0], device=device)
    options = {"act": "lrelu", "alpha": 0.5, "gain": 2.0, "clamp": 5.0}
    y = epilogue(x, None, 0, 1, demod, noise, strength, b, post=post, **options)
    # channel 0: 1*2+0+1 = 3 -> 6 -> 5; -2*2+1+1 = -2 -> -1*2 = -2
    # channel 1: .5-1 = -.5 -> -.5, times -3; 3+1-1 = 3 -> 6 -> 5, times -3
    assert y.flatten().tolist() == pytest.approx([5, -2, 1.5, -15])


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
def test_reference(device, dtype, last):
    """All parts at once, against float64 NumPy."""
    d = _inputs("cpu")
    z = reference.upfirdn2d(d["x"].numpy(), d["f"].numpy(), padding=(1, 1, 1, 1), gain=4.0)
    u = z * d["demod"].numpy()[:, :, None, None] + d["noise"].numpy() * 0.7
    y = reference.bias_act(u, d["b"].numpy(), dim=1, act="lrelu", gain=1.2, clamp=2.0)[0]
    expected = y * d["post"].numpy()[:, :, None, None]
    got = _call(_inputs(device, dtype), last, act="lrelu", gain=1.2, clamp=2.0)
    assert got.dtype == dtype
    assert got.is_contiguous(memory_format=torch.channels_last) == last
    difference = np.abs(got.double().cpu().numpy() - expected).max()
    assert difference <= TOLERANCE[dtype] * max(1, np.abs(expected).max())


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("kept", [c for k in (0, 1, 6) for c in itertools.combinations(PARTS, k)])
def test_parts(device, kept, last):
    """Each part alone, none, and all, against the single ops; gradients too."""
    kept = (*kept, "noise") if kept == ("strength",) else kept
    d = {k: v for k, v in _inputs(device).items() if k == "x" or k in kept}
    inputs = [v.requires_grad_() for k, v in d.items() if k not in ("f", "noise")]
    options = {"act": "lrelu", "gain": 1.3, "clamp": 1.5}
    y = _call(d, last, **options)
    z = d["x"]
    if "f" in d:
        z = upfirdn2d(z, d["f"], padding=1, gain=4.0)
    if "demod" in d:
        z = z * d["demod"][:, :, None, None]
    if "noise" in d:
        noise = d["noise"] if "f" in d else torch.nn.functional.pad(d["noise"], [0, 1, 0, 1])
        z = z + noise * d.get("strength", 1)
    z = bias_act(z, d.get("b"), **options)
    if "post" in d:
        z = z * d["post"][:, :, None, None]
    torch.testing.assert_close(y, z, rtol=1e-12, atol=1e-12)
    dy = torch.randn_like(z)
    got, expected = (torch.autograd.grad(t, inputs, dy) for t in (y, z))
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("act", ["linear", "relu", "lrelu", "swish"])
def test_gradcheck(device, act):
    d = _inputs(device, shape=(2, 3, 4, 3))
    names = [k for k in d if k not in ("f", "noise")]

    def run(*values):
        return _call(d | dict(zip(names, values, strict=True)), act=act, gain=1.1, clamp=0.7)

    values = [d[k].requires_grad_() for k in names]
    assert gradcheck(run, values)
    assert gradgradcheck(run, values)


def test_second_derivative_where_few_parts_need_one(device):
    d = _inputs(device, shape=(2, 3, 4, 3))
    x = d["x"].requires_grad_()
    assert gradgradcheck(lambda x: _call(d | {"x": x}, act="lrelu", clamp=1.7), (x,))


def test_gradgradcheck_channels_last_and_few_parts(device):
    d = _inputs(device, shape=(2, 3, 4, 3))

    def run(x, post):
        x = x.contiguous(memory_format=torch.channels_last)
        return epilogue(x, act="lrelu", clamp=1.0, post=post)

    values = [d["x"].requires_grad_(), d["post"].requires_grad_()]
    assert gradcheck(run, values)
    assert gradgradcheck(run, values)


def test_noise_may_have_a_gradient(device):
    d = _inputs(device, shape=(2, 3, 4, 3), images=1)
    noise = d["noise"].requires_grad_()
    assert gradcheck(lambda noise: _call(d | {"noise": noise}, act="lrelu"), (noise,))


def test_one_noise_for_all_images(device):
    one = _inputs(device, images=1)
    each = one | {"noise": one["noise"].repeat(2, 1, 1, 1)}
    assert torch.equal(_call(one, act="lrelu"), _call(each, act="lrelu"))


def test_noncontiguous(device):
    d = _inputs(device, shape=(4, 6, 5, 8))
    x = d["x"].transpose(2, 3)
    f = torch.randn([4, 3], dtype=torch.float64, device=device).t()
    parts = {
        "demod": d["demod"].t().contiguous().t(),
        "b": torch.randn(12).double()[::2].to(device),
    }
    y = epilogue(x, f, (1, 2, 0, 1), act="lrelu", **parts)
    dense = {k: v.contiguous() for k, v in parts.items()}
    again = epilogue(x.contiguous(), f.contiguous(), (1, 2, 0, 1), act="lrelu", **dense)
    torch.testing.assert_close(y, again, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0, 4, 4), (2, 3, 0, 4)])
def test_empty(device, shape):
    x = torch.zeros(shape, device=device, requires_grad=True)
    b = torch.zeros([shape[1]], device=device, requires_grad=True)
    demod = torch.ones(shape[:2], device=device, requires_grad=True)
    y = epilogue(x, demod=demod, b=b, act="lrelu")
    assert y.shape == shape
    grads = torch.autograd.grad(y.sum(), [x, demod, b])
    assert [g.shape for g in grads] == [x.shape, demod.shape, b.shape]
    assert all(not g.any() for g in grads)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"demod": torch.zeros([2])}, r"got demod \(2,\); expected \(1, 2\)"),
        ({"post": torch.zeros([1, 3])}, r"got post \(1, 3\); expected \(1, 2\)"),
        ({"act": "gelu"}, "got activation 'gelu'"),
    ],
)
def test_exception(options, message):
    with pytest.raises(ValueError, match=message):
        epilogue(torch.zeros([1, 2, 3, 3]), **options)
    with pytest.raises(ValueError, match=r"expected \[N, C, H, W\]"):
        epilogue(torch.zeros([2, 3]))
