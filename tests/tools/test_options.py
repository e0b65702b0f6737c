"""Options that several commands share."""

import click
import pytest
from click.testing import CliRunner

from stylemix.cli import main
from stylemix.errors import StylemixError
from stylemix.images.marks import find_marks
from stylemix.images.tensors import resize, to_pil
from stylemix.images.write import save_image
from stylemix.models.checkpoint import load_model
from stylemix.networks.sampling import sample_images
from stylemix.tools.options import label_argument, photo_model_options, subject_options
from tests.support.models import tiny_model


def test_a_label_is_a_class_or_values():
    assert label_argument(None, None) is None
    assert label_argument(3, None) == 3
    assert label_argument(None, "0, 0.5,-1") == [0, 0.5, -1]
    with pytest.raises(StylemixError, match="got --class and --label; expected one of them"):
        label_argument(1, "0,1")
    with pytest.raises(StylemixError, match="got --label a,b; expected numbers, as in 0,1,0"):
        label_argument(None, "a,b")


def test_a_choice_of_a_model_is_one_argument():
    seen = []

    @click.command()
    @photo_model_options
    @subject_options
    def command(**arguments):
        seen.append(arguments)

    words = ["--class", "2", "--template", "ffhq", "--box", "1,2,30,40.5", "--device", "cpu"]
    assert CliRunner().invoke(command, words).exit_code == 0
    (arguments,) = seen
    choice = arguments.pop("choice")
    assert arguments == {"face": None, "box": (1, 2, 30, 40.5)}
    assert (choice.name, choice.device, choice.template, choice.label) == (
        "faces-64", "cpu", "ffhq", 2,
    )  # fmt: skip


def test_commands_that_generate_images_may_leave_out_the_marks():
    names = [
        name
        for name in main.list_commands(None)
        if any("--no-marks" in option.opts for option in main.get_command(None, name).params)
    ]
    assert names == [
        "demo", "mix", "project", "edit", "drag", "video", "adapt", "evaluate-style", "generate",
    ]  # fmt: skip


def test_marks_are_left_out_of_the_bytes_and_are_back_in_the_next_command(tmp_path):
    tiny_model().save(tmp_path / "tiny.pkl")
    options = ["--model", str(tmp_path / "tiny.pkl"), "--seeds", "3", "--size", "256"]

    def written(name, *more):
        path = tmp_path / name
        words = ["generate", *options, *more, "--output", str(path)]
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output
        return path

    plain = written("plain.png", "--no-marks")
    image = resize(to_pil(sample_images(load_model(options[1]).generator, [3], 0.7)[0]), 256)
    save_image(tmp_path / "same.png", image, generated=False)
    assert plain.read_bytes() == (tmp_path / "same.png").read_bytes()
    for word in (b"tylemix", b"lgorithmic", b"c2pa", b"xmp"):
        assert word not in plain.read_bytes()
    assert not find_marks(plain).has_watermark
    marked = find_marks(written("marked.png"))
    assert marked.has_watermark
    assert marked.metadata["source type"] == "trainedAlgorithmicMedia"


def help_of(command):
    """The text of --help on one line."""
    return " ".join(CliRunner().invoke(main, [command, "--help"]).output.split())


@pytest.mark.parametrize(
    ("command", "size"),
    [("drag", "256"), ("generate", "the model's"), ("video", "512 for photos; else the model's")],
)
def test_the_help_says_what_size_is_written(command, size):
    assert f"--size INTEGER RANGE Longer side of the output in px. [default: {size}" in (
        help_of(command)
    )


def test_the_help_names_all_regions():
    assert "act: face, skin, hair, background, or a mask image" in help_of("mix")


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_the_help_lists_options_alone(command):
    """Newer releases of click describe arguments as well, without a word about DATA here."""
    assert "Options: DATA" not in help_of(command)
