"""grid_sample: PyTorch's values, and derivatives of any order."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck

from stylemix.ops import grid_sample
from tests.support import reference

ANY_ORDER = 1e-12  # a GPU adds gradients up in any order


def _grid(shape, device, reach=1.3):
    """Places that stay clear of the pixels' middles, where the slope jumps."""
    torch.manual_seed(1)
    grid = (torch.rand(shape, dtype=torch.float64) * 2 - 1) * reach
    size = 8.0  # of the images below, halved or not
    near = ((grid * size / 2 + 0.5) % 1 - 0.5).abs() < 0.02
    return (grid + near * 0.013).to(device)


def test_values(device):
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]], device=device)
    places = [[-0.5, -0.5], [0.5, 0.5], [0, 0], [-1, -0.5], [3, 0], [0, -0.5]]
    grid = torch.tensor([[places]], device=device)
    assert grid_sample(x, grid)[0, 0, 0].tolist() == pytest.approx([1, 4, 2.5, 0.5, 0, 1.5])


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 1, 1, 1), (3, 2, 8, 1)])
@pytest.mark.parametrize("with_grid_gradient", [False, True])
def test_reference(device, shape, with_grid_gradient):
    rng = np.random.RandomState(0)
    x, grid = rng.randn(*shape), rng.randn(shape[0], 4, 3, 2)
    expected = reference.grid_sample(x, grid)
    for dtype, limit in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        tx, tg = (torch.tensor(v, dtype=dtype, device=device) for v in (x, grid))
        y = grid_sample(tx, tg.requires_grad_(with_grid_gradient))
        assert y.dtype == dtype
        assert np.abs(y.detach().double().cpu().numpy() - expected).max() <= limit
        torch.testing.assert_close(y, F.grid_sample(tx, tg, align_corners=False))


def test_gradients_equal_pytorchs(device):
    x = torch.randn([2, 3, 8, 8], dtype=torch.float64, device=device, requires_grad=True)
    for needed in (False, True):
        grid = _grid([2, 5, 4, 2], device).requires_grad_(needed)
        inputs = [x, grid] if needed else [x]
        v = torch.randn([2, 3, 5, 4], dtype=torch.float64, device=device)
        ours = torch.autograd.grad(grid_sample(x, grid), inputs, v)
        theirs = torch.autograd.grad(F.grid_sample(x, grid, align_corners=False), inputs, v)
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_gradcheck(device):
    x = torch.randn([2, 2, 4, 4], dtype=torch.float64, device=device, requires_grad=True)
    grid = _grid([2, 3, 2, 2], device)
    assert gradcheck(lambda x: grid_sample(x, grid), (x,), nondet_tol=ANY_ORDER)
    assert gradcheck(grid_sample, (x, grid.requires_grad_()), nondet_tol=ANY_ORDER)


def test_gradgradcheck(device):
    x = torch.randn([1, 1, 4, 4], dtype=torch.float64, device=device, requires_grad=True)
    grid = _grid([1, 3, 2, 2], device)
    assert gradgradcheck(lambda x: grid_sample(x, grid).square(), (x,), nondet_tol=ANY_ORDER)
    assert gradgradcheck(grid_sample, (x, grid.requires_grad_()), nondet_tol=ANY_ORDER)


def test_noncontiguous(device):
    x = torch.randn([4, 3, 6, 5], dtype=torch.float64, device=device).transpose(1, 3)
    grid = _grid([4, 2, 3, 2], device).transpose(1, 2)
    expected = grid_sample(x.contiguous(), grid.contiguous())
    torch.testing.assert_close(grid_sample(x, grid), expected)
    flat = torch.randn([1, 3, 6, 5], dtype=torch.float64, device=device).expand(4, -1, -1, -1)
    torch.testing.assert_close(grid_sample(flat, grid), grid_sample(flat.contiguous(), grid))


@pytest.mark.parametrize("with_grid_gradient", [False, True])
def test_empty(device, with_grid_gradient):
    x = torch.zeros([0, 3, 4, 4], device=device, requires_grad=True)
    grid = torch.zeros([0, 5, 6, 2], device=device, requires_grad=with_grid_gradient)
    y = grid_sample(x, grid)
    assert y.shape == (0, 3, 5, 6)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.shape == x.shape


def test_channels_last(device):
    x = torch.randn([2, 4, 6, 5], dtype=torch.float64, device=device)
    grid = _grid([2, 3, 7, 2], device)
    last = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(grid_sample(last, grid), grid_sample(x, grid))
    for image in (x, last):
        image.requires_grad_()
    a, b = (torch.autograd.grad(grid_sample(i, grid).square().sum(), i)[0] for i in (x, last))
    torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("x", "grid"),
    [([3, 4, 4], [1, 2, 2, 2]), ([1, 3, 4, 4], [1, 2, 2, 3]), ([2, 3, 4, 4], [1, 2, 2, 2])],
)
def test_exception(x, grid):
    with pytest.raises(ValueError, match=r"got x \(.*expected \[N, C, H, W\] and \[N, h, w, 2\]"):
        grid_sample(torch.zeros(x), torch.zeros(grid))
