"""The losses against their closed forms."""

import math

import pytest
import torch
import torch.nn.functional as F

from stylemix.training.losses import (
    d_logistic,
    g_logistic,
    path_lengths,
    r1_penalty,
)


def test_logistic_losses():
    zero = torch.zeros([4, 1])
    assert g_logistic(zero).item() == pytest.approx(math.log(2))
    assert d_logistic(zero, zero).item() == pytest.approx(2 * math.log(2))
    logits = torch.tensor([[2.0], [-1.0]])
    expected = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(1))) / 2
    assert g_logistic(logits).item() == pytest.approx(expected)
    other = torch.tensor([[0.5], [0.5]])
    expected += math.log(1 + math.exp(0.5))
    assert d_logistic(logits, other).item() == pytest.approx(expected)


def test_logistic_losses_have_the_right_direction():
    logits = torch.zeros([1, 1], requires_grad=True)
    for loss, direction in (
        (g_logistic(logits), -1),
        (d_logistic(logits, torch.zeros([1, 1])), -1),
        (d_logistic(torch.zeros([1, 1]), logits), 1),
    ):
        (grad,) = torch.autograd.grad(loss, logits)
        assert grad.item() == pytest.approx(direction / 2)


def test_r1_of_a_linear_score():
    w = torch.arange(12.0).reshape(1, 3, 2, 2)
    reals = torch.randn([5, 3, 2, 2], requires_grad=True)
    logits = (reals * w).sum(dim=[1, 2, 3]).unsqueeze(1)
    penalty = r1_penalty(logits, reals)
    assert penalty.tolist() == pytest.approx([float(w.square().sum())] * 5)


def test_r1_of_a_squared_score():
    torch.manual_seed(0)
    reals = torch.randn([3, 1, 2, 2], dtype=torch.float64, requires_grad=True)
    scale = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    logits = scale * reals.square().sum(dim=[1, 2, 3]).unsqueeze(1)
    penalty = r1_penalty(logits, reals)  # |2 s x|^2
    square = reals.detach().square().sum(dim=[1, 2, 3])
    torch.testing.assert_close(penalty.detach(), (4 * 1.5**2 * square).float())
    penalty.sum().backward()
    assert scale.grad is not None
    assert scale.grad.item() == pytest.approx(8 * 1.5 * square.sum().item(), rel=1e-6)


def test_path_lengths_of_a_linear_generator():
    torch.manual_seed(0)
    A = torch.randn([3 * 4 * 4, 5 * 2], dtype=torch.float64)
    ws = torch.randn([6, 5, 2], dtype=torch.float64, requires_grad=True)
    images = (ws.flatten(1) @ A.t()).reshape(6, 3, 4, 4)
    noise = torch.randn([6, 3, 4, 4], dtype=torch.float64)
    gradients = (noise.flatten(1) @ A).reshape(6, 5, 2)  # J^T y, a row for each layer
    expected = gradients.square().sum(dim=2).mean(dim=1).sqrt()
    torch.testing.assert_close(path_lengths(images, ws, noise).detach(), expected)


def test_path_length_noise_does_not_depend_on_the_size():
    lengths = []
    for size in (4, 16):
        torch.manual_seed(0)
        ws = torch.ones([2000, 1, 1], requires_grad=True)
        images = ws[:, :, :, None] * torch.ones([1, 1, size, size])  # each pixel is w
        noise = torch.randn_like(images) / size
        lengths.append(path_lengths(images, ws, noise).square().mean().item())
    assert lengths == pytest.approx([1, 1], rel=0.1)


def test_r1_gradients_are_those_of_finite_differences():
    torch.manual_seed(0)
    w1, w2 = torch.randn([4, 3, 3, 3]).double(), torch.randn([1, 4]).double()
    reals = torch.randn([2, 3, 5, 5]).double()

    def penalty(weight):
        x = reals.clone().requires_grad_()
        logits = F.softplus(F.conv2d(x, weight)).mean(dim=[2, 3]) @ w2.t()
        (grad,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        assert torch.allclose(r1_penalty(logits, x), grad.float().square().sum(dim=[1, 2, 3]))
        return grad.square().sum()

    assert torch.autograd.gradcheck(penalty, (w1.requires_grad_(),), fast_mode=True)
