"""Errors: one printable line, and values out of a range."""

import pytest

from stylemix.errors import StylemixError, check_range


def test_a_message_is_one_printable_line():
    assert str(StylemixError("got\n  a\x1b b")) == "got a? b"


@pytest.mark.parametrize("value", [-0.5, 1.5, float("nan"), float("inf"), -float("inf")])
def test_values_out_of_range_are_refused(value):
    with pytest.raises(StylemixError) as caught:
        check_range("--share", value, 0, 1, ", 1 for all")
    assert str(caught.value) == f"got --share {value:g}; expected 0 to 1, 1 for all; change it"


@pytest.mark.parametrize("value", [0, 1, 0.5, -0.0])
def test_both_ends_of_a_range_belong_to_it(value):
    check_range("--share", value, 0, 1)
