"""Rendering in styles: parts, strengths, layers and residuals."""

import copy

import pytest
import torch
from torch import Tensor

from stylemix.avatars.derived_styles import (
    LOOK_FACTORS,
    blend_style,
    generator_style,
    look_factor,
    profile_style,
)
from stylemix.avatars.render import AppliedStyle, layer_indices, prepare, render
from stylemix.errors import StylemixError
from stylemix.inversion.residual import Residual
from stylemix.models.model import Model
from stylemix.networks.latents import flatten_styles, nest_styles
from stylemix.styles.style import Style
from tests.support.models import tiny_model, trained_on, ws_of


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model(resolution=64)  # the smallest whose bands are those of large models


@pytest.fixture(scope="module")
def ws(model) -> Tensor:
    return ws_of(model)


def plain(model: Model, ws: Tensor) -> Tensor:
    return model.generator.synthesis(ws, noise_mode="const")


def everything(model: Model, seed: int = 0, amount: float = 0.3) -> Style:
    """A style that changes every w, every style and every weight."""
    rng = torch.Generator().manual_seed(seed)

    def random_like(like: Tensor) -> Tensor:
        return amount * torch.randn(like.shape, generator=rng)

    generator = model.generator
    average = generator.mapping.w_avg.expand(generator.num_ws, -1)
    styles = generator.synthesis.styles(average[None])
    return Style(
        model.fingerprint,
        shift=random_like(average),
        offsets={k: random_like(v[0]) for k, v in flatten_styles(styles).items()},
        weights={k: random_like(v) for k, v in generator.synthesis.named_parameters()},
    )


def features(model: Model, ws: Tensor, *ingredients: AppliedStyle) -> dict[str, tuple[Tensor, ...]]:
    """The output of each block: its features and its image."""
    outputs, hooks = {}, []
    for name, block in model.generator.synthesis.blocks().items():

        def keep(_: object, __: object, out: tuple[Tensor, ...], name: str = name) -> None:
            outputs[name] = out

        hooks.append(block.register_forward_hook(keep))
    render(model.generator, ws, ingredients)
    for hook in hooks:
        hook.remove()
    return outputs


def test_layer_indices():
    assert layer_indices(tiny_model(resolution=16).generator) == {
        "b4": {"conv1": 0, "torgb": 0}, "b8": {"conv0": 1, "conv1": 2, "torgb": 2},
        "b16": {"conv0": 3, "conv1": 4, "torgb": 5},
    }  # fmt: skip
    for architecture in ("resnet", "orig"):
        assert layer_indices(tiny_model(resolution=8, architecture=architecture).generator) == {
            "b4": {"conv1": 0}, "b8": {"conv0": 1, "conv1": 2, "torgb": 3}
        }  # fmt: skip


def test_no_style_and_strength_zero_give_the_plain_image_bitwise(model, ws):
    image = plain(model, ws)
    assert torch.equal(render(model.generator, ws), image)
    assert torch.equal(render(model.generator, ws, [AppliedStyle(everything(model), 0.0)]), image)


def test_strength_scales_each_part(model, ws):
    synthesis, style = model.generator.synthesis, everything(model)
    only = Style(style.base, shift=style.shift)
    expected = plain(model, ws + 0.4 * style.shift)
    assert torch.allclose(render(model.generator, ws, [AppliedStyle(only, 0.4)]), expected)

    only = Style(style.base, offsets=style.offsets)
    scaled = {name: 0.4 * value for name, value in style.offsets.items()}
    expected = synthesis(ws, noise_mode="const", styles_offset=nest_styles(scaled))
    assert torch.allclose(render(model.generator, ws, [AppliedStyle(only, 0.4)]), expected)

    only = Style(style.base, weights=style.weights)
    changed = copy.deepcopy(synthesis)
    for name, parameter in changed.named_parameters():
        parameter += 0.4 * style.weights[name]
    expected = changed(ws, noise_mode="const")
    assert torch.allclose(render(model.generator, ws, [AppliedStyle(only, 0.4)]), expected)
    assert (expected - plain(model, ws)).abs().mean() > 0.05


def test_recommended_strength_and_layers_are_the_default(model, ws):
    style = everything(model)
    style.strength, style.layers = 0.5, "fine"
    expected = render(model.generator, ws, [AppliedStyle(style, 0.5, "fine")])
    assert torch.equal(render(model.generator, ws, [AppliedStyle(style)]), expected)
    assert not torch.equal(render(model.generator, ws, [AppliedStyle(style, 1.0)]), expected)
    other = render(model.generator, ws, [AppliedStyle(style, layers="all")])
    assert not torch.equal(other, expected)


