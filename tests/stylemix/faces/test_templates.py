"""Templates by name and from files."""

import json

import pytest

from stylemix.errors import StylemixError
from stylemix.faces.templates import FACES128, FFHQ, NO_TEMPLATE, Template, find_template

WIDE = Template("wide", "points", ((0.4, 0.45), (0.6, 0.45)))


def test_names_and_templates():
    assert [find_template(n) for n in ("faces128", "ffhq", "none")] == [FACES128, FFHQ, NO_TEMPLATE]
    assert find_template(WIDE) is WIDE


@pytest.mark.parametrize("within", [False, True])
def test_a_file_has_a_template_or_that_of_a_crop(tmp_path, within):
    path = tmp_path / "wide.json"
    data = WIDE.to_json()
    path.write_text(json.dumps({"format": "stylemix-align", "template": data} if within else data))
    assert find_template(path) == find_template(str(path)) == WIDE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not readable JSON"),
        ("\x00\xff", "not readable JSON"),
        ("[1]", "JSON without a template"),
        ('{"name": "a", "kind": "points", "points": [[0.5, 0.5]]}', "JSON without a template"),
        ("[" * 100_000, "not readable JSON"),
        (" " * 1_000_001, "not readable JSON"),
    ],
)
def test_other_files_are_one_line(tmp_path, text, message):
    path = tmp_path / "t.json"
    path.write_text(text)
    with pytest.raises(StylemixError, match=message) as caught:
        find_template(path)
    assert "\n" not in str(caught.value)


def test_an_unknown_name_is_an_error():
    with pytest.raises(StylemixError, match="got template 'cats'; expected faces128, ffhq, none"):
        find_template("cats")
