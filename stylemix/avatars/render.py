"""Mixing: a person's latents rendered in one or several styles, everywhere or in a region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from stylemix.errors import StylemixError
from stylemix.inversion.residual import Residual, blend_features, sharing
from stylemix.networks.generator import BlockState, FeatureOverride, Generator, SynthesisNetwork
from stylemix.networks.latents import Styles, nest_styles, parse_layers
from stylemix.styles.style import Style, check_strength

# The features of the two renderings of a region are blended after this block, whose px are about a
# third of the distance of the eyes. Later, shapes that end outside the region break off at its
# border; earlier, the styles reach too far beyond it (docs/log.md).
BLEND_PX, BLEND_PX_LARGE = 8, 16
EDITS = ("direction", "channel", "channels")  # methods of styles that change what a face does
LARGE_PX = 256  # models of at least this size, whose faces fill less of the image


@dataclass
class AppliedStyle:
    """A style with the strength and layers to use; None for those that it recommends.

    Attributes:
        shares: further factors of the strength, one for each layer (see `strengths`).
        toward: the residual of the style's photo, if it is applied as well.
        fast: its student draws, if it has one.
    """

    style: Style
    strength: float | None = None
    layers: str | None = None
    shares: tuple[float, ...] | None = None
    toward: Residual | None = None
    fast: bool = False

    @property
    def by_student(self) -> bool:
        """Whether its student redraws the image (see `drawing`), and the model does nothing."""
        return self.style.student is not None and (self.fast or self.style.is_student)

    @property
    def is_edit(self) -> bool:
        """Whether it changes expression, pose or light, and not the look."""
        return self.style.info.get("method") in EDITS

    @property
    def amount(self) -> float:
        """The strength to use: the given strength, else the recommended one."""
        return self.style.strength if self.strength is None else self.strength

    def factors(self, generator: Generator) -> list[float]:
        """The strength in each layer, 0 where the style does not act."""
        check_strength(self.amount)
        shares = self.shares or (1.0,) * generator.num_ws
        chosen = parse_layers(self.layers or self.style.layers, generator.img_resolution)
        return [self.amount * s if i in chosen else 0.0 for i, s in enumerate(shares)]


class Drawing(nn.Module):
    """A synthesis network with all inputs of a rendering, ready to run.

    It is a module so that `functional_call` can run it with other weights, without a copy.

    Attributes:
        network: the model's network, which is not changed.
        ws: latents [N, L, w_dim].
        offsets: added to the network's styles.
        weights: values of the parameters that the styles change.
        noise: noise mode of the network.
        override: features of a photo.
    """

    def __init__(
        self,
        network: SynthesisNetwork,
        ws: Tensor,
        offsets: Styles,
        weights: dict[str, Tensor],
        noise: str | Tensor = "const",
        override: FeatureOverride | None = None,
    ) -> None:
        super().__init__()
        self.network, self.ws, self.offsets, self.weights = network, ws, offsets, weights
        self.noise, self.override = noise, override

    def forward(self, **part: Any) -> BlockState:
        """Runs the network with its current weights; see `run`."""
        styles = self.network.styles(self.ws, self.offsets)
        return self.network.run(styles, self.noise, override=self.override, **part)

    def run(self, **part: Any) -> BlockState:
        """Runs blocks with the changed weights; takes the arguments of `SynthesisNetwork.run`."""
        weights = {f"network.{name}": value for name, value in self.weights.items()}
        state: BlockState = functional_call(sharing(self), weights, (), part)
        return state

    def draw(self) -> Tensor:
        """Images [N, C, H, W] in about [-1, 1]."""
        _, images = self.run()
        assert images is not None
        return images


def draw_region(plain: Drawing, styled: Drawing, mask: Tensor) -> Tensor:
    """Images [N, C, H, W] of `styled` where mask [1 or N, 1, H, W] is 1, of `plain` where it is 0.

    After the block of `BLEND_PX` both continue from a blend of their features, each in its own
    style, so that shapes join at the border; the images are blended at the end.
    """
    config = plain.network.config
    meet = BLEND_PX if config.img_resolution < LARGE_PX else BLEND_PX_LARGE
    count = sum(size <= meet for size in config.resolutions)
    a, image_a = plain.run(stop=count)
    b, image_b = styled.run(stop=count)
    shared = a.lerp(b, functional.interpolate(mask, size=a.shape[2:], mode="area").to(a))
    _, image_a = plain.run(start=count, state=(shared, image_a))
    _, image_b = styled.run(start=count, state=(shared, image_b))
    assert image_a is not None
    assert image_b is not None
    return image_a.lerp(image_b, mask.to(image_a))


def layer_indices(generator: Generator) -> dict[str, dict[str, int]]:
    """The w index by which layers are selected: {"b4": {"conv1": 0, "torgb": 0}, ...}.

    A torgb belongs to the resolution of its block, although it reads the w of the next one.
    """
    indices = generator.synthesis.w_indices()
    for name, block in indices.items():
        if "torgb" in block and name != f"b{generator.img_resolution}":
            block["torgb"] -= 1
    return indices


def _index_of(name: str, indices: dict[str, dict[str, int]]) -> int:
    """The w index of a layer or parameter: "b8.conv0", "b8.conv0.affine.weight", "b4.const"."""
    block, kind = name.split(".")[:2]
    layers = indices[block]
    return layers.get(kind, next(iter(layers.values())))


@torch.no_grad()
def render(
    generator: Generator,
    ws: Tensor,
    applied: Sequence[AppliedStyle] = (),
    detail: Residual | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Renders ws [N, L, w_dim] in the sum of the styles to images [N, C, H, W] in [-1, 1].

    `detail` is the residual of the photo of these latents. With `mask` [1, 1, H, W] the styles act
    where it is 1; where it is 0 the person is unchanged (see `regions`). Raises StylemixError for
    a strength out of range.
    """
    styled = prepare(generator, ws, applied, detail)
    if mask is None:
        return styled.draw()
    return draw_region(prepare(generator, ws, (), detail), styled, mask)


