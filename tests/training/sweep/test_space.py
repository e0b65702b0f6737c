"""The syntax of --vary, and its one-line errors."""

import pytest

from stylemix.errors import StylemixError
from stylemix.training.settings import SETTINGS
from stylemix.training.sweep.space import FIXED, Vary, parse_space
from tests.support.toy_sweep import BASE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lr=0.0005..0.005:log", Vary("lr", 0.0005, 0.005, log=True)),
        ("r1-gamma=1..10", Vary("r1_gamma", 1.0, 10.0)),
        ("mapping_layers=2..8", Vary("mapping_layers", 2, 8)),
        ("z_dim=64,128", Vary("z_dim", choices=(64, 128))),
        ("augment_pipe=bg,bgc", Vary("augment_pipe", choices=("bg", "bgc"))),
        ("mirror=on,off", Vary("mirror", choices=(True, False))),
        (
            "transfer=../a.pkl,b.safetensors",
            Vary("transfer", choices=("../a.pkl", "b.safetensors")),
        ),
    ],
)
def test_valid_vary_options(text, expected):
    (vary,) = parse_space([text], BASE)
    assert vary == expected
    assert str(vary).replace("_", "-") == text.replace("_", "-")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("r1_gama=1..2", "expected the name of a training option; did you mean r1_gamma?"),
        ("qqq=1..2", "expected the name of a training option; see 'stylemix train --help'"),
        ("seed=1,2", "got --vary seed; expected an option that affects training"),
        ("resolution=32,64", "got --vary resolution; expected an option that"),
        ("lr", "got --vary lr; expected lr=LOW..HIGH, LOW..HIGH:log or VALUE,VALUE"),
        ("lr=0.1", "got --vary lr=0.1; expected two values or more"),
        ("lr=0.1,0.1", "expected two values or more"),
        ("lr=0.005..0.0005", "expected a lower end below the upper one"),
        ("lr=0.1..0.1", "expected a lower end below the upper one"),
        ("lr=0..0.1:log", "expected a lower end above 0 with :log"),
        ("lr=0.1..0.2:lin", "got --vary lr=0.1..0.2:lin; expected lr=LOW..HIGH"),
        ("lr=0.1..2", "got lr 2.0; expected a number from 0 to 1"),
        ("lr=nan..1", "expected a lower end below"),
        ("lr=low..high", "got 'low' in --vary lr; expected numbers"),
        ("lr=0:0.1,1:0.2", "got '0:0.1' in --vary lr; expected numbers"),
        ("mapping_layers=1.5..3", "got '1.5' in --vary mapping_layers; expected whole numbers"),
        ("mapping_layers=1..99", "got mapping_layers 99; expected a number from 1 to 32"),
        ("augment_pipe=bg,nosuch", "got augment_pipe 'nosuch'; expected one of"),
        ("augment_pipe=1..2", "expected two values or more"),
        ("mirror=1,0", "got '1' in --vary mirror; expected on,off"),
    ],
)
def test_invalid_vary_options(text, expected):
    with pytest.raises(StylemixError) as caught:
        parse_space([text], BASE)
    assert expected in str(caught.value)


def test_an_option_is_varied_once():
    with pytest.raises(StylemixError, match="got --vary lr twice"):
        parse_space(["lr=0.1..0.2", "lr=0.3..0.4"], BASE)


def test_every_option_can_be_varied_or_is_fixed():
    assert FIXED.issubset(SETTINGS)
    assert {"lr", "preset", "batch", "mirror", "transfer", "ada_target"} <= set(SETTINGS) - FIXED
    for name in set(SETTINGS) - FIXED:
        with pytest.raises(StylemixError, match="expected"):
            parse_space([f"{name}=<>..<>"], BASE)


def test_tidy_values_stay_in_their_range():
    assert Vary("lr", 0.0012345, 0.1).tidy(0.00123451) == 0.0012345
    assert Vary("lr", 0, 0.0012355).tidy(0.00123549) == 0.0012355
    assert Vary("lr", 0.001, 0.1).tidy(0.0123456) == 0.0123
