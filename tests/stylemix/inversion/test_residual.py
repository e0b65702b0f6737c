"""Residuals of photos: their sums, by hand."""

import torch

from stylemix.inversion.residual import Residual, blend_features


def test_features_are_summed_by_their_share_of_the_image():
    def part(features, mask):
        return Residual(features=torch.full([1, 1, 1], features), mask=torch.full([1, 1, 1], mask))

    features, mask = blend_features([(part(1.0, 0.5), 0.5), (Residual(), 1), (part(3.0, 1.0), 0.5)])
    torch.testing.assert_close(mask.item(), 0.25 + 0.5)
    torch.testing.assert_close(features.item(), (0.25 * 1 + 0.5 * 3) / 0.75)
    alone, weaker = blend_features([(part(2.0, 0.5), 0.5)])
    assert (alone.item(), weaker.item()) == (2, 0.25)
    assert blend_features([(Residual(), 1)]) == (None, None)


def test_weights_are_interpolated():
    first, second = (Residual({"a": torch.tensor([value])}) for value in (1.0, 3.0))
    second.weights["b"] = torch.tensor([4.0])
    between = Residual.lerp(first, second, 0.25, torch.nn.Identity())
    assert {name: value.item() for name, value in between.weights.items()} == {"a": 1.5, "b": 1}
    assert Residual.lerp(first, None, 0.25, torch.nn.Identity()).weights["a"].item() == 0.75
