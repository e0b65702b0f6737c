"""`stylemix project` as a user calls it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from stylemix.alignment import NO_TEMPLATE
from stylemix.checkpoint import load_model
from stylemix.cli import main
from stylemix.latent_files import load_latent
from tests.models import saved, tiny_model

PORTRAITS = Path(__file__).parents[1] / "data" / "portraits"
OBAMA = str(PORTRAITS / "obama.jpg")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("project") / "base.safetensors"
    saved(tiny_model(), path)
    return str(path)


def project(model, *arguments):
    quick = ["--w-steps", "3", "--steps", "4"]
    return CliRunner().invoke(main, ["project", "--model", model, *quick, *arguments])


def test_one_photo(model, tmp_path):
    result = project(model, OBAMA, "--output", str(tmp_path))
    assert result.exit_code == 0, result.output
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == [
        "obama.latent.safetensors", "obama.recon.png", "obama.side-by-side.png", "report.json",
    ]  # fmt: skip
    base = load_model(model)
    latent = load_latent(tmp_path / "obama.latent.safetensors", base)
    assert latent.base == base.fingerprint
    assert latent.matrix is not None
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["obama"]["mse w+"] == pytest.approx(latent.metrics["mse w+"])
    with Image.open(tmp_path / "obama.recon.png") as image:
        assert image.size == (32, 32)


def test_an_oblong_model_gets_the_middle(tmp_path):
    model = tiny_model(resolution=16, base=(10, 6), channels=4, template=NO_TEMPLATE)
    result = project(saved(model, tmp_path / "m.pkl"), OBAMA, "--output", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "out" / "obama.recon.png") as image:
        assert (image.size, image.mode) == ((24, 40), "RGBA")
    with Image.open(tmp_path / "out" / "obama.side-by-side.png") as image:
        assert image.width < 3 * 256  # three cells of 154 x 256 px
    latent = load_latent(tmp_path / "out" / "obama.latent.safetensors", model)
    assert latent.metrics["mse w+"] > 0


def test_the_same_again_and_more_steps(model, tmp_path):
    figures = []
    for name, steps in (("a", "4"), ("b", "4"), ("c", "30")):
        result = project(model, OBAMA, "--output", str(tmp_path / name), "--steps", steps)
        assert result.exit_code == 0, result.output
        figures.append(json.loads((tmp_path / name / "report.json").read_text())["obama"]["mse w+"])
    assert figures[0] == figures[1]
    assert figures[2] < figures[0]


def test_one_bad_photo_does_not_lose_the_others(model, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_text("no photo")
    result = project(model, str(bad), OBAMA, "--output", str(tmp_path / "out"))
    assert result.exit_code == 2
    assert "bad.jpg" in result.output
    assert (tmp_path / "out" / "obama.latent.safetensors").is_file()


def test_several_faces_need_a_choice(model, tmp_path):
    two = str(PORTRAITS / "two_people.jpg")
    result = project(model, two, "--output", str(tmp_path))
    assert result.exit_code == 2
    assert "--face" in result.output
    latents = []
    for face in ("1", "2"):
        out = tmp_path / face
        result = project(model, two, "--face", face, "--output", str(out))
        assert result.exit_code == 0, result.output
        latents.append(load_latent(out / "two_people.latent.safetensors"))
    assert abs(latents[0].matrix - latents[1].matrix).max() > 5
