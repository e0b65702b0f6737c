"""Style files: the change of a base model that turns a person's image into an avatar.

A style has up to three parts, which can all be added and scaled. A *shift* is added to w; *offsets*
are added in style space (StyleDomain, arXiv 2212.10229) and change a look with a few thousand
values; *weights* are differences of the synthesis network's weights and carry a drawn style.
Beside them, or alone, it may have a *student*, which redraws a photo without the model.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from stylemix.devices import no_random_weights
from stylemix.errors import StylemixError, check_range, did_you_mean, similar_file
from stylemix.faces.caricature import Shape
from stylemix.images.hands import HANDS, draw_photo
from stylemix.images.html import card
from stylemix.io.assets import ASSETS
from stylemix.io.atomic import Json
from stylemix.io.files import StrPath, user_path
from stylemix.io.remote import fetch, is_address
from stylemix.models.container import STYLE, read, to_float, write
from stylemix.models.hub import STYLE_EXAMPLE, STYLE_FILE, Pretrained, Shared, pretrained_file
from stylemix.models.model import Model, check_model
from stylemix.networks.generator import Generator
from stylemix.networks.latents import parse_layers
from stylemix.networks.student import Student, StudentConfig
from stylemix.styles.sparse import INDICES, VALUES, pack_offsets, unpack_offsets

VERSION = 1
VERSION_WITH_SPARSE = 2  # readers of version 1 refuse it
MAX_STRENGTH = 100.0
STYLES, DIRECTIONS = ASSETS / "styles", ASSETS / "directions"
SUFFIXES = (".pkl", ".safetensors")  # of shipped files


@dataclass(eq=False, repr=False)
class Style(Shared):
    """A style for the model with the fingerprint `base`.

    Attributes:
        base: fingerprint of the model that it was made for.
        strength: recommended strength, 1 unless measured otherwise.
        psi: truncation of the person (latent and residual weights) at full strength, 0 to 1.
            Styles far from the base model render latents near the mean better than the distant
            latents of projected photos.
        layers: recommended layers, as `latents.parse_layers` reads them.
        shift: added to w, [L, w_dim].
        offsets: added to the styles of a layer, {"b8.conv0": [C], ...}.
        weights: added to parameters of the synthesis network, {"b8.conv0.weight": [...], ...}.
        student: network that redraws a photo of a face in the style.
        shape: what is exaggerated before the student draws.
        hand: the filter of `images.hands` that makes a drawing of what the student paints, if any.
        statistics: mean `metrics.style_distance.image_statistics` of its images, [S].
        info: name, licence, credit, consent, number of images, scores; JSON values.
    """

    base: str
    strength: float = 1.0
    psi: float = 1.0
    layers: str = "all"
    shift: Tensor | None = None
    offsets: dict[str, Tensor] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)
    student: Student | None = None
    shape: Shape = field(default_factory=Shape)
    hand: str = ""
    statistics: Tensor | None = None
    info: dict[str, Json] = field(default_factory=dict)

    def drawing(self, images: Tensor, curve: Tensor) -> Tensor:
        """What its student draws of images [N, 3, H, W] in [-1, 1], [N, 3, 2H, 2W].

        `curve` [1, 3] is the `tone_curve` of their face.
        """
        assert self.student is not None
        return draw_photo(self.hand, self.student.draw, images, curve)

    def _repr_html_(self) -> str:
        """What it is made of and what its file says about it, for notebooks."""
        parts = {name.partition(".")[0] for name in self.tensors()}
        made_of = ", ".join(sorted(parts - {"statistics"}))
        rows = {"made of": made_of, "strength": self.strength, "layers": self.layers, **self.info}
        return card(f"style {self.info.get('name', '')}", rows)

    @property
    def is_student(self) -> bool:
        """Whether a student is all that it has, so that it fits every model of faces."""
        return self.student is not None and self.shift is None and not self.offsets | self.weights

    def save(self, path: StrPath) -> None:
        """Writes a style file; see `save_style`."""
        save_style(path, self)

    @classmethod
    def load(cls, path: StrPath, model: Model | None = None) -> Style:
        """Reads a style file or a shipped style; see `load_style`."""
        return load_style(path, model)

    @classmethod
    def from_pretrained(cls, name: StrPath, model: Model | None = None) -> Style:
        """Reads a style of a folder, of the Hugging Face Hub (OWNER/NAME), or as `load` does."""
        return cls.load(pretrained_file(name, STYLE_FILE), model)

    def pretrained(self) -> Pretrained:
        """What `save_pretrained` writes and `push_to_hub` uploads: the style and its card."""
        config: dict[str, Json] = {
            "base": self.base,
            "strength": self.strength,
            "layers": self.layers,
        }
        return Pretrained(STYLE_FILE, self.save, config, self.info, "image-to-image", STYLE_EXAMPLE)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of all parts, by their names in the file."""
        out = {} if self.shift is None else {"shift": self.shift}
        if self.statistics is not None:
            out["statistics"] = self.statistics
        out |= {f"offset.{key}": value for key, value in self.offsets.items()}
        out |= {f"weight.{key}": value for key, value in self.weights.items()}
        if self.student is not None:
            out |= {f"student.{key}": value for key, value in self.student.state_dict().items()}
        return out

    def check(self, model: Model, name: str = "style") -> Style:
        """Returns the style itself; raises StylemixError if it does not fit the model."""
        check_model(model)
        if self.student is not None and model.template.eyes is None:
            raise StylemixError(
                f"{name}: got a style that redraws faces, and a model with the alignment template "
                f"{model.template.name!r}; expected a model of faces; use another --model"
            )
        if self.is_student:
            return self
        if not model.reads(self.base):
            raise StylemixError(
                f"{name}: got a style of the base {self.base[:40]}; expected the base "
                f"{model.fingerprint}; make it again with stylemix adapt, or name its own --model"
            )
        shapes = _shapes(model.generator)
        for key, value in self.tensors().items():
            if (key == "statistics" and value.ndim == 1) or key.startswith("student."):
                continue
            if shapes.get(key) != tuple(value.shape):
                raise StylemixError(
                    f"{name}: got {key[:60]!a} of shape {list(value.shape)}; expected "
                    f"{shapes.get(key, 'no such part')}; get the file again from its author"
                )
        try:
            parse_layers(self.layers, model.generator.img_resolution)
        except StylemixError as error:
            raise StylemixError(f"{name}: {error}") from error
        return self


