"""`stylemix distill`: students from pairs and from styles, and what it refuses."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from stylemix.cli import main
from stylemix.faces.caricature import Shape
from stylemix.io.assets import ASSETS
from stylemix.networks.student import Student, StudentConfig
from stylemix.styles.style import Style, load_style, save_style
from stylemix.tools import distill
from stylemix.training.adapt import student_training

PORTRAITS = ASSETS / "portraits"
SMALL = StudentConfig((8, 12))


@pytest.fixture(autouse=True)
def small_students(monkeypatch):
    monkeypatch.setattr(student_training, "StudentConfig", lambda: SMALL)


@pytest.fixture
def pairs(tmp_path):
    """Four portraits, and their negatives as drawings of half the size."""
    for folder in ("photos", "drawings"):
        (tmp_path / folder).mkdir()
    for path in sorted(PORTRAITS.glob("*.jpg")):
        with Image.open(path) as photo:
            photo.save(tmp_path / "photos" / f"{path.stem}.png")
            negative = Image.fromarray(255 - np.asarray(photo))
            half = negative.resize((photo.width // 2, photo.height // 2))
            half.save(tmp_path / "drawings" / f"{path.stem}.jpg")
    return tmp_path


def distil(*words):
    return CliRunner().invoke(main, ["distill", *map(str, words)])


def test_a_stopped_training_says_that_it_goes_on(pairs, monkeypatch):
    def stopped(*arguments):
        if begun:
            arguments[4].touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(distill, "learn_student", stopped)
    words = ("--pairs", pairs / "photos", pairs / "drawings", "--output", pairs / "a.safetensors")
    begun = False
    assert distil(*words).stderr.splitlines()[-1] == "Stopped."
    begun = True
    result = distil(*words)
    state = pairs / "a.safetensors.state"
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == f"Stopped; the same command goes on from {state}."


@pytest.mark.slow
def test_a_style_from_pairs(pairs):
    output = pairs / "negative.safetensors"
    result = distil(
        "--pairs", pairs / "photos", pairs / "drawings", "--output", output, "--start", "none",
        "--kimg", ".032", "--eyes", ".5", "--credit", "A. Painter", "--license", "CC0",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "4 pairs" in result.output
    style = load_style(output)
    assert style.is_student
    assert style.shape == Shape(0.5, 0.0)
    assert style.info["credit"] == "A. Painter"
    assert style.info["name"] == "negative"
    assert style.info["licence"] == "CC0"
    assert style.info["student"]["pairs"] == 4
    assert style.statistics.isfinite().all()
    assert not output.with_name(output.name + ".state").exists()
    avatar = pairs / "avatar.png"
    words = ["mix", "--source", str(PORTRAITS / "obama.jpg"), "--style", str(output)]
    result = CliRunner().invoke(main, [*words, "--output", str(avatar)])
    assert result.exit_code == 0, result.output
    with Image.open(avatar) as image:
        assert image.size == (1024, 1024)


def test_a_student_for_a_style_of_the_model(tmp_path):
    output = tmp_path / "noir-fast.safetensors"
    words = ["noir", "--output", output, "--start", "none", "--kimg", ".016", "--faces", "6"]
    result = distil(*words, "--license", "CC0")
    assert result.exit_code == 0, result.output
    style, noir = load_style(output), load_style("noir")
    assert not style.is_student
    assert style.student is not None
    for name, offset in noir.offsets.items():
        assert torch.equal(style.offsets[name], offset)
    assert style.info["credit"] == noir.info["credit"]
    assert (style.info["name"], style.info["licence"]) == ("noir-fast", "CC0")
    assert torch.equal(style.statistics, noir.statistics)


@pytest.mark.slow
def test_a_start_is_taken_from_a_style(pairs):
    torch.manual_seed(0)
    start = Style("", student=Student(SMALL), info={"name": "start"})
    save_style(pairs / "start.safetensors", start)
    output = pairs / "next.safetensors"
    result = distil(
        "--pairs", pairs / "photos", pairs / "drawings", "--output", output,
        "--start", pairs / "start.safetensors", "--kimg", ".001",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    ours, theirs = load_style(output).student.state_dict(), start.student.state_dict()
    for key, value in ours.items():
        assert float((value - theirs[key]).abs().max()) < 0.01


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "got a style and --pairs, or neither"),
        (["noir", "--pairs", "a", "b"], "got a style and --pairs, or neither"),
        (["noir", "--start", "golden-hour"], "a style without a student"),
        (["nosuch", "--start", "none"], "got the style nosuch"),
        (["--pairs", "photos", "empty", "--start", "none"], "without images"),
        (["--pairs", "photos", "square", "--start", "none"], "expected the same aspect ratio"),
    ],
)
def test_wrong_input_is_one_line(words, message, pairs, monkeypatch):
    monkeypatch.chdir(pairs)
    for folder in ("empty", "square"):
        (pairs / folder).mkdir()
    for photo in (pairs / "photos").iterdir():
        Image.new("RGB", (64, 64)).save(pairs / "square" / f"{photo.stem}.png")
    result = distil(*words, "--output", "x.safetensors")
    assert result.exit_code == 2
    assert message in result.output
    assert result.output.strip().count("\n") == 0
    assert not (pairs / "x.safetensors").exists()
