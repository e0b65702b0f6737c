"""Two renderings blended in one image, inside and outside of a region."""

import pytest
import torch

from stylemix.avatars import render as render_module
from stylemix.avatars.derived_styles import blend_style
from stylemix.avatars.render import AppliedStyle, draw_region, prepare, render
from stylemix.faces.templates import NO_TEMPLATE
from tests.support.models import tiny_model, ws_of


@pytest.fixture(scope="module")
def pair():
    """A person without and with a style, prepared at 64 px."""
    model = tiny_model(resolution=64)
    ws = ws_of(model)
    style = blend_style("base", ws[0], ws[1], None)
    parts = [AppliedStyle(style)]
    return prepare(model.generator, ws[:1]), prepare(model.generator, ws[:1], parts)


def block(rows: slice, columns: slice) -> torch.Tensor:
    mask = torch.zeros(1, 1, 64, 64)
    mask[:, :, rows, columns] = 1
    return mask


def test_empty_and_full_masks(pair):
    plain, styled = pair
    assert torch.equal(draw_region(plain, styled, torch.zeros(1, 1, 64, 64)), plain.draw())
    assert torch.allclose(draw_region(plain, styled, torch.ones(1, 1, 64, 64)), styled.draw())


def test_outside_is_plain_and_inside_is_styled(pair, monkeypatch):
    plain, styled = pair
    monkeypatch.setattr(render_module, "BLEND_PX", 32)
    got = draw_region(plain, styled, block(slice(0, 32), slice(0, 64)))
    assert torch.equal(got[:, :, 44:], plain.draw()[:, :, 44:])
    assert torch.allclose(got[:, :, :20], styled.draw()[:, :, :20], atol=1e-5)


def test_features_are_blended_up_to_a_block(pair, monkeypatch):
    plain, styled = pair
    mask = block(slice(0, 32), slice(0, 64))
    pixels = plain.draw().lerp(styled.draw(), mask)
    leaks = {}
    for meet in (8, 16, 32, 64):
        monkeypatch.setattr(render_module, "BLEND_PX", meet)
        got = draw_region(plain, styled, mask)
        leaks[meet] = (got - pixels)[:, :, 32:].abs().mean().item()
    assert leaks[64] == 0  # after the last block no features are blended
    assert leaks[8] > leaks[16] > leaks[32] > 0


def test_each_of_a_batch_has_its_own_mask():
    model = tiny_model(resolution=16)
    ws = ws_of(model, 2)
    other = ws_of(model, 1, seed=9)[0]
    parts = [AppliedStyle(blend_style("base", ws[0], other, None))]
    masks = torch.cat([torch.zeros(1, 1, 16, 16), torch.ones(1, 1, 16, 16)])
    got = render(model.generator, ws, parts, mask=masks)
    assert torch.equal(got[0], render(model.generator, ws)[0])
    assert torch.allclose(got[1], render(model.generator, ws, parts)[1], atol=1e-6)


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
def test_every_architecture_and_shape(architecture):
    model = tiny_model(resolution=16, architecture=architecture, base=(4, 6), template=NO_TEMPLATE)
    ws = ws_of(model)
    parts = [AppliedStyle(blend_style("base", ws[0], ws[1], None))]
    mask = torch.zeros(1, 1, 16, 24)
    mask[..., 12:] = 1
    got = render(model.generator, ws[:1], parts, mask=mask)
    assert got.shape == (1, 3, 16, 24)
    assert (got - render(model.generator, ws[:1]))[..., 16:].abs().mean() > 0.01
