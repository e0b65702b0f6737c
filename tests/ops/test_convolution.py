"""Convolutions with weight gradients in default order: values and both derivatives."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from stylemix.ops import convolution
from stylemix.ops.convolution import convolve

conv_transpose2d = partial(convolve, transposed=True)

CASES = {
    "same": (convolve, F.conv2d, 1, (1, 1), [6, 5, 3, 3]),
    "stride": (convolve, F.conv2d, 2, (0, 0), [6, 5, 3, 3]),
    "transposed": (conv_transpose2d, F.conv_transpose2d, 2, (1, 0), [5, 6, 3, 3]),
}


@pytest.fixture(autouse=True)
def _slow_processor(monkeypatch):
    monkeypatch.setattr(convolution, "LARGE", 0)
    monkeypatch.setattr(convolution, "_has_avx512", lambda: False)


def _inputs(shape, dtype):
    torch.manual_seed(0)
    x = torch.randn([2, 5, 8, 7], dtype=dtype).contiguous(memory_format=torch.channels_last)
    return x.requires_grad_(True), torch.randn(shape, dtype=dtype).requires_grad_(True)


@pytest.mark.parametrize("case", CASES)
def test_both_derivatives_are_those_of_torch(case, monkeypatch):
    ours, theirs, stride, padding, shape = CASES[case]
    results = []
    for apply in (ours, theirs):
        x, w = _inputs(shape, torch.float32)
        y = apply(x, w, stride=stride, padding=padding)
        assert ("_Convolution" in type(y.grad_fn).__name__) is (apply is ours)
        dx, dw = torch.autograd.grad(y.sin().sum(), (x, w), create_graph=True)
        ddx, ddw = torch.autograd.grad(dx.square().sum() + dw.square().sum(), (x, w))
        results.append((y, dx, dw, ddx, ddw))
    for got, expected in zip(*results, strict=True):
        limit = 1e-4 * expected.detach().abs().max().item()
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=limit)


@pytest.mark.parametrize("case", CASES)
def test_float64_reference(case):
    ours, theirs, stride, padding, shape = CASES[case]
    x, w = _inputs(shape, torch.float32)
    ours(x, w, stride=stride, padding=padding).square().sum().backward()
    x64, w64 = (t.detach().double().requires_grad_(True) for t in (x, w))
    theirs(x64, w64, stride=stride, padding=padding).square().sum().backward()
    for got, expected in ((x.grad, x64.grad), (w.grad, w64.grad)):
        torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("case", CASES)
def test_gradgradcheck(case, monkeypatch):
    ours, _, stride, padding, shape = CASES[case]
    inputs = _inputs(shape, torch.float64)
    function = convolution._Convolution.apply
    transposed = ours is conv_transpose2d
    assert torch.autograd.gradgradcheck(
        lambda x, w: function(x, w, stride, padding, transposed), inputs, fast_mode=True
    )


def test_where_it_is_used(monkeypatch):
    x, w = _inputs([6, 5, 3, 3], torch.float32)

    def used(x, w):
        return "_Convolution" in type(convolve(x, w, padding=(1, 1)).grad_fn).__name__

    assert used(x, w)
    assert not used(x, w.detach())  # nothing learns the weights
    assert not used(x.to(torch.bfloat16), w.to(torch.bfloat16))
    monkeypatch.setattr(convolution, "LARGE", 5 * 8 * 7 + 1)
    assert not used(x, w)
    monkeypatch.setattr(convolution, "LARGE", 5 * 8 * 7)
    assert used(x, w)
    monkeypatch.setattr(convolution, "_has_avx512", lambda: True)
    assert not used(x, w)


def test_needs_only_what_is_asked():
    x, w = _inputs([6, 5, 3, 3], torch.float32)
    convolve(x.detach(), w, padding=(1, 1)).sum().backward()
    assert x.grad is None
    assert w.grad.shape == w.shape


def test_transforms_of_torch():
    x, w = _inputs([6, 5, 3, 3], torch.float32)
    y = F.conv2d(x, w)
    torch.testing.assert_close(torch.func.vmap(lambda x: convolve(x, w))(x[None])[0], y)
    _, tangent = torch.func.jvp(lambda x: convolve(x, w), (x,), (x,))
    torch.testing.assert_close(tangent, y)
    (dx,) = torch.autograd.grad(y.square().sum(), x)
    got = torch.func.grad(lambda x: convolve(x, w).square().sum())(x)
    torch.testing.assert_close(got, dx, rtol=1e-4, atol=1e-4)
