"""Forms of sources and styles: strengths by name."""

import pytest

import stylemix
from stylemix.avatars.inputs import added
from tests.support.models import tiny_model


def test_strengths_of_one_name_are_summed():
    first = {"smile": 1.0, "yaw": 2}
    assert added(first, {"smile": 0.5, "pitch": -1, "light": None}) == {
        "smile": 1.5, "yaw": 2, "pitch": -1,
    }  # fmt: skip
    assert first == {"smile": 1.0, "yaw": 2}


@pytest.mark.parametrize(
    ("first", "second"), [({}, {"smile": "2"}), ({"smile": "1"}, {"smile": 2}), ({}, {"yaw": 101})]
)
def test_what_is_no_strength_is_not_summed(first, second):
    with pytest.raises(stylemix.StylemixError, match=r"^got strength .*; expected -100 to 100"):
        added(first, second)


def test_an_edit_in_python_adds_what_is_named_twice(monkeypatch):
    """The direction replaced the argument of its name."""
    seen = []

    def stop(mixer, amounts):
        seen.append(amounts)
        raise stylemix.StylemixError("enough")

    monkeypatch.setattr("stylemix.api.direction_styles", stop)
    with pytest.raises(stylemix.StylemixError, match="enough"):
        stylemix.edit("seed:1", smile=1, directions={"smile": 0.5}, model=tiny_model(resolution=8))
    assert seen == [{"smile": 1.5}]