def test_two_styles_add_in_any_order(model, ws):
    one, two = everything(model, 1), everything(model, 2)
    total = Style(
        one.base,
        shift=one.shift + 0.5 * two.shift,
        offsets={k: v + 0.5 * two.offsets[k] for k, v in one.offsets.items()},
        weights={k: v + 0.5 * two.weights[k] for k, v in one.weights.items()},
    )
    parts = [AppliedStyle(one), AppliedStyle(two, 0.5)]
    both = render(model.generator, ws, parts)
    assert torch.allclose(both, render(model.generator, ws, parts[::-1]), atol=1e-5)
    assert torch.allclose(both, render(model.generator, ws, [AppliedStyle(total)]), atol=1e-4)
    assert (both - render(model.generator, ws, parts[:1])).abs().mean() > 0.05


def test_fine_leaves_the_features_below_alone(model, ws):
    before = features(model, ws)
    after = features(model, ws, AppliedStyle(everything(model), layers="fine"))
    for name in ("b4", "b8", "b16", "b32"):
        assert torch.equal(after[name][0], before[name][0])
    for name in ("b4", "b8", "b16"):  # the colours at 32 px share a w with the layers at 64
        assert torch.equal(after[name][1], before[name][1])
    assert not torch.allclose(after["b64"][0], before["b64"][0])


def test_coarse_leaves_the_parameters_above_alone(model, ws):
    style = everything(model)
    only = Style(style.base, offsets=style.offsets, weights=style.weights)
    coarse = {
        part: {k: v for k, v in values.items() if k.startswith(("b4.", "b8."))}
        for part, values in (("offsets", style.offsets), ("weights", style.weights))
    }
    expected = render(model.generator, ws, [AppliedStyle(Style(style.base, **coarse))])
    assert torch.equal(render(model.generator, ws, [AppliedStyle(only, layers="coarse")]), expected)


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
def test_every_parameter_belongs_to_its_own_block(architecture):
    model = tiny_model(resolution=8, architecture=architecture)
    style, ws = everything(model), ws_of(model)
    for name in style.weights:
        pixels = name.split(".")[0][1:]
        only = Style(style.base, weights={name: style.weights[name]})
        there = render(model.generator, ws, [AppliedStyle(only, layers=f"{pixels}px")])
        assert torch.equal(there, render(model.generator, ws, [AppliedStyle(only)]))
        if pixels != "8":
            assert torch.equal(
                render(model.generator, ws, [AppliedStyle(only, layers="8px")]), plain(model, ws)
            )


def test_layers_by_pixels_and_by_number(model, ws):
    style = everything(model)
    images = [
        render(model.generator, ws, [AppliedStyle(style, layers=layers)])
        for layers in ("16-64px", "3-9", "middle,fine", "coarse")
    ]
    assert torch.equal(images[0], images[1])
    assert torch.equal(images[0], images[2])
    assert not torch.allclose(images[0], images[3], atol=0.1)


def test_render_changes_nothing_but_its_result(model, ws):
    before = {k: v.clone() for k, v in model.generator.state_dict().items()}
    latents = ws.clone()
    image = render(model.generator, ws, [AppliedStyle(everything(model))])
    assert not image.requires_grad
    assert torch.equal(ws, latents)
    for name, value in model.generator.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("strength", [float("nan"), float("inf"), 101.0])
def test_absurd_strengths_are_refused(model, ws, strength):
    with pytest.raises(StylemixError, match="expected -100 to 100"):
        render(model.generator, ws, [AppliedStyle(everything(model), strength)])


def test_a_full_blend_is_the_other_image(model, ws):
    style = blend_style("base", ws[0], ws[1], None)
    image = render(model.generator, ws[:1], [AppliedStyle(style)])
    assert torch.allclose(image, plain(model, ws[1:]), atol=1e-5)
    half = render(model.generator, ws[:1], [AppliedStyle(style, 0.5)])
    assert torch.allclose(half, plain(model, ws.mean(dim=0, keepdim=True)), atol=1e-5)


def test_shares_scale_each_layer_by_itself(model, ws):
    style = everything(model)
    shares = [0.0] * 10
    shares[3:5], shares[7] = [0.4, 0.4], 2.0
    got = render(model.generator, ws, [AppliedStyle(style, 0.5, "all", tuple(shares))])
    parts = [AppliedStyle(style, 0.2, "3-4"), AppliedStyle(style, 1.0, "7")]
    assert torch.allclose(got, render(model.generator, ws, parts), atol=1e-5)
    assert (got - plain(model, ws)).abs().mean() > 0.05
    fine = render(model.generator, ws, [AppliedStyle(style, 0.5, "fine", tuple(shares))])
    assert torch.equal(fine, render(model.generator, ws, [AppliedStyle(style, 1.0, "7")]))


