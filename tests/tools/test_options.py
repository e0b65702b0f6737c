"""Options that several commands share."""

import click
import pytest
from click.testing import CliRunner

from stylemix.errors import StylemixError
from stylemix.tools.options import label_argument, photo_model_options, subject_options


def test_a_label_is_a_class_or_values():
    assert label_argument(None, None) is None
    assert label_argument(3, None) == 3
    assert label_argument(None, "0, 0.5,-1") == [0, 0.5, -1]
    with pytest.raises(StylemixError, match="got --class and --label; expected one of them"):
        label_argument(1, "0,1")
    with pytest.raises(StylemixError, match="got --label a,b; expected numbers, as in 0,1,0"):
        label_argument(None, "a,b")


def test_a_choice_of_a_model_is_one_argument():
    seen = []

    @click.command()
    @photo_model_options
    @subject_options
    def command(**arguments):
        seen.append(arguments)

    words = ["--class", "2", "--template", "ffhq", "--box", "1,2,30,40.5", "--device", "cpu"]
    assert CliRunner().invoke(command, words).exit_code == 0
    (arguments,) = seen
    choice = arguments.pop("choice")
    assert arguments == {"face": None, "box": (1, 2, 30, 40.5)}
    assert (choice.name, choice.device, choice.template, choice.label) == (
        "faces-64", "cpu", "ffhq", 2,
    )  # fmt: skip
