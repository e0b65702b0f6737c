"""Errors: one printable line, and values out of a range."""

from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from stylemix.errors import (
    MAX_LINE,
    StylemixError,
    check_choice,
    check_range,
    check_seed,
    did_you_mean,
    similar_file,
)


def test_a_message_is_one_printable_line():
    assert str(StylemixError("got\n  a\x1b b")) == "got a? b"


def test_a_long_text_of_a_file_does_not_hide_the_advice():
    message = str(StylemixError(f"got {'x' * 100_000}; expected a name; change it"))
    assert len(message) <= MAX_LINE
    assert message.startswith("got xxx")
    assert message.endswith("xxx; expected a name; change it")


@pytest.mark.parametrize("value", [-0.5, 1.5, float("nan"), float("inf"), -float("inf")])
def test_values_out_of_range_are_refused(value):
    with pytest.raises(StylemixError) as caught:
        check_range("--share", value, 0, 1, ", 1 for all")
    assert str(caught.value) == f"got --share {value:g}; expected 0 to 1, 1 for all; change it"


@pytest.mark.parametrize(
    "value",
    [None, "0.5", [0.5], torch.tensor([0.5, 0.5]), Decimal("0.5"), Decimal("nan"), Fraction(1, 2)],
)
def test_what_is_no_number_is_refused(value):
    with pytest.raises(StylemixError, match=r"got --share .*; expected 0 to 1; change it"):
        check_range("--share", value, 0, 1)


@pytest.mark.parametrize("value", ["slow", ["fast"], None, torch.tensor([1, 2])])
def test_what_is_no_choice_is_refused(value):
    with pytest.raises(StylemixError, match=r"got speed .*; expected one of fast, 2; change it"):
        check_choice("speed", value, ("fast", 2))
    for chosen in ("fast", 2, None):
        check_choice("speed", chosen, ("fast", 2, None))


@pytest.mark.parametrize("value", [0, 1, 0.5, -0.0])
def test_both_ends_of_a_range_belong_to_it(value):
    check_range("--share", value, 0, 1)


def test_the_nearest_name_is_suggested(tmp_path, monkeypatch):
    names = ["toon", "noir", "Golden-Hour"]
    assert did_you_mean("tooon", names) == "; did you mean toon?"
    assert did_you_mean("golden-our", names) == "; did you mean Golden-Hour?"
    assert did_you_mean("mountain", names) == ""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "anna.jpg").touch()
    assert similar_file("photo") == "; did you mean photos?"
    near = Path("photos", "anna.jpg")
    assert similar_file("photos/ana.jpg") == f"; did you mean {near}?"
    assert similar_file("photos/Anna.png") == f"; did you mean {near}?"
    assert similar_file("photos/me.jpg") == ""  # only .jpg is alike
    for address in ("https://example.org/ana.jpg", Path("https://example.org/ana.jpg")):
        assert similar_file(address).endswith("read from addresses: download it first")
    assert similar_file("C:/ana.jpg") == ""
    assert similar_file("nowhere/ana.jpg") == similar_file("\0") == ""


def test_seeds_are_integers_of_32_bits():
    for seed in (7, np.int64(7), np.uint8(7), torch.tensor(7)):
        assert check_seed(seed) == 7
        assert type(check_seed(seed)) is int
    for seed in (-1, 2**32, 1.0, "7", None, [7], torch.tensor([7, 8])):
        with pytest.raises(StylemixError, match=r"got seed .*; expected 0 to 4294967295"):
            check_seed(seed)