def test_shares_truncate_by_layer(model, ws):
    style = Style("base", psi=0.5)
    shares = (1.0,) + 9 * (0.0,)
    centre = model.generator.mapping.w_avg
    truncated = ws.clone()
    truncated[:, 0] = (ws[:, 0] + centre) / 2
    got = render(model.generator, ws, [AppliedStyle(style, 1.0, "all", shares)])
    assert torch.allclose(got, plain(model, truncated), atol=1e-5)


@pytest.mark.parametrize(("psi", "strength"), [(0.5, 1.0), (0.0, 1.0), (0.0, 0.5)])
def test_the_weights_of_a_residual_are_truncated_like_its_latent(model, ws, psi, strength):
    change = {"b16.conv0.weight": torch.full([1], 0.1), "b32.torgb.bias": torch.full([1], 0.3)}
    full = {k: v.expand_as(model.generator.synthesis.get_parameter(k)) for k, v in change.items()}
    share = 1 - strength * (1 - psi)
    truncated = model.generator.mapping.w_avg.lerp(ws, share)
    expected = render(
        model.generator, truncated, (), Residual({k: share * v for k, v in full.items()})
    )
    style = Style("base", psi=psi)
    got = render(model.generator, ws, [AppliedStyle(style, strength)], Residual(full))
    assert torch.allclose(got, expected, atol=1e-5)


def test_a_look_preserves_the_pose(model, ws):
    factor = look_factor(model.generator)[:, 0].tolist()
    assert factor == pytest.approx([0, 0, 0] + 4 * [LOOK_FACTORS["middle"]] + [1, 1, 1])
    shift = blend_style("base", ws[0], ws[1], look_factor(model.generator)).shift
    assert torch.equal(shift[:3], torch.zeros([3, 16]))
    assert torch.allclose(shift[3:7], LOOK_FACTORS["middle"] * (ws[1] - ws[0])[3:7])
    assert torch.allclose(shift[7:], (ws[1] - ws[0])[7:])


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_profile_is_the_mean_difference_from_the_average(model, count):
    others = ws_of(model, count)
    style = profile_style(model.generator, "base", others, None)
    expected = others.mean(dim=0) - model.generator.mapping.w_avg
    assert torch.allclose(style.shift, expected, atol=1e-6)
    again = profile_style(model.generator, "base", others.flip(0).repeat(3, 1, 1), None)
    assert torch.allclose(style.shift, again.shift, atol=1e-6)
    average = model.generator.mapping.w_avg.repeat(1, 10, 1)
    image = render(model.generator, average, [AppliedStyle(style)])
    assert torch.allclose(image, plain(model, others.mean(dim=0, keepdim=True)), atol=1e-4)


def test_a_fine_tuned_generator_is_a_style(model, ws):
    other = trained_on(model)
    other.generator.requires_grad_(True)
    style = generator_style(model.generator, model.fingerprint, other.generator, "other.pkl")
    assert set(style.weights) == {k for k, _ in model.generator.synthesis.named_parameters()}
    assert not any(value.requires_grad for value in style.weights.values())
    with torch.no_grad():
        theirs = plain(other, ws)
    assert (theirs - plain(model, ws)).abs().mean() > 0.02
    assert torch.allclose(render(model.generator, ws, [AppliedStyle(style)]), theirs, atol=1e-4)
    itself = generator_style(model.generator, model.fingerprint, model.generator, "same.pkl")
    assert not any(value.any() for value in itself.weights.values())


def test_unrelated_generators_are_refused(model):
    stranger = tiny_model(seed=3, resolution=64)
    with pytest.raises(StylemixError, match=r"x\.pkl: got a generator unrelated .* by 1\.\d of"):
        generator_style(model.generator, "base", stranger.generator, "x.pkl")
    with pytest.raises(StylemixError, match=r"x\.pkl: got a generator of other sizes"):
        generator_style(model.generator, "base", tiny_model().generator, "x.pkl")


def test_only_a_style_of_weights_fades_the_features_of_a_photo():
    model = tiny_model()
    generator, ws = model.generator, ws_of(model, 1)
    bias = generator.synthesis.b16.conv1.bias
    features = torch.randn([len(bias), 16, 16], generator=torch.Generator().manual_seed(4))
    detail = Residual(features=features, mask=torch.ones(1, 16, 16))
    look = Style(model.fingerprint, weights={"b32.torgb.bias": torch.full([3], 0.1)})
    drawn = Style(model.fingerprint, weights={"b16.conv1.bias": torch.full_like(bias, 0.1)})
    for style, left in ((look, 1.0), (drawn, 0.0)):
        prepared = prepare(generator, ws, [AppliedStyle(style)], detail)
        assert float(prepared.override.mask.max()) == left
    half = prepare(generator, ws, [AppliedStyle(drawn, 0.5)], detail)
    assert float(half.override.mask.max()) == 0.5
