"""From the channel counts of a foreign network back to the two numbers that a config holds."""

from __future__ import annotations

from collections.abc import Mapping

from stylemix.errors import StylemixError


def channel_rule(table: Mapping[int, int], name: str) -> tuple[int, int]:
    """Return (channel_base, channel_max) for {resolution px: channels}.

    The widths of a StyleGAN2 network are min(base // resolution, max); StylemixError when no such
    pair exists.
    """
    widest = max(table.values())
    # The least base that reaches every width; any larger one only adds to some of them.
    base = max(channels * resolution for resolution, channels in table.items())
    if all(min(base // r, widest) == channels for r, channels in table.items()):
        return base, widest
    widths = ", ".join(f"{r} px: {channels}" for r, channels in sorted(table.items()))
    raise StylemixError(
        f"{name}: got layers of uncommon widths ({widths}); expected min(base // px, max) for some "
        "base and max; this network cannot be converted, choose another"
    )
