"""`stylemix train`: its options are the settings, each has an effect, and errors are one line."""

import json
import re
import threading
from dataclasses import asdict, fields
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from stylemix.cli import main
from stylemix.faces.templates import FACES128
from stylemix.models.checkpoint import load_model
from stylemix.tools import train, train_options
from stylemix.training.config import TrainConfig
from stylemix.training.presets import TABLE
from stylemix.training.settings import SETTINGS
from stylemix.training.state_files import state_files

FIELDS = {field.name: field for field in fields(TrainConfig)}
OWN = {"data", "output", "template", "data_name", "device", "gpus", "dry_run", "presets"}
TINY = {
    "resolution": 8, "kimg": 0.016, "batch": 4, "z_dim": 8, "w_dim": 8, "channel_base": 64,
    "channel_max": 16, "precision": "fp32", "augment": "fixed", "augment_p": 0.5,
    "tick_kimg": 0.004, "state_minutes": 0, "device": "cpu",
}  # fmt: skip


def _invoke(*arguments):
    return CliRunner().invoke(main, ["train", *map(str, arguments)], prog_name="stylemix")


def _arguments(settings):
    out = []
    for name, value in settings.items():
        flag = "--" + name.replace("_", "-")
        out += [flag] if value is True else [flag, str(value)]
    return out


def _train(data, folder, **settings):
    result = _invoke(data, *_arguments(TINY | settings), "--output", folder)
    assert result.exit_code == 0, result.output
    return result


def _weights(folder):
    state = load_file(state_files(folder)[0])
    return {k: v for k, v in state.items() if k.startswith(("G.", "D."))}


def _differs(folder, other):
    a, b = _weights(folder), _weights(other)
    if {k: v.shape for k, v in a.items()} != {k: v.shape for k, v in b.items()}:
        return True
    return any(not torch.equal(a[name], b[name]) for name in a)


def _lines(folder, name="stats.jsonl"):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


@pytest.fixture(scope="module")
def plain(pictures, tmp_path_factory):
    """Four steps without anything special."""
    folder = tmp_path_factory.mktemp("plain")
    _train(pictures, folder)
    return folder


# Each changes what the networks learn in four steps, against the run without it.
LEARNING = {
    "preset": "cifar", "batch": 8, "batch_gpu": 1, "seed": 3, "mirror": True, "channels": 1,
    "resolution": "16x8", "precision": "bf16",
    "z_dim": 12, "w_dim": 12, "mapping_layers": 3, "channel_base": 32, "d_channel_base": 32,
    "channel_max": 8, "g_architecture": "resnet", "d_architecture": "skip", "mbstd_group": 2,
    "conv_clamp": 0.01, "noise": "none", "head": "haar", "feature_weight": 1,
    "d_head": "haar", "channel_min": 24,
    "loss": "minimax", "lr": "0:.001,1:.002", "d_lr": 0.001, "beta2": 0.9, "r1_gamma": 5,
    "r2_gamma": 5, "d_reg_interval": 2, "path_length_weight": 0, "g_reg_interval": 2,
    "style_mixing": 0, "freeze_d": 2, "augment": "none", "augment_pipe": "color",
    "augment_filter": "bilinear", "augment_p": "0:.9,1:.1",
}  # fmt: skip
# These are shown by tests of their own below.
ELSEWHERE = {
    "kimg", "conditional", "transfer", "transfer_lr", "transfer_d_lr", "d_fromrgb_at", "ema_kimg",
    "ema_rampup",
    "ada_target", "ada_kimg",
    "tick_kimg", "state_minutes", "snapshot_kimg", "keep_snapshots", "metrics", "metrics_data",
    "metrics_count", "early_stop", "rollbacks", "tensorboard", "timeout", "workers",
}  # fmt: skip


def test_no_option_is_forgotten():
    assert set(LEARNING) | ELSEWHERE == set(FIELDS)
    assert not set(LEARNING) & ELSEWHERE


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNING)
def test_an_option_affects_training(name, plain, pictures, tmp_path):
    more = {"mbstd_group": 1} if name == "batch_gpu" else {}
    if name == "batch_gpu":  # against the same without it: the sums are rounded otherwise
        _train(pictures, tmp_path / "whole", **more)
        plain = tmp_path / "whole"
    if name == "preset":
        more = {"kimg": 0.016}
    _train(pictures, tmp_path / "other", **{name: LEARNING[name]}, **more)
    assert _differs(tmp_path / "other", plain)


@pytest.mark.slow
def test_the_same_again_is_the_same(plain, pictures, tmp_path):
    _train(pictures, tmp_path)
    assert not _differs(tmp_path, plain)


@pytest.mark.slow
def test_kimg_and_tick_kimg(plain, pictures, tmp_path):
    assert [line["Progress/kimg"] for line in _lines(plain)] == [0.016]
    _train(pictures, tmp_path, kimg=0.048, tick_kimg=0.032)
    assert [line["Progress/kimg"] for line in _lines(tmp_path)] == [0.032, 0.048]


