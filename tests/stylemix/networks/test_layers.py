"""The building blocks compared with their formulas."""

import math

import pytest
import torch
import torch.nn.functional as F

from stylemix.networks.layers import (
    Conv2d,
    FullyConnected,
    MinibatchStddev,
    Modulation,
    modulated_colors,
    modulated_conv2d,
    modulation,
    normalize_2nd_moment,
)
from stylemix.ops import setup_filter


def test_normalize_2nd_moment():
    x = normalize_2nd_moment(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    assert x[0].tolist() == pytest.approx([3 / math.sqrt(12.5), 4 / math.sqrt(12.5)])
    assert x[1].tolist() == [0, 0]


@pytest.mark.parametrize("act", ["linear", "lrelu"])
def test_fully_connected_scales_at_run_time(act):
    layer = FullyConnected(9, 4, act, lr_multiplier=0.01, bias_init=2.0)
    x = torch.randn([5, 9])
    expected = x @ (layer.weight * 0.01 / 3).t() + 0.01 * 2.0
    if act == "lrelu":
        expected = F.leaky_relu(expected, 0.2) * math.sqrt(2)
    torch.testing.assert_close(layer(x), expected)
    assert layer.weight.std().item() == pytest.approx(100, rel=0.5)


@pytest.mark.parametrize("gain", [1.0, math.sqrt(0.5)])
def test_conv2d(gain):
    layer = Conv2d(4, 6, 3, act="lrelu", conv_clamp=1.0)
    with torch.no_grad():
        layer.bias.copy_(torch.randn([6]))
    x = torch.randn([2, 4, 5, 7])
    y = F.conv2d(x, layer.weight / 6, layer.bias, padding=1)
    expected = (F.leaky_relu(y, 0.2) * math.sqrt(2) * gain).clamp(-gain, gain)
    torch.testing.assert_close(layer(x, gain), expected)
    assert Conv2d(4, 6, 1, bias=False).bias is None
    assert Conv2d(4, 6, 1, down=2)(x[:, :, :4, :6]).shape == (2, 6, 2, 3)


@pytest.mark.parametrize("up", [1, 2])
def test_modulated_conv2d_scales_the_weights(up):
    torch.manual_seed(0)
    x, styles = torch.randn([3, 4, 5, 5]).double(), torch.randn([3, 4]).double()
    weight, f = torch.randn([6, 4, 3, 3]).double(), setup_filter([1, 3, 3, 1])
    m = modulation(weight, styles, x.dtype)
    got = modulated_conv2d(x, m, f, up=up, padding=1)
    scaled = modulated_conv2d(x * styles[:, :, None, None], m, f, up=up, padding=1, scaled=True)
    torch.testing.assert_close(scaled, got)
    for i in range(3):
        w = weight * styles[i, None, :, None, None]
        w = w / (w.square().sum(dim=[1, 2, 3], keepdim=True) + 1e-8).sqrt()
        ones = Modulation(w, torch.ones([1, 4]).double(), torch.ones([1, 6]).double())
        plain = modulated_conv2d(x[i : i + 1], ones, f, up=up, padding=1)
        torch.testing.assert_close(got[i : i + 1], plain)
        if up == 1:
            torch.testing.assert_close(plain, F.conv2d(x[i : i + 1], w, padding=1))


def test_modulated_colors_scale_the_weights():
    torch.manual_seed(0)
    x, styles = torch.randn([3, 4, 5, 6]), torch.randn([3, 4])
    weight = torch.randn([3, 4, 1, 1])
    expected = F.conv2d(x * styles[:, :, None, None], weight)
    last = x.contiguous(memory_format=torch.channels_last)
    for features in (x, last):
        got = modulated_colors(features, weight, styles)
        torch.testing.assert_close(got, expected)
        assert got.is_contiguous()


def test_demodulated_output_has_unit_variance():
    torch.manual_seed(0)
    x, styles = torch.randn([2, 32, 24, 24]), torch.rand([2, 32]) * 5 + 0.1
    m = modulation(torch.randn([16, 32, 3, 3]), styles, x.dtype)
    y = modulated_conv2d(x, m, padding=1)[..., 1:-1, 1:-1]
    assert y.std().item() == pytest.approx(1, rel=0.05)


def test_half_precision_does_not_overflow():
    torch.manual_seed(0)
    x, styles = torch.randn([2, 32, 8, 8]), torch.randn([2, 32]) * 1e4
    weight = torch.randn([16, 32, 3, 3])
    y = modulated_conv2d(x.half(), modulation(weight, styles, torch.float16), padding=1)
    assert y.dtype == torch.float16
    expected = modulated_conv2d(x, modulation(weight, styles, x.dtype), padding=1)
    assert (y - expected).abs().max() < 0.02 * expected.abs().max()


def test_sums_over_many_channels_do_not_overflow_in_half_precision():
    x, weight = torch.full([1, 512, 3, 3], 256.0), torch.ones([1, 512, 3, 3])
    y = modulated_conv2d(x.half(), modulation(weight, torch.ones([1, 512]), torch.float16))
    assert y.item() == pytest.approx(256 * math.sqrt(512 * 9), rel=0.01)


def test_half_precision_of_weights_and_styles_that_are_zero():
    weight, styles = torch.ones([2, 4, 3, 3]), torch.ones([2, 4])
    weight[0], styles[0] = 0, 0
    y = modulated_conv2d(torch.ones([2, 4, 3, 3]).half(), modulation(weight, styles, torch.float16))
    assert y.flatten().tolist() == pytest.approx([0, 0, 0, 6], rel=0.01)


@pytest.mark.parametrize(
    ("batch", "size", "groups"),
    [
        (4, 4, [[0, 1, 2, 3]]),
        (4, 2, [[0, 2], [1, 3]]),
        (6, 4, [[0, 2, 4], [1, 3, 5]]),  # the largest smaller group that divides the batch
        (5, 4, [[0], [1], [2], [3], [4]]),
        (3, 4, [[0, 1, 2]]),
        (1, 4, [[0]]),
    ],
)
def test_minibatch_stddev(batch, size, groups):
    torch.manual_seed(0)
    x = torch.randn([batch, 6, 3, 2])
    y = MinibatchStddev(size)(x)
    assert y.shape == (batch, 7, 3, 2)
    assert torch.equal(y[:, :6], x)
    for group in groups:
        expected = (x[group].var(dim=0, correction=0) + 1e-8).sqrt().mean()
        torch.testing.assert_close(y[group, 6], expected.expand(len(group), 3, 2))
    if len(groups) == batch:
        assert y[:, 6].max().item() == pytest.approx(1e-4)


def test_minibatch_stddev_with_several_channels():
    x = torch.randn([4, 6, 3, 2])
    y = MinibatchStddev(2, num_channels=3)(x)
    assert y.shape == (4, 9, 3, 2)
    for i in range(3):
        part = x[::2, 2 * i : 2 * i + 2]
        expected = (part.var(dim=0, correction=0) + 1e-8).sqrt().mean()
        torch.testing.assert_close(y[0, 6 + i], expected.expand(3, 2))
    assert torch.equal(y[0, 6:], y[2, 6:])


def test_minibatch_stddev_of_an_empty_batch():
    assert MinibatchStddev(4)(torch.zeros([0, 6, 3, 2])).shape == (0, 7, 3, 2)
