"""Sources and styles as plain words."""

import pytest
from click.testing import CliRunner

from stylemix import cli
from stylemix.cli import main


def parsed(*words):
    """The sources and styles of `stylemix WORDS`."""
    command = cli.main.get_command(None, words[0])
    with command.make_context(words[0], list(words[1:])) as context:
        return context.params["sources"], context.params["styles"]


@pytest.mark.parametrize(
    ("words", "sources", "styles"),
    [
        ("mix me.jpg toon", ("me.jpg",), ("toon",)),
        ("mix me.jpg toon noir:0.5", ("me.jpg",), ("toon", "noir:0.5")),
        ("mix me.jpg --style toon", ("me.jpg",), ("toon",)),
        ("mix me.jpg toon --style noir", ("me.jpg",), ("toon", "noir")),
        ("mix --source me.jpg toon noir", ("me.jpg",), ("toon", "noir")),
        ("mix toon --source me.jpg --source you.jpg", ("me.jpg", "you.jpg"), ("toon",)),
        ("mix --source me.jpg --style toon", ("me.jpg",), ("toon",)),
        ("mix --grid me.jpg toon --output a.png noir", ("me.jpg",), ("toon", "noir")),
        ("video me.jpg", ("me.jpg",), ()),
        ("video me.jpg toon", ("me.jpg",), ("toon",)),
        ("evaluate-style photos noir pop", ("photos",), ("noir", "pop")),
    ],
)
def test_the_first_word_is_the_source_and_the_others_are_styles(words, sources, styles):
    assert parsed(*words.split()) == (sources, styles)


@pytest.mark.parametrize(
    ("words", "missing"),
    [("mix", "SOURCE"), ("mix me.jpg", "STYLE"), ("mix --style a", "SOURCE"), ("video", "SOURCE"),
     ("mix --source a", "STYLE"), ("evaluate-style photos", "STYLE")],
)  # fmt: skip
def test_what_is_missing_is_named_with_an_example(words, missing):
    done = CliRunner().invoke(main, words.split(), prog_name="stylemix")
    assert done.exit_code == 2
    assert f"Missing argument '{missing}'. As in: stylemix {words.split()[0]} me.jpg" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("words", ["metrics m --data a b", "metrics m", "demo a --source b"])
def test_a_word_and_its_option_are_given_once(words):
    done = CliRunner().invoke(main, words.split(), prog_name="stylemix")
    assert done.exit_code == 2
    assert "expected" in done.stderr
