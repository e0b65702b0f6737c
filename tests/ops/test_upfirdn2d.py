"""upfirdn2d and its three wrappers against hand-made values, golden values and float64 NumPy."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from stylemix.ops import downsample2d, setup_filter, upfirdn2d, upsample2d
from tests.support import reference

GOLDEN = Path(__file__).parents[1] / "golden"
with np.load(GOLDEN / "ops.npz") as _file:
    FILE = {key: value for key, value in _file.items() if key.startswith("upfirdn2d.")}
CASES = [c for c in json.loads((GOLDEN / "ops_cases.json").read_text()) if c["op"] == "upfirdn2d"]
# up, down, padding, size of the filter (one number: separable)
SHAPES = [
    ((1, 1), (1, 1), (0, 0, 0, 0), None),
    ((1, 1), (1, 1), (1, 1, 2, 2), (3, 4)),
    ((2, 2), (1, 1), (2, 1, 2, 1), (4, 4)),
    ((1, 1), (2, 2), (1, 1, 1, 1), (4, 4)),
    ((2, 3), (3, 2), (-1, 4, 5, -2), (2, 5)),
    ((3, 1), (1, 1), (-2, -1, 0, 3), (1, 3)),
    ((2, 2), (2, 2), (6, 5, 6, 5), 12),
    ((1, 1), (2, 1), (4, 4, 4, 4), 9),
]


pytestmark = pytest.mark.usefixtures("backend")


def _tensor(array, dtype=torch.float64, device="cpu"):
    return None if array is None else torch.tensor(np.array(array), dtype=dtype, device=device)


def _filter(size):
    if size is None:
        return None
    return np.random.RandomState(7).randn(*([size] if isinstance(size, int) else size))


def test_values(device):
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]], device=device)
    f = torch.tensor([[1.0, 2.0]], device=device)
    assert upfirdn2d(x, None, up=2)[0, 0].tolist() == [
        [1, 0, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0],
    ]  # fmt: skip
    assert upfirdn2d(x, None, down=(2, 1))[0, 0].tolist() == [[1], [3]]
    assert upfirdn2d(x, None, padding=(-1, 1, 0, 0))[0, 0].tolist() == [[2, 0], [4, 0]]
    # Convolution reverses the filter, correlation does not.
    assert upfirdn2d(x, f)[0, 0].tolist() == [[2 * 1 + 2], [2 * 3 + 4]]
    assert upfirdn2d(x, f, flip_filter=True)[0, 0].tolist() == [[1 + 2 * 2], [3 + 2 * 4]]
    assert upfirdn2d(x, f, gain=10)[0, 0].tolist() == [[40], [100]]
    separable = torch.tensor([1.0, 2.0], device=device)
    assert upfirdn2d(x, separable, gain=3)[0, 0].item() == pytest.approx(
        3 * (4 * 1 + 2 * 2 + 2 * 3 + 4)
    )


@pytest.mark.parametrize("case", CASES, ids=lambda c: str(c["index"]))
def test_golden(device, case):
    name = f"upfirdn2d.{case['index']}."
    x, y, dy, dx = (_tensor(FILE[name + k], device=device) for k in ("x", "y", "dy", "dx"))
    f = _tensor(FILE[name + "f"], torch.float32, device) if name + "f" in FILE else None
    options = {k: case[k] for k in ("up", "down", "flip_filter", "gain")}
    x.requires_grad_()
    got = upfirdn2d(x, f, padding=case["padding_x0_x1_y0_y1"], **options)
    torch.testing.assert_close(got, y, rtol=1e-11, atol=1e-11)
    (got_dx,) = torch.autograd.grad(got, x, dy)
    torch.testing.assert_close(got_dx, dx, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("up", "down", "padding", "size"), SHAPES)
def test_reference(device, up, down, padding, size, flip):
    rng = np.random.RandomState(0)
    x, f = rng.randn(2, 3, 7, 9), _filter(size)
    expected = reference.upfirdn2d(x, f, up, down, padding, flip, 1.5)
    for dtype, limit in ((torch.float64, 1e-12), (torch.float32, 3e-6), (torch.bfloat16, 0.03)):
        tx = _tensor(x, dtype, device).requires_grad_()
        y = upfirdn2d(tx, _tensor(f, torch.float64, device), up, down, padding, flip, 1.5)
        assert y.dtype == dtype
        got = y.detach().double().cpu().numpy()
        assert np.abs(got - expected).max() <= limit * max(np.abs(expected).max(), 1)
    # The gradient is the adjoint: <y(x), v> = <x, dx(v)>.
    v = rng.randn(*expected.shape)
    tx = _tensor(x, device=device).requires_grad_()
    y = upfirdn2d(tx, _tensor(f, device=device), up, down, padding, flip, 1.5)
    (dx,) = torch.autograd.grad(y, tx, _tensor(v, device=device))
    other = rng.randn(*x.shape)
    forward = reference.upfirdn2d(other, f, up, down, padding, flip, 1.5)
    assert (forward * v).sum() == pytest.approx((other * dx.cpu().numpy()).sum(), rel=1e-10)


@pytest.mark.parametrize(("up", "down", "padding", "size"), SHAPES[2:7])
def test_gradcheck(device, up, down, padding, size):
    x = torch.randn([1, 2, 5, 4], dtype=torch.float64, device=device, requires_grad=True)
    f = _tensor(_filter(size), device=device)
    assert gradcheck(lambda x: upfirdn2d(x, f, up, down, padding), (x,))


@pytest.mark.parametrize(("up", "down", "padding", "size"), SHAPES[2:7:2])
def test_gradgradcheck(device, up, down, padding, size):
    x = torch.randn([1, 1, 5, 4], dtype=torch.float64, device=device, requires_grad=True)
    f = _tensor(_filter(size), device=device)
    assert gradgradcheck(lambda x: upfirdn2d(x, f, up, down, padding).square(), (x,))


def test_noncontiguous(device):
    x = torch.randn([4, 6, 5, 8], dtype=torch.float64, device=device)
    f = torch.randn([4, 3], dtype=torch.float64, device=device).t()
    for view in (x.transpose(2, 3), x[:, ::2, 1:, ::3], x[:1].expand(3, -1, -1, -1)):
        y = upfirdn2d(view, f, up=2, down=(1, 3), padding=(2, 1, -1, 3))
        again = upfirdn2d(
            view.contiguous(), f.contiguous(), up=2, down=(1, 3), padding=(2, 1, -1, 3)
        )
        torch.testing.assert_close(y, again, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [None, (4, 4), 12])
def test_empty(device, size):
    x = torch.zeros([0, 3, 9, 11], device=device, requires_grad=True)
    f = _tensor(_filter(size), torch.float32, device)
    fw = 1 if size is None else size if isinstance(size, int) else size[1]
    y = upfirdn2d(x, f, up=2, down=3, padding=1)
    assert y.shape == (0, 3, (18 + 2 - fw) // 3 + 1, (22 + 2 - fw) // 3 + 1)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.shape == x.shape


def test_channels_last(device):
    x = torch.randn([2, 8, 6, 5], dtype=torch.float64, device=device)
    last = x.contiguous(memory_format=torch.channels_last)
    f = setup_filter([1, 3, 3, 1]).to(device)
    for up, down, padding in ((1, 1, 1), (2, 1, (2, 1, 2, 1)), (1, 2, (1, 1, 1, 1))):
        y = upfirdn2d(last, f, up, down, padding)
        torch.testing.assert_close(y, upfirdn2d(x, f, up, down, padding), rtol=0, atol=1e-12)


def test_setup_filter():
    f = setup_filter([1, 3, 3, 1])
    assert (f.dtype, tuple(f.shape)) == (torch.float32, (4, 4))
    assert f.sum().item() == pytest.approx(1)
    assert f[0].tolist() == pytest.approx([1 / 64, 3 / 64, 3 / 64, 1 / 64])
    assert setup_filter([1, 3]).tolist() == [[1 / 16, 3 / 16], [3 / 16, 9 / 16]]
    assert setup_filter(range(1, 9)).shape == (8,)  # long filters stay separable
    assert setup_filter([[1, 2, 1]]).tolist() == [[0.25, 0.5, 0.25]]
    assert setup_filter(None).tolist() == [[1]]
    for taps in ([], torch.zeros([2, 2, 2])):
        with pytest.raises(ValueError, match=r"expected \[n\] or \[h, w\]"):
            setup_filter(taps)


@pytest.mark.parametrize("taps", [[1, 3, 3, 1], [1, 2, 1], [1] * 10])
def test_wrappers_keep_brightness_and_size(taps):
    x = torch.full([1, 2, 36, 48], 0.5, dtype=torch.float64)
    f = setup_filter(taps)
    larger, smaller = upsample2d(x, f), downsample2d(x, f)
    assert larger.shape == (1, 2, 72, 96)
    assert smaller.shape == (1, 2, 18, 24)
    inner = (..., slice(6, -6), slice(6, -6))
    torch.testing.assert_close(smaller[inner], torch.full_like(smaller[inner], 0.5))
    assert larger[inner].mean().item() == pytest.approx(0.5)  # each phase only for fitting taps
    assert downsample2d(x, f, padding=(1, 1, 2, 0)).shape == (1, 2, 19, 25)


def test_wrappers_keep_the_middle_in_the_middle():
    x = torch.zeros([1, 1, 8, 8], dtype=torch.float64)
    x[..., 3:5, 3:5] = 1
    f = setup_filter([1, 3, 3, 1])
    for image in (upsample2d(x, f), downsample2d(x, f)):
        assert image.allclose(image.flip([2, 3]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: upfirdn2d(torch.zeros([3, 4, 4]), None), r"got x of shape \(3, 4, 4\); expected"),
        (lambda: upfirdn2d(torch.zeros([1, 3, 4, 4]), None, up=0), "got resampling factor 0"),
        (lambda: upfirdn2d(torch.zeros([1, 3, 4, 4]), None, down=(2, -1)), "resampling factor"),
    ],
)
def test_exception(call, message):
    with pytest.raises(ValueError, match=message):
        call()
