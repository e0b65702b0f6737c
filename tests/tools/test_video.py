"""`stylemix video` from the command line."""

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from stylemix.cli import main
from stylemix.inversion.latent import Latent, save_latent
from stylemix.networks.latents import map_latents, z_from_seed
from stylemix.styles.style import Style, save_style
from tests.support.models import saved, tiny_model

PORTRAITS = Path(__file__).parents[1] / "data" / "portraits"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("video")
    model = tiny_model()
    saved(model, folder / "base.safetensors")
    saved(tiny_model(seed=4, resolution=16), folder / "other.safetensors")
    for name, sign in (("shift", 1.0), ("back", -1.0)):
        shift = sign * torch.ones([model.generator.num_ws, model.generator.w_dim])
        save_style(folder / f"{name}.pkl", Style(model.fingerprint, shift=shift))
    (folder / "people").mkdir()
    for seed in (1, 2, 3):
        w = map_latents(model.generator, z_from_seed(seed, model.generator.z_dim), 0.7)[0]
        save_latent(folder / f"people/{seed}.latent.safetensors", Latent(w, model.fingerprint))
    return folder


def run(files, *arguments, command="video"):
    model = str(files / "base.safetensors")
    words = [command, "--model", model, "--overwrite", *map(str, arguments)]
    return CliRunner().invoke(main, words)


def frames_of(files, *arguments, seconds=1, fps=4, hold=0):
    """The frames of a lossless video, and the duration of each in ms."""
    output = files / "out.png"
    times = ["--seconds", seconds, "--fps", fps, "--hold", hold]
    result = run(files, "--output", output, *times, *arguments)
    assert result.exit_code == 0, result.output
    frames, stays = [], []
    with Image.open(output) as image:
        for index in range(image.n_frames):
            image.seek(index)
            frames.append(np.asarray(image.convert("RGB")).astype(int))
            stays.append(round(image.info["duration"]))
    assert f"{sum(stays) * fps // 1000} frames" in result.output
    return frames, stays


def repeats(files):
    """The loop count of the last video; 0 is forever."""
    with Image.open(files / "out.png") as image:
        return image.info["loop"]


def still(files, *arguments, command="mix"):
    output = files / "still.png"
    output.unlink(missing_ok=True)
    result = run(files, "--output", output, *arguments, command=command)
    assert result.exit_code == 0, result.output
    return np.asarray(Image.open(output)).astype(int)


def mixed(files, source, style, *arguments):
    return still(files, "--source", source, "--style", style, *arguments)


def close(one, other):
    return one.shape == other.shape and np.abs(one - other).max() <= 1


@pytest.mark.slow
def test_a_single_style_fades_in_and_out(files):
    shift = files / "shift.pkl"
    frames, stays = frames_of(files, "--source", "seed:1", "--style", shift)
    assert stays == [250] * 8
    without, half, whole = (mixed(files, "seed:1", f"{shift}:{s}") for s in (0, 0.5, 1))
    assert close(frames[0], without)
    assert close(frames[2], half)  # every easing is .5 halfway
    assert close(frames[4], whole)
    assert not close(without, half)
    for there, back in ((1, 7), (2, 6), (3, 5)):
        assert close(frames[there], frames[back])
    assert close(frames_of(files, "--source", "seed:1", "--style", f"{shift}:0.5")[0][4], half)
    assert close(
        frames_of(files, "--source", "seed:1", "--style", shift, "--strength", 0.5)[0][4], half
    )


@pytest.mark.slow
def test_from_person_to_person(files):
    people = ["--source", "seed:1", "--source", "seed:2", "--source", "seed:3"]
    frames, _ = frames_of(files, *people)
    stills = [mixed(files, f"seed:{n}", f"{files / 'shift.pkl'}:0") for n in (1, 2, 3)]
    assert len(frames) == 12
    for number, image in enumerate(stills):
        assert close(frames[4 * number], image)
    assert not close(stills[0], stills[1])
    again, _ = frames_of(files, "--source", files / "people")
    assert all(close(a, b) for a, b in zip(again, frames, strict=True))
    held, _ = frames_of(files, *people, "--style", files / "shift.pkl")
    for number in (1, 2, 3):
        expected = mixed(files, f"seed:{number}", files / "shift.pkl")
        assert close(held[4 * (number - 1)], expected)


def test_from_style_to_style(files):
    styles = ["--style", files / "shift.pkl", "--style", f"{files / 'back.pkl'}:2"]
    frames, _ = frames_of(files, "--source", "seed:1", *styles)
    assert close(frames[0], mixed(files, "seed:1", files / "shift.pkl"))
    assert close(frames[4], mixed(files, "seed:1", f"{files / 'back.pkl'}:2"))
    assert close(frames[2], mixed(files, "seed:1", f"{files / 'back.pkl'}:0.5"))


