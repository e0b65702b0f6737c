"""`stylemix convert`: its files, its output and its errors."""

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from stylemix.cli import main
from stylemix.faces.templates import NO_TEMPLATE
from stylemix.models.checkpoint import load_model
from stylemix.tools.convert import convert
from tests.support.models import saved, tiny_model

GOLDEN = Path(__file__).parent.parent / "golden"


def run(*arguments):
    return CliRunner().invoke(main, ["convert", *map(str, arguments)], prog_name="stylemix")


def test_an_nvidia_pickle_becomes_a_model_file(tmp_path):
    target = tmp_path / "m.safetensors"
    result = run(GOLDEN / "uncond_32_skip_resnet.pkl", target)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0] == f"Wrote {target} ({target.stat().st_size / 1e6:.1f} MB)"
    assert lines[1] == "size 32 px, RGB, architecture skip"
    assert lines[2].startswith("generator ")
    assert lines[3].startswith("discriminator ")
    assert lines[4:6] == ["fingerprint c06f2ad499083de2", "template none"]
    assert (
        "NVIDIA PyTorch network pickle. The weights remain under the licence of their authors"
        in lines[6]
    )
    model = load_model(target)
    assert (model.origin, model.fingerprint) == ("nvidia", "c06f2ad499083de2")
    assert model.discriminator is not None


def test_converted_models_compute_the_golden_values(tmp_path):
    target = tmp_path / "m.pkl"
    assert run(GOLDEN / "rosinality_32.pt", target, "--dtype", "float32").exit_code == 0
    golden = np.load(GOLDEN / "rosinality_32.npz")
    g = load_model(target).generator
    image = g.synthesis(g.mapping(torch.from_numpy(golden["in.z"])), noise_mode="const").numpy()
    expected = golden["out.image_noise_const"]
    assert np.abs(image - expected).max() <= 1e-4 * np.abs(expected).max()


def test_half_precision_stays_close(tmp_path):
    target = tmp_path / "m.safetensors"
    convert(str(GOLDEN / "rosinality_32.pt"), str(target))
    assert target.stat().st_size < 0.6 * (GOLDEN / "rosinality_32.pt").stat().st_size
    golden = np.load(GOLDEN / "rosinality_32.npz")
    g = load_model(target).generator
    image = g.synthesis(g.mapping(torch.from_numpy(golden["in.z"])), noise_mode="const").numpy()
    expected = golden["out.image_noise_const"]
    assert np.abs(image - expected).max() <= 5e-3 * np.abs(expected).max()


def test_options(tmp_path):
    source, target = GOLDEN / "cond_32_skip_resnet_clamp.pkl", tmp_path / "m.safetensors"
    result = run(source, target, "--template", "ffhq", "--no-discriminator")
    assert result.exit_code == 0, result.output
    assert "32 px, RGB, 3 labels" in result.output
    assert "discriminator" not in result.output
    assert "template ffhq" in result.output
    model = load_model(target)
    assert model.template.name == "ffhq"
    assert model.discriminator is None


def test_an_oblong_model(tmp_path):
    source, target = tmp_path / "m.pkl", tmp_path / "m.safetensors"
    saved(tiny_model(resolution=16, base=(3, 5), channels=1, template=NO_TEMPLATE), source)
    result = run(source, target)
    assert result.exit_code == 0, result.output
    assert "size 20x12 px (width x height), grey, architecture skip" in result.output
    result = run(source, tmp_path / "faces.pkl", "--template", "faces128")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: got the face template faces128 for a model of 20x12 px")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "faces.pkl").exists()


def test_a_round_trip_is_bitwise(tmp_path):
    first, second, third = (tmp_path / name for name in ("a.safetensors", "b.pkl", "c.safetensors"))
    run(GOLDEN / "uncond_32_skip_resnet.pkl", first, "--dtype", "float32")
    run(first, second, "--dtype", "float32")
    run(second, third, "--dtype", "float32")
    expected, converted = load_model(first), load_model(third)
    for one, other in (
        (expected.generator, converted.generator),
        (expected.discriminator, converted.discriminator),
    ):
        for key, value in one.state_dict().items():
            assert torch.equal(other.state_dict()[key], value)
    assert (converted.card, converted.origin, converted.template) == (
        expected.card,
        expected.origin,
        expected.template,
    )


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("nothing.pkl", "m.pkl", "no such file"),
        ("faces-9999", "m.pkl", "expected a file or a shipped model"),
        (GOLDEN / "README.md", "m.pkl", "got a text file"),
        (GOLDEN / "ops.npz", "m.pkl", "got a latent file"),
        (GOLDEN / "rosinality_32.pt", "m.bin", "expected .safetensors or .pkl"),
    ],
)
def test_refusals_are_one_line(tmp_path, source, target, message):
    source = source if Path(source).is_absolute() or "." not in source else tmp_path / source
    result = run(source, tmp_path / target)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / target).exists()


def test_hostile_input_runs_nothing(tmp_path):
    from tests.support import hostile_files

    mark, source = tmp_path / "mark", tmp_path / "evil.pkl"
    source.write_bytes(hostile_files.that_run_code(str(mark))["in_a_network"])
    result = run(source, tmp_path / "m.safetensors")
    assert result.exit_code == 2
    assert "refused, it asks for" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evil.pkl"]


def test_onnx_files_are_another_commands(tmp_path):
    result = CliRunner().invoke(main, ["convert", "comic", str(tmp_path / "comic.onnx")])
    assert result.exit_code == 2
    assert "ONNX files are written by stylemix export" in result.stderr
