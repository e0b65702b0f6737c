"""The identity guard: the greatest strength that keeps the person."""

from __future__ import annotations

from collections.abc import Callable

from stylemix.errors import StylemixError

COARSE = (0.75, 0.5, 0.25, 0.0)  # shares of the strength that are looked at, from the highest
STEPS = 8  # of bisection
TOLERANCE = 0.005  # above the asked identity, within which a strength is good enough


def check_identity(least: float) -> None:
    """Raises StylemixError for an identity that no image can have, or every one has."""
    if not 0 < least < 1:  # so written that NaN is refused as well
        raise StylemixError(
            f"got --min-identity {least:g}; expected more than 0 and less than 1, .6 for what "
            "is clearly the same person; change it"
        )


def find_share(identity: Callable[[float], float], least: float) -> tuple[float, float]:
    """The greatest share of the strength, 0 to 1, that keeps an identity of `least`, and its value.

    `identity` tells what a share keeps: 1 at share 0, and usually less for more, but not always. So
    the highest quarter in which it crosses `least` is looked for first, and then bisected. Never
    less than `least` is kept; all of the strength where that keeps it.
    """
    check_identity(least)
    low, high, kept = 0.0, 1.0, identity(1.0)
    if kept >= least:
        return 1.0, kept
    for share in COARSE:
        kept = 1.0 if share == 0 else identity(share)
        low = share
        if kept >= least:
            break
        high = share
    for _ in range(STEPS):
        if kept <= least + TOLERANCE:
            break
        middle = (low + high) / 2
        found = identity(middle)
        if found >= least:
            low, kept = middle, found
        else:
            high = middle
    return low, kept
