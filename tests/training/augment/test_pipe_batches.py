"""The pipe on batches: microbatches, shapes, channels, precision, bad input, derivatives."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from stylemix.errors import StylemixError
from stylemix.training.augment.pipe import PIPES, AugmentPipe
from stylemix.training.losses import r1_penalty

ALL = PIPES["bgcfnc"]


def _images(count=16, height=12, width=12, channels=3, seed=0):
    torch.manual_seed(seed)
    return torch.rand([count, channels, height, width]) * 2 - 1


def _close(a, b):
    return bool((a - b).abs().max() < 1e-4)


def _seeded(pipe, images, p, part=None, seed=3):
    torch.manual_seed(seed)
    return pipe(images, p, part)


def test_each_image_has_its_own_random_numbers():
    image = _images(1).expand(32, -1, -1, -1)
    out = ALL(image, 1.0)
    assert len({tuple(o.flatten().tolist()) for o in out}) == 32


def test_random_numbers_follow_torchs_random_state():
    images = _images()
    assert torch.equal(_seeded(ALL, images, 0.7), _seeded(ALL, images, 0.7))
    assert not torch.equal(_seeded(ALL, images, 0.7), _seeded(ALL, images, 0.7, seed=4))


@pytest.mark.parametrize("name", PIPES)
def test_microbatches_equal_the_whole_batch(name):
    images, pipe = _images(12, 16, 16), PIPES[name]
    whole = _seeded(pipe, images, 0.5)
    assert (whole - images).abs().max() > 0.1
    for sizes in ([4, 4, 4], [1, 11]):
        start, parts = 0, []
        for size in sizes:
            part = images[start : start + size]
            parts.append(_seeded(pipe, part, 0.5, (start, 12)))
            start += size
        assert torch.allclose(torch.cat(parts), whole, rtol=0, atol=1e-6)
    states = []
    for part in (None, (4, 12)):  # what follows is the same too
        _seeded(pipe, images if part is None else images[4:6], 0.5, part)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(16, 16), (12, 20), (24, 8)])
def test_channels_and_shapes(channels, size):
    images = _images(8, *size, channels)
    out = _seeded(ALL, images, 0.9)
    assert out.shape == images.shape
    assert out.isfinite().all()
    assert ((out - images).abs().amax(dim=[1, 2, 3]) > 0.05).all()


def test_grey_takes_part_in_all_but_hue_and_saturation():
    grey = _images(8, channels=1)
    assert _close(AugmentPipe(hue=1, saturation=1)(grey, 1.0), grey)
    pipe = replace(ALL, hue=0, saturation=0, noise=0)  # noise differs between the channels
    out, color = (_seeded(pipe, x, 1.0) for x in (grey, grey.expand(-1, 3, -1, -1)))
    assert _close(out.expand(-1, 3, -1, -1), color)


def test_alpha_moves_and_is_cut_out_but_keeps_its_values():
    images = _images(8, 16, 16, channels=4)
    out = _seeded(ALL, images, 1.0)
    assert _close(out[:, :3], _seeded(ALL, images[:, :3], 1.0))
    assert torch.equal(PIPES["color"](images, 1.0)[:, 3], images[:, 3])
    # Alpha equals a colour channel without colour transforms. The random numbers of the geometry
    # come first, those of cutout last.
    moved = _seeded(PIPES["bg"], images[:, 1:], 1.0)[:, 2]
    hole = (out == 0).all(dim=1)
    assert hole.any()
    assert _close(out[:, 3], moved.masked_fill(hole, 0))


def test_low_precision_is_that_of_the_pictures():
    images = _images(8)
    out = _seeded(ALL, images.bfloat16(), 0.8)
    assert out.dtype == torch.bfloat16
    expected = _seeded(ALL, images.bfloat16().float(), 0.8)
    assert torch.equal(out, expected.bfloat16())


def test_cuda_uses_the_same_random_numbers(device):
    images = _images(8, 16, 16)
    out = _seeded(ALL, images.to(device), 0.8).cpu()
    assert (out - _seeded(ALL, images, 0.8)).abs().max() < 1e-4


@pytest.mark.parametrize("p", [-0.1, 1.001, math.nan])
def test_bad_probability(p):
    with pytest.raises(StylemixError, match=f"got augmentation probability {p}; expected 0 to 1"):
        ALL(_images(2), p)


@pytest.mark.parametrize("shape", [[2, 2, 8, 8], [3, 8, 8], [2, 3, 3, 8]])
def test_bad_shapes(shape):
    with pytest.raises(StylemixError, match=r"got images of shape .*; expected \[N, C, H, W\]"):
        ALL(torch.zeros(shape), 0.5)


@pytest.mark.parametrize("part", [(-1, 8), (5, 8), (0, 2)])
def test_bad_parts(part):
    with pytest.raises(StylemixError, match="got 4 images as part"):
        ALL(_images(4), 0.5, part)


@pytest.mark.parametrize("sharp", [True, False])
@pytest.mark.parametrize("channels", [1, 4])
def test_gradgradcheck(sharp, channels):
    images = _images(3, 6, 5, channels).double().requires_grad_()
    pipe = replace(ALL, sharp=sharp)

    def squares(x):
        return _seeded(pipe, x, 0.8).square().sum(dim=[2, 3])

    assert torch.autograd.gradcheck(squares, images, fast_mode=True)
    assert torch.autograd.gradgradcheck(squares, images, fast_mode=True)


@pytest.mark.parametrize("sharp", [True, False])
def test_r1_through_the_pipe(sharp):
    torch.manual_seed(0)
    images = torch.randn([4, 3, 8, 8], dtype=torch.float64)
    weight = torch.randn([4, 3, 3, 3], dtype=torch.float64, requires_grad=True)
    pipe = replace(ALL, sharp=sharp)

    def penalty(w):
        x = images.clone().requires_grad_()
        scores = F.softplus(F.conv2d(_seeded(pipe, x, 0.8), w)).mean(dim=[1, 2, 3])
        return r1_penalty(scores.unsqueeze(1), x).double().sum()

    (grad,) = torch.autograd.grad(penalty(weight), weight)
    direction = torch.randn_like(weight)
    with torch.no_grad():
        moved = [weight + sign * 1e-3 * direction for sign in (1, -1)]
    ends = [penalty(w) for w in moved]
    numeric = (ends[0] - ends[1]).item() / 2e-3
    assert (grad * direction).sum().item() == pytest.approx(numeric, rel=1e-2)
