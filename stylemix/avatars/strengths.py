"""The strength of styles as it is written: one number, or one for each band or layer."""

from __future__ import annotations

from stylemix.errors import StylemixError
from stylemix.networks.latents import layer_resolutions, parse_layers
from stylemix.styles.style import check_strength


def parse_strength(text: str, img_resolution: int) -> tuple[float, tuple[float, ...] | None]:
    """The strength and its shares by layer that a text asks for; no shares for one number.

    "0.5", or "coarse=0,middle=.35,fine=1" with layers as `parse_layers` reads them. Layers that are
    not named get 0; of several numbers for a layer the last one counts, as in "all=1,8px=0".
    """
    number = _number(text)
    if number is not None:
        check_strength(number)
        return number, None
    shares = [0.0] * len(layer_resolutions(img_resolution))
    for part in text.split(","):
        layers, _, written = part.partition("=")
        number = _number(written)
        if number is None:
            raise StylemixError(
                f"got strength {part.strip()[:40]!a}; expected a number, or one for each band or "
                "layer, as in coarse=0,middle=.35,fine=1; change --strength"
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
