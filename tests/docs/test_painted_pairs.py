"""The recipe that paints the pairs of the shipped styles: its painter and its folders."""

import runpy
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

RECIPE = Path(__file__).resolve().parents[2] / "docs" / "recipes" / "painted_pairs.py"


@pytest.fixture(scope="module")
def recipe():
    return runpy.run_path(str(RECIPE))


def convolution(name, source, target, active=False):
    options = "0=3 1=3 4=1 5=1 6=81" + (" 9=2 -23310=1,2.000000e-01" if active else "")
    return f"Convolution {name} 1 1 {source} {target} {options}"


@pytest.fixture
def models(tmp_path):
    """A painter that enlarges, adds a fifth of a branch, and changes nothing else."""
    lines = [
        "7767517", "9 9",
        "Input data 0 1 data",
        "Split split 1 2 data a b",
        convolution("one", "a", "c", active=True),
        "Eltwise add 2 1 c b d 0=1 -23301=2,2.000000e-01,1.000000e+00",
        "Interp up1 1 1 d e 0=1 1=2.0 2=2.0",
        "Interp up2 1 1 e f 0=1 1=2.0 2=2.0",
        convolution("last", "f", "output"),
    ]  # fmt: skip
    identity = np.zeros([3, 3, 3, 3], np.float16)
    identity[range(3), range(3), 1, 1] = 1
    data = b""
    for _ in range(2):
        kernel = identity.tobytes()
        data += struct.pack("<I", 0x01306B47) + kernel + bytes(-len(kernel) % 4)
        data += np.array([0.0, 0.0, -0.1], np.float32).tobytes()
    (tmp_path / "realesrgan-x4plus-anime.param").write_text("\n".join(lines))
    (tmp_path / "realesrgan-x4plus-anime.bin").write_bytes(data)
    return tmp_path


def test_a_painter_is_read_and_run(recipe, models):
    image = torch.rand([1, 3, 5, 6], generator=torch.Generator().manual_seed(0)) * 0.7 + 0.1
    painted = recipe["Painter"](models)(image)
    bias = torch.tensor([0.0, 0.0, -0.1]).view(3, 1, 1)
    branch = torch.nn.functional.leaky_relu(image + bias, 0.2)
    expected = (0.2 * branch + image).repeat_interleave(4, 2).repeat_interleave(4, 3) + bias
    torch.testing.assert_close(painted, expected.clamp(0, 1), atol=1e-5, rtol=0)


@pytest.fixture
def photos(tmp_path):
    """Three gradients of 256 px."""
    (tmp_path / "faces").mkdir()
    ramp = np.linspace(30, 200, 256, dtype=np.uint8)
    for number, name in enumerate("abc"):
        pixels = np.stack([np.tile(np.roll(ramp, 20 * number), (256, 1))] * 3, axis=2)
        Image.fromarray(pixels).save(tmp_path / "faces" / f"{name}.png")
    return tmp_path / "faces"


def test_folders_with_the_same_names(recipe, models, photos, tmp_path):
    words = [photos, "--count", "2", "--painter", models, "--precise"]
    words += ["--output", tmp_path / "pairs"]
    for _ in range(2):  # the second time there is nothing left to do
        result = CliRunner().invoke(recipe["main"], list(map(str, words)))
        assert result.exit_code == 0, result.output
    folders = {
        path.name: sorted(file.name for file in path.iterdir())
        for path in (tmp_path / "pairs").iterdir()
    }
    assert set(folders) == {"photos", "paintings"}
    assert folders["photos"] == folders["paintings"]
    assert len(folders["photos"]) == 2
    with Image.open(tmp_path / "pairs" / "paintings" / folders["paintings"][0]) as image:
        assert image.size == (512, 512)
        assert np.percentile(np.asarray(image)[..., 0], 1) < 40  # in even light
