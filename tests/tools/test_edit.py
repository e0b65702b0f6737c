"""`stylemix edit` from the command line."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from stylemix.cli import main
from stylemix.faces.templates import NO_TEMPLATE
from stylemix.images.read import load_image
from stylemix.styles import named_directions
from stylemix.styles.channel_directions import reading_channels
from stylemix.styles.directions import read_directions
from stylemix.styles.style import Style, load_style, save_style
from tests.support.models import saved, tiny_model

PORTRAIT = Path(__file__).parents[1] / "data" / "portraits" / "obama.jpg"


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setenv("STYLEMIX_CACHE", str(tmp_path / "cache"))
    model = tiny_model()
    saved(model, tmp_path / "base.safetensors")
    shift = torch.linspace(-1, 1, model.generator.num_ws * model.generator.w_dim)
    shift = shift.view(model.generator.num_ws, -1)
    save_style(tmp_path / "shift.pkl", Style(model.fingerprint, shift=shift))
    return tmp_path


def run(files, *arguments, command="edit"):
    model = str(files / "base.safetensors")
    words = [command, "--model", model, "--overwrite", *map(str, arguments)]
    return CliRunner().invoke(main, words)


def edited(files, *arguments, command="edit"):
    output = files / "out.png"
    result = run(files, "--output", output, *arguments, command=command)
    assert result.exit_code == 0, result.output
    return np.asarray(Image.open(output)).astype(int)


def mixed(files, style):
    return edited(files, "--source", "seed:1", "--style", style, command="mix")


def test_a_direction_is_a_style(files):
    shift = files / "shift.pkl"
    plain = mixed(files, f"{shift}:0")
    assert (edited(files, "seed:1", "--direction", f"{shift}:0") == plain).all()
    assert (
        edited(files, "seed:1", "--direction", f"{shift}:2") == mixed(files, f"{shift}:2")
    ).all()
    assert (edited(files, "seed:1", "--direction", f"{shift}:2") != plain).any()
    coarse = edited(files, "seed:1", "--direction", f"{shift}:2", "--layers", "coarse")
    assert (coarse != plain).any()
    assert (coarse != mixed(files, f"{shift}:2")).any()


def test_directions_add_up_and_can_be_saved(files):
    both = ["--direction", "pca-0:2", "--direction", "sefa-1:-1"]
    style = files / "both.pkl"
    got = edited(files, "seed:1", *both, "--save-style", style)
    assert np.abs(mixed(files, style) - got).max() <= 2  # the file has half the precision
    assert (edited(files, "seed:1", *both[:2]) != got).any()


def test_a_saved_edit_acts_in_its_layers_alone(files):
    """It acted in all layers, whatever the edit and the directions were restricted to."""
    style = files / "coarse.pkl"
    words = ["--direction", "sefa-0:3", "--layers", "coarse", "--save-style", style]
    got = edited(files, "seed:1", *words)
    assert np.abs(mixed(files, style) - got).max() <= 2  # the file has half the precision
    own = load_style(files / "shift.pkl")
    own.layers = "fine"
    save_style(files / "fine.pkl", own)
    got = edited(files, "seed:1", "--direction", f"{files / 'fine.pkl'}:2", "--save-style", style)
    assert np.abs(mixed(files, style) - got).max() <= 2
    assert load_style(style).shift[:5].abs().max() == 0


def test_a_saved_edit_truncates_by_its_strength(files):
    style = load_style(files / "shift.pkl")
    style.psi = 0.6
    save_style(files / "psi.pkl", style)
    half = ["--direction", f"{files / 'psi.pkl'}:0.5", "--save-style", files / "half.pkl"]
    got = edited(files, "seed:1", *half)
    assert load_style(files / "half.pkl").psi == pytest.approx(0.8)
    assert np.abs(mixed(files, files / "half.pkl") - got).max() <= 2


def test_a_drawing_is_not_saved_as_an_edit(files):
    style = files / "drawn.pkl"
    words = ["--direction", "comic:1", "--save-style", style, "--output", files / "out.png"]
    result = run(files, "seed:1", *words)
    assert result.exit_code == 2
    assert "got the style comic, which a student draws" in result.output
    assert not style.exists()


def test_a_direction_that_is_named_twice_is_added(files):
    """The last one alone counted."""
    once = ["--direction", "sefa-0:1"]
    twice = edited(files, "seed:1", *once, *once)
    assert (twice == edited(files, "seed:1", "--direction", "sefa-0:2")).all()


@pytest.mark.slow
def test_readings_are_learned_once_for_a_model(files, monkeypatch):
    calls = []

    def learn(model, progress):
        calls.append(1)
        return read_directions(model, samples=80, progress=progress)

    monkeypatch.setattr(named_directions, "read_directions", learn)
    smiling = edited(files, "seed:1", "--smile", "2")
    turned = edited(files, "seed:1", "--yaw", "-2", "--light", "1")
    assert len(calls) == 1
    assert (smiling != turned).any()
    cached = sorted(p.stem for p in (files / "cache" / "directions").glob("*/*.pkl"))
    assert cached == ["light", "mouth", "pitch", "smile", "yaw"]
    [folder] = (files / "cache" / "directions").iterdir()
    assert load_style(folder / "smile.pkl").base == folder.name.partition("-")[0]
    again = edited(files, "seed:1", "--direction", "smile:2")
    assert np.abs(again - smiling).max() <= 2  # the file has half the precision
    shutil.rmtree(files / "cache" / "directions")
    (files / "cache" / "directions").touch()  # no folder can be made there
    assert (edited(files, "seed:1", "--smile", "2") == smiling).all()
    (files / "cache" / "directions").unlink()
    folder.mkdir(parents=True)
    (folder / "smile.pkl").write_bytes(b"damaged")
    assert (edited(files, "seed:1", "--smile", "2") == smiling).all()
    assert load_style(folder / "smile.pkl").base == folder.name.partition("-")[0]


@pytest.mark.slow
def test_channels_of_readings_are_learned_once_for_a_model(files, monkeypatch):
    calls = []

    def learn(model, progress):
        calls.append(1)
        return reading_channels(model, samples=16, progress=progress)

    monkeypatch.setattr(named_directions, "reading_channels", learn)
    first = edited(files, "seed:1", "--direction", "yaw-channels:2")
    edited(files, "seed:1", "--direction", "light-channels:2")
    assert len(calls) == 1
    cached = sorted(p.stem for p in (files / "cache" / "directions").glob("*/*.pkl"))
    assert cached == [f"{n}-channels" for n in ("light", "mouth", "pitch", "smile", "yaw")]
    again = edited(files, "seed:1", "--direction", "yaw-channels:2")
    assert np.abs(again - first).max() <= 2  # the file has half the precision


def test_a_channel_is_a_style(files):
    style = files / "channel.pkl"
    channel = ["--direction", "channel-b16.conv0-5:3"]
    got = edited(files, "seed:1", *channel, "--save-style", style)
    assert np.abs(mixed(files, style) - got).max() <= 2  # the file has half the precision
    assert (got != mixed(files, f"{style}:0")).any()
    saved_style = load_style(style)
    assert saved_style.shift is None
    assert saved_style.offsets["b16.conv0"].nonzero().tolist() == [[5]]
    elsewhere = edited(files, "seed:1", *channel, "--layers", "coarse")
    assert (elsewhere == mixed(files, f"{style}:0")).all()


def test_a_strip_shows_each_direction_separately(files):
    sheet = edited(
        files,
        "seed:1",
        "--direction",
        "pca-0:2",
        "--direction",
        "pca-1:2",
        "--strip",
        "--output-size",
        64,
    )
    assert sheet.shape[1] > 5 * 64
    assert sheet.shape[0] > 2 * 64


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "got nothing to change; expected smile"),
        (["--direction", "grin:1"], "got the direction 'grin'; expected smile, yaw"),
        (["--direction", "channel-b9.conv0-1:1"], "layer 'b9.conv0'; expected one of b4.conv1"),
        (["--direction", "channel-b8.conv0-999"], "got channel 999 of b8.conv0; expected 0 to 31"),
        (["--direction", "pca-99:1"], "got pca-99; expected pca-0 to pca-15"),
        (["--smile", "nan"], "got strength nan"),
        (["--pitch", "1", "--output", "x.txt"], "x.txt"),
        (["--pitch", "1", "--save-style", "x.txt"], "got the style file name x.txt"),
    ],
)
def test_errors_are_one_line(files, words, message):
    result = run(files, "seed:1", *words)
    assert result.exit_code == 2
    assert message in result.output
    assert result.output.count("\n") == 1


def test_an_edit_that_changes_nothing_is_noted(files):
    output = ["--output", files / "out.png"]
    weak = run(files, "seed:1", "--direction", f"{files / 'shift.pkl'}:0", *output)
    assert "Note: this edit changes almost nothing" in weak.stderr
    strong = run(files, "seed:1", "--direction", f"{files / 'shift.pkl'}:2", *output)
    assert "Note" not in strong.stderr


@pytest.mark.parametrize("other", [{"channels": 1}, {"template": NO_TEMPLATE}])
def test_no_photo_follows_a_model_without_faces_in_color(other, tmp_path):
    """A lower strength, which the note asked for, was no help."""
    model = saved(tiny_model(resolution=16, **other), tmp_path / "m.pkl")
    few = ["--w-steps", "0", "--steps", "0", "--refine-steps", "0", "--no-cache"]
    words = ["edit", str(PORTRAIT), "--model", model, "--direction", "sefa-0:.1", *few]
    words += ["--output", str(tmp_path / "out.png")]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert "the model drew the image, as with every model of anything but coloured" in done.stderr
    done = CliRunner().invoke(main, [*words, "--output-size", "crop"])
    assert done.exit_code == 2
    assert "Error: got a model of anything but coloured faces; expected" in done.output


@pytest.mark.slow
def test_a_photo_is_edited_itself(files, monkeypatch):
    """The whole photo by default; if it cannot follow, the model draws the face, and says so."""
    few = ["--w-steps", 2, "--steps", 2, "--refine-steps", 0, "--no-cache"]
    words = [PORTRAIT, "--direction", "sefa-0:1", "--output", files / "out.png", *few]
    monkeypatch.setattr("stylemix.avatars.motion.MAX_ERROR", 2.0)  # the small model has no faces
    done = run(files, *words)
    assert "Wrote" in done.output
    assert "(the photo with this edit, 384 x 480 px)" in done.output
    assert load_image(files / "out.png").size == (384, 480)
    monkeypatch.setattr("stylemix.avatars.motion.MAX_ERROR", 0.0)
    drawn = run(files, *words)
    assert "cannot follow this edit, so the model drew the image; lower its" in drawn.stderr
    assert load_image(files / "out.png").size == (256, 256)
    sheet = run(files, *words, "--strip", "--output-size", "portrait")
    assert sheet.exit_code == 2
    assert "got the output size portrait for a sheet; expected px" in sheet.output
