"""`stylemix align`: its files, its output and one-line errors."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from stylemix.cli import main
from stylemix.faces.alignment import align_photo
from stylemix.faces.templates import FACES128, FFHQ, NO_TEMPLATE, Template
from stylemix.faces.warp import transform_points
from stylemix.images.read import load_image
from stylemix.inversion.portraits import read_portrait
from stylemix.models.checkpoint import save_model
from stylemix.models.model import Model
from stylemix.networks.config import GeneratorConfig
from stylemix.networks.generator import Generator
from tests.support.models import saved, tiny_model

PORTRAITS = Path(__file__).parent.parent / "data" / "portraits"
OBAMA, TWO = str(PORTRAITS / "obama.jpg"), str(PORTRAITS / "two_people.jpg")


def align(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["align", *arguments])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_writes_crop_and_matrix(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = align(OBAMA)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("Wrote obama.aligned.png (of obama.jpg, ")
    assert done.stdout.count("\n") == 1
    assert names(tmp_path) == ["obama.align.json", "obama.aligned.png"]
    data = json.loads((tmp_path / "obama.align.json").read_text())
    assert Template.from_json(data["template"]) == FACES128
    assert (data["size"], data["photo_size"]) == (256, [384, 480])
    expected = align_photo(load_image(OBAMA), FACES128, 256)
    assert np.allclose(data["matrix"], expected.matrix, atol=1e-6)
    assert np.allclose(data["points"], expected.points, atol=1e-3)
    with Image.open(tmp_path / "obama.aligned.png") as crop:
        assert np.array_equal(np.asarray(crop), np.asarray(expected.crop))


def test_matrix_is_in_the_upright_photo(tmp_path):
    turned = load_image(OBAMA).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    turned.save(tmp_path / "turned.png", exif=exif)
    done = align(str(tmp_path / "turned.png"), "--output", str(tmp_path))
    assert done.exit_code == 0
    data = json.loads((tmp_path / "turned.align.json").read_text())
    assert data["photo_size"] == [384, 480]
    left_eye = transform_points(np.linalg.inv(data["matrix"]), data["points"])[0]
    assert np.abs(left_eye - (186.7, 90.2)).max() < 3


def test_template_size_and_file(tmp_path):
    out = tmp_path / "new" / "face.jpg"
    done = align(OBAMA, "--template", "ffhq", "--size", "128", "--output", str(out))
    assert done.exit_code == 0
    assert names(out.parent) == ["face.align.json", "face.jpg"]
    assert load_image(out).size == (128, 128)
    data = json.loads((out.parent / "face.align.json").read_text())
    assert Template.from_json(data["template"]) == FFHQ


def test_the_shape_of_an_oblong_model(tmp_path):
    """As a projection crops the photo, whatever the size."""
    model = tiny_model(resolution=16, base=(3, 5), template=NO_TEMPLATE)
    words = ["--model", saved(model, tmp_path / "m.pkl"), "--output", str(tmp_path / "a.png")]
    for size, shape in (([], (20, 12)), (["--size", "200"], (200, 120))):
        done = align(OBAMA, *words, *size, "--overwrite")
        assert done.exit_code == 0, done.output
        assert "obama.jpg, 384 px on the longer side in the photo" in done.output
        with Image.open(tmp_path / "a.png") as crop:
            assert crop.size == shape
    data = json.loads((tmp_path / "a.align.json").read_text())
    matrix = read_portrait(OBAMA, model).alignment.matrix
    assert np.allclose(np.array(data["matrix"])[:2] / 10, matrix[:2])


@pytest.mark.parametrize(("base", "size"), [((4, 4), 32), ((3, 3), 24)])
def test_template_and_size_of_a_model(tmp_path, base, size):
    config = GeneratorConfig(32, z_dim=8, w_dim=8, channel_base=64, channel_max=8, base=base)
    save_model(tmp_path / "tiny.safetensors", Model(Generator(config), template=FFHQ))
    model = str(tmp_path / "tiny.safetensors")
    done = align(OBAMA, "--model", model, "--output", str(tmp_path / "out"))
    assert (done.exit_code, done.stderr) == (0, "")
    data = json.loads((tmp_path / "out" / "obama.align.json").read_text())
    assert (data["size"], data["template"]) == (size, FFHQ.to_json())


def test_several_faces(tmp_path):
    done = align(TWO, "--output", str(tmp_path))
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("Error: got 2 faces in two_people.jpg; expected one; choose with")
    assert names(tmp_path) == []
    assert align(TWO, "--face", "2", "--output", str(tmp_path)).exit_code == 0
    assert names(tmp_path) == ["two_people.align.json", "two_people.aligned.png"]


def test_all_faces(tmp_path):
    done = align(TWO, "--all-faces", "--output", str(tmp_path), "--size", "64")
    assert (done.exit_code, done.stdout.count("\n")) == (0, 2)
    kinds = ("align.json", "aligned.png")
    assert names(tmp_path) == [f"two_people.face{face}.{kind}" for face in (1, 2) for kind in kinds]


def test_one_failure_does_not_stop_the_others(tmp_path):
    (tmp_path / "in").mkdir()
    Image.new("RGB", (200, 200), "grey").save(tmp_path / "in" / "a_wall.png")
    (tmp_path / "in" / "b_text.jpg").write_text("no image")
    load_image(OBAMA).save(tmp_path / "in" / "c_face.png")
    done = align(str(tmp_path / "in"), "--output", str(tmp_path / "out"))
    assert done.exit_code == 2
    assert names(tmp_path / "out") == ["c_face.align.json", "c_face.aligned.png"]
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("Error: ") for line in lines)
    assert "no face in a_wall.png" in lines[0]
    assert "b_text.jpg" in lines[1]
    assert "no crop from 2 of 3 photos" in lines[2]


def test_equal_names_do_not_overwrite_each_other(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        load_image(OBAMA).save(tmp_path / folder / "me.png")
    photos = [str(tmp_path / folder / "me.png") for folder in ("a", "b")]
    assert align(*photos, "--output", str(tmp_path / "out")).exit_code == 0
    assert names(tmp_path / "out") == [
        "me-2.align.json", "me-2.aligned.png", "me.align.json", "me.aligned.png"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["nosuch.jpg"], "nosuch.jpg: got no such file"),
        ([], "Missing argument 'PHOTO...'"),
        (
            [OBAMA, TWO, "--output", "out.png"],
            "got several photos or faces for a single file out.png",
        ),
        ([OBAMA, "--output", "out.gif"], "expected .png, .jpg or .webp"),
        ([OBAMA, "--face", "2"], "got --face 2 for obama.jpg; expected 1 to 1"),
        ([OBAMA, "--face", "1", "--all-faces"], "leave one out"),
        ([OBAMA, "--device", "toaster"], "got device 'toaster'; expected cpu"),
        ([OBAMA, "--template", "cats"], "got template 'cats'; expected faces128, ffhq, none or"),
        ([OBAMA, "--model", "nosuch"], "nosuch"),
    ],
)
def test_errors_are_one_line(arguments, part, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = align(*arguments)
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("Error: ")
    assert part in done.stderr
    assert names(tmp_path) == []


def test_help_has_an_example():
    text = align("--help").output
    assert "\n    stylemix align me.jpg\n" in text
    for option in ("--output", "--template", "--size", "--model", "--face", "--all-faces"):
        assert option in text
