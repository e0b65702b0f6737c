"""Noise and cutout: amount and position."""

import pytest
import torch

from stylemix.training.augment.corruption import add_noise, cut_out

STD, SEEDS = torch.tensor([0.1, 0.0, 0.5]), torch.tensor([7, 8, 2**61])


def test_noise_has_its_deviation():
    images = torch.rand([3, 3, 64, 64])
    noise = add_noise(images, STD, SEEDS) - images
    assert noise.mean(dim=[1, 2, 3]).tolist() == pytest.approx([0, 0, 0], abs=0.01)
    assert noise.std(dim=[1, 2, 3]).tolist() == pytest.approx([0.1, 0, 0.5], rel=0.02)
    assert (noise[2].flatten(1).corrcoef() - torch.eye(3)).abs().max() < 0.05


def test_noise_depends_only_on_the_seed():
    images = torch.zeros([3, 3, 8, 8])
    out = add_noise(images, STD, SEEDS)
    assert torch.equal(add_noise(images[2:], STD[2:], SEEDS[2:]), out[2:])
    assert torch.equal(add_noise(images.double(), STD, SEEDS), out.double())
    assert not torch.equal(add_noise(images[2:], STD[2:], SEEDS[:1]), out[2:])
    state = torch.get_rng_state()
    add_noise(images, STD, SEEDS)
    assert torch.equal(torch.get_rng_state(), state)


def test_noise_leaves_alpha():
    images = torch.rand([3, 4, 8, 8])
    out = add_noise(images, STD, SEEDS)
    assert torch.equal(out[:, 3], images[:, 3])
    assert torch.equal(out[:, :3], add_noise(images[:, :3], STD, SEEDS))
    assert (out - images)[2, :3].abs().amin() > 0


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_cut_out(channels):
    images = torch.full([4, channels, 8, 16], 0.5)
    centre = torch.tensor([[0.5, 0.5], [0.0, 1.0], [0.25, 0.5], [0.5, 0.5]])
    out = cut_out(images, centre, torch.tensor([0.5, 0.5, 0.25, 0.0]))
    expected = images.clone()
    expected[0, :, 2:6, 4:12] = 0
    expected[1, :, 6:, :4] = 0  # the corner that is left of it
    expected[2, :, 3:5, 2:6] = 0
    assert torch.equal(out, expected)
    assert (out[0] == 0).double().mean() == 0.25


def test_cut_out_hides_the_gradient():
    images = torch.ones([1, 3, 8, 8], requires_grad=True)
    out = cut_out(images, torch.tensor([[0.5, 0.5]]), torch.tensor([0.5]))
    (grad,) = torch.autograd.grad(out.sum(), images)
    assert torch.equal(grad, out.detach())
