"""Styles of other images: what goes from which latent to which."""

import torch

from stylemix.avatars.derived_styles import blend_style, look_factor, profile_style
from tests.support.models import tiny_model


def test_looks_leave_the_shape_and_take_the_colors():
    factor = look_factor(tiny_model(resolution=64).generator)
    assert factor.flatten().tolist() == [0.0] * 3 + torch.full([4], 0.35).tolist() + [1.0] * 3


def test_one_image_interpolates_and_several_add_their_difference():
    generator = tiny_model().generator
    factor = look_factor(generator)
    source, *others = torch.randn([3, generator.num_ws, generator.w_dim])
    torch.testing.assert_close(blend_style("", source, others[0], None).shift + source, others[0])
    half = blend_style("", source, others[0], factor).shift
    torch.testing.assert_close(source + half, source.lerp(others[0], factor))
    several = profile_style(generator, "", torch.stack(others), factor).shift
    mean = (others[0] + others[1]) / 2
    torch.testing.assert_close(several, factor * (mean - generator.mapping.w_avg))
