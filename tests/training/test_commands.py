"""`stylemix train`: its options are the settings, and errors are one line."""

import json
from dataclasses import asdict, fields
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from stylemix.alignment import FACES128, NO_TEMPLATE
from stylemix.checkpoint import load_model
from stylemix.cli import main
from stylemix.training import commands
from stylemix.training.config import TrainConfig

FIELDS = {field.name: field for field in fields(TrainConfig)}
OWN = {"data", "output", "template", "data_name", "device", "dry_run"}
TINY = [
    "--resolution",
    "8",
    "--kimg",
    ".016",
    "--batch",
    "4",
    "--z-dim",
    "8",
    "--w-dim",
    "8",
    "--channel-base",
    "64",
    "--channel-max",
    "16",
    "--device",
    "cpu",
]
# One value other than the default for each setting.
OTHERS = {
    "resolution": 32, "kimg": 2.5, "batch": 12, "seed": 3, "mirror": True, "conditional": True,
    "precision": "bf16", "z_dim": 16, "w_dim": 24, "mapping_layers": 3, "channel_base": 2048,
    "d_channel_base": 1024,
    "channel_max": 64, "g_architecture": "resnet", "d_architecture": "orig", "lr": 0.001,
    "r1_gamma": 0.5, "d_reg_interval": 8, "path_length_weight": 1.5, "g_reg_interval": 6,
    "style_mixing": 0.25, "noise": "none", "ema_kimg": 1.25, "ema_rampup": 0.0, "augment": "fixed",
    "augment_pipe": "bg", "augment_filter": "bilinear", "augment_p": 0.4, "ada_target": 0.7,
    "ada_kimg": 50.5, "snapshot_kimg": 7.5, "state_kimg": 1.5,
}  # fmt: skip


def _invoke(*arguments):
    return CliRunner().invoke(main, ["train", *map(str, arguments)], prog_name="stylemix")


def _arguments(settings):
    out = []
    for name, value in settings.items():
        flag = "--" + name.replace("_", "-")
        out += [flag] if value is True else [flag, str(value)]
    return out


def test_options_are_the_settings():
    options = {param.name: param for param in commands.train_command.params}
    assert set(options) - OWN == set(FIELDS) == set(commands.HELP)
    assert [name for name in options if name in FIELDS] == list(FIELDS)
    for name, field in FIELDS.items():
        option = options[name]
        assert isinstance(option, click.Option)
        assert option.opts == ["--" + name.replace("_", "-")]
        assert option.help == commands.HELP[name]
        assert len(option.help) > 10
        assert option.help.endswith((".", "]"))
        assert option.get_default(click.Context(commands.train_command)) == field.default
        if field.type == "bool":
            assert option.is_flag
        elif "int" in field.type:
            assert option.type is click.INT
        elif "float" in field.type:
            assert option.type is click.FLOAT
        else:
            assert isinstance(option.type, click.Choice)
            for choice in option.type.choices:
                assert getattr(TrainConfig(**{name: choice}), name) == choice
        # The default is shown, or said how it comes about.
        assert field.type == "bool" or option.show_default or "[default: " in option.help


def test_dry_run_prints_the_settings(tmp_path):
    result = _invoke("nosuch.zip", "--dry-run", "--output", tmp_path / "run")
    assert result.exit_code == 0
    assert json.loads(result.output) == asdict(TrainConfig().resolve())
    assert list(tmp_path.iterdir()) == []


def test_every_option_reaches_the_settings():
    assert set(OTHERS) == set(FIELDS)
    result = _invoke("nosuch.zip", "--dry-run", *_arguments(OTHERS))
    assert result.exit_code == 0
    settings = json.loads(result.output)
    assert settings == OTHERS
    assert all(settings[name] != field.default for name, field in FIELDS.items())


def test_a_run_and_its_continuation(pictures, tmp_path):
    arguments = [pictures, *TINY, "--output", tmp_path, "--template", "faces128"]
    result = _invoke(*arguments, "--data-name", "noise")
    assert result.exit_code == 0, result.output
    assert f"10 images, run folder {tmp_path}" in result.output
    assert f"Wrote {tmp_path / 'snapshot-000000.safetensors'}" in result.output
    model = load_model(tmp_path / "snapshot-000000.safetensors")
    assert model.template == FACES128
    assert model.card["data"] == "noise"
    assert model.card["kimg"] == 0.016
    result = _invoke(*arguments, "--kimg", "0.024")
    assert result.exit_code == 0, result.output
    model = load_model(tmp_path / "snapshot-000000.safetensors")
    assert model.card["kimg"] == 0.024
    assert model.card["data"] == pictures.name

    result = _invoke(*arguments, "--r1-gamma", "0.125")
    assert result.exit_code == 2
    assert result.stderr == (
        f"Error: got --r1-gamma 0.125; expected 0.0032, as the run in {tmp_path} was started "
        "with; use another --output\n"
    )
    state = tmp_path / "state.safetensors"
    state.write_bytes(state.read_bytes()[:1000])
    result = _invoke(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: got a damaged training state {state}")
    assert result.stderr.count("\n") == 1


def test_what_train_is_called_with(pictures, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(commands, "train", lambda *arguments: seen.append(arguments) or "file")
    monkeypatch.chdir(tmp_path)
    result = _invoke(pictures, pictures, "--resolution", 8, "--mirror", "--device", "cpu")
    assert result.exit_code == 0, result.output
    ((config, dataset, folder, device, template, name),) = seen
    assert config == TrainConfig(8, mirror=True)
    assert (len(dataset), dataset.resolution) == (40, 8)
    assert folder == Path("runs") / f"{pictures.name}-8"
    assert (device.type, template, name) == ("cpu", NO_TEMPLATE, pictures.name)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nosuch.zip"], "nosuch.zip: got no such file or folder"),
        (["DATA", "--resolution", "48"], "got resolution 48; expected a power of two"),
        (["DATA", "--batch", "1"], "got batch 1; expected a number from 2 to 65536"),
        (["DATA", "--state-kimg", "0"], "got state_kimg 0.0; expected a number from 0.001"),
        (["DATA", "--g-reg-interval", "0"], "got g_reg_interval 0; expected a number from 1"),
        (["DATA", "--seed", "-1"], "got seed -1; expected a number from 0"),
        (["DATA", "--conditional"], "got no labels for"),
        (["DATA", "--device", "tpu"], "got device 'tpu'; expected cpu, cuda, cuda:N or auto"),
        (["DATA", "--precision", "fp8"], "Invalid value for '--precision'"),
        (["DATA", "--kimg", "many"], "Invalid value for '--kimg'"),
        ([], "Missing argument 'DATA...'"),
    ],
)
def test_errors_are_one_line(arguments, expected, pictures, tmp_path):
    arguments = [pictures if argument == "DATA" else argument for argument in arguments]
    result = _invoke(*arguments, "--output", tmp_path / "run")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert expected in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()
