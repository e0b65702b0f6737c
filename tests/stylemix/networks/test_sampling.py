"""Generated images from seeds."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from stylemix.errors import StylemixError
from stylemix.networks.latents import map_latents, z_from_seed
from stylemix.networks.sampling import sample_images
from tests.support.models import tiny_model

GENERATOR = tiny_model().generator


def test_random_noise_is_that_of_the_seed():
    """As drawn by the global random numbers of PyTorch, which stay as they are."""
    ws = map_latents(GENERATOR, z_from_seed(5, GENERATOR.z_dim).float())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        wanted = GENERATOR.synthesis(ws, noise_mode="random")
    state = torch.get_rng_state()
    assert torch.equal(sample_images(GENERATOR, [5], noise_mode="random"), wanted)
    assert torch.equal(torch.get_rng_state(), state)


def test_random_noise_is_the_same_in_all_threads():
    alone = sample_images(GENERATOR, [5], noise_mode="random")
    with ThreadPoolExecutor(8) as pool:
        images = pool.map(lambda _: sample_images(GENERATOR, [5], noise_mode="random"), range(24))
        assert all(torch.equal(image, alone) for image in images)


@pytest.mark.parametrize("mode", [None, False, "loud", 3])
def test_unknown_noise_is_refused(mode):
    with pytest.raises(StylemixError, match=r"got noise mode .*; expected one of random, const, n"):
        sample_images(GENERATOR, [1], noise_mode=mode)
