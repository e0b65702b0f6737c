"""conv2d_resample: every order that it chooses between equals the plain one."""

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from stylemix.ops import conv2d_resample, setup_filter
from tests.support import reference

ANY_ORDER = 1e-12  # a GPU adds gradients up in any order

# kernel (h, w), up, down, padding (x0, x1, y0, y1), groups, taps
CASES = [
    ((3, 3), 1, 1, (1, 1, 1, 1), 1, None),
    ((3, 3), 1, 1, (1, 0, 2, 1), 1, [1, 3, 3, 1]),
    ((1, 1), 1, 1, (0, 0, 0, 0), 2, [1, 3, 3, 1]),
    ((1, 1), 1, 2, (0, 0, 0, 0), 1, [1, 3, 3, 1]),
    ((1, 1), 2, 1, (0, 0, 0, 0), 1, [1, 3, 3, 1]),
    ((3, 3), 1, 2, (1, 1, 1, 1), 1, [1, 3, 3, 1]),
    ((3, 3), 2, 1, (1, 1, 1, 1), 1, [1, 3, 3, 1]),
    ((3, 3), 2, 1, (1, 1, 1, 1), 2, [1, 2, 1]),
    ((3, 3), 2, 1, (0, 0, 0, 0), 1, None),
    ((5, 2), 3, 1, (2, 1, 1, 3), 2, [1, 4, 6, 4, 1]),
    ((3, 3), 2, 2, (1, 1, 1, 1), 1, [1, 3, 3, 1]),
    ((1, 1), 2, 3, (0, 0, 0, 0), 1, [1, 3, 3, 1]),
    ((3, 3), 2, 1, (1, 1, 1, 1), 1, list(range(1, 10))),
    ((3, 3), 1, 2, (-1, 1, 1, -1), 4, [1, 3, 3, 1]),
]


def _case(kernel, groups, taps):
    rng = np.random.RandomState(0)
    x, w = rng.randn(2, 4, 9, 7), rng.randn(8, 4 // groups, *kernel)
    return x, w, None if taps is None else setup_filter(taps) + 0.01 * len(taps)


def test_values(device):
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]], device=device)
    w = torch.tensor([[[[0.0, 0.0], [1.0, 10.0]]]], device=device)
    assert conv2d_resample(x, w)[0, 0].tolist() == [[43]]
    assert conv2d_resample(x, w, flip_weight=False)[0, 0].tolist() == [[12]]
    point = torch.tensor([[[[2.0]]], [[[-1.0]]]], device=device)
    assert conv2d_resample(x, point)[0, :, 1, 1].tolist() == [8, -4]
    box = torch.ones([2, 2], device=device) / 4
    assert conv2d_resample(x, point, box, up=2)[0, 0, 0].tolist() == [2, 2, 4, 4]
    assert conv2d_resample(x, point, box, down=2)[0, 0].tolist() == [[5]]


@pytest.mark.parametrize("flip_weight", [False, True])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_reference(device, case, flip_weight):
    kernel, up, down, padding, groups, taps = case
    x, w, f = _case(kernel, groups, taps)
    options = {"up": up, "down": down, "padding": padding, "groups": groups}
    options["flip_weight"] = flip_weight
    expected = reference.conv2d_resample(x, w, None if f is None else f.numpy(), **options)
    for dtype, limit in ((torch.float64, 1e-12), (torch.float32, 3e-6)):
        tx, tw = (torch.tensor(v, dtype=dtype, device=device) for v in (x, w))
        y = conv2d_resample(tx, tw, None if f is None else f.to(device), **options)
        assert tuple(y.shape) == expected.shape
        error = np.abs(y.double().cpu().numpy() - expected).max()
        assert error <= limit * np.abs(expected).max()


@pytest.mark.parametrize("case", [CASES[i] for i in (3, 4, 5, 6, 9)], ids=str)
def test_gradcheck(device, case):
    kernel, up, down, padding, groups, taps = case
    x = torch.randn([1, 2, 5, 4], dtype=torch.float64, device=device, requires_grad=True)
    shape = [2, 2 // groups, *kernel]
    w = torch.randn(shape, dtype=torch.float64, device=device, requires_grad=True)
    f = setup_filter(taps).to(device)

    def run(x, w):
        return conv2d_resample(x, w, f, up, down, padding, groups)

    assert gradcheck(run, (x, w), nondet_tol=ANY_ORDER)


@pytest.mark.parametrize("case", [CASES[5], CASES[6]], ids=str)
def test_gradgradcheck(device, case):
    kernel, up, down, padding, groups, taps = case
    x = torch.randn([1, 1, 4, 4], dtype=torch.float64, device=device, requires_grad=True)
    w = torch.randn([1, 1, *kernel], dtype=torch.float64, device=device, requires_grad=True)
    f = setup_filter(taps).to(device)

    def run(x, w):
        return conv2d_resample(x, w, f, up, down, padding, groups)

    assert gradgradcheck(run, (x, w), nondet_tol=ANY_ORDER)


@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 1), (1, 2)])
def test_noncontiguous(device, up, down):
    x = torch.randn([2, 7, 4, 6], dtype=torch.float64, device=device).transpose(1, 2)
    w = torch.randn([3, 3, 4, 5], dtype=torch.float64, device=device).permute(3, 2, 0, 1)
    f = setup_filter([1, 3, 3, 1]).to(device)
    y = conv2d_resample(x, w, f, up, down, padding=1)
    again = conv2d_resample(x.contiguous(), w.contiguous(), f, up, down, padding=1)
    torch.testing.assert_close(y, again, rtol=0, atol=1e-12)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_empty(device, case):
    kernel, up, down, padding, groups, taps = case
    x, w, f = _case(kernel, groups, taps)
    x = torch.tensor(x, device=device)[:0].requires_grad_()
    w = torch.tensor(w, device=device, requires_grad=True)
    f = None if f is None else f.to(device)
    y = conv2d_resample(x, w, f, up, down, padding, groups)
    full = conv2d_resample(torch.zeros([1, *x.shape[1:]]).to(x), w, f, up, down, padding, groups)
    assert y.shape == (0, *full.shape[1:])
    y.sum().backward()
    assert w.grad is not None
    assert not w.grad.any()


@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 1), (1, 2)])
def test_channels_last(device, up, down):
    x = torch.randn([2, 4, 6, 6], dtype=torch.float64, device=device)
    w = torch.randn([8, 4, 3, 3], dtype=torch.float64, device=device)
    f = setup_filter([1, 3, 3, 1]).to(device)
    last = torch.channels_last
    y = conv2d_resample(
        x.contiguous(memory_format=last), w.contiguous(memory_format=last), f, up, down, padding=1
    )
    expected = conv2d_resample(x, w, f, up, down, padding=1)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