@torch.no_grad()
def prepare(
    generator: Generator,
    ws: Tensor,
    applied: Sequence[AppliedStyle] = (),
    detail: Residual | None = None,
) -> Drawing:
    """The inputs of `render`: shifted ws [N, L, w_dim], and offsets and weights of all styles."""
    applied = [item for item in applied if not item.by_student]
    network, w_avg = generator.synthesis, generator.mapping.w_avg
    indices = layer_indices(generator)
    offsets: dict[str, Tensor] = {}
    weights: dict[str, Tensor] = {}
    own = {} if detail is None else {k: v.to(ws) for k, v in detail.weights.items()}
    centred, shift = ws - w_avg, torch.zeros_like(ws[:1])
    for item in applied:
        style, factors = item.style, item.factors(generator)
        if style.psi != 1:
            psis = [1 - min(max(factor, 0.0), 1.0) * (1 - style.psi) for factor in factors]
            centred *= ws.new_tensor(psis)[:, None]
            # The residual's weights belong to the person and are truncated, too.
            own = {name: psis[_index_of(name, indices)] * v for name, v in own.items()}
        if style.shift is not None:
            shift += ws.new_tensor(factors)[:, None] * style.shift.to(ws)
        for total, part in ((offsets, style.offsets), (weights, style.weights)):
            for name, value in part.items():
                if factor := factors[_index_of(name, indices)]:
                    total[name] = total.get(name, 0) + factor * value.to(ws)
        detail = _blend_residuals(generator, detail, item, factors)
    if any(item.style.psi != 1 for item in applied):
        ws = w_avg + centred
    for name, value in own.items():
        weights[name] = weights[name] + value if name in weights else value
    for name in weights:  # in place, so that there is one copy of the weights at a time
        weights[name] = network.get_parameter(name) + weights[name]
    detail = detail or Residual()
    return Drawing(
        network,
        ws + shift,
        nest_styles(offsets),
        weights,
        detail.noise_mode(ws),
        detail.override(ws),
    )


def merged(generator: Generator, base: str, applied: Sequence[AppliedStyle]) -> Style:
    """The sum of styles, each in its strength and layers, as one style of the model `base`.

    Truncations are those of all layers. Raises StylemixError for what a student draws.
    """
    indices, total = layer_indices(generator), Style(base)
    for item in applied:
        if item.by_student:
            name = item.style.info.get("name", "one")
            raise StylemixError(
                f"got the style {name}, which a student draws, among those to save as one; "
                "expected directions and looks; mix with its own file beside the others"
            )
        style, factors = item.style, item.factors(generator)
        total.psi *= 1 - min(max(*factors, 0.0), 1.0) * (1 - style.psi)
        if style.shift is not None:
            shift = style.shift.new_tensor(factors)[:, None] * style.shift
            total.shift = shift if total.shift is None else total.shift + shift
        for sums, parts in ((total.offsets, style.offsets), (total.weights, style.weights)):
            for name, value in parts.items():
                if factor := factors[_index_of(name, indices)]:
                    sums[name] = sums.get(name, 0) + factor * value
    return total


def _blend_residuals(
    generator: Generator, own: Residual | None, item: AppliedStyle, factors: Sequence[float]
) -> Residual | None:
    """The residual features and noise of a person in a style; `prepare` adds the weights.

    Features depend on all layers up to theirs. Where a style changes weights or adds another
    person's features, the person's own fade by the largest strength among these layers; those of
    the other person are added by the smallest.
    """
    other = item.toward
    if other is None and (own is None or not _changes_weights(item.style)):
        return own
    noise = None if own is None else own.noise
    if other is not None and min(factors) >= 1:
        noise = other.noise
    own, other = own or Residual(), other or Residual()
    fade_out, fade_in = max(_up_to(generator, own, factors)), min(_up_to(generator, other, factors))
    features, mask = blend_features([(own, 1 - fade_out), (other, fade_in)])
    return Residual(features=features, mask=mask, noise=noise)


def _up_to(generator: Generator, residual: Residual, factors: Sequence[float]) -> list[float]:
    """Strengths, 0 to 1, in the layers up to a residual's features; in all layers without them."""
    strengths = [min(max(factor, 0.0), 1.0) for factor in factors]
    if residual.features is None:
        return strengths
    size = residual.features.shape[1:]
    blocks = generator.synthesis.blocks().items()
    name = next(name for name, block in blocks if block.conv1.noise_const.shape == size)
    return strengths[: layer_indices(generator)[name]["conv1"] + 1]


def _changes_weights(style: Style) -> bool:
    """Whether a style changes weights other than ToRGB, or truncates, and so changes shapes."""
    return style.psi != 1 or any(".torgb." not in name for name in style.weights)
