"""The colours of drawings, for photos."""

import pytest
import torch

from stylemix.images.lab import from_lab, to_lab
from stylemix.training.adapt.color_transfer import ColorTransfer, transfer


def blobs(count, side, seed):
    """Soft patches of moderate colours, [N, 3, side, side] in [-1, 1]."""
    rng = torch.Generator().manual_seed(seed)
    lab = torch.rand([count, 3, 5, 5], generator=rng) * torch.tensor([50, 40, 40]).view(3, 1, 1)
    lab = lab + torch.tensor([25, -20, -20]).view(3, 1, 1)
    return from_lab(torch.nn.functional.interpolate(lab, [side, side], mode="bicubic"))


def changed(images):
    """Darker, warmer, with less contrast: an affine change of L*a*b*."""
    lab = to_lab(images)
    scale = torch.tensor([0.6, 0.8, 1.2]).view(3, 1, 1)
    return from_lab(lab * scale + torch.tensor([5.0, 8.0, 10.0]).view(3, 1, 1))


def test_samples_take_the_distribution_of_the_target():
    rng = torch.Generator().manual_seed(0)
    source = torch.randn([4000, 3], generator=rng) * torch.tensor([1.0, 2.0, 3.0])
    mixing = torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.0, -0.7], [0.3, 0.0, 0.5]])
    target = torch.randn([4000, 3], generator=rng) @ mixing + torch.tensor([5.0, 0.0, -2.0])
    moved = transfer(source, target, rng)
    torch.testing.assert_close(moved.mean(0), target.mean(0), atol=0.05, rtol=0)
    torch.testing.assert_close(moved.T.cov(), target.T.cov(), atol=0.1, rtol=0)


@pytest.mark.slow
def test_a_change_of_colors_is_found_without_pairs():
    photos, others = blobs(24, 256, 0), blobs(24, 512, 1)
    colors = ColorTransfer(photos, changed(others))
    unseen = blobs(4, 64, 2)
    off = to_lab(colors(unseen)) - to_lab(changed(unseen))
    before = to_lab(unseen) - to_lab(changed(unseen))
    assert float(off.abs().mean()) < 3.5
    assert float(before.abs().mean()) > 9


def test_two_inks_stay_two_inks():
    """Whatever the photo, there are no colours that the drawings do not have."""
    grey = to_lab(blobs(8, 512, 3))[:, :1]
    drawings = from_lab(torch.cat([grey, 0 * grey + 4, 0 * grey + 12], dim=1))
    drawn = to_lab(ColorTransfer(blobs(8, 256, 0), drawings)(blobs(4, 64, 2)))
    assert drawn[:, 1].mean() == pytest.approx(4, abs=0.5)
    assert drawn[:, 2].mean() == pytest.approx(12, abs=0.5)
    assert float(drawn[:, 1:].std(dim=(0, 2, 3)).max()) < 0.5
    assert float(drawn[:, 0].std()) > 5


def test_an_affine_change_moves_each_color_to_its_own():
    rng = torch.Generator().manual_seed(0)
    source = torch.randn([4000, 3], generator=rng)
    target = source * torch.tensor([0.5, 1.0, 2.0]) + torch.tensor([1.0, 0.0, -1.0])
    moved = transfer(source, target[torch.randperm(4000, generator=rng)], rng)
    assert (moved - target).square().mean().sqrt() < 0.2
