"""Path length of a linear generator in closed form, and the distance on feature maps."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from stylemix.metrics.mobilenet import load_feature_network
from stylemix.metrics.path_length import (
    EPSILON,
    feature_map_distance,
    mean_path_length,
    path_lengths,
)
from stylemix.networks.latents import z_from_seed
from tests.support.images import Pictures
from tests.support.models import tiny_model

Z_DIM, W_DIM = 5, 4


class Linear:
    """A generator without bends: w = z A, image = w B."""

    z_dim, c_dim = Z_DIM, 0
    device, dtype = torch.device("cpu"), torch.float64

    def __init__(self):
        draw = torch.Generator().manual_seed(0)
        self.a = torch.randn(Z_DIM, W_DIM, generator=draw, dtype=torch.float64)
        self.b = torch.randn(W_DIM, 48, generator=draw, dtype=torch.float64)
        self.mapping = Mapping(self.a)

    def synthesis(self, ws, noise_mode):
        assert noise_mode == "const"
        return (ws[:, 0] @ self.b).reshape(-1, 3, 4, 4)


class Mapping(SimpleNamespace):
    def __init__(self, a):
        super().__init__(a=a)

    def __call__(self, z, c, truncation_psi):
        assert truncation_psi == 1
        return (z @ self.a)[:, None].repeat(1, 2, 1)


def squared_difference(a, b):
    return (a - b).square().mean(dim=(1, 2, 3))


def test_path_lengths_of_a_linear_generator():
    generator = Linear()
    lengths = path_lengths(generator, range(3, 8), squared_difference, batch=2)
    for seed, length in zip(range(3, 8), lengths, strict=True):
        z = torch.from_numpy(np.random.RandomState(seed).randn(2, Z_DIM))
        assert torch.equal(z[:1], z_from_seed(seed, Z_DIM))
        step = (z[1] - z[0]) @ generator.a @ generator.b
        assert length == pytest.approx(step.square().mean().item(), rel=1e-6)


def test_paths_do_not_depend_on_the_batch_and_share_a_label():
    generator = tiny_model(classes=3).generator
    reals = Pictures(6, labels=torch.eye(3)[[0, 1, 2, 0, 1, 2]])
    whole = path_lengths(generator, range(6), squared_difference, batch=6, reals=reals)
    parts = path_lengths(generator, range(6), squared_difference, batch=4, reals=reals)
    # A step of 1e-4 in fp32 keeps about three digits. With two labels a length would be 1e8 or so.
    assert parts == pytest.approx(whole, rel=0.05)
    assert whole.min() > 0
    assert whole.max() < 100


def test_mean_path_length_excludes_the_extremes():
    lengths = np.arange(200.0)
    lengths[0], lengths[199], lengths[198] = -1e9, 1e9, 1e8
    # 1 % of 199 steps is 1.99: rank 1 below and rank 198 above remain, as in StyleGAN2.
    expected = (sum(range(1, 198)) + 1e8) / 198
    assert mean_path_length(lengths) == pytest.approx(expected)
    assert mean_path_length(np.array([3.0])) == 3


def test_feature_map_distance_reference():
    a, b = (Pictures(2, seed=seed, shape=(3, 224, 224)).floats for seed in (0, 1))
    expected = np.zeros(2)
    network = load_feature_network()
    for one, two in zip(network.maps(a), network.maps(b), strict=True):
        x, y = one.double().numpy(), two.double().numpy()
        x /= np.sqrt((x**2).sum(axis=1, keepdims=True))
        y /= np.sqrt((y**2).sum(axis=1, keepdims=True))
        expected += ((x - y) ** 2).sum(axis=1).mean(axis=(1, 2))
    assert feature_map_distance(a, b).numpy() == pytest.approx(expected, rel=1e-4)
    assert feature_map_distance(a, a).tolist() == [0, 0]


def test_distance_of_grey_and_transparent_images():
    grey = Pictures(2, shape=(1, 32, 32)).floats
    opaque = torch.cat([grey, grey, grey, torch.ones_like(grey)], dim=1)
    clear = torch.cat([grey, grey, grey, -torch.ones_like(grey)], dim=1)
    assert feature_map_distance(grey, opaque).abs().max() < 1e-6
    assert feature_map_distance(clear, torch.ones_like(grey)).abs().max() < 1e-6
    assert feature_map_distance(grey, clear).min() > 0.1


def test_a_step_is_small_enough_to_be_linear_and_large_enough_for_fp32():
    """Half the step must give about the same length: neither curvature nor rounding rules it."""
    generator = tiny_model().generator
    usual = path_lengths(generator, range(2))
    z = torch.from_numpy(np.stack([np.random.RandomState(s).randn(2, 16) for s in range(2)]))
    first, second = (generator.mapping(end.float(), None) for end in z.unbind(1))
    images = [generator.synthesis(first.lerp(second, t), noise_mode="const") for t in (0, 1e-3)]
    larger = feature_map_distance(*images) / 1e-3**2
    assert EPSILON == 1e-4
    assert usual == pytest.approx(larger.numpy(), rel=0.1)
