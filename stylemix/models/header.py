"""The JSON header of a model file: writing, and validation on reading."""

from __future__ import annotations

import json
import math
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, TypeVar

from stylemix.errors import StylemixError
from stylemix.faces.templates import Template
from stylemix.io.atomic import Json
from stylemix.models.model import Model
from stylemix.networks.config import DiscriminatorConfig, GeneratorConfig

VERSION = 1

# Sizes accepted from a file, so that a small header cannot allocate any amount of memory.
LIMITS = {
    "img_resolution": (4, 1024),
    "img_channels": (1, 16),
    "z_dim": (1, 8192),
    "w_dim": (1, 8192),
    "c_dim": (0, 65536),
    "mapping_layers": (0, 32),
    "channel_base": (4, 2**20),
    "channel_max": (1, 8192),
    "channel_min": (0, 8192),
    "cmap_dim": (1, 8192),
    "mbstd_group_size": (1, 4096),
    "mbstd_num_channels": (1, 64),
}
MAX_FILTER_TAPS = 32
MAX_ANCESTORS = 1000  # of a blend
DEFAULT_BASE = (4, 4)  # height and width of the coarsest block in files without `base`

Config = TypeVar("Config", GeneratorConfig, DiscriminatorConfig)


@dataclass(frozen=True)
class Header:
    """The metadata of a model file; `fingerprint` is None for files of other programs."""

    generator: GeneratorConfig
    discriminator: DiscriminatorConfig | None
    template: Template
    card: dict[str, Json]
    fingerprint: str | None
    origin: str
    latents_of: tuple[str, ...] = ()


def header_of(model: Model) -> dict[str, Json]:
    """Returns the header of a model as plain JSON values."""
    discriminator = model.discriminator
    header: dict[str, Json] = {
        "generator": _sizes(model.generator.config),
        "discriminator": None if discriminator is None else _sizes(discriminator.config),
        "template": _plain(model.template.to_json()),
        "card": _plain(model.card),
        "fingerprint": model.fingerprint,
        "origin": model.origin,
    }
    if model.latents_of:  # absent in most files, as in those of older versions
        header["latents_of"] = _plain(model.latents_of)
    return header


def _sizes(config: GeneratorConfig | DiscriminatorConfig) -> Json:
    sizes = asdict(config)
    if config.base == DEFAULT_BASE:
        del sizes["base"]  # for older versions of stylemix
    for name in ("head", "channel_min", "fromrgb_at"):
        if sizes.get(name) == getattr(type(config), name, None):
            sizes.pop(name, None)  # for older versions of stylemix
    return _plain(sizes)


def _plain(value: object) -> Json:
    """Returns JSON values with lists in place of tuples."""
    try:
        plain: Json = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise StylemixError(
            f"cannot save the model card: {error}; expected text, finite numbers, lists and dicts; "
            "change the card"
        ) from error
    return plain


def parse_header(data: object, name: str) -> Header:
    """Validates and returns the header of a model file; StylemixError if it is invalid."""
    if not isinstance(data, dict):
        raise _invalid(name, "header", type(data).__name__)
    sizes, card = data.get("discriminator"), data.get("card")
    fingerprint, origin = data.get("fingerprint"), data.get("origin")
    if not isinstance(fingerprint, str) or not isinstance(origin, str):
        raise _invalid(name, "fingerprint or origin", "no text")
    bases = data.get("latents_of", [])
    if not isinstance(bases, list) or len(bases) > MAX_ANCESTORS:
        raise _invalid(name, "latents_of", _text_of(bases))
    if not all(isinstance(base, str) for base in bases):
        raise _invalid(name, "latents_of", "no text")
    return Header(
        generator=parse_config(GeneratorConfig, data.get("generator"), name),
        discriminator=None if sizes is None else parse_config(DiscriminatorConfig, sizes, name),
        template=parse_template(data.get("template"), name),
        card=card if isinstance(card, dict) else {},
        fingerprint=fingerprint,
        origin=origin,
        latents_of=tuple(bases),
    )


def parse_template(data: object, name: str) -> Template:
    """Returns the alignment template of a header; StylemixError if it is invalid."""
    try:
        return Template.from_json(data)
    except StylemixError as error:
        raise StylemixError(f"{name}: {error}") from error


def parse_config(kind: type[Config], data: object, name: str) -> Config:
    """Returns network sizes from JSON values; StylemixError for sizes outside `LIMITS`."""
    if not isinstance(data, dict):
        raise _invalid(name, "sizes", type(data).__name__)
    known = {f.name: f for f in fields(kind)}
    unknown = [str(key)[:40] for key in data if key not in known]
    if unknown:
        raise StylemixError(
            f"{name}: got the unknown size {unknown[0]!a}; expected those that "
            "this version knows; upgrade stylemix"
        )
    for key, entry in known.items():
        if key not in data and entry.default is MISSING:
            raise _invalid(name, key, "nothing")
    sizes: dict[str, Any] = {key: _size(key, value, name) for key, value in data.items()}
    try:
        config = kind(**sizes)
    except StylemixError as error:
        raise StylemixError(f"{name}: {error}") from error
    if isinstance(config, DiscriminatorConfig) and config.channels(4) % config.mbstd_num_channels:
        raise _invalid(
            name, "mbstd_num_channels", str(config.mbstd_num_channels), "a divisor of the width"
        )
    return config


def _size(key: str, value: object, name: str) -> object:
    if key in LIMITS:
        low, high = LIMITS[key]
        if value is None and key == "cmap_dim":
            return None
        if type(value) is int and low <= value <= high:
            return value
        raise _invalid(name, key, _text_of(value), f"{low} to {high}")
    if key in ("base", "fromrgb_at"):
        if isinstance(value, (list, tuple)) and all(type(side) is int for side in value):
            return tuple(value)
    elif key == "conv_clamp":
        if value is None or (finite(value) or 0) > 0:
            return value
    elif key == "resample_filter":
        if isinstance(value, (list, tuple)) and 0 < len(value) <= MAX_FILTER_TAPS:
            taps = tuple(value)
            if all(finite(tap) is not None for tap in taps) and sum(taps) != 0:
                return taps
    elif isinstance(value, str):
        return value
    raise _invalid(name, key, _text_of(value))


def _text_of(value: object) -> str:
    # The text of a container could be endless: it may refer to itself.
    plain = value is None or isinstance(value, (bool, int, float, str))
    return ascii(value)[:40] if plain else f"a {type(value).__name__}"


def finite(value: object) -> float | None:
    """A number of a header as a float; None for anything else, and where it is not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return None
    return number if math.isfinite(number) else None


def _invalid(
    name: str, what: str, got: str, expected: str = "the values that stylemix writes"
) -> StylemixError:
    return StylemixError(
        f"{name}: got {got} for {what}; expected {expected}; "
        "the file is damaged: get it again from its author"
    )
