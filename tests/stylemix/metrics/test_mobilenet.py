"""MobileNetV2 features: shapes, and reference values of the full network."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from stylemix.errors import StylemixError
from stylemix.images.tensors import to_tensor
from stylemix.metrics.mobilenet import STAGES, feature_maps, load_feature_network

PORTRAITS = Path(__file__).parents[2] / "data" / "portraits"

# Pooled features of the astronaut's head from the published fp32 weights, batch normalisation
# explicit: four spread over the 1280 and the four largest, and the mean of all.
INDICES = [0, 160, 320, 480, 615, 718, 625, 16]
VALUES = [1.6687, 0.2940, 0.4845, 0.2414, 2.7754, 2.4753, 2.3138, 2.2658]
MEAN = 0.52557


def test_maps_shapes():
    maps = load_feature_network().maps(torch.zeros(2, 3, 64, 96))
    assert [tuple(each.shape) for each in maps] == [
        (2, 16, 32, 48), (2, 24, 16, 24), (2, 32, 8, 12), (2, 96, 4, 6), (2, 320, 2, 3)
    ]  # fmt: skip
    assert len(STAGES) == len(maps)


def test_maps_are_in_the_requested_order():
    network = load_feature_network()
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    late, early = network.maps(image, (6, 1))
    assert torch.equal(early, network.maps(image, (1,))[0])
    assert torch.equal(late, network.maps(image, (6,))[0])


def test_pooled_matches_the_published_network():
    image = Image.open(PORTRAITS / "astronaut.jpg").convert("RGB").crop((96, 16, 320, 240))
    pooled = load_feature_network().pooled(to_tensor(image))[0]
    assert pooled.shape == (1280,)
    assert torch.allclose(pooled[INDICES], torch.tensor(VALUES), atol=0.02)
    assert pooled.mean().item() == pytest.approx(MEAN, abs=0.002)


def test_gradients_reach_the_image():
    image = torch.zeros(1, 3, 64, 64, requires_grad=True)
    sum(each.square().mean() for each in load_feature_network().maps(image)).backward()
    assert image.grad is not None
    assert image.grad.isfinite().all()
    assert image.grad.abs().max() > 0


@pytest.mark.parametrize("shape", [(1, 3, 16, 64), (1, 1, 64, 64), (3, 64, 64)])
def test_invalid_images_raise(shape):
    with pytest.raises(StylemixError, match="got images of shape"):
        load_feature_network().maps(torch.zeros(shape))


@pytest.mark.parametrize("stages", [(), (19,), (-1,)])
def test_invalid_stages_raise(stages):
    with pytest.raises(StylemixError, match="expected numbers from 0 to 18"):
        load_feature_network().maps(torch.zeros(1, 3, 64, 64), stages)


def test_feature_maps_of_any_channels_and_size():
    image = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    large = torch.nn.functional.interpolate(image, 128, mode="bilinear", antialias=True)
    expected = load_feature_network().maps(large.repeat(1, 3, 1, 1), (3,))
    assert torch.equal(feature_maps(image, (3,))[0], expected[0])
    assert feature_maps(image, (1,), smallest=32)[0].shape[2:] == (32, 32)