@pytest.mark.slow
def test_along_directions(files):
    shift = files / "shift.pkl"
    frames, _ = frames_of(files, "--source", "seed:1", "--direction", f"{shift}:2")
    ends = [still(files, "seed:1", "--direction", f"{shift}:{s}", command="edit") for s in (-2, 2)]
    assert close(frames[0], ends[0])
    assert close(frames[4], ends[1])
    assert not close(*ends)
    both, _ = frames_of(
        files, "--source", "seed:1", "--direction", f"{shift}:2", "--direction", "pca-0:1",
        "--style", "seed:2",
    )  # fmt: skip
    added = still(
        files, "--source", "seed:1", "--style", "seed:2", "--style", f"{shift}:2", "--strength", 1
    )
    assert not close(both[4], added)
    alone, _ = frames_of(
        files, "--source", "seed:1", "--direction", f"{shift}:2", "--style", "seed:2",
    )  # fmt: skip
    assert close(alone[4], added)


@pytest.mark.slow
def test_times_and_easing(files):
    start = ["--source", "seed:1", "--style", files / "shift.pkl"]
    assert len(frames_of(files, *start, seconds=2)[0]) == 16
    assert len(frames_of(files, *start, fps=8)[0]) == 16
    assert repeats(files) == 0  # for ever
    frames, stays = frames_of(files, *start, hold=0.5)
    assert stays == [750, 250, 250, 250] * 2
    once, stays = frames_of(files, *start, "--no-loop")
    assert stays == [250] * 5
    assert repeats(files) == 1
    assert all(close(a, b) for a, b in zip(once, frames, strict=False))
    even, _ = frames_of(files, *start, "--easing", "linear")
    assert close(even[1], mixed(files, "seed:1", f"{files / 'shift.pkl'}:0.25"))
    assert close(frames[1], mixed(files, "seed:1", f"{files / 'shift.pkl'}:0.15625"))
    assert not close(even[1], frames[1])


@pytest.mark.slow
def test_layers_size_and_model(files):
    start = ["--source", "seed:1", "--style", files / "shift.pkl"]
    frames, _ = frames_of(files, *start, "--layers", "fine")
    assert close(frames[4], mixed(files, "seed:1", files / "shift.pkl", "--layers", "fine"))
    assert not close(frames[4], mixed(files, "seed:1", files / "shift.pkl"))
    assert frames[0].shape == (256, 256, 3)
    assert frames_of(files, *start, "--size", 40)[0][0].shape == (40, 40, 3)
    people, other = ["--source", "seed:1", "--source", "seed:2"], files / "other.safetensors"
    one, two = frames_of(files, *people)[0], frames_of(files, *people, "--model", other)[0]
    assert not close(one[0], two[0])


@pytest.mark.parametrize("name", ["out.webp", "out.gif", "out.apng", "out.mp4"])
def test_every_container(files, name):
    if name == "out.mp4":
        pytest.importorskip("av", reason="MP4 needs the extra video")
    output = files / "containers" / name
    people = ["--source", "seed:1", "--source", "seed:2", "--size", 32]
    times = ["--seconds", 1, "--fps", 5, "--hold", 0]
    result = run(files, *people, *times, "--output", output)
    assert result.exit_code == 0, result.output
    assert result.output == f"Wrote {output} (10 frames, 2 s)\n"
    data = output.read_bytes()
    assert b"compositeWithTrainedAlgorithmicMedia" in data
    if name != "out.mp4":
        with Image.open(output) as image:
            assert (image.n_frames, image.size, image.info["loop"]) == (10, (32, 32), 0)


def test_which_of_two_faces(files):
    words = ["--source", PORTRAITS / "two_people.jpg", "--style", files / "shift.pkl"]
    result = run(files, *words)
    assert result.exit_code == 2
    assert "--face" in result.output
    chosen = run(files, *words, "--face", 7)
    assert chosen.exit_code == 2
    assert "7" in chosen.output
    assert chosen.output != result.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "got one source and nothing that changes; expected another source"),
        (["--direction", "grin:1"], "got the direction 'grin'; expected smile"),
        (["--direction", "pca-0:nan"], "pca-0:nan"),
        (["--style", "seed:2", "--strength", "nan"], "got strength nan"),
        (["--style", "nosuch"], "nosuch"),
        (["--style", "seed:2", "--seconds", "nan"], "got --seconds nan; expected 0 to 600"),
        (["--style", "seed:2", "--hold", "-1"], "got --hold -1; expected 0 to 600"),
        (["--style", "seed:2", "--fps", "0"], "--fps"),
        (["--style", "seed:2", "--easing", "jumpy"], "--easing"),
        (["--style", "seed:2", "--layers", "nosuch"], "nosuch"),
        (["--style", "seed:2", "--output", "x.avi"], "x.avi"),
        (["--style", "seed:2", "--output", "x.gif", "--fps", "60"], "got 60 frames a second"),
        (["--style", "seed:2", "--device", "nosuch"], "nosuch"),
    ],
)
def test_errors_are_one_line(files, words, message):
    result = run(files, "--source", "seed:1", *words)
    assert result.exit_code == 2
    assert message in result.output
    assert result.output.count("\n") == 1
