"""The greatest strength that preserves an identity, on curves with a known answer."""

import pytest

from stylemix.avatars.identity_guard import TOLERANCE, check_identity, find_share
from stylemix.errors import StylemixError


def counted(curve):
    """The curve, and the shares at which it was evaluated."""
    calls = []

    def identity(share):
        calls.append(share)
        return curve(share)

    return identity, calls


@pytest.mark.parametrize("least", [0.3, 0.5, 0.62, 0.7, 0.9, 0.99])
@pytest.mark.parametrize(
    "curve",
    [lambda s: 1 - 0.8 * s, lambda s: 1 - 0.8 * s**0.5, lambda s: 1 - 0.8 * s**3],
    ids=["straight", "early", "late"],
)
def test_the_identity_is_reached_and_never_missed(curve, least):
    identity, calls = counted(curve)
    share, value = find_share(identity, least)
    assert value == curve(share)
    assert least <= value < least + 0.02
    assert len(calls) <= 13


def test_full_strength_if_it_preserves_the_identity():
    identity, calls = counted(lambda share: 1 - 0.2 * share)
    assert find_share(identity, 0.7) == (1.0, 0.8)
    assert calls == [1.0]


def test_the_highest_crossing_counts():
    # Below the minimum from .3, above it again from .5 to .62, and below from there on.
    def curve(share):
        return 0.8 if share <= 0.3 or 0.5 <= share <= 0.62 else 0.4

    share, value = find_share(curve, 0.6)
    assert share == pytest.approx(0.62, abs=0.002)
    assert value == 0.8


def test_a_jump_ends_on_the_side_above_the_minimum():
    share, value = find_share(lambda s: 1.0 if s < 0.1 else 0.2, 0.6)
    assert share == pytest.approx(0.1, abs=0.002)
    assert value == 1.0


def test_a_good_strength_ends_the_search():
    identity, calls = counted(lambda share: 1 - share)
    share, value = find_share(identity, 0.5 - TOLERANCE / 2)
    assert (share, value) == (0.5, 0.5)
    assert calls == [1.0, 0.75, 0.5]


@pytest.mark.parametrize("least", [0.0, 1.0, -0.5, 60.0, float("nan")])
def test_identities_out_of_range_are_refused(least):
    with pytest.raises(StylemixError, match="more than 0 and less than 1"):
        check_identity(least)