@pytest.mark.slow
def test_averaging(plain, pictures, tmp_path):
    """A longer half-life keeps the average nearer to the start; ramp-up shortens it."""

    def distance(folder):
        state = load_file(state_files(folder)[0])
        name = "synthesis.b8.conv0.weight"
        return float((state[f"G.{name}"] - state[f"G_ema.{name}"]).abs().mean())

    _train(pictures, tmp_path / "long", ema_kimg=100, ema_rampup=0)
    _train(pictures, tmp_path / "ramp", ema_kimg=100, ema_rampup=0.05)
    _train(pictures, tmp_path / "short", ema_kimg=0.0001)
    assert distance(tmp_path / "long") > 20 * distance(tmp_path / "ramp")
    assert distance(tmp_path / "short") == pytest.approx(0, abs=1e-6)


@pytest.mark.slow
def test_adaptive_augmentation(pictures, tmp_path):
    common = {"augment": "ada", "augment_p": 0.5}
    for name, target, kimg, p in (
        ("up", -1, 0.16, 0.6), ("down", 1, 0.16, 0.4),
        ("fast", -1, 0.04, 0.9), ("full", -1, 0.02, 1),
    ):  # fmt: skip
        _train(pictures, tmp_path / name, ada_target=target, ada_kimg=kimg, **common)
        (line,) = _lines(tmp_path / name)
        assert line["Progress/augment"] == pytest.approx(p), name


@pytest.mark.slow
def test_labels(pictures, plain, tmp_path):
    folder = tmp_path / "labelled"
    folder.mkdir()
    names = sorted(path.name for path in pictures.iterdir())
    for name in names:
        (folder / name).write_bytes((pictures / name).read_bytes())
    pairs = [[name, i % 3] for i, name in enumerate(names)]
    (folder / "dataset.json").write_text(json.dumps({"labels": pairs}))
    _train(folder, tmp_path / "with", conditional=True)
    _train(folder, tmp_path / "without")
    assert load_model(_snapshot(tmp_path / "with")).generator.c_dim == 3
    assert load_model(_snapshot(tmp_path / "without")).generator.c_dim == 0


def _snapshot(folder):
    (path,) = folder.glob("snapshot-*")
    return path


@pytest.mark.slow
def test_transfer(plain, pictures, tmp_path):
    model = _snapshot(plain)
    result = _train(pictures, tmp_path / "a", transfer=model, kimg=0.004)
    assert "0 widened, 0 fresh" in result.stderr
    state = load_file(state_files(tmp_path / "a")[-1])  # the first one, before any step
    average = load_model(model).generator.state_dict()
    assert torch.equal(state["G.mapping.fc0.weight"], average["mapping.fc0.weight"])


@pytest.mark.slow
def test_states_by_the_clock(pictures, tmp_path):
    _train(pictures, tmp_path / "often", kimg=0.064, tick_kimg=0.016)
    _train(pictures, tmp_path / "rarely", kimg=0.064, tick_kimg=0.016, state_minutes=60)
    numbers = [[int(p.stem[6:]) for p in state_files(tmp_path / n)] for n in ("often", "rarely")]
    assert numbers == [[64, 48], [64, 0]]


