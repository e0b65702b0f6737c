"""Pictures of the app: they are those of the command with the same options."""

import shlex
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from stylemix.cli import main
from stylemix.errors import StylemixError
from stylemix.images.read import load_image
from stylemix.io.assets import ASSETS
from stylemix.models.checkpoint import load_model
from stylemix.tools.app import pictures
from stylemix.tools.app.avatar import read_options
from stylemix.tools.app.drag import add_click, parse_points
from stylemix.tools.app.pictures import (
    Drawn,
    MixOptions,
    command_line,
    draw,
    draw_gallery,
    save_picture,
)
from stylemix.tools.app.session import Session, Stopped

COLLINS = ASSETS / "portraits" / "collins.jpg"


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    made = Session(load_model("faces-64"), folder)
    (folder / "upload").mkdir()
    made.receive(shutil.copy(COLLINS, folder / "upload"))
    made.find_faces()
    return made


def test_the_command_has_every_option(session):
    options = MixOptions(
        {"toon": 0.8, "noir": None}, {"smile": 2.0, "yaw": 0.0}, (1.0, 0.5, 0.0), 0.6, ("face",),
        0.5, "crop", "fast",
    )  # fmt: skip
    assert command_line(session, options) == (
        "stylemix mix --source collins.jpg --style toon:0.8 --style noir --style smile:2 --region "
        "face --strength coarse=1,middle=0.5,fine=0 --min-identity 0.6 --keep-color 0.5 "
        "--output-size crop --preset fast --output avatar.png"
    )
    assert command_line(session, MixOptions({"ink": 1.0})) == (
        "stylemix mix --source collins.jpg --style ink:1 --output avatar.png"
    )


def test_options_of_the_page_are_read_in_order():
    values = [1, 0, 0, 0, 0, 1, 0.5, 1, 0, 0.25, ["hair"], "", "best"]
    options = read_options("toon", 0.9, "noir", 0.4, values)
    assert options == MixOptions(
        {"toon": 0.9, "noir": 0.4},
        {"smile": 1, "yaw": 0, "pitch": 0, "mouth": 0, "light": 0},
        (1, 0.5, 1), None, ("hair",), 0.25, None, "best",
    )  # fmt: skip
    assert read_options("toon", 1, "none", 1, values).styles == {"toon": 1}


def test_without_a_style_there_is_a_sentence(session):
    with pytest.raises(StylemixError, match="got no style; expected one"):
        draw(session, MixOptions({}, {"smile": 0.0}))


def same_as_command(session, options, tmp_path, monkeypatch):
    """Draws with the options, and compares with the command; returns what was drawn."""
    drawn = draw(session, options)
    monkeypatch.chdir(tmp_path)
    shutil.copy(COLLINS, tmp_path)
    command = shlex.split(command_line(session, options))
    result = CliRunner().invoke(main, [*command[1:], "--no-cache"])
    assert result.exit_code == 0, result.output
    file = save_picture(session, drawn)
    with Image.open(tmp_path / "avatar.png") as expected, Image.open(file) as saved:
        assert saved.info == expected.info
        assert np.array_equal(np.asarray(saved), np.asarray(expected))
    assert drawn.before.size == drawn.image.size
    return drawn


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        MixOptions({"ink": 0.7}, output_size="photo"),
        MixOptions({"toon": 1.0}, regions=("face",), keep_color=0.5),
        MixOptions({"noir": 0.8}, bands=(1, 0.5, 1), preset="fast"),
        MixOptions({}, {"smile": 2.0, "yaw": -1.0}, preset="fast"),
        MixOptions({"comic": 0.8, "pastel": 0.5}, {"mouth": 1.0}, min_identity=0.5, preset="fast"),
    ],
    ids=["photo", "region", "bands", "edit", "all"],
)
def test_a_picture_is_that_of_the_command(session, options, tmp_path, monkeypatch, few_steps):
    same_as_command(session, options, tmp_path, monkeypatch)


def test_a_drawn_style_needs_no_projection(session, monkeypatch, tmp_path):
    monkeypatch.setattr(Session, "latent", None)  # nobody may ask
    drawn = draw(session, MixOptions({"ink": 1.0}), full=False)
    assert drawn.image.size == (1024, 1024)
    assert drawn.text == "ink: drawn, 1024 x 1024 px"


@pytest.mark.slow
def test_layers_that_do_nothing_are_named(session):
    options = MixOptions({"ink": 1.0}, bands=(0.0, 1.0, 1.0))
    assert draw(session, options, False).text.endswith("; layers do not matter to ink")
    assert "layers" not in draw(session, MixOptions({"ink": 1.0}), False).text


@pytest.mark.slow
def test_the_gallery_has_every_style_that_fits(session, few_steps):
    assert list(draw_gallery(session, drawn=True)) == [5, 4, 3, 2, 1, 0]
    assert list(draw_gallery(session, drawn=False)) == [2, 1, 0]
    names = [name for _, name in session.gallery]
    assert names == [
        "comic", "illustration", "ink", "pencil", "pop", "toon", "golden-hour", "noir", "pastel",
    ]  # fmt: skip
    assert {load_image(file).size for file, _ in session.gallery[:6]} == {(384, 384)}


def test_a_gallery_ends_when_another_face_is_chosen(session, monkeypatch):
    """It went on with the other face, beside the gallery of that one, and drew styles twice."""
    tile = Drawn(Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8)), "", False)
    asked = []
    monkeypatch.setattr(pictures, "draw", lambda _, options, *a, **k: asked.append(options) or tile)
    session.gallery = []
    first = draw_gallery(session, drawn=True)
    next(first)
    session.choose(1)
    second = draw_gallery(session, drawn=True)
    next(second)
    with pytest.raises(Stopped):
        list(first)
    list(second)
    assert len(asked) == 1 + 1 + 6  # the first of the old face, one that came too late, and all
    assert list(draw_gallery(session, drawn=True)) == [5, 4, 3, 2, 1, 0]
    assert len(asked) == 8  # nothing is drawn again
    names = [name for _, name in session.gallery]
    assert names == ["comic", "illustration", "ink", "pencil", "pop", "toon"]


def test_clicks_make_handles_and_targets():
    text = add_click("", 30, 40.04)
    assert text == "30.0,40.0"
    assert parse_points(text) == ([], (30.0, 40.0))
    text = add_click(add_click(text, 31, 42), 5, 6)
    assert text == "30.0,40.0:31.0,42.0 5.0,6.0"
    assert parse_points(text) == ([((30.0, 40.0), (31.0, 42.0))], (5.0, 6.0))


@pytest.mark.parametrize("word", ["abc", "30:40:50", "1;2:3;4"])
def test_a_typed_point_is_named_as_it_was_typed(word):
    with pytest.raises(StylemixError, match=f"got the point '{word}'; expected a handle") as caught:
        parse_points(f"1,2:3,4 {word}")
    assert "--point" not in str(caught.value)  # the page has no options
