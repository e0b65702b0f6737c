"""Directions in style space: a single channel, and the few channels that control a reading."""

import pytest
import torch

from stylemix.avatars.render import AppliedStyle, prepare
from stylemix.errors import StylemixError
from stylemix.faces.templates import FACES128, NO_TEMPLATE
from stylemix.networks.latents import flatten_styles, map_latents, nest_styles
from stylemix.styles import channel_directions
from stylemix.styles.channel_directions import _typical, channel_style, reading_channels
from tests.support.models import W_DIM, tiny_model, ws_of


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def styles_of(model, ws, *parts):
    prepared = prepare(model.generator, ws, parts)
    return flatten_styles(prepared.network.styles(prepared.ws, prepared.offsets))


def test_a_channel_moves_alone_by_its_deviations(model):
    style = channel_style(model, "b16.conv0", 5).check(model)
    ws = ws_of(model)
    before = styles_of(model, ws)
    after = styles_of(model, ws, AppliedStyle(style, 3.0))
    z = torch.randn([4000, W_DIM], generator=torch.Generator().manual_seed(9))
    styles = model.generator.synthesis.styles(map_latents(model.generator, z))
    deviation = float(styles["b16"]["conv0"][:, 5].std())
    for name, value in before.items():
        moved = after[name] - value
        if name == "b16.conv0":
            expected = torch.full([2], 3 * deviation)
            torch.testing.assert_close(moved[:, 5], expected, rtol=0.06, atol=0)
            moved[:, 5] = 0
        assert not moved.any(), name


def test_layers_confine_a_channel(model):
    style = channel_style(model, "b16.conv0", 5)
    ws = ws_of(model)
    before = styles_of(model, ws)["b16.conv0"]
    for layers, moves in (("16px", True), ("coarse", False)):
        after = styles_of(model, ws, AppliedStyle(style, 3.0, layers))
        assert bool((after["b16.conv0"] != before).any()) == moves


def read_colors(images, template):
    """Three readings, of which two are correlated: red, red with green, blue."""
    red, green, blue = images.mean(dim=(2, 3)).t()
    return {"red": red, "warm": red + 0.5 * green, "blue": blue}


def test_few_channels_solve_for_one_reading_alone():
    slopes = torch.randn([3, 50], generator=torch.Generator().manual_seed(1))
    move = channel_directions._few(slopes, 1, 10)
    assert int((move != 0).sum()) == 10
    torch.testing.assert_close(slopes @ move, torch.tensor([0.0, 1.0, 0.0]), atol=1e-5, rtol=0)
    assert not channel_directions._few(torch.zeros(3, 50), 1, 10).any()


def test_the_channels_of_a_reading_raise_it(model, monkeypatch):
    monkeypatch.setattr(channel_directions, "readings", read_colors)
    steps = []
    styles = reading_channels(model, samples=64, count=40, progress=lambda *at: steps.append(at))
    assert steps == [(16, 64), (32, 64), (48, 64), (64, 64)]
    assert list(styles) == ["red-channels", "warm-channels", "blue-channels"]
    z = torch.randn([64, W_DIM], generator=torch.Generator().manual_seed(7))
    ws = map_latents(model.generator, z, 0.7)
    every = map_latents(model.generator, z)

    def read(ws, offsets=None):
        images = model.generator.synthesis(
            ws, noise_mode="const", styles_offset=nest_styles(offsets or {})
        )
        return torch.stack(list(read_colors(images.clamp(-1, 1), FACES128).values()), dim=1)

    spread = read(every).std(dim=0)
    for k, style in enumerate(styles.values()):
        style.check(model)
        assert sum(int((part != 0).sum()) for part in style.offsets.values()) <= 40
        negative = {name: -part for name, part in style.offsets.items()}
        moved = ((read(ws, style.offsets) - read(ws, negative)) / 2 / spread).mean(dim=0)
        assert float(moved[k]) == pytest.approx(1, abs=0.35)


def test_gradients_are_clipped_to_the_median_norm():
    slopes = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1000.0]])[:, None]
    typical = channel_directions._typical(slopes)
    torch.testing.assert_close(typical, torch.tensor([[2 / 3, 1 / 3]]))
    assert not channel_directions._typical(torch.zeros(3, 1, 2)).any()


def test_unknown_channels_are_one_line_errors(model):
    with pytest.raises(StylemixError, match=r"layer 'b9\.conv0'; expected one of b4\.conv1, b4"):
        channel_style(model, "b9.conv0", 0)
    with pytest.raises(StylemixError, match=r"got channel 32 of b16\.conv0; expected 0 to 31"):
        channel_style(model, "b16.conv0", 32)
    with pytest.raises(StylemixError, match="has no eye positions"):
        reading_channels(tiny_model(template=NO_TEMPLATE), samples=16)


def test_faces_without_a_gradient_do_not_count_for_the_typical_length():
    slopes = torch.zeros([5, 1, 2])
    slopes[3, 0, 0], slopes[4, 0, 0] = 3, 30
    torch.testing.assert_close(_typical(slopes), torch.tensor([[(3 + 3) / 5, 0]]))
