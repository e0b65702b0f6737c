"""The pipe: effect and frequency of each augmentation."""

import math
import re
from dataclasses import fields
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from stylemix.training.augment.pipe import PIPES, AugmentPipe, _Chance

ALL = PIPES["bgcfnc"]


def _images(count=16, height=12, width=12):
    torch.manual_seed(0)
    return torch.rand([count, 3, height, width]) * 2 - 1


def _close(a, b):
    return bool((a - b).abs().max() < 1e-4)


def test_zero_probability_is_the_very_same_object():
    images = _images()
    for pipe in PIPES.values():
        assert pipe(images, 0.0) is images
    assert AugmentPipe()(images, 1.0) is images


def test_named_pipes():
    names = [field.name for field in fields(AugmentPipe)]
    names = names[: names.index("xint_max")]
    on = {name: {key for key in names if getattr(pipe, key)} for name, pipe in PIPES.items()}
    assert on["blit"] == {"xflip", "rotate90", "xint"}
    assert on["geom"] == {"scale", "rotate", "aniso", "xfrac"}
    assert on["color"] == {"brightness", "contrast", "lumaflip", "hue", "saturation"}
    assert (on["filter"], on["noise"], on["cutout"]) == ({"imgfilter"}, {"noise"}, {"cutout"})
    assert on["bg"] == on["blit"] | on["geom"]
    assert on["bgc"] == on["bg"] | on["color"]
    assert on["bgcf"] == on["bgc"] | on["filter"]
    assert on["bgcfn"] == on["bgcf"] | on["noise"]
    assert on["bgcfnc"] == on["bgcfn"] | on["cutout"] == set(names)
    assert on["r3"] == on["bgc"] | on["cutout"]
    assert {getattr(PIPES["r3"], key) for key in on["color"]} == {0.5}
    for name in set(PIPES) - {"r3"}:
        assert {getattr(PIPES[name], key) for key in on[name]} == {1}
    assert (ALL.xint_max, ALL.scale_std, ALL.aniso_std, ALL.xfrac_std) == (0.125, 0.2, 0.2, 0.125)
    assert (ALL.brightness_std, ALL.contrast_std, ALL.saturation_std) == (0.2, 0.5, 1.0)
    assert (ALL.imgfilter_bands, ALL.imgfilter_std) == ((1, 1, 1, 1), 1.0)
    assert (ALL.noise_std, ALL.cutout_size, ALL.sharp) == (0.1, 0.5, True)


def test_the_page_lists_the_pipes():
    page = Path(__file__).resolve().parents[3] / "docs" / "augment.md"
    section = page.read_text(encoding="utf-8").split("## Pipes")[1].split("\n## ")[0]
    held = {}
    for name, holds in re.findall(r"^\| `(\w+)` \| (.*) \|$", section, flags=re.M):
        parts = re.findall(r"`(\w+)`", holds)
        held[name] = {key for part in parts for key in held.get(part, {part})}
    names = [field.name for field in fields(AugmentPipe)]
    names = names[: names.index("xint_max")]
    assert held == {
        name: {key for key in names if getattr(pipe, key)} for name, pipe in PIPES.items()
    }


def test_xflip_gives_exact_flips_or_originals():
    images = _images(64)
    out = AugmentPipe(xflip=1)(images, 1.0)
    flipped = [_close(o, i.flip(2)) for i, o in zip(images, out, strict=True)]
    same = [torch.equal(o, i) for i, o in zip(images, out, strict=True)]
    assert all(a != b for a, b in zip(flipped, same, strict=True))
    assert 16 < sum(flipped) < 48


@pytest.mark.parametrize(("width", "expected"), [(12, {0, 1, 2, 3}), (20, {0, 2})])
def test_rotate90_is_exact_and_rotates_oblong_images_by_180_degrees(width, expected):
    images = _images(64, 12, width)
    out = AugmentPipe(rotate90=1)(images, 1.0)
    turns = [
        [k for k in sorted(expected) if _close(o, i.rot90(k, [1, 2]))]
        for i, o in zip(images, out, strict=True)
    ]
    assert all(len(matches) == 1 for matches in turns)
    assert {matches[0] for matches in turns} == expected