@pytest.mark.slow
def test_snapshots_and_metrics(pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("STYLEMIX_CACHE", str(tmp_path / "cache"))
    settings = {"kimg": 0.032, "snapshot_kimg": 0.016}
    result = _train(
        pictures, tmp_path / "run", **settings, metrics="kid", metrics_count=5,
        metrics_data=pictures, keep_snapshots=1,
    )  # fmt: skip
    figures = [line["KID-MobileNetV2"] for line in _lines(tmp_path / "run", "metrics.jsonl")]
    assert len(figures) == 2
    assert _snapshot(tmp_path / "run").name == "snapshot-000000_032.safetensors"
    assert (tmp_path / "run" / "best.safetensors").exists()
    assert result.stderr.count("(the best so far)") >= 1
    one = tmp_path / "one.png"
    one.write_bytes((pictures / "1.png").read_bytes())
    two = tmp_path / "two"
    two.mkdir()
    for name in ("1.png", "2.png", "3.png"):
        (two / name).write_bytes((pictures / name).read_bytes())
    _train(pictures, tmp_path / "b", **settings, metrics="kid", metrics_count=5, metrics_data=two)
    other = [line["KID-MobileNetV2"] for line in _lines(tmp_path / "b", "metrics.jsonl")]
    assert other[0] != figures[0]
    _train(pictures, tmp_path / "c", **settings, metrics="kid", metrics_count=9)
    more = [line["KID-MobileNetV2"] for line in _lines(tmp_path / "c", "metrics.jsonl")]
    assert more[0] != figures[0]


@pytest.mark.slow
def test_tensorboard(pictures, tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    _train(pictures, tmp_path, tensorboard=True, kimg=0.032, tick_kimg=0.016)
    events = reader.EventAccumulator(str(tmp_path))
    events.Reload()
    values = [event.value for event in events.Scalars("Loss/D/loss")]
    assert values == pytest.approx([line["Loss/D/loss"] for line in _lines(tmp_path)])
    assert [event.step for event in events.Scalars("Loss/D/loss")] == [16, 32]
    assert events.Images("fakes")[0].width > 64


def test_workers(pictures, tmp_path, monkeypatch):
    seen = []
    start = threading.Thread.start

    def note(self):
        seen.append(self.name)
        start(self)

    monkeypatch.setattr(threading.Thread, "start", note)
    _train(pictures, tmp_path, workers=2)
    assert [name for name in seen if name.startswith("stylemix-read")] == [
        "stylemix-read-0", "stylemix-read-1",
    ]  # fmt: skip


def test_options_are_the_settings():
    options = {param.name: param for param in train.train_command.params}
    assert set(options) - OWN == set(FIELDS)
    assert [name for name in options if name in FIELDS] == list(FIELDS)
    for name, field in FIELDS.items():
        option, described = options[name], SETTINGS[name]
        assert isinstance(option, click.Option)
        assert option.opts == ["--" + name.replace("_", "-")]
        assert option.help == described.help
        assert option.help.endswith((".", "]"))
        assert option.get_default(click.Context(train.train_command)) == field.default
        if described.kind is bool:
            assert option.is_flag
        elif described.choices:
            assert isinstance(option.type, click.Choice)
            assert tuple(option.type.choices) == described.choices
        elif described.scheduled:
            assert isinstance(option.type, train_options.Scheduled)
        # The default is shown or explained.
        shown = option.show_default or "[default: " in option.help
        assert described.kind is bool or shown or name == "transfer"


def test_the_help_has_sections():
    result = _invoke("--help")
    assert result.exit_code == 0
    titles = re.findall(r"^(\w[\w ]+):$", result.output, re.MULTILINE)
    assert titles == ["Options", *dict.fromkeys(each.section for each in SETTINGS.values())]
    assert "--r1-gamma" in result.output.split("Optimisation:")[1].split("Augmentation:")[0]
    assert "torchrun --nproc-per-node 8 -m stylemix train" in result.output


def test_presets_are_printed():
    result = _invoke("--presets")
    assert result.exit_code == 0
    assert result.output == TABLE + "\n"


def test_dry_run_prints_the_settings(pictures, tmp_path):
    result = _invoke(pictures, "--dry-run", "--device", "cpu", "--output", tmp_path / "run")
    assert result.exit_code == 0
    assert json.loads(result.output) == asdict(TrainConfig().resolve())
    assert list(tmp_path.iterdir()) == []
    result = _invoke(pictures, "--dry-run", "--resolution", 256, "--gpus", 4, "--lr", "0:1,2:0")
    settings = json.loads(result.output)
    assert (settings["batch"], settings["lr"]) == (64, "0:1,2:0")


@pytest.mark.slow
def test_a_run_and_its_continuation(pictures, tmp_path):
    arguments = [pictures, *_arguments(TINY), "--output", tmp_path, "--template", "faces128"]
    result = _invoke(*arguments, "--data-name", "noise")
    assert result.exit_code == 0, result.output
    assert f"10 images, faces aligned by faces128, run folder {tmp_path}" in result.output
    assert f"Wrote {tmp_path / 'snapshot-000000.safetensors'}" in result.output
    model = load_model(tmp_path / "snapshot-000000.safetensors")
    assert model.template == FACES128
    assert model.card["data"] == "noise"
    assert model.card["kimg"] == 0.016
    result = _invoke(*arguments, "--kimg", "0.024")
    assert result.exit_code == 0, result.output
    model = load_model(tmp_path / "snapshot-000000_024.safetensors")
    assert model.card["kimg"] == 0.024
    assert re.fullmatch("dataset [0-9a-f]{16}", model.card["data"])

    result = _invoke(*arguments, "--r1-gamma", "0.125")
    assert result.exit_code == 2
    assert result.stderr == (
        f"Error: got --r1-gamma 0.125; expected None, as the run in {tmp_path} was started "
        "with; use another --output\n"
    )


@pytest.mark.slow
def test_the_folder_is_named_after_the_data(pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = _invoke(pictures, *_arguments(TINY))
    assert result.exit_code == 0, result.output
    assert (Path("runs") / f"{pictures.name}-8" / "stats.jsonl").exists()


def test_out_of_memory_suggests_a_cure(pictures, tmp_path, monkeypatch):
    def full(*arguments, **rest):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    monkeypatch.setattr(train, "train", full)
    result = _invoke(pictures, *_arguments(TINY), "--output", tmp_path)
    assert result.exit_code == 2
    assert "got out of memory with 4 images at once" in result.stderr
    assert "use --batch-gpu 2 with another --output" in result.stderr
    result = _invoke(pictures, *_arguments(TINY), "--mbstd-group", 2, "--output", tmp_path)
    assert "use --batch-gpu 2, which gives the same result by" in result.stderr
