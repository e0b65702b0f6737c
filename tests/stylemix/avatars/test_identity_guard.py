"""The greatest strength that keeps the person, on curves whose answer is known."""

import pytest

from stylemix.avatars.identity_guard import TOLERANCE, check_identity, find_share
from stylemix.errors import StylemixError


def counted(curve):
    """The curve, and the shares at which it was asked."""
    asked = []

    def identity(share):
        asked.append(share)
        return curve(share)

    return identity, asked


@pytest.mark.parametrize("least", [0.3, 0.5, 0.62, 0.7, 0.9, 0.99])
@pytest.mark.parametrize(
    "curve",
    [lambda s: 1 - 0.8 * s, lambda s: 1 - 0.8 * s**0.5, lambda s: 1 - 0.8 * s**3],
    ids=["straight", "early", "late"],
)
def test_what_is_asked_for_is_reached_and_never_missed(curve, least):
    identity, asked = counted(curve)
    share, kept = find_share(identity, least)
    assert kept == curve(share)
    assert least <= kept < least + 0.02
    assert len(asked) <= 13


def test_all_of_the_strength_where_it_keeps_the_person():
    identity, asked = counted(lambda share: 1 - 0.2 * share)
    assert find_share(identity, 0.7) == (1.0, 0.8)
    assert asked == [1.0]


def test_the_highest_crossing_counts():
    # Falls below at .3, is back above from .5 to .62, and below for good.
    def curve(share):
        return 0.8 if share <= 0.3 or 0.5 <= share <= 0.62 else 0.4

    share, kept = find_share(curve, 0.6)
    assert share == pytest.approx(0.62, abs=0.002)
    assert kept == 0.8


def test_a_jump_keeps_the_side_that_is_asked_for():
    share, kept = find_share(lambda s: 1.0 if s < 0.1 else 0.2, 0.6)
    assert share == pytest.approx(0.1, abs=0.002)
    assert kept == 1.0


def test_a_good_strength_ends_the_search():
    identity, asked = counted(lambda share: 1 - share)
    share, kept = find_share(identity, 0.5 - TOLERANCE / 2)
    assert (share, kept) == (0.5, 0.5)
    assert asked == [1.0, 0.75, 0.5]


@pytest.mark.parametrize("least", [0.0, 1.0, -0.5, 60.0, float("nan")])
def test_what_no_picture_can_keep_is_refused(least):
    with pytest.raises(StylemixError, match="more than 0 and less than 1"):
        check_identity(least)