def test_xint_translates_by_whole_pixels_and_reflects():
    images = _images(64, 16, 24)
    out = AugmentPipe(xint=1)(images, 1.0)
    padded = F.pad(images, [3, 3, 2, 2], mode="reflect")
    shifts = []
    for k in range(64):
        matches = [
            (x, y)
            for y in range(-2, 3)
            for x in range(-3, 4)
            if _close(out[k], padded[k, :, 2 - y : 18 - y, 3 - x : 27 - x])
        ]
        assert len(matches) == 1
        shifts += matches
    assert {x for x, _ in shifts} == set(range(-3, 4))  # an eighth of the width, and no more
    assert {y for _, y in shifts} == set(range(-2, 3))


def test_scale_zooms_about_the_middle():
    image = torch.zeros([1, 3, 33, 33])
    image[:, :, 14:19, 14:19] = 1
    torch.manual_seed(0)
    out = AugmentPipe(scale=1, sharp=False)(image.expand(200, -1, -1, -1), 1.0)
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
    assert 0 < (turned - spot).abs().max() < 0.04
    stretched = AugmentPipe(aniso=1)(spot, 1.0)
    assert (stretched - spot).abs().max() > 0.05
    assert stretched.sum(dim=[1, 2, 3]).tolist() == pytest.approx(spot.sum(dim=[1, 2, 3]), rel=0.02)
    wide = (stretched[:, 0] * axis.square()).sum(dim=[1, 2])
    high = (stretched[:, 0] * axis.square()[:, None]).sum(dim=[1, 2])
    assert not torch.allclose(wide, high, rtol=0.05)


def test_xfrac_has_its_deviation():
    axis = torch.arange(64) - 31.5
    spot = torch.exp(-(axis[:, None] ** 2 + axis[None] ** 2) / 18).expand(200, 1, 64, 64)
    torch.manual_seed(0)
    moved = AugmentPipe(xfrac=1, xfrac_std=0.0625, sharp=False)(spot, 1.0)[:, 0]
    for dimension in (1, 2):
        middle = (moved.sum(dim=3 - dimension) * axis).sum(dim=1) / moved.sum(dim=[1, 2])
        assert middle.mean().item() == pytest.approx(0, abs=0.7)
        assert middle.std().item() == pytest.approx(4, rel=0.15)


def test_brightness_and_contrast_have_their_deviations():
    images = _images(400, 4, 4)
    shift = (AugmentPipe(brightness=1)(images, 1.0) - images).flatten(1)
    assert torch.allclose(shift, shift[:, :1].expand_as(shift), atol=1e-5)
    assert shift[:, 0].std().item() == pytest.approx(0.2, rel=0.15)
    factor = AugmentPipe(contrast=1)(images, 1.0).flatten(1).norm(dim=1)
    factor = (factor / images.flatten(1).norm(dim=1)).log2()
    assert factor.mean().item() == pytest.approx(0, abs=0.1)
    assert factor.std().item() == pytest.approx(0.5, rel=0.15)


def test_luma_flip_mirrors_grey_or_nothing():
    images = _images(64)
    out = AugmentPipe(lumaflip=1)(images, 1.0)
    grey = images.mean(dim=1, keepdim=True)
    for i, o, g in zip(images, out, grey, strict=True):
        assert _close(o, i) or _close(o, i - 2 * g)
    assert 16 < sum(_close(i, o) for i, o in zip(images, out, strict=True)) < 48


def test_hue_takes_every_angle_and_saturation_has_its_deviation():
    images = _images(400, 4, 4)
    hue, saturation = (AugmentPipe(**{name: 1})(images, 1.0) for name in ("hue", "saturation"))
    before, turned, stretched = (
        (x - x.mean(dim=1, keepdim=True)).flatten(1) for x in (images, hue, saturation)
    )
    squares = before.square().sum(dim=1)
    cosine = (turned * before).sum(dim=1) / squares
    assert cosine.acos().mean().item() == pytest.approx(math.pi / 2, abs=0.15)
    assert cosine.acos().std().item() == pytest.approx(math.pi / math.sqrt(12), rel=0.1)
    factor = ((stretched * before).sum(dim=1) / squares).log2()
    assert factor.mean().item() == pytest.approx(0, abs=0.15)
    assert factor.std().item() == pytest.approx(1, rel=0.15)


