"""Parsing of strengths: a single number, or a number for each band or layer."""

from __future__ import annotations

from stylemix.errors import StylemixError
from stylemix.networks.latents import layer_resolutions, parse_layers
from stylemix.styles.style import check_strength


def parse_strength(text: str, img_resolution: int) -> tuple[float, tuple[float, ...] | None]:
    """Parses a strength and its shares by layer; None as shares for a single number.

    "0.5", or "coarse=0,middle=.35,fine=1" with layers as in `parse_layers`. Layers that are not
    named get 0; of several numbers for a layer the last counts, as in "all=1,8px=0".
    """
    number = _number(text)
    if number is not None:
        check_strength(number)
        return number, None
    shares = [0.0] * len(layer_resolutions(img_resolution))
    for part in text.split(","):
        layers, _, value = part.partition("=")
        number = _number(value)
        if number is None:
            raise StylemixError(
                f"got strength {part.strip()[:40]!a}; expected a number, or a number for each band "
                "or layer, as in coarse=0,middle=.35,fine=1; change --strength"
            )
        check_strength(number)
        for layer in parse_layers(layers, img_resolution):
            shares[layer] = number
    return 1.0, tuple(shares)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
