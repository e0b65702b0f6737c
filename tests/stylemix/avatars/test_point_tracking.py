"""Tracking of points and the motion loss, on feature maps that move by known amounts."""

import pytest
import torch
from torch.nn import functional

from stylemix.avatars.point_tracking import disc, motion_loss, patches, sample, track


def smooth_map(channels=6, side=24, dtype=torch.float64):
    """Smooth random features [C, H, W], with no two places alike."""
    rng = torch.Generator().manual_seed(3)
    coarse = torch.randn([1, channels, side // 3, side // 3], generator=rng, dtype=dtype)
    return functional.interpolate(coarse, (side, side), mode="bicubic")[0]


def test_offsets_lie_in_a_disc_with_the_centre_first():
    offsets = disc(1.0, 0.5, torch.zeros([], dtype=torch.float64))
    assert offsets[0].tolist() == [0, 0]
    assert len(offsets) == 13
    assert torch.linalg.vector_norm(offsets, dim=1).max() == 1


def test_samples_are_the_pixels_at_their_centres_and_bilinear_between():
    features = torch.arange(12.0).view(1, 3, 4)
    points = torch.tensor([[0.5, 0.5], [3.5, 2.5], [1.0, 0.5], [2.5, 1.0], [-5.0, 0.5]])
    assert sample(features, points)[:, 0].tolist() == pytest.approx([0, 11, 0.5, 4, 0], abs=1e-5)


@pytest.mark.parametrize("moved", [(0, 0), (1, 0), (0, -1), (-0.5, 0.5)])
def test_a_translation_of_the_map_is_found_exactly(moved):
    features = smooth_map()
    points = torch.tensor([[9.25, 12.5], [15.0, 8.0]], dtype=torch.float64)
    # Wherever the map is sampled `moved` back, it is the map that moved.
    found = track(features, patches(features, points + torch.tensor(moved)), points)
    assert (found - points).tolist() == [list(moved)] * 2


def test_a_long_way_is_followed_in_short_steps():
    features = smooth_map()
    points = torch.tensor([[6.0, 12.0]], dtype=torch.float64)
    wanted = patches(features, points)
    for step in range(1, 8):
        points = track(features.roll(step, dims=2), wanted, points)
    assert points.tolist() == [[13.0, 12.0]]


def test_points_stay_inside_of_the_map():
    features = torch.zeros([2, 8, 8])
    points = torch.tensor([[0.1, 7.9]])
    for _ in range(5):
        points = track(features + torch.randn(2, 8, 8), patches(features, points), points)
        assert 0 <= points.min() <= points.max() <= 8


def test_the_loss_is_zero_where_the_content_has_arrived():
    features = smooth_map()
    points = torch.tensor([[9.0, 12.0]], dtype=torch.float64)
    wanted, ahead = patches(features, points), points + torch.tensor([1.0, 0.0])
    assert float(motion_loss(features.roll(1, dims=2), wanted, ahead)) == pytest.approx(0, abs=1e-9)
    assert float(motion_loss(features, wanted, ahead)) > 0.05


def test_the_gradient_of_the_loss_is_that_of_finite_differences():
    features = smooth_map(2, 9).requires_grad_(True)
    points = torch.tensor([[4.3, 4.1]], dtype=torch.float64)
    wanted = patches(features.detach(), points)
    ahead = points + torch.tensor([0.4, -0.3])
    assert torch.autograd.gradcheck(lambda f: motion_loss(f, wanted, ahead), [features])


def test_a_step_down_the_gradient_moves_the_content_ahead():
    features = smooth_map()
    points = torch.tensor([[12.0, 12.0]], dtype=torch.float64)
    wanted, ahead = patches(features, points), points + torch.tensor([0.5, 0.0])
    moved = features.clone().requires_grad_(True)
    for _ in range(60):
        (gradient,) = torch.autograd.grad(motion_loss(moved, wanted, ahead), moved)
        moved = (moved - 2 * gradient).requires_grad_(True)
    found = track(moved.detach(), wanted, points)
    assert (found - points)[0].tolist() == pytest.approx([0.5, 0], abs=0.13)
