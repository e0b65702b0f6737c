"""The commands of docs/own-model.md, in order, on a small file in each layout that is read."""

import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from stylemix.cli import main
from stylemix.models.checkpoint import load_model, save_model
from stylemix.networks.latents import sample_ws
from tests.docs.test_pages import DOCS, blocks
from tests.support.models import tiny_model, trained_on
from tests.support.toy_tensorflow import networks_of, tensorflow_file

GOLDEN = Path(__file__).parents[1] / "golden"
PORTRAIT = Path(__file__).parents[1] / "data" / "portraits" / "obama.jpg"
TOY = {"project": ["--budget", ".2"], "generate": ["--seeds", "0-3"], "drag": ["--max-steps", "2"]}


def _nvidia(path: Path) -> None:
    shutil.copy(GOLDEN / "uncond_32_skip_resnet.pkl", path)


def _rosinality(path: Path) -> None:
    shutil.copy(GOLDEN / "rosinality_32.pt", path)


def _tensorflow(path: Path) -> None:
    tensorflow_file(path, networks_of(tiny_model(resolution=32)))


def _ours(path: Path) -> None:
    save_model(path, tiny_model(resolution=32))


@pytest.mark.slow
@pytest.mark.parametrize("write", [_nvidia, _rosinality, _tensorflow, _ours])
def test_the_walk_from_a_file_to_an_avatar(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "network.pkl")
    shutil.copy(PORTRAIT, tmp_path / "me.jpg")
    trained_on(load_model("network.pkl"), 0.01).save("cartoon.safetensors")
    (block,) = [b for b in blocks(DOCS / "own-model.md") if b.language == "bash"]
    for line in block.text.splitlines():
        words = shlex.split(line)[1:]
        device = ["--device", "cpu"] if words[0] != "convert" else []
        result = CliRunner().invoke(main, [*words, *TOY.get(words[0], []), *device])
        assert result.exit_code == 0, (line, result.output)
        if words[0] == "inspect":
            assert "32 px" in result.output
            assert "project balanced" in result.output
        else:
            output = words[2] if words[0] == "convert" else words[words.index("--output") + 1]
            assert Path(output).exists(), line
    assert load_model("model.safetensors").template.name == "ffhq"
    toonified = load_model("toonified.safetensors")
    ws = sample_ws(toonified.generator, 1, 0)
    assert toonified.generator.synthesis(ws, noise_mode="const").shape == (1, 3, 32, 32)
