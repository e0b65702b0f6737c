"""Lab values from tables, and colour transfer."""

import pytest
import torch

from stylemix.images.lab import from_lab, keep_colors, to_lab

WHOLE = torch.ones(1, 1, 16, 16)


def flat(*rgb: float) -> torch.Tensor:
    """An image of one colour [1, 3, 8, 8], from values in 0..255."""
    return (torch.tensor(rgb) / 127.5 - 1)[None, :, None, None].expand(1, 3, 8, 8).clone()


@pytest.mark.parametrize(
    ("rgb", "lab"),  # as published for sRGB and D65
    [
        ((255, 255, 255), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((119, 119, 119), (50.03, 0, 0)),
        ((3, 3, 3), (0.82, 0, 0)),
    ],
)
def test_values(rgb, lab):
    assert to_lab(flat(*rgb))[0, :, 0, 0].tolist() == pytest.approx(lab, abs=0.05)


def test_round_trip():
    images = torch.rand([2, 3, 16, 16], generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.allclose(from_lab(to_lab(images)), images, atol=2e-4)


def test_colors_outside_srgb_are_clipped():
    image = from_lab(torch.tensor([50.0, 120.0, -120.0])[None, :, None, None])
    assert image.isfinite().all()
    assert image.abs().max() <= 1


def noise(seed: int, *channels: float) -> torch.Tensor:
    """An image around a colour [1, 3, 16, 16]."""
    rng = torch.Generator().manual_seed(seed)
    middle = torch.tensor(channels)[None, :, None, None]
    return middle + 0.2 * torch.rand([1, 3, 16, 16], generator=rng) - 0.1


def test_a_and_b_match_the_source_and_lightness_is_unchanged():
    styled, source = noise(0, 0.4, 0, -0.3), noise(1, -0.1, 0.1, 0.2)
    result = to_lab(keep_colors(styled, source, WHOLE, WHOLE))
    target, before = to_lab(source), to_lab(styled)
    for channel in (1, 2):
        a, b = result[0, channel], target[0, channel]
        assert a.mean().item() == pytest.approx(b.mean().item(), abs=0.1)
        assert a.std().item() == pytest.approx(b.std().item(), rel=0.02)
    assert torch.allclose(result[:, 0], before[:, 0], atol=0.1)


def test_amount_interpolates_and_zero_changes_nothing():
    styled, source, WHOLE = (
        noise(0, 0.4, 0, -0.3),
        noise(1, -0.1, 0.1, 0.2),
        torch.ones(1, 1, 16, 16),
    )
    assert keep_colors(styled, source, WHOLE, WHOLE, 0) is styled
    means = [
        to_lab(keep_colors(styled, source, WHOLE, WHOLE, amount))[0, 1].mean().item()
        for amount in (0, 0.5, 1)
    ]
    assert means[1] == pytest.approx((means[0] + means[2]) / 2, abs=0.1)


def test_only_skin_changes_and_the_face_decides():
    styled, source = noise(0, 0.4, 0, -0.3), noise(1, -0.1, 0.1, 0.2)
    styled[:, :, 8:] = 1.4  # outside sRGB, and unchanged
    face, skin = torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 16, 16)
    face[:, :, :4], skin[:, :, :8] = 1, 1
    result = keep_colors(styled, source, face, skin)
    assert torch.equal(result[:, :, 8:], styled[:, :, 8:])
    faces = [to_lab(image)[0, 1:, :4].mean(dim=(1, 2)) for image in (result, source)]
    assert torch.allclose(*faces, atol=0.2)
    assert (result[:, :, 4:8] - styled[:, :, 4:8]).abs().mean() > 0.1


def test_grey_gets_colors_without_amplified_noise():
    grey = noise(0, 0, 0, 0).mean(dim=1, keepdim=True).expand(1, 3, 16, 16)
    grey = grey + 1e-3 * noise(2, 0, 0, 0)
    result = to_lab(keep_colors(grey, noise(1, 0.4, 0, -0.3), WHOLE, WHOLE))
    assert result[0, 1].mean() > 10
    assert result[0, 1].std() < 0.5


def test_other_channels():
    grey = noise(0, 0, 0, 0)[:, :1]
    assert keep_colors(grey, grey, WHOLE, WHOLE) is grey
    clear = torch.cat([noise(0, 0.4, 0, -0.3), torch.zeros(1, 1, 16, 16)], dim=1)
    result = keep_colors(clear, torch.cat([noise(1, -0.1, 0.1, 0.2), grey], dim=1), WHOLE, WHOLE)
    assert torch.equal(result[:, 3], clear[:, 3])


def test_small_differences_are_not_amplified_further():
    waves = torch.sin(torch.arange(256.0)).view(1, 1, 16, 16)
    light = torch.full([1, 1, 16, 16], 50.0)
    styled, source = (from_lab(torch.cat([light, k * waves, 0 * light], 1)) for k in (2, 20))
    result = to_lab(keep_colors(styled, source, WHOLE, WHOLE))[0, 1]
    assert result.std().item() == pytest.approx(3 * 2 * waves.std().item(), rel=0.02)
