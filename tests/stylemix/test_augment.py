"""The augmentations: each changes what it should, as often as it should, twice differentiable."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from stylemix.augment import PIPES, SYM6, AugmentPipe
from stylemix.losses import r1_penalty

SOFT = {"sharp": False}  # bilinear, which leaves moves by whole pixels exact


def _images(count=16, height=12, width=12, seed=0):
    torch.manual_seed(seed)
    return torch.rand([count, 3, height, width]) * 2 - 1


def _smooth(count=8, size=24):
    """Waves of a few pixels and more, which no resampling should hurt."""
    axis = torch.arange(size) / size * 2 * math.pi
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    waves = [torch.sin(rows + k) * torch.cos(2 * columns - k) for k in range(count * 3)]
    return torch.stack(waves).reshape(count, 3, size, size)


def _close(a, b):
    return bool((a - b).abs().max() < 1e-4)


def test_zero_probability_is_the_very_same_object():
    images = _images()
    for pipe in PIPES.values():
        assert pipe(images, 0.0) is images
    assert torch.equal(AugmentPipe()(images, 1.0), images)


def test_named_pipes():
    on = {
        name: {key for key, value in vars(pipe).items() if value == 1 and key[-4:] != "_std"}
        - {"sharp"}
        for name, pipe in PIPES.items()
    }
    assert on["blit"] == {"xflip", "rotate90", "xint"}
    assert on["geom"] == {"scale", "rotate", "aniso", "xfrac"}
    assert on["color"] == {"brightness", "contrast", "lumaflip", "hue", "saturation"}
    assert on["bg"] == on["blit"] | on["geom"]
    assert on["bgc"] == on["bg"] | on["color"]
    pipe = PIPES["bgc"]
    strengths = ("xint_max", "scale_std", "aniso_std", "xfrac_std", "brightness_std")
    assert [getattr(pipe, key) for key in strengths] == [0.125, 0.2, 0.2, 0.125, 0.2]
    assert (pipe.contrast_std, pipe.saturation_std, pipe.sharp) == (0.5, 1.0, True)


def test_sym6_is_the_wavelet():
    taps = np.array(SYM6)
    assert taps.sum() == pytest.approx(math.sqrt(2))
    assert (taps**2).sum() == pytest.approx(1)
    for shift in (2, 4, 6, 8, 10):  # orthogonal to its own even shifts
        assert (taps[shift:] * taps[:-shift]).sum() == pytest.approx(0, abs=1e-12)
    wave = taps[::-1] * (-1) ** np.arange(12)
    for power in range(6):  # six vanishing moments
        assert (wave * (np.arange(12) / 12) ** power).sum() == pytest.approx(0, abs=1e-9)


def test_xflip_gives_exact_flips_or_originals():
    images = _images(64)
    out = AugmentPipe(xflip=1, **SOFT)(images, 1.0)
    flipped = [_close(o, i.flip(2)) for i, o in zip(images, out, strict=True)]
    same = [_close(o, i) for i, o in zip(images, out, strict=True)]
    assert all(a != b for a, b in zip(flipped, same, strict=True))
    assert 16 < sum(flipped) < 48


def test_rotate90_gives_exact_quarter_turns():
    images = _images(64)
    out = AugmentPipe(rotate90=1, **SOFT)(images, 1.0)
    turns = [
        [k for k in range(4) if _close(o, i.rot90(k, [1, 2]))]
        for i, o in zip(images, out, strict=True)
    ]
    assert all(len(found) == 1 for found in turns)
    assert {found[0] for found in turns} == {0, 1, 2, 3}


def test_xint_shifts_by_whole_pixels_and_reflects():
    images = _images(64, 16, 24)
    out = AugmentPipe(xint=1, **SOFT)(images, 1.0)
    padded = F.pad(images, [3, 3, 2, 2], mode="reflect")
    shifts = []
    for k in range(64):
        found = [
            (x, y)
            for y in range(-2, 3)
            for x in range(-3, 4)
            if _close(out[k], padded[k, :, 2 - y : 18 - y, 3 - x : 27 - x])
        ]
        assert len(found) == 1
        shifts += found
    assert {x for x, _ in shifts} == set(range(-3, 4))  # an eighth of the width, and no more
    assert {y for _, y in shifts} == set(range(-2, 3))


def test_scale_zooms_about_the_middle():
    image = torch.zeros([1, 3, 33, 33])
    image[:, :, 16, 16] = 1
    image = F.avg_pool2d(image, 5, stride=1, padding=2) * 25  # a square of 5 px in the middle
    torch.manual_seed(0)
    out = AugmentPipe(scale=1, **SOFT)(image.expand(200, -1, -1, -1), 1.0)
    assert _close(out, out.flip([2, 3]))
    factor = out[:, 0].sum(dim=[1, 2]).div(25).log2() / 2
    assert factor.mean().item() == pytest.approx(0, abs=0.05)
    assert factor.std().item() == pytest.approx(0.2, rel=0.2)


def test_rotation_keeps_the_middle_and_aniso_keeps_the_area():
    # A round spot far from the edges.
    axis = torch.arange(31) - 15.0
    spot = torch.exp(-(axis[:, None] ** 2 + axis[None] ** 2) / 18).expand(4, 3, 31, 31)
    torch.manual_seed(0)
    turned = AugmentPipe(rotate=1)(spot, 1.0)
    assert (turned - spot).abs().max() < 0.04
    stretched = AugmentPipe(aniso=1)(spot, 1.0)
    assert (stretched - spot).abs().max() > 0.05
    assert stretched.sum(dim=[1, 2, 3]).tolist() == pytest.approx(spot.sum(dim=[1, 2, 3]), rel=0.02)
    wide = (stretched[:, 0] * axis.square()).sum(dim=[1, 2])
    high = (stretched[:, 0] * axis.square()[:, None]).sum(dim=[1, 2])
    assert not torch.allclose(wide, high, rtol=0.05)
    moved = AugmentPipe(xfrac=1)(spot, 1.0)
    middle = (moved[:, 0] * axis).sum(dim=[1, 2]) / moved[:, 0].sum(dim=[1, 2])
    assert middle.abs().max() > 0.3


def test_brightness_shifts_all_alike():
    images = _images()
    difference = AugmentPipe(brightness=1)(images, 1.0) - images
    shift = difference.mean(dim=[1, 2, 3])
    assert torch.allclose(difference, shift[:, None, None, None].expand_as(images), atol=1e-5)
    assert 0.08 < shift.std() < 0.4


def test_contrast_scales_about_zero():
    images = _images()
    ratio = AugmentPipe(contrast=1)(images, 1.0) / images
    factor = ratio.flatten(1).median(dim=1).values
    assert torch.allclose(ratio, factor[:, None, None, None].expand_as(images), rtol=1e-2)
    assert 0.2 < factor.log2().std() < 0.9


def test_luma_flip_mirrors_grey_and_keeps_colour():
    images = _images(64)
    out = AugmentPipe(lumaflip=1)(images, 1.0)
    grey = images.mean(dim=1, keepdim=True)
    for i, o, g in zip(images, out, grey, strict=True):
        assert _close(o, i) or _close(o, i - 2 * g)
    assert 16 < sum(_close(i, o) for i, o in zip(images, out, strict=True)) < 48


@pytest.mark.parametrize("name", ["hue", "saturation"])
def test_hue_and_saturation_keep_grey(name):
    images = _images()
    out = AugmentPipe(**{name: 1})(images, 1.0)
    assert torch.allclose(out.mean(dim=1), images.mean(dim=1), atol=1e-5)
    colour, before = (x - x.mean(dim=1, keepdim=True) for x in (out, images))
    length, former = colour.norm(dim=1), before.norm(dim=1)
    if name == "hue":
        assert torch.allclose(length, former, atol=1e-4)
        assert not torch.allclose(colour, before, atol=0.1)
    else:
        factor = (length / former).flatten(1)
        assert torch.allclose(factor, factor[:, :1].expand_as(factor), rtol=1e-2)
        assert torch.allclose(colour, before * factor[:, :1, None, None], atol=1e-3)
        assert 0.4 < factor[:, 0].log2().std() < 1.8


def test_grey_images_keep_their_channel():
    images = _images()[:, :1]
    out = PIPES["bgc"](images, 1.0)
    assert out.shape == images.shape
    kept = AugmentPipe(hue=1, saturation=1)(images, 1.0)
    assert torch.allclose(kept, images, atol=1e-5)


def test_sharp_and_bilinear_agree_on_smooth_images():
    images = _smooth()
    pipe = replace(PIPES["geom"], xint=1, xflip=1, rotate90=1)
    outs = []
    for sharp in (True, False):
        torch.manual_seed(5)
        outs.append(replace(pipe, sharp=sharp)(images, 0.8))
    assert (outs[0] - outs[1]).abs().mean() < 0.02
    assert (outs[0] - images).abs().mean() > 0.3


def test_sharp_keeps_what_bilinear_blurs():
    torch.manual_seed(0)
    images = torch.randn([16, 3, 32, 32])
    pipe, inner = AugmentPipe(xfrac=1), (..., slice(4, -4), slice(4, -4))
    kept = [replace(pipe, sharp=sharp)(images, 1.0)[inner].var().item() for sharp in (True, False)]
    assert kept[0] > 0.55
    assert kept[0] > 1.25 * kept[1]


@pytest.mark.parametrize("p", [0.2, 0.6, 1.0])
def test_probabilities(p):
    torch.manual_seed(0)
    images = torch.rand([4000, 3, 4, 4]) * 2 - 1

    def share(**strength):
        out = AugmentPipe(**strength, **SOFT)(images, p)
        return ((out - images).abs().amax(dim=[1, 2, 3]) > 1e-4).double().mean().item()

    near = {"abs": 0.035}
    assert share(xflip=1) == pytest.approx(p / 2, **near)  # half of the flips are none
    assert share(rotate90=1) == pytest.approx(p * 3 / 4, **near)
    assert share(brightness=1) == pytest.approx(p, **near)
    assert share(brightness=0.5) == pytest.approx(p / 2, **near)
    assert share(scale=1) == pytest.approx(p, **near)
    assert share(rotate=1) == pytest.approx(p, **near)  # both halves together
    assert share(lumaflip=1) == pytest.approx(p / 2, **near)
    assert share(saturation=1) == pytest.approx(p, **near)


def test_each_image_has_its_own_draw():
    image = _images(1).expand(32, -1, -1, -1)
    out = PIPES["bgc"](image, 1.0)
    assert len({tuple(o.flatten()[:5].tolist()) for o in out}) == 32


def test_the_draw_follows_torchs_random_state():
    images, outs = _images(), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outs.append(PIPES["bgc"](images, 0.7))
    assert torch.equal(outs[0], outs[1])
    assert not torch.equal(outs[0], outs[2])


@pytest.mark.parametrize("sharp", [True, False])
def test_r1_through_the_pipe(sharp):
    torch.manual_seed(0)
    images = torch.randn([4, 3, 8, 8], dtype=torch.float64)
    weight = torch.randn([4, 3, 3, 3], dtype=torch.float64, requires_grad=True)
    pipe = replace(PIPES["bgc"], sharp=sharp)

    def score(x, w):
        torch.manual_seed(3)
        return F.softplus(F.conv2d(pipe(x, 0.8), w)).mean(dim=[1, 2, 3]).unsqueeze(1)

    def penalty(w):
        x = images.clone().requires_grad_()
        return r1_penalty(score(x, w), x).double().sum()

    # The gradient in the images is that of finite differences ...
    x = images.clone().requires_grad_()
    (grad,) = torch.autograd.grad(score(x, weight).sum(), x)
    direction = torch.randn_like(images)
    ends = [score(images + sign * 1e-6 * direction, weight).sum() for sign in (1, -1)]
    numeric = (ends[0] - ends[1]).item() / 2e-6
    assert (grad * direction).sum().item() == pytest.approx(numeric, rel=1e-4)
    # ... and so is that of the penalty in the weights.
    (grad,) = torch.autograd.grad(penalty(weight), weight)
    assert grad.isfinite().all()
    direction = torch.randn_like(weight)
    with torch.no_grad():
        moved = [weight + sign * 1e-3 * direction for sign in (1, -1)]
    ends = [penalty(w) for w in moved]
    numeric = (ends[0] - ends[1]).item() / 2e-3
    assert (grad * direction).sum().item() == pytest.approx(numeric, rel=1e-2)
