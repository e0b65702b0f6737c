"""`stylemix sweep`: its files are usable, each option has an effect, errors are one line."""

import csv
import json
import os
import shlex
import shutil
import signal
import sys
from dataclasses import asdict, replace

import pytest
from click.testing import CliRunner
from PIL import Image

from stylemix.cli import main
from stylemix.errors import StylemixError
from stylemix.faces.templates import FFHQ
from stylemix.io.journal import open_work
from stylemix.models.checkpoint import load_model
from stylemix.tools import sweep
from stylemix.training.config import TrainConfig
from stylemix.training.sweep.report import arguments
from stylemix.training.sweep.search import WORK_FILE
from tests.support.toy_sweep import Training

pytest.importorskip("optuna", reason="optuna is not installed")
pytest.importorskip("matplotlib", reason="matplotlib is not installed")

TINY = {
    "resolution": 8, "kimg": 0.016, "batch": 4, "z_dim": 8, "w_dim": 8, "channel_base": 64,
    "channel_max": 16, "precision": "fp32", "path_length_weight": 0, "augment": "none",
    "tick_kimg": 0.016, "device": "cpu",
}  # fmt: skip
VARY = ("--vary", "lr=0.0001..0.1:log", "--vary", "augment_pipe=blit,bg")


def held_out(folder):
    """A folder beside that of a sweep, with images that no trial trains on."""
    held = folder.with_name(f"{folder.name} held out")
    if not held.exists():
        held.mkdir()
        for number in range(4):
            Image.new("RGB", (16, 16), (60 * number, 40, 200)).save(held / f"{number}.png")
    return held


def invoke(pictures, folder, *more, **settings):
    held = held_out(folder)
    command = ["sweep", pictures, "--held-out", held, "--output", folder, *VARY]
    for name, value in (TINY | settings).items():
        command += [f"--{name.replace('_', '-')}", value]
    command += more
    return CliRunner().invoke(main, [str(argument) for argument in command], prog_name="stylemix")


