"""Haar subbands: the transform, the head that generates them, the discriminator that takes them."""

import pytest
import torch

from stylemix.errors import StylemixError
from stylemix.networks.config import DiscriminatorConfig, GeneratorConfig
from stylemix.networks.discriminator import Discriminator
from stylemix.networks.generator import Generator
from stylemix.networks.layers import haar, inverse_haar


def test_inverse_haar_by_hand():
    """One pixel of each band alone is a patch of 2 px with this sign pattern, halved."""
    patterns = {0: [[1, 1], [1, 1]], 1: [[1, -1], [1, -1]], 2: [[1, 1], [-1, -1]]}
    patterns[3] = [[1, -1], [-1, 1]]
    for band, pattern in patterns.items():
        bands = torch.zeros([1, 8, 2, 3])
        bands[0, 4 + band, 1, 2] = 2
        image = inverse_haar(bands)
        assert image.shape == (1, 2, 4, 6)
        assert torch.equal(image[0, 1, 2:, 4:], torch.tensor(pattern).float())
        assert image.abs().sum() == 4
    bands = torch.randn([2, 12, 5, 3], dtype=torch.float64)
    assert torch.allclose(inverse_haar(bands).square().sum(), bands.square().sum())
    assert torch.allclose(haar(inverse_haar(bands)), bands, rtol=0, atol=1e-14)


def test_bands_are_scaled_to_be_equally_strong():
    """A step of a weight of the finest band changes the image by a sixteenth of one of the mean."""
    network = Generator(GeneratorConfig(8, channel_base=64, channel_max=8, head="haar")).synthesis
    ws = torch.randn([1, network.num_ws, network.config.w_dim])
    with torch.no_grad():
        before = network(ws, noise_mode="const")
        for band, scale in enumerate((1, 8, 8, 16)):
            network.b8.torgb.bias[4 + band] += 1  # of the second colour
            change = (network(ws, noise_mode="const") - before)[0]
            network.b8.torgb.bias[4 + band] -= 1
            expected = torch.full([16, 16], 0.5 / scale)
            assert torch.allclose(change[1].abs(), expected, atol=1e-5)
            assert change[[0, 2]].abs().max() < 1e-6
            assert (change[1] > 0).all() == (band == 0)


def test_a_discriminator_takes_bands_at_the_same_scales():
    config = DiscriminatorConfig(8, channel_base=64, channel_max=8, head="haar")
    network, images = Discriminator(config), torch.randn([1, 3, 16, 16])
    inputs = []
    network.b8.fromrgb.register_forward_hook(lambda _module, args, _out: inputs.append(args[0]))
    with torch.no_grad():
        network(images, None)
    scales = torch.tensor([1.0, 8, 8, 16]).repeat(3).view(12, 1, 1)
    assert torch.allclose(inputs[0], haar(images) * scales, atol=1e-5)


@pytest.mark.parametrize("architecture", ["resnet", "orig"])
def test_a_discriminator_of_subbands_uses_the_whole_image(architecture):
    torch.manual_seed(0)
    config = DiscriminatorConfig(
        16, channel_base=64, channel_max=8, architecture=architecture, head="haar", base=(3, 5)
    )
    network = Discriminator(config)
    images = torch.randn([4, 3, 24, 40], requires_grad=True)
    network(images).sum().backward()
    assert images.grad.abs().min() > 0
    assert [tuple(f.shape[2:]) for f in network.features(images)] == [(6, 10), (3, 5)]
    with pytest.raises(StylemixError, match="got head haar for a discriminator of arch"):
        DiscriminatorConfig(16, architecture="skip", head="haar")


def test_channel_min():
    config = GeneratorConfig(64, channel_base=256, channel_max=32, channel_min=12)
    assert [config.channels(r) for r in config.resolutions] == [32, 32, 16, 12, 12]
