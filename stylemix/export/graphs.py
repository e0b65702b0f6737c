"""What an exported file computes: the parts of a model, of a style, and students.

All of them are plain PyTorch operations. A modulated convolution is one convolution with shared
weights between two scalings of its features (`networks.layers.Modulation`), never a convolution
with a group for each image, so the number of images stays free.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from stylemix.avatars.render import AppliedStyle, prepare
from stylemix.errors import StylemixError
from stylemix.images.hands import COARSE, draw_photo
from stylemix.io.atomic import Json
from stylemix.models.model import Model
from stylemix.networks.generator import Generator
from stylemix.networks.student import Student, tone_curve
from stylemix.styles.style import Style

PARTS = ("generator", "mapping", "synthesis", "student")
MAX_SIDE = 4096  # px of a photo that a student takes

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Graph:
    """A network to export.

    Attributes:
        network: takes the inputs as keyword arguments.
        examples: random inputs by name for N images.
        outputs: names of the outputs.
        single: the inputs that are one for all images; the others have N rows.
        step: the sides of an image that it takes are free, but multiples of so many px; 0: fixed.
        facts: what is written into the file beside what every file has.
    """

    network: nn.Module
    examples: Callable[[int], Tensors]
    outputs: tuple[str, ...]
    single: tuple[str, ...] = ()
    step: int = 0
    facts: dict[str, Json] = field(default_factory=dict)


class Mapping(nn.Module):
    """Maps z [N, z_dim], psi [1] and, if conditional, labels [N, c_dim] to ws [N, L, w_dim]."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.mapping = generator.mapping

    def forward(self, z: Tensor, psi: Tensor, label: Tensor | None = None) -> Tensor:
        """Returns ws, truncated by psi."""
        return self.mapping.w_avg.lerp(self.mapping(z, label), psi)


class Synthesis(nn.Module):
    """Renders ws [N, L, w_dim] and offsets in style space [N, S] to images, in styles or none.

    The noise is the stored maps. Styles are part of the network: what they do to ws is affine.
    """

    keep: Tensor
    shift: Tensor
    own_offsets: Tensor

    def __init__(self, generator: Generator, styles: Sequence[AppliedStyle] = ()) -> None:
        super().__init__()
        network = generator.synthesis
        probe = generator.mapping.w_avg.new_zeros([1, network.num_ws, network.config.w_dim])
        zero, one = (prepare(generator, ws, styles) for ws in (probe, probe + 1))
        self.register_buffer("shift", zero.ws)
        self.register_buffer("keep", one.ws - zero.ws)
        if zero.weights:
            network = copy.deepcopy(network)
            network.load_state_dict({**network.state_dict(), **zero.weights})
        self.network, self.layers = network, offset_layers(generator)
        self.styled = bool(styles)
        self.register_buffer("own_offsets", join_offsets(generator, zero.offsets))

    def forward(self, ws: Tensor, offsets: Tensor) -> Tensor:
        """Returns images [N, C, H, W]."""
        if self.styled:
            ws, offsets = ws * self.keep + self.shift, offsets + self.own_offsets
        styles: dict[str, Tensors] = {}
        end = 0
        # Slices, not one split: WebGPU has room for ten tensors in an operation.
        for name, channels in self.layers.items():
            start, end = end, end + channels
            block, _, layer = name.partition(".")
            styles.setdefault(block, {})[layer] = offsets[:, start:end]
        images: Tensor = self.network(ws, "const", styles)
        return images


class Whole(nn.Module):
    """Maps z [N, z_dim] to images: `Mapping`, then `Synthesis`."""

    def __init__(self, mapping: Mapping, synthesis: Synthesis) -> None:
        super().__init__()
        self.mapping, self.synthesis = mapping, synthesis

    def forward(
        self, z: Tensor, psi: Tensor, offsets: Tensor, label: Tensor | None = None
    ) -> Tensor:
        """Returns images [N, C, H, W]."""
        images: Tensor = self.synthesis(self.mapping(z, psi, label), offsets)
        return images


class Drawing(nn.Module):
    """Maps photos [N, 3, H, W] and tone curves [N, 3] to drawings [N, 3, 2H, 2W]."""

    def __init__(self, student: Student, hand: str) -> None:
        super().__init__()
        self.student, self.hand = student, hand

    def forward(self, photo: Tensor, curve: Tensor) -> Tensor:
        """Returns drawings, by the style's hand if it has one."""
        return draw_photo(self.hand, self.draw, photo, curve)

    def draw(self, even: Tensor) -> Tensor:
        """As `Student.draw`, without its padding: sides of other sizes are refused."""
        drawn: Tensor = self.student.head(self.student.trunk(even), even)
        return drawn


def offset_layers(generator: Generator) -> dict[str, int]:
    """The layers of style space in the order of an exported file's offsets, and their channels."""
    return {
        f"{name}.{kind}": layer.affine.weight.shape[0]
        for name, block in generator.synthesis.blocks().items()
        for kind, layer in block.layers.items()
    }


def join_offsets(generator: Generator, offsets: dict[str, Tensors]) -> Tensor:
    """Offsets by block and layer, {"b8": {"conv0": [C]}}, as a row [1, S]; the others are 0."""
    like = generator.mapping.w_avg
    rows = []
    for name, channels in offset_layers(generator).items():
        block, _, layer = name.partition(".")
        rows.append(offsets.get(block, {}).get(layer, like.new_zeros([channels])).view(1, -1))
    return torch.cat(rows, dim=1)


def model_graph(model: Model, part: str, styles: Sequence[AppliedStyle] = ()) -> Graph:
    """The graph of a model: "generator", "mapping" or "synthesis", in styles or none."""
    generator = model.generator
    mapping, layers = Mapping(generator), offset_layers(generator)
    needs_label = generator.needs_label

    def latents(count: int) -> Tensors:
        out = {"z": torch.randn([count, generator.z_dim]), "psi": torch.tensor([0.7])}
        if needs_label:
            classes = torch.arange(count) % generator.c_dim
            out["label"] = nn.functional.one_hot(classes, generator.c_dim).float()
        return out

    def offsets(count: int) -> Tensors:
        return {"offsets": 0.1 * torch.randn([count, sum(layers.values())])}

    @torch.no_grad()
    def mapped(count: int) -> Tensors:
        return {"ws": mapping(**latents(count)), **offsets(count)}

    if part == "mapping":
        return Graph(mapping.eval(), latents, ("ws",), ("psi",))
    synthesis = Synthesis(generator, styles)
    facts: dict[str, Json] = {"offsets": layers}
    if part == "synthesis":
        return Graph(synthesis.eval(), mapped, ("image",), facts=facts)
    whole = Whole(mapping, synthesis)
    return Graph(
        whole.eval(), lambda n: {**latents(n), **offsets(n)}, ("image",), ("psi",), facts=facts
    )


def student_graph(style: Style) -> Graph:
    """The graph of a style's student; StylemixError for a style without one."""
    if style.student is None:
        raise StylemixError(
            "got a style without a student; expected one that has it; make it with stylemix "
            "distill, or leave out --part"
        )
    step = style.student.config.multiple * (2 if style.hand in COARSE else 1)

    def photos(count: int) -> Tensors:
        photo = torch.rand([count, 3, 8 * step, 6 * step]) * 2 - 1
        return {"photo": photo, "curve": tone_curve(photo)}

    return Graph(Drawing(style.student, style.hand).eval(), photos, ("drawing",), step=step)
