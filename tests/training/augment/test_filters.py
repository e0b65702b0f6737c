"""Amplifying bands: the bank's closed forms, and a float64 reference."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from stylemix.training.augment.filters import BAND_POWER, SYM2, filter_bands, filter_bank

GAINS = torch.tensor([[0.5, 2.0, 1.5, 3.0], [1.0, 1.0, 1.0, 1.0], [2.0, 0.25, 1.0, 0.0]])


def _images(channels=3, height=50, width=31):
    torch.manual_seed(0)
    return torch.rand([3, channels, height, width], dtype=torch.float64) * 2 - 1


def _response(frequency):
    """Of the four filters to a frequency between 0 and 1, the highest."""
    places = torch.arange(-21, 22, dtype=torch.float64)
    return filter_bank().double() @ (places * math.pi * frequency).cos()


def test_sym2_is_the_wavelet():
    taps = np.array(SYM2)
    root = math.sqrt(3)
    closed = np.array([1 - root, 3 - root, 3 + root, 1 + root]) / (4 * math.sqrt(2))
    assert taps == pytest.approx(closed, abs=1e-12)


def test_the_filters_sum_to_nothing():
    bank = filter_bank()
    delta = torch.zeros(43)
    delta[21] = 1
    assert bank.shape == (4, 43)
    assert torch.allclose(bank.sum(dim=0), delta, rtol=0, atol=1e-7)
    assert torch.allclose(bank, bank.flip(1), rtol=0, atol=1e-7)


def test_each_filter_passes_its_band():
    assert _response(0).tolist() == pytest.approx([1, 0, 0, 0], abs=1e-6)
    assert _response(1).tolist() == pytest.approx([0, 0, 0, 1], abs=1e-6)
    edges = [0, 1 / 8, 1 / 4, 1 / 2, 1]
    for band in range(4):
        response = _response((edges[band] + edges[band + 1]) / 2)
        assert response.argmax() == band
        assert response[band] > 0.6
    for band, edge in enumerate(edges[1:4]):  # two neighbours share what lies between them
        response = _response(edge)
        assert response[band : band + 2].sum() > 0.7
    sweep = torch.stack([_response(frequency) for frequency in np.linspace(0, 1, 41)])
    assert sweep.min() > -1e-6  # zero phase: no frequency is inverted


def test_expected_power():
    assert sum(BAND_POWER) == pytest.approx(1)
    assert BAND_POWER[0] == pytest.approx(10 * BAND_POWER[1])
    assert len(set(BAND_POWER[1:])) == 1


def test_gains_of_one_return_the_image():
    images = _images()
    assert filter_bands(images, torch.ones([3, 4])) is images
    assert torch.equal(filter_bands(images, GAINS)[1], images[1])


@pytest.mark.parametrize("size", [(50, 31), (64, 64), (5, 8)])  # also less than the filter
def test_reference(size):
    images = _images(3, *size)
    out = filter_bands(images, GAINS)
    for k, gains in enumerate(GAINS.double().numpy()):
        taps = gains @ filter_bank().double().numpy()
        expected = images[k].numpy()
        for axis in (1, 2):
            expected = ndimage.convolve1d(expected, taps, axis, mode="mirror")
        assert np.abs(out[k].numpy() - expected).max() < 1e-5


@pytest.mark.parametrize("band", range(4))
def test_a_wave_is_multiplied_by_the_gain_of_its_band(band):
    # Waves with a crest on both edges go on as mirrored, so only their height changes.
    cycles = (2, 6, 12, 26)[band]
    wave = (torch.arange(65, dtype=torch.float64) * math.pi * cycles / 64 * 2).cos()
    wave = wave.expand(1, 1, 65, 65)
    gains = torch.ones([1, 4])
    gains[0, band] = 3
    out = filter_bands(wave, gains)
    factor = 1 + 2 * _response(cycles / 32)[band]
    vertical = 3 if band == 0 else 1  # along a column all is the same, which is the lowest band
    assert torch.allclose(out, wave * factor * vertical, rtol=0, atol=1e-5)
    assert 2.2 < factor <= 3.001


def test_channels():
    images = _images(4)
    out = filter_bands(images, GAINS)
    assert torch.equal(out[:, 3], images[:, 3])
    assert torch.allclose(out[:, :3], filter_bands(images[:, :3], GAINS), rtol=0, atol=1e-12)
    grey = filter_bands(images[:, :1], GAINS)
    assert torch.allclose(grey, out[:, :1], rtol=0, atol=1e-12)


def test_gradgradcheck():
    images = _images(1, 4, 5).requires_grad_()

    def squares(x):
        return filter_bands(x, GAINS).square().sum(dim=[2, 3])

    assert torch.autograd.gradcheck(squares, images, fast_mode=True)
    assert torch.autograd.gradgradcheck(squares, images, fast_mode=True)