def test_one_band_is_amplified_at_the_same_expected_power():
    # The highest frequency lies in the last band alone, the mean in the first.
    images = torch.ones([400, 1, 8, 8])
    images[:, :, :, ::2] = -1
    images = images * 0.25 + 1
    torch.manual_seed(0)
    out = AugmentPipe(imgfilter=1, imgfilter_bands=(0, 0, 0, 1))(images, 1.0)[:, 0, 0]
    low, high = out.mean(dim=1), (out[:, 1] - out[:, 0]) / 2
    # Both directions: along the columns all is the mean, whose gain is that of the first band.
    first = low.sqrt()
    last = high / 0.25 / first
    assert torch.allclose((12 * first.square() + last.square()) / 13, torch.ones(400), atol=1e-4)
    assert (last / first).log2().std().item() == pytest.approx(1, rel=0.15)
    assert (last / first).log2().mean().item() == pytest.approx(0, abs=0.15)


def test_noise_is_as_strong_as_half_a_normal_deviate():
    images = torch.zeros([400, 3, 8, 8])
    torch.manual_seed(0)
    std = AugmentPipe(noise=1)(images, 1.0).std(dim=[1, 2, 3])
    assert std.mean().item() == pytest.approx(0.1 * math.sqrt(2 / math.pi), rel=0.1)
    assert std.square().mean().sqrt().item() == pytest.approx(0.1, rel=0.1)


def test_cutout_takes_half_the_width_and_height_anywhere():
    images = torch.ones([400, 3, 16, 32])
    torch.manual_seed(0)
    hole = AugmentPipe(cutout=1)(images, 1.0)[:, 0] == 0
    wide, high = hole.any(dim=1).sum(dim=1), hole.any(dim=2).sum(dim=1)
    assert torch.equal(hole.sum(dim=[1, 2]), wide * high)  # one box
    assert (wide.max(), high.max()) == (16, 8)
    assert (wide.min() >= 8, high.min() >= 4) == (True, True)  # half of it is always inside
    # Of half a width at a place in 0..1, 7/8 are inside on average, in each direction.
    assert hole.double().mean().item() == pytest.approx((7 / 16) ** 2, rel=0.05)
    assert hole[:, 8, 16].double().mean().item() == pytest.approx(0.25, abs=0.06)


def _changed(p, images, **strength):
    out = AugmentPipe(**strength, sharp=False)(images, p)
    return ((out - images).abs().amax(dim=[1, 2, 3]) > 1e-4).double().mean().item()


SHARES = {  # of the images that change, in terms of p
    "xflip": lambda p: p / 2,  # half of the flips are none
    "rotate90": lambda p: p * 3 / 4,
    "scale": lambda p: p,
    "rotate": lambda p: p,  # both halves together
    "aniso": lambda p: p,
    "xfrac": lambda p: p,
    "brightness": lambda p: p,
    "contrast": lambda p: p,
    "lumaflip": lambda p: p / 2,
    "hue": lambda p: p,
    "saturation": lambda p: p,
    "imgfilter": lambda p: 1 - (1 - p) ** 4,  # each band on its own
    "noise": lambda p: p,
    "cutout": lambda p: p,
}


@pytest.mark.parametrize("name", SHARES)
def test_frequency(name):
    images = _images(2000, 4, 4)
    for strength, p in ((1, 0.3), (0.5, 0.6)):  # the same
        shares = _changed(p, images, **{name: strength})
        assert shares == pytest.approx(SHARES[name](0.3), abs=0.035)
    assert _changed(1, images[:400], **{name: 1}) == pytest.approx(SHARES[name](1), abs=0.07)


def test_frequency_of_integer_translations():
    # A quarter of 8 px, so -1, 0 and 1 in each direction, 0 half of the time.
    images = _images(2000, 8, 8)
    assert _changed(0.3, images, xint=1) == pytest.approx(0.3 * 3 / 4, abs=0.035)


def test_fractions_are_of_the_width_and_of_the_height():
    torch.manual_seed(0)
    moved = AugmentPipe(xfrac=1)._inverse_transform(_Chance(4000, 1.0), 10, 40)
    deviations = moved[:, :2, 2].std(dim=0).tolist()
    assert deviations == pytest.approx([0.125 * 40, 0.125 * 10], rel=0.05)
