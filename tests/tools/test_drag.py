"""`stylemix drag` from the command line."""

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from stylemix.cli import main
from stylemix.errors import StylemixError
from stylemix.inversion.latent import load_latent
from stylemix.tools.drag import parse_point
from tests.support.models import saved, tiny_model


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved(tiny_model(), tmp_path / "base.safetensors")
    return tmp_path


def run(*words):
    return CliRunner().invoke(main, ["drag", "--model", "base.safetensors", *words])


def test_points_are_parsed():
    assert parse_point("30,40:36,40") == ((30, 40), (36, 40))
    assert parse_point(" 30.5, 4 : 0,40.25 ") == ((30.5, 4), (0, 40.25))
    assert parse_point("-1,0:0,0")[0] == (-1, 0)  # refused later, as outside of the image
    for text in ("30,40", "30,40:36", "a,b:c,d", "1,2:3,4,5", "nan,1:2,3", "1e3,2:3,4", ""):
        with pytest.raises(StylemixError, match="got the point"):
            parse_point(text)


def test_image_and_latent_are_written_and_can_be_dragged_on(files):
    done = run("seed:1", "--point", "12,16:20,16", "--max-steps", "3", "--size", "32")
    assert done.exit_code == 0, done.output
    assert "Wrote dragged.png\nWrote dragged.latent.safetensors\n" in done.output
    latent = load_latent("dragged.latent.safetensors", tiny_model())
    written = np.asarray(Image.open("dragged.png"))
    assert written.shape == (32, 32, 3)
    assert (written == np.asarray(latent.image())).all()
    again = run("dragged.latent.safetensors", "--point", "12,16:12,16", "--output", "again.png")
    assert again.exit_code == 0, again.output
    assert (np.asarray(Image.open("again.png").resize((32, 32))) != written).mean() < 1
    second = load_latent("again.latent.safetensors").w  # the handle is there already
    assert (second - latent.w).abs().max() < 1e-6


def test_a_handle_that_could_not_be_moved_is_named(files):
    done = run("seed:1", "--point", "12,16:31,2", "--point", "20,8:20,8", "--max-steps", "2")
    assert done.exit_code == 0, done.output
    [note] = [line for line in done.stderr.splitlines() if line.startswith("Note")]
    assert note.startswith("Note: the handle of 12,16:31,2 stopped ")
    assert " px from its target" in note


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--point", "12,16"], "got the point '12,16'; expected a handle and its target"),
        (["--point", "12,16:40,16"], "got the point 40,16; expected one within"),
        (["--point", "1,1:2,2"] * 17, "got 17 points; expected 1 to 16"),
        ([], "Missing option '--point'"),
        (["--point", "1,1:2,2", "--output", "x.txt"], "x.txt: got the extension"),
        (["--point", "1,1:2,2", "--max-steps", "0"], "0 is not in the range"),
        (["--point", "1,1:2,2", "--mask", "nosuch.png"], "nosuch.png"),
        (["--point", "1,1:2,2", "--mask", "base.safetensors"], "base.safetensors"),
        (["--point", "1,1:2,2", "--mask", "wide.png"], "got a mask of 40 x 32 px"),
        (["--point", "1,1:2,2", "--mask", "black.png"], "got the handle 1,1 outside of the mask"),
    ],
)
def test_errors_are_one_line(files, words, message):
    Image.new("L", (40, 32), 255).save("wide.png")
    Image.new("L", (32, 32), 0).save("black.png")
    done = run("seed:1", *words)
    assert done.exit_code == 2
    assert message in done.output
    assert done.output.count("\n") == 1
    assert not (files / "dragged.png").exists()