def _shapes(generator: Generator) -> dict[str, tuple[int, ...]]:
    """The required shapes of the parts of a style, by their names in the file."""
    config = generator.config
    out: dict[str, tuple[int, ...]] = {"shift": (config.num_ws, config.w_dim)}
    for block_name, block in generator.synthesis.blocks().items():
        for kind, layer in block.layers.items():
            out[f"offset.{block_name}.{kind}"] = (layer.affine.weight.shape[0],)
    for name, parameter in generator.synthesis.named_parameters():
        out[f"weight.{name}"] = tuple(parameter.shape)
    return out


def save_style(path: StrPath, style: Style) -> None:
    """Writes a style in half precision: `.pkl` of plain containers and arrays, else safetensors.

    Offsets that are zero in most channels are stored without the zeros.
    """
    check_style_path(path)
    check_strength(style.strength)
    header: dict[str, Json] = {
        "base": style.base,
        "strength": style.strength,
        "psi": style.psi,
        "layers": style.layers,
        "info": style.info,
    }
    if style.student is not None:
        channels: list[Json] = list(style.student.config.channels)
        header["student"] = {
            "channels": channels, "hand": style.hand,
            "eyes": style.shape.eyes, "jaw": style.shape.jaw,
        }  # fmt: skip
    tensors = {key: value.to(torch.float16) for key, value in style.tensors().items()}
    packed = pack_offsets({layer: tensors[f"offset.{layer}"] for layer in style.offsets})
    if packed is None:
        write(path, STYLE, VERSION, header, tensors)
        return
    header["sparse"], sparse = packed
    dense = {key: value for key, value in tensors.items() if not key.startswith("offset.")}
    write(path, STYLE, VERSION_WITH_SPARSE, header, dense | sparse)


def fits(style: Style, model: Model) -> bool:
    """Whether a style can be used with a model: students draw faces, of any model that has them."""
    return model.template.eyes is not None if style.is_student else model.reads(style.base)


def check_strength(strength: float) -> None:
    """Raises StylemixError for a strength that is NaN or beyond `MAX_STRENGTH`."""
    note = ", 1 for a style as it was made"
    check_range("strength", strength, -MAX_STRENGTH, MAX_STRENGTH, note)


def check_style_path(path: StrPath) -> None:
    """Raises StylemixError unless a file name ends like that of a style."""
    if user_path(path).suffix.lower() not in (".pkl", ".stylemix", ".safetensors"):
        raise StylemixError(
            f"got the style file name {path}; expected .pkl, .stylemix or .safetensors at its end; "
            "change it"
        )


def shipped_styles() -> list[str]:
    """Names of the styles that come with the package."""
    return sorted(_shipped(STYLES))


