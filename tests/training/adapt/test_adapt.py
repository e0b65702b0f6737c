"""The arguments of the function that learns a style."""

from pathlib import Path

import pytest

from stylemix.errors import StylemixError
from stylemix.training.adapt import adapt as module
from stylemix.training.adapt.adapt import AdaptSettings, adapt
from tests.support.models import tiny_model

PORTRAIT = Path(__file__).parents[2] / "data" / "portraits" / "obama.jpg"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"settings": "look"}, "got 'look'; expected AdaptSettings of stylemix.training.adapt"),
        ({"card": {"name": "mine"}}, "got {'name': 'mine'}; expected StyleCard of stylemix"),
        ({"state": 3}, "got int as a file; expected its name or path"),
    ],
)
def test_arguments_of_other_types_are_refused(options, message):
    with pytest.raises(StylemixError, match=message):
        adapt([PORTRAIT], **{"settings": AdaptSettings(method="look"), **options})


def test_a_state_is_named_like_any_file(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setenv("HOME", str(tmp_path))

    def stopped(*arguments):
        seen.append(arguments[5])
        raise StylemixError("stopped")

    monkeypatch.setattr(module, "_learn_from", stopped)
    for state in ("~/mine.state", tmp_path / "mine.state"):
        with pytest.raises(StylemixError, match="stopped"):
            adapt([PORTRAIT], AdaptSettings(method="look"), model=tiny_model(), state=state)
    assert seen == [tmp_path / "mine.state"] * 2
