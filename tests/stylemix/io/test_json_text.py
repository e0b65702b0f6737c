"""JSON of others: everything that is wrong with it is a ValueError."""

import json

import pytest

from stylemix.io import json_text
from stylemix.io.json_text import parse_json


def test_values_are_those_of_the_standard_reader():
    value = {"a": [1, 2.5, None, "b"], "c": {"d": True}}
    for text in (json.dumps(value), json.dumps(value).encode()):
        assert parse_json(text) == value
    assert parse_json('{"a": 1, "b": 2}', lambda pairs: pairs) == [("a", 1), ("b", 2)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Expecting"),
        ("[" * 100_000, "nested too deeply"),
        ("9" * 5000, "integer string"),
        (b"\xff", "codec"),
        (b"", "Expecting"),
        ("[" + "[]," * 10**7, "far too many values"),
    ],
)
def test_other_texts_are_value_errors(text, message):
    with pytest.raises(ValueError, match=message):
        parse_json(text)


def test_the_cost_is_known_before_a_value_is_made(monkeypatch):
    text = json.dumps([[i, 0] for i in range(1000)])
    assert len(parse_json(text)) == 1000
    monkeypatch.setattr(json_text, "MAX_VALUE_BYTES", 100_000)
    monkeypatch.setattr(json_text.json, "loads", lambda *_, **__: pytest.fail("parsed"))
    with pytest.raises(ValueError, match="far too many values"):
        parse_json(text)
