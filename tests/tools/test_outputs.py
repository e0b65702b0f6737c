"""Commands never replace an input, and an earlier result only with --overwrite."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import EpsImagePlugin, Image

from stylemix.cli import main
from stylemix.images.write import save_image
from stylemix.models.checkpoint import save_model
from stylemix.tools.outputs import _shows
from tests.support.models import tiny_model


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def model(here):
    tiny_model().save(here / "tiny.pkl")
    return "tiny.pkl"


def _run(*words, code=0):
    done = CliRunner().invoke(main, [*map(str, words)], prog_name="stylemix")
    assert done.exit_code == code, done.output
    return done


def _pixels(path):
    with Image.open(path) as image:
        return image.tobytes()


def test_an_image_that_exists_is_kept_and_the_note_comes_first(model):
    Path("faces.png").write_text("mine")
    words = ["generate", "--model", model, "--seeds", "1", "--output", "faces.png"]
    done = _run(*words)
    assert done.stderr == (
        "Note: faces.png exists and is kept; this writes faces-2.png; --overwrite replaces it\n"
    )
    assert done.stdout == "Wrote 1 image to faces-2.png\n"
    assert Path("faces.png").read_text() == "mine"
    assert json.loads(_run(*words, "--json").stdout)["written"] == [{"path": "faces-3.png"}]
    assert _run(*words, "--overwrite").stdout == "Wrote 1 image to faces.png\n"
    assert _pixels("faces.png") == _pixels("faces-2.png")


def test_a_name_that_a_running_command_has_claimed_is_numbered(model, monkeypatch):
    monkeypatch.setattr("stylemix.io.outputs.claim", lambda path: path.name != "faces.png")
    done = _run("generate", "--model", model, "--seeds", "1", "--output", "faces.png")
    assert done.stderr == (
        "Note: another command is writing faces.png; this writes faces-2.png; --overwrite replaces "
        "it\n"
    )
    assert [path.name for path in Path().glob("*.png")] == ["faces-2.png"]


@pytest.mark.parametrize("where", ["faces.png", "faces/seed0001.png"])
def test_a_file_that_appears_during_the_work_is_kept(model, monkeypatch, where):
    def slow(path, *rest, **options):
        Path(where).parent.mkdir(exist_ok=True)
        Path(where).write_text("mine")
        save_image(path, *rest, **options)

    monkeypatch.setattr("stylemix.tools.generate.save_image", slow)
    output = where.partition("/")[0]
    words = ["generate", "--model", model, "--seeds", "1", "--output", output]
    line = _run(*words, code=2).stderr
    assert line.startswith("Error: got ")
    assert f"{where}, which another program wrote meanwhile" in line
    assert Path(where).read_text() == "mine"
    assert _pixels(where.replace(".png", "-2.png"))
    assert _run(*words, "--overwrite").exit_code == 0  # nothing is left of it
    assert _pixels(where)


def test_files_that_belong_together_get_one_number(model):
    Path("chin.latent.safetensors").write_text("mine")
    words = ["drag", "seed:1", "--point", "8,8:9,8", "--max-steps", "1", "--model", model]
    done = _run(*words, "--output", "chin.png")
    assert "Wrote chin-2.png" in done.stdout
    assert "Wrote chin-2.latent.safetensors" in done.stdout
    assert not Path("chin.png").exists()
    assert Path("chin.latent.safetensors").read_text() == "mine"


def test_in_a_folder_the_same_images_stay_and_others_are_numbered(model):
    words = ["generate", "--model", model, "--output", "out", "--seeds"]
    words[1:1] = ["--size", "256"]  # large enough for the watermark, which is in the file only
    assert _run(*words, "0-1").stdout == "Wrote 2 images to out\n"
    Path("out/seed0001.png").unlink()
    assert _run(*words, "0-1").stdout == "Wrote 2 images to out\n"  # goes on
    assert sorted(path.name for path in Path("out").iterdir()) == ["seed0000.png", "seed0001.png"]
    done = _run(*words, "1-2", "--truncation", "1")
    assert done.stdout == (
        "Wrote 2 images to out; 1 of that name are kept, the new ones are numbered\n"
    )
    names = ["seed0000.png", "seed0001-2.png", "seed0001.png", "seed0002.png"]
    assert sorted(path.name for path in Path("out").iterdir()) == names


@pytest.mark.parametrize("more", [[], ["--overwrite"]])
def test_an_input_is_never_replaced(model, more):
    Image.new("RGB", (64, 64)).save("me.jpg")
    before = Path("me.jpg").read_bytes()
    save_model("other.pkl", tiny_model())
    for words in (
        ["align", "me.jpg", "--template", "none", "--output", "me.jpg"],
        ["mix", "me.jpg", "seed:1", "--model", model, "--output", "me.jpg"],
        ["edit", "me.jpg", "--smile", "1", "--model", model, "--output", "./me.jpg"],
        ["convert", model, model],
        ["blend", model, "other.pkl", "--output", "other.pkl"],
        ["adapt", "me.jpg", "--output", model, "--model", model],
    ):
        done = _run(*words, *more, code=2)
        assert "which is an input, too" in done.stderr, words
    assert Path("me.jpg").read_bytes() == before


def test_no_file_that_an_option_names_is_replaced(model):
    for name in ("mask.png", "me.png"):
        Image.new("L", (64, 64), 255).save(name)
    words = ["edit", "seed:1", "--model", model]
    _run(*words, "--direction", "sefa-0:1", "--save-style", "mine.pkl")
    before = {path.name: path.read_bytes() for path in Path().iterdir()}
    for words in (
        ["mix", "seed:1", "seed:2", "--region", "mask.png", "--output", "mask.png"],
        ["drag", "seed:1", "--point", "8,8:9,8", "--mask", "mask.png", "--output", "mask.png"],
        ["edit", "seed:1", "--direction", "mine.pkl:1", "--save-style", "mine.pkl"],
    ):
        line = _run(*words, "--model", model, "--overwrite", code=2).stderr
        assert "which is an input, too" in line, words
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before


def test_a_photo_in_a_folder_of_sources_is_never_replaced(model):
    Path("photos").mkdir()
    Image.new("RGB", (64, 64)).save("photos/me.png")
    before = Path("photos/me.png").read_bytes()
    words = ["align", "photos", "--template", "none", "--output", "photos/me.png"]
    assert "which is an input, too" in _run(*words, "--overwrite", code=2).stderr
    words = ["mix", "photos", "seed:1", "--model", model, "--template", "none", "--w-steps", "1"]
    words += ["--steps", "1", "--refine-steps", "1", "--output", "photos"]
    assert "Wrote photos/me-2.png (" in _run(*words).stdout
    assert "which is an input, too" in _run(*words, "--overwrite", code=2).stderr
    assert Path("photos/me.png").read_bytes() == before


@pytest.mark.parametrize(
    "words",
    [
        ["align", "~nobody.png"],
        ["mix", "~nobody.png", "noir"],
        ["mix", "seed:1", "~nobody.pkl"],
        ["edit", "seed:1", "--direction", "~nobody.pkl:1"],
        ["project", "seed.png", "--encoder", "~nobody.safetensors"],
        ["align", "seed.png", "--template", "~nobody.json"],
        ["blend", "~nobody", "~nobody", "--output", "out.pkl"],
        ["generate", "--model", "~nobody.pkl"],
        ["inspect", "~nobody.png"],
    ],
)
def test_a_name_with_a_tilde_needs_no_user(words):
    """A shell leaves ~nobody as it is where there is no such user."""
    Image.new("RGB", (32, 32)).save("seed.png")
    assert _run(*words, code=2).stderr.startswith("Error: ")
    Image.new("RGB", (32, 32)).save("~nobody.png")
    assert _run("inspect", "~nobody.png").stdout.startswith("image")


@pytest.mark.parametrize(
    "words",
    [
        ["mix", "seed:1", "noir", "--output", "file/a.png"],
        ["mix", "photos", "noir", "--output", "file/out"],
        ["project", "photos", "--output", "file/out"],
        ["edit", "seed:1", "--smile", "1", "--output", "file/a.png"],
        ["video", "seed:1", "noir", "--output", "file/a.gif"],
        ["adapt", "photos", "--output", "file/a.pkl"],
        ["distill", "noir", "--output", "file/a.pkl"],
        ["evaluate-style", "photos", "noir", "--output", "file/out"],
        ["align", "photos", "--output", "file/out"],
        ["pack", "photos", "--output", "file/out"],
        ["pack", "photos", "--output", "file/out.zip"],
        ["metrics", "none.pkl", "photos", "--output", "file/a.json"],
    ],
)
def test_a_place_where_nothing_can_be_written_is_told_before_the_work(words, here):
    (here / "photos").mkdir()
    Image.new("RGB", (32, 32)).save("photos/a.png")
    Path("file").write_text("")
    if words[0] not in ("metrics", "pack"):
        words = [*words, "--model", "none.pkl"]  # would be the error of the work
    line = _run(*words, code=2).stderr
    assert line.startswith("Error: cannot write file/")
    assert "got 'Not a directory'; expected a writable folder" in line
    assert line.count("\n") == 1


def test_a_folder_that_may_not_be_written(model, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    words = ["generate", "--model", model, "--output", "a/b/faces"]
    assert "cannot write a/b/faces: got 'Permission denied'" in _run(*words, code=2).stderr
    words = ["generate", "--model", model, "--grid", "--output", "a/faces.png"]
    assert "cannot write a/faces.png: got 'Permission denied'" in _run(*words, code=2).stderr
    assert not Path("a").exists()


def test_what_lies_in_the_folder_of_an_output_is_not_trusted(here, monkeypatch):
    image = Image.new("RGB", (64, 64))
    image.save("same.png")
    assert _shows(Path("same.png"), image)
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", None)  # a program
    box = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n%%EOF\n"
    Path("program.png").write_bytes(box)
    Image.new("1", (20_000, 20_000)).save("bomb.png")
    names = ["program.png", "bomb.png", "missing.png"]
    if hasattr(os, "mkfifo"):
        os.mkfifo("pipe.png")
        names.append("pipe.png")
    assert not any(_shows(Path(name), image) for name in names)
