"""`stylemix blend`: its files, its output and its errors."""

from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner

from stylemix.cli import main
from stylemix.inversion.latent import Latent, save_latent
from stylemix.models.blend import blend
from stylemix.models.checkpoint import load_model
from tests.support.models import saved, tiny_model, trained_on, ws_of


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder with the models a and b, a run of two snapshots and a latent of a."""
    first = replace(tiny_model(), card={"licence": "CC0"})
    second = replace(trained_on(first), card={"licence": "CC BY 4.0"})
    saved(first, tmp_path / "a.safetensors")
    saved(second, tmp_path / "b.pkl")
    (tmp_path / "run").mkdir()
    for kimg, model in ((10, first), (20, second)):
        snapshot = replace(model, card={"kimg": kimg})
        saved(snapshot, tmp_path / "run" / f"snapshot-{kimg:06d}.safetensors")
    save_latent(tmp_path / "me.latent.safetensors", Latent(ws_of(first)[0], first.fingerprint))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    words = ["blend", *map(str, arguments), "--device", "cpu"]
    return CliRunner().invoke(main, words, prog_name="stylemix")


def test_a_swap_is_written_and_described(files):
    result = run("a.safetensors", "b.pkl", "--swap", "16px", "--ramp", "2", "--output", "c.pkl")
    assert result.exit_code == 0, result.output
    written = load_model("c.pkl")
    expected = blend(["a.safetensors", "b.pkl"], swap="16px", ramp=2, device="cpu")
    assert written.fingerprint == expected.fingerprint
    assert result.stdout.splitlines()[-3:] == [
        f"fingerprint {expected.fingerprint}", "template faces128",
        "licence (CC0) AND (CC BY 4.0)",
    ]  # fmt: skip
    assert "draws nothing sensible" not in result.stderr


def test_weights_and_precision(files):
    output = files / "c.safetensors"
    result = run("a.safetensors", "b.pkl", "--weights", "3,1", "--dtype", "float32",
                 "--output", output)  # fmt: skip
    assert result.exit_code == 0, result.output
    expected = blend(["a.safetensors", "b.pkl"], weights=[3, 1], device="cpu").generator
    for name, value in load_model(output).generator.state_dict().items():
        assert torch.equal(value, expected.state_dict()[name])


def test_a_run_folder_is_averaged(files):
    result = run("run", "--half-life", "10", "--output", "c.safetensors")
    assert result.exit_code == 0, result.output
    recipe = load_model("c.safetensors").card["blend"]
    assert (recipe["mapping"], recipe["weights"]) == ("average", [0.666667, 0.333333])


def test_a_latent_of_the_first_model_is_mixed_with_the_blend(files):
    assert run("a.safetensors", "b.pkl", "--swap", "16px", "--output", "c.pkl").exit_code == 0
    words = ["mix", "--source", "me.latent.safetensors", "--style", "seed:3", "--output", "me.png",
             "--device", "cpu", "--output-size", "32", "--model"]  # fmt: skip
    done = CliRunner().invoke(main, [*words, "c.pkl"])
    assert done.exit_code == 0, done.output
    assert (files / "me.png").is_file()
    refused = CliRunner().invoke(main, [*words, "b.pkl"])
    assert refused.exit_code == 2
    assert "got a latent of the model" in refused.output


def test_unrelated_models_are_reported(files):
    saved(tiny_model(seed=9), files / "other.safetensors")
    result = run("a.safetensors", "other.safetensors", "--output", "c.safetensors")
    assert result.exit_code == 0, result.output
    assert "The models were not trained from one another" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.safetensors"], "got a single model; expected two or more"),
        (["a.safetensors", "b.pkl", "--weights", "1,x"], "got --weights '1,x'; expected numbers"),
        (["a.safetensors", "b.pkl", "--last", "3"], "got --last and models; expected it with a"),
        (["a.safetensors", "b.pkl", "--half-life", "3"], "got --half-life and models"),
        (["run", "--swap", "16px"], "got --swap and a run folder; expected it with models only"),
        (["run", "--mapping", "first"], "got --mapping and a run folder"),
        (["a.safetensors", "faces-64"], "faces-64: got a generator with img_resolution 64"),
        (["a.safetensors", "nosuch"], "got the model nosuch"),
        (["a.safetensors", "b.pkl", "--output", "c.txt"], "expected .safetensors or .pkl"),
    ],
)
def test_errors_are_one_line_and_leave_no_file(files, words, message):
    before = sorted(path.name for path in files.iterdir())
    result = run("--output", "c.safetensors", *words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.rstrip().splitlines()[-1].startswith("Error: ")
    assert sorted(path.name for path in files.iterdir()) == before