def shipped_directions() -> list[str]:
    """Names of the directions that come with the package; they are stored as styles."""
    return sorted(_shipped(DIRECTIONS))


def _shipped(folder: Path) -> dict[str, Path]:
    """The shipped files of a folder by name."""
    return {file.stem: file for file in folder.iterdir() if file.suffix in SUFFIXES}


def find_style(path: StrPath) -> Path:
    """The file of a path, of a shipped style or direction, or of an address (`fetch`)."""
    if is_address(path):
        return fetch(str(path))
    file = user_path(path)
    if not os.path.exists(file) and file.name == str(path):
        for folder in (STYLES, DIRECTIONS):
            if str(path) in (known := _shipped(folder)):
                return known[str(path)]
    return file


def check_style(path: StrPath) -> Path:
    """The file of `find_style`; raises StylemixError if it is missing."""
    file = find_style(path)
    if not os.path.exists(file):  # Path.exists raises for a name that is too long
        names = ", ".join(shipped_styles()) or "none"
        known = [*shipped_styles(), *shipped_directions()]
        near = did_you_mean(str(path), known) or similar_file(file)
        raise StylemixError(
            f"got the style {path}; expected a file or a shipped style ({names}); check the "
            f"name{near}"
        )
    return file


def format_of(path: StrPath) -> str:
    """The format of a file: "stylemix-style", "stylemix-latent", "stylemix-model" or ""."""
    return read(find_style(path)).format


def load_style(path: StrPath, model: Model | None = None) -> Style:
    """Reads a style file or a shipped style by name; with `model`, checked against it."""
    file = check_style(path)
    content = read(file).expect(STYLE)
    style = _build(content.header, content.tensors, file)
    return style if model is None else style.check(model, str(file))


def _build(config: object, tensors: Mapping[str, Tensor], file: Path) -> Style:
    config = config if isinstance(config, dict) else {}
    base, strength = config.get("base"), config.get("strength", 1.0)
    layers, info, psi = config.get("layers", "all"), config.get("info"), config.get("psi", 1.0)
    valid = type(strength) in (int, float) and abs(strength) <= MAX_STRENGTH
    valid = valid and type(psi) in (int, float) and 0 <= psi <= 1
    if not isinstance(base, str) or not isinstance(layers, str) or not valid:
        raise StylemixError(
            f"{file}: got a style without a readable base, strength or layers; expected a "
            "file of stylemix adapt; make it again"
        )
    style = Style(base, float(strength), float(psi), layers)
    style.info = info if isinstance(info, dict) else {}
    student = {name: value for name, value in tensors.items() if name.startswith("student.")}
    if student:
        _read_student(style, config.get("student"), student, file)
    sparse = {name: value for name, value in tensors.items() if name in (VALUES, INDICES)}
    if sparse:
        style.offsets = unpack_offsets(config.get("sparse"), sparse, str(file))
    for name, value in tensors.items():
        kind, _, layer = name.partition(".")
        if name in student or name in sparse:
            continue
        if name not in ("shift", "statistics") and not (kind in ("offset", "weight") and layer):
            raise StylemixError(
                f"{file}: got the unknown or damaged part {name[:60]!a}; expected shift, offsets, "
                "weights or statistics; get the file again from its author"
            )
        values = to_float(value, name, str(file))
        if kind in ("shift", "statistics"):
            setattr(style, kind, values)
        else:
            (style.offsets if kind == "offset" else style.weights)[layer] = values
    return style


def _read_student(style: Style, config: object, tensors: Mapping[str, Tensor], file: Path) -> None:
    """Gives a style the student, hand and shape of its file."""
    config = config if isinstance(config, dict) else {}
    hand = config.get("hand", "")
    try:
        if not isinstance(hand, str) or (hand and hand not in HANDS):
            raise ValueError("hand")
        values = {
            name.removeprefix("student."): to_float(value, name, str(file))
            for name, value in tensors.items()
        }
        with no_random_weights():
            student = Student(StudentConfig.parse(config.get("channels"), values))
        student.load_state_dict(values, assign=True)  # on their device, whatever the caller's is
        style.shape = Shape(float(config.get("eyes", 0.0)), float(config.get("jaw", 0.0)))
    except (ValueError, TypeError, RuntimeError, OverflowError, StylemixError) as error:
        raise StylemixError(
            f"{file}: got a damaged student; expected a file of stylemix distill; get the file "
            "again from its author"
        ) from error
    style.student, style.hand = student.eval().requires_grad_(False), hand