def csv_rows(folder):
    with (folder / "sweep.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture
def toy(monkeypatch):
    """The command with `Training` instead of real training; collects its arguments."""
    given = []

    def train(config, data, folder, device, **rest):
        given.append((config, data.images, data.template, data.name))
        return Training()(config, folder, rest["on_metrics"])

    monkeypatch.setattr(sweep, "train", train)
    return given


@pytest.mark.slow
def test_a_real_sweep_stopped_and_continued(pictures, tmp_path, monkeypatch):
    """Trains for real; Ctrl-C in the second trial, and the same command again."""
    monkeypatch.setattr("stylemix.training.evaluation.cache_folder", lambda name: tmp_path / name)
    arguments = ("--trials", 3, "--startup", 1, "--snapshot-kimg", 0.016, "--metrics", "kid")
    arguments += ("--metrics-count", 4)
    whole = invoke(pictures, tmp_path / "whole", *arguments, kimg=0.032)
    assert whole.exit_code == 0, whole.output
    real = sweep.train

    def stopped(*arguments, **words):
        def on_metrics(kimg, figures):
            if "trial-0001" in str(arguments[2]):
                os.kill(os.getpid(), signal.SIGINT)
            return words["on_metrics"](kimg, figures)

        return real(*arguments, **words | {"on_metrics": on_metrics})

    monkeypatch.setattr(sweep, "train", stopped)
    first = invoke(pictures, tmp_path / "parts", *arguments, kimg=0.032)
    assert (first.exit_code, len(csv_rows(tmp_path / "parts"))) == (130, 1)
    monkeypatch.setattr(sweep, "train", real)
    second = invoke(pictures, tmp_path / "parts", *arguments, kimg=0.032)
    assert "trial-0000" not in second.output
    assert csv_rows(tmp_path / "parts") == csv_rows(tmp_path / "whole")

    rows = csv_rows(tmp_path / "whole")
    figures = [float(row["KID-MobileNetV2"]) for row in rows]
    assert figures == sorted(figures)
    assert len(set(figures)) == 3
    best = json.loads((tmp_path / "whole" / "best.json").read_text())
    assert best["KID-MobileNetV2"] == figures[0]
    assert best["values"]["lr"] == float(rows[0]["lr"])
    assert load_model(tmp_path / "whole" / best["model"]).card["kimg"] <= 0.032
    with Image.open(tmp_path / "whole" / "sweep.png") as plot:
        assert plot.size == (640, 960)  # two plots, of the trials and of the two settings


@pytest.mark.slow
def test_the_printed_command_trains(pictures, toy, tmp_path):
    more = ("--trials", 4, "--template", "ffhq", "--data-name", "Toys", "--mirror")
    result = invoke(pictures, tmp_path, *more)
    assert result.exit_code == 0, result.output
    best = json.loads((tmp_path / "best.json").read_text())
    rows = [line.split() for line in result.output.split("state\n")[1].splitlines()[:4]]
    assert rows[0][0] == str(best["trial"])
    assert [float(row[1]) for row in rows] == sorted(float(row[1]) for row in rows)
    command = shlex.split(result.output.splitlines()[-1])
    assert command == shlex.split(best["command"])
    assert command[:5] == ["stylemix", "train", str(pictures), "--output", str(tmp_path / "best")]
    shown = CliRunner().invoke(main, [*command[1:], "--dry-run"])
    settings = json.loads(shown.output)
    assert {name: settings[name] for name in best["values"]} == best["values"]
    assert {name: settings[name] for name in TINY if name in settings} | {
        "kimg": 0.016, "augment": "none",
    } == {k: v for k, v in TINY.items() if k != "device"} | {"kimg": 0.016}  # fmt: skip
    assert settings["metrics_data"] == str(held_out(tmp_path))
    assert command[command.index("--template") + 1] == "ffhq"
    assert command[command.index("--data-name") + 1] == "Toys"
    config, dataset, template, data = toy[0]
    assert (data, template, len(dataset)) == ("Toys", FFHQ, 20)
    assert config.snapshot_kimg == pytest.approx(0.016 / 5)
    assert (config.metrics, config.keep_snapshots) == ("fd", 1)


@pytest.mark.slow
def test_more_trials_continue_a_sweep(pictures, toy, tmp_path):
    assert "trial-0001" in invoke(pictures, tmp_path, "--trials", 2).output
    rows = csv_rows(tmp_path)
    result = invoke(pictures, tmp_path, "--trials", 4)
    assert len(toy) == 4
    assert "trial-0001" not in result.output
    assert [row for row in csv_rows(tmp_path) if int(row["trial"]) < 2] == rows
    (tmp_path / "sweep.csv").unlink()
    assert invoke(pictures, tmp_path, "--trials", 4).exit_code == 0  # nothing left but to report
    assert (len(toy), len(csv_rows(tmp_path))) == (4, 4)


@pytest.mark.slow
def test_pruning_and_startup_are_options(pictures, toy, tmp_path):
    def states(name, *more):
        result = invoke(pictures, tmp_path / name, "--trials", 8, *more, kimg=4)
        assert result.exit_code == 0, result.output
        return [row["state"] for row in sorted(csv_rows(tmp_path / name), key=lambda r: r["trial"])]

    early, late = states("early", "--startup", 2), states("late", "--startup", 7)
    assert "pruned" in early[2:7]
    assert "pruned" not in early[:2] + late[:7]
    assert states("all", "--startup", 2, "--no-prune") == ["complete"] * 8


@pytest.mark.slow
def test_remaining_time_is_printed(pictures, toy, tmp_path):
    lines = invoke(pictures, tmp_path, "--trials", 2).output.splitlines()
    progress = [line for line in lines if line.startswith("trial 0 complete")]
    assert progress[0].endswith("of trial 0; 0:00:00, about 0:00:00 left")
    assert "trial-0000 of 2: lr 0.0025, augment_pipe" in "\n".join(lines)


@pytest.mark.slow
def test_another_sweep_needs_another_folder(pictures, toy, tmp_path):
    assert invoke(pictures, tmp_path, "--trials", 1).exit_code == 0
    fewer = tmp_path / "fewer"
    shutil.copytree(held_out(tmp_path), fewer)
    (fewer / "1.png").unlink()
    for more, word in (
        (("--vary", "r1_gamma=1..2"), "--vary lr=0.0001..0.1:log, augment_pipe=blit,bg, r1_gamma"),
        (("--startup", 3), "--startup 3; expected 5"),
        (("--no-prune",), "--no-prune True; expected False"),
        (("--seed", 3), "--seed 3; expected 0"),
        (("--kimg", 8), "--kimg 8.0; expected 0.016"),
        (("--metrics", "kid"), "--metrics kid; expected fd"),
        (("--held-out", fewer), "--held-out "),
    ):
        result = invoke(pictures, tmp_path, "--trials", 1, *more)
        assert result.exit_code == 2
        assert result.output.startswith(f"Error: got {word}")
        assert result.output.count("\n") == 1
    result = invoke(pictures / "2.png", tmp_path, "--held-out", pictures)
    assert result.output.startswith("Error: got DATA ")
    again = invoke(pictures, tmp_path, "--trials", 1, "--tick-kimg", 1)
    assert again.exit_code == 0  # settings that do not affect metrics may differ


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--vary", "learning_rate=1..2"), "got --vary learning_rate=1..2; expected the name"),
        (("--metrics-data", "x"), "got --metrics-data; expected the images"),
        (("--kimg", 0), "got no --kimg; expected the length of a trial, such as --kimg 20"),
        (("--metrics", "none"), "got --metrics none; expected a metric to compare"),
        (("--metrics", "pr"), "got pr as the first metric"),
        (("--device", "abacus"), "abacus"),
        (("--trials", 0), "0 is not in the range"),
        (("--startup", 0), "0 is not in the range"),
        (("--held-out", "nosuch.zip"), "nosuch.zip"),
        (("--transfer", "nosuch.pkl"), "nosuch.pkl: no such file"),
    ],
)
def test_errors_are_one_line(words, expected, pictures, toy, tmp_path):
    result = invoke(pictures, tmp_path, *words)
    assert result.exit_code == 2
    assert expected in result.output
    assert result.output.startswith("Error: ")
    assert result.output.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_held_out_images_that_are_trained_on_are_refused(pictures, toy, tmp_path):
    """By their content: a copy, a zip of them, and some of them."""
    copy = shutil.copytree(pictures, tmp_path / "copy")
    packed = shutil.make_archive(tmp_path / "packed", "zip", pictures)
    for held in (pictures, copy, packed, pictures / "1.png"):
        result = invoke(pictures, tmp_path / "run", "--held-out", held)
        assert result.exit_code == 2
        expected = f"Error: got --held-out {held}, whose images are all among those to train on"
        assert result.output.startswith(expected)
        assert result.output.count("\n") == 1
    Image.new("RGB", (16, 16)).save(copy / "another.png")
    assert invoke(pictures, tmp_path / "run", "--held-out", copy, "--trials", 1).exit_code == 0


