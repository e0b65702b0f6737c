"""The identity guard: the greatest strength that preserves a minimum identity."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real

from stylemix.errors import StylemixError, shown

COARSE_SHARES = (0.75, 0.5, 0.25, 0.0)  # shares of the strength tried before bisection
STEPS = 8  # bisection steps
TOLERANCE = 0.005  # bisection ends if the identity exceeds the minimum by less than this


def check_identity(least: float) -> None:
    """Raises StylemixError for a minimum identity outside of (0, 1)."""
    if not (isinstance(least, Real) and 0 < least < 1):  # NaN is refused, too
        raise StylemixError(
            f"got --min-identity {shown(least)}; expected more than 0 and less than 1, where .6 is "
            "clearly the same person; change it"
        )


def find_share(identity: Callable[[float], float], least: float) -> tuple[float, float]:
    """The greatest share of the strength, 0 to 1, with an identity of at least `least`, and both.

    `identity` maps a share to an identity: 1 at share 0, usually decreasing, but not monotonic. So
    the highest quarter in which it crosses `least` is searched first, and then bisected. The
    identity is never below `least`; the share is 1 if the full strength preserves it.
    """
    check_identity(least)
    low, high, value = 0.0, 1.0, identity(1.0)
    if value >= least:
        return 1.0, value
    for share in COARSE_SHARES:
        value = 1.0 if share == 0 else identity(share)
        low = share
        if value >= least:
            break
        high = share
    for _ in range(STEPS):
        if value <= least + TOLERANCE:
            break
        middle = (low + high) / 2
        at_middle = identity(middle)
        if at_middle >= least:
            low, value = middle, at_middle
        else:
            high = middle
    return low, value
