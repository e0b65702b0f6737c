"""The recipe that draws the pairs of the shipped styles: its painter, its filters, its folders."""

import runpy
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

RECIPE = Path(__file__).resolve().parents[2] / "docs" / "recipes" / "drawn_pairs.py"
STYLES = {"illustration", "comic", "ink", "pop", "pencil", "toon"}


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


def face():
    """A painted face as far as filters care: a bright oval with dark eyes and mouth on blue."""
    y, x = np.mgrid[0:512, 0:512] / 512
    image = np.full([512, 512, 3], [0.2, 0.3, 0.6], np.float32)
    image[((x - 0.5) / 0.33) ** 2 + ((y - 0.52) / 0.42) ** 2 < 1] = [0.85, 0.65, 0.55]
    for cx, cy, rx, ry in (
        (0.32, 0.3, 0.06, 0.03),
        (0.68, 0.3, 0.06, 0.03),
        (0.5, 0.7, 0.15, 0.03),
    ):
        image[((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1] = [0.15, 0.08, 0.08]
    return image


def test_six_drawings(recipe):
    drawn = recipe["draw"](face())
    assert set(drawn) == STYLES
    for image in drawn.values():
        assert image.shape == (512, 512, 3)
        assert np.isfinite(image).all()
    cheek, eye, wall = (slice(280, 300), slice(150, 170)), (154, 164), (20, 20)
    assert (drawn["ink"][cheek] > 0.85).all()  # paper
    assert (drawn["ink"][eye] < 0.2).all()
    assert drawn["pencil"].max(axis=2).min() > 0.1
    assert np.ptp(drawn["pencil"], axis=2).max() < 0.05  # grey
    assert drawn["comic"][wall][2] > drawn["comic"][wall][0] + 0.3
    colors = np.array([[0.11, 0.07, 0.32], [0.86, 0.10, 0.38], [1, 0.55, 0.2], [1, 0.92, 0.62]])
    nearest = np.abs(drawn["pop"][:, :, None] - colors).max(axis=3).min(axis=2)
    assert (nearest < 0.05).mean() > 0.8  # flat, in four colours
    edge = drawn["comic"][266, 75:95].mean(axis=1)  # where the face meets the wall
    assert edge.min() < 0.25


def test_dark_faces_become_as_light_as_others(recipe):
    bright, dark = (recipe["draw"](face() * light)["illustration"] for light in (1.0, 0.45))
    assert np.abs(bright - dark).mean() < 0.08


def test_folders_with_the_same_names(recipe, models, tmp_path):
    (tmp_path / "faces").mkdir()
    for name in "abc":
        Image.fromarray((face() * 255).astype(np.uint8)).resize((256, 256)).save(
            tmp_path / "faces" / f"{name}.png"
        )
    words = [tmp_path / "faces", "--count", "2", "--painter", models, "--precise"]
    words += ["--output", tmp_path / "pairs"]
    for _ in range(2):  # the second time there is nothing left to do
        result = CliRunner().invoke(recipe["main"], list(map(str, words)))
        assert result.exit_code == 0, result.output
    folders = {
        path.name: sorted(file.name for file in path.iterdir())
        for path in (tmp_path / "pairs").iterdir()
    }
    assert set(folders) == STYLES | {"photos"}
    assert len({tuple(names) for names in folders.values()}) == 1
    assert len(folders["photos"]) == 2
    with Image.open(tmp_path / "pairs" / "comic" / folders["comic"][0]) as image:
        assert image.size == (512, 512)