def test_all_trials_failed(pictures, toy, tmp_path, monkeypatch):
    def never(*arguments, **words):
        raise StylemixError("7 losses were not finite")

    monkeypatch.setattr(sweep, "train", never)
    result = invoke(pictures, tmp_path, "--trials", 2)
    assert result.exit_code == 2
    assert "trial 1 failed: 7 losses were not finite" in result.output
    last = result.output.splitlines()[-1]
    assert last == "Error: got no metric of 2 trials; expected one; see the reasons above"
    assert [row["state"] for row in csv_rows(tmp_path)] == ["failed", "failed"]


def test_one_process_at_a_time(pictures, toy, tmp_path):
    with open_work(tmp_path / WORK_FILE):
        result = invoke(pictures, tmp_path)
    assert result.exit_code == 2
    assert "database is locked" in result.output
    assert toy == []


@pytest.mark.parametrize("package", ["optuna", "matplotlib"])
def test_without_a_package(package, pictures, toy, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    result = invoke(pictures, tmp_path)
    assert result.exit_code == 2
    expected = f"Error: got no {package}, which a sweep needs; run: pip install 'stylemix[sweep]'\n"
    assert result.output == expected


def test_arguments_give_the_same_settings(pictures, tmp_path, monkeypatch):
    """Each option other than those of a short run, through the command line and back."""
    given = {
        "preset": "laptop", "resolution": "16x8", "mirror": True, "lr": "0:0.001,5:0.0005",
        "r1_gamma": 2.0, "augment_p": 0.25, "loss": "minimax", "mapping_layers": 3,
        "metrics": "fd,kid", "metrics_data": "the val", "early_stop": 2,
    }  # fmt: skip
    for name in ("images", "the val"):
        (tmp_path / name).symlink_to(pictures)
    monkeypatch.chdir(tmp_path)
    config = TrainConfig(**given, kimg=5, snapshot_kimg=1, keep_snapshots=1)
    options = arguments(config)
    assert not {"--kimg", "--snapshot-kimg", "--keep-snapshots"} & set(options)
    result = CliRunner().invoke(main, ["train", "images", "--dry-run", *options])
    whole = asdict(replace(config, kimg=None, snapshot_kimg=200, keep_snapshots=0).resolve())
    assert json.loads(result.output) == json.loads(json.dumps(whole))
