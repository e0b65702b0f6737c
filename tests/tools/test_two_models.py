"""Commands on two models: faces without labels, and drawn shapes with a class for each shape."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors import safe_open

from stylemix.cli import main
from stylemix.faces.templates import FACES128
from stylemix.images.tensors import to_pil
from stylemix.inversion import cache
from stylemix.inversion.latent import load_latent
from stylemix.io.assets import ASSETS
from stylemix.models.checkpoint import load_model
from stylemix.styles.style import load_style
from tests.support.shapes import FILE, draw_shapes

FEW = ("--w-steps", 2, "--steps", 2, "--refine-steps", 1)
FACE = ASSETS / "portraits" / "collins.jpg"
NOTE = "Note: the template none has no face: photos are cropped, and identity is neither measured"
NO_FACE = ("--template", "none")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "cache_folder", lambda name: tmp_path / "cache" / name)


def run(*arguments, code=0):
    result = CliRunner().invoke(main, [*map(str, arguments), "--overwrite"])
    assert result.exit_code == code, result.output
    return result


def shapes(command, *arguments, code=0):
    return run(command, *arguments, "--model", FILE, code=code)


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """A photo of 100 x 80 px with a square of 40 px at (50, 20), and its crop."""
    z = torch.randn([1, 8], generator=torch.Generator().manual_seed(4))
    square = to_pil(draw_shapes(torch.tensor([1]), z, side=40))
    image = Image.new("RGB", (100, 80), "white")
    image.paste(square, (50, 20))
    path = tmp_path_factory.mktemp("photo") / "square.png"
    image.save(path)
    return path, square.resize((16, 16), Image.Resampling.LANCZOS)


def test_a_class_or_a_label_is_generated(tmp_path):
    names = ("a.png", "b.png", "c.png")
    choices = (["--class", "2"], ["--label", "0,0,1"], ["--class", "0"])
    for name, choice in zip(names, choices, strict=True):
        shapes("generate", "--seeds", 3, *choice, "--output", tmp_path / name)
    a, b, c = (pixels(tmp_path / name) for name in names)
    assert (a == b).all()
    assert np.abs(a - c).mean() > 5


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("generate", ["--seeds", "3"]),
        ("mix", ["--source", "seed:3", "--style", "seed:4@1"]),
        ("edit", ["seed:3", "--direction", "sefa-0:1"]),
        ("video", ["--source", "seed:3", "--source", "seed:4@1"]),
    ],
)
def test_a_seed_needs_a_class(command, arguments, tmp_path):
    error = shapes(command, *arguments, "--output", tmp_path / "a.webp", code=2).stderr
    error = error.splitlines()[-1]
    assert "for a model of 3 classes; expected" in error
    assert "--class" in error
    assert "--label" in error
    other = shapes(command, *arguments, "--class", 3, "--output", tmp_path / "a.webp", code=2)
    assert other.stderr == "Error: got class 3; expected 0 to 2 for this model; change --class\n"
    both = [*arguments, "--class", "1", "--label", "0,1,0", "--output", tmp_path / "a.webp"]
    assert "got --class and --label; expected one of them" in shapes(command, *both, code=2).stderr
    faces = run(command, *arguments, "--class", 1, "--output", tmp_path / "a.webp", code=2)
    assert faces.stderr == (
        "Error: got class 1 for a model without classes; expected none; omit --class\n"
    )


@pytest.mark.slow
def test_the_class_of_a_photo_is_found_and_kept(photo, tmp_path):
    path, crop = photo
    done = shapes("project", path, "--box", "50,20,40,40", *FEW, "--output", tmp_path)
    assert done.stderr.splitlines()[0].startswith(NOTE)
    assert done.output.rstrip().endswith(", class 1)")
    file = tmp_path / "square.latent.safetensors"
    latent = load_latent(file, load_model(FILE))
    assert latent.label == (0, 1, 0)
    assert "identity" not in latent.metrics
    with safe_open(file, "pt") as handle:
        assert '"label": [0.0, 1.0, 0.0]' in handle.metadata()["config"]
    # The box is the crop.
    whole = pixels(tmp_path / "square.recon.png") - np.asarray(crop).astype(int)
    assert np.abs(whole).mean() < 16
    again = shapes("project", path, "--box", "50,20,40,40", *FEW, "--output", tmp_path)
    assert again.output.rstrip().endswith("already there")
    # Another class is another projection.
    given = shapes(
        "project", path, "--box", "50,20,40,40", *FEW, "--class", 2, "--output", tmp_path
    )
    assert given.output.rstrip().endswith(", class 2)")


def test_styles_mix_across_classes(photo, tmp_path):
    for number in (0, 2):
        name = tmp_path / f"{number}.png"
        shapes("generate", "--seeds", 5, "--class", number, "--output", name, "--size", 256)
    cross = ["--source", "seed:5@0", "--style", "seed:5@2", "--output", tmp_path / "mix.png"]
    shapes("mix", *cross, "--layers", "all")
    shift = pixels(tmp_path / "mix.png") - pixels(tmp_path / "2.png")
    assert np.abs(shift).mean() < 2  # all layers of the other class
    shapes("mix", *cross, "--layers", "fine")  # colours alone: still the shape of class 0
    mixed, disc, plus = (pixels(tmp_path / f"{n}.png") for n in ("mix", "0", "2"))
    assert np.abs(mixed - disc).mean() < np.abs(mixed - plus).mean()


@pytest.mark.slow
def test_a_photo_is_mixed_edited_and_filmed(photo, tmp_path):
    path, _ = photo
    box = ["--box", "50,20,40,40", *FEW]
    done = shapes(
        "mix", "--source", path, "--style", "seed:3@0", *box, "--min-identity", 0.5,
        "--output", tmp_path / "mix.png",
    )  # fmt: skip
    assert done.stderr.splitlines()[0].startswith(NOTE)
    assert ", identity" not in done.stdout
    shapes("edit", path, *box, "--direction", "pca-0:2", "--output", tmp_path / "edit.png")
    shapes(
        "video", "--source", path, "--source", "seed:1@2", *box, "--seconds", 0.2, "--fps", 10,
        "--output", tmp_path / "video.webp",
    )  # fmt: skip
    with Image.open(tmp_path / "video.webp") as video:
        assert video.n_frames > 2


@pytest.mark.slow
def test_a_style_of_one_class(photo, tmp_path):
    path, _ = photo
    done = shapes(
        "adapt", path, "--method", "look", "--steps", 2, "--class", 1,
        "--output", tmp_path / "look.pkl",
    )  # fmt: skip
    assert done.stderr.splitlines()[0].startswith(NOTE)
    style = load_style(tmp_path / "look.pkl")
    assert style.base == load_model(FILE).fingerprint
    shapes(
        "mix", "--source", "seed:1@1", "--style", tmp_path / "look.pkl",
        "--output", tmp_path / "mix.png",
    )  # fmt: skip


def test_smiles_of_what_has_no_face(tmp_path):
    error = shapes("edit", "seed:1", "--class", 1, "--smile", 2, code=2).stderr.splitlines()[-1]
    assert error.startswith("Error: got smile for a model without a face template; expected one")
    assert "--template" in error
    assert "--direction sefa-N" in error


@pytest.mark.slow
def test_identity_is_switched_off_without_a_face(tmp_path):
    done = run("project", FACE, *NO_FACE, *FEW, "--output", tmp_path)
    assert done.stderr.splitlines()[0].startswith(NOTE)
    assert ", identity" not in done.stdout
    with_face = run("project", FACE, *FEW, "--output", tmp_path)
    assert "already there" not in with_face.stdout  # another template is another projection
    assert ", identity" in with_face.stdout
    assert "Note:" not in with_face.stderr


def test_a_template_is_remembered(tmp_path):
    run("convert", FILE, tmp_path / "a.safetensors", "--template", "faces128")
    assert load_model(tmp_path / "a.safetensors").template == FACES128
    run("align", FACE, "--output", tmp_path, "--size", 64)
    own = tmp_path / "collins.align.json"
    done = run("convert", FILE, tmp_path / "b.safetensors", "--template", own)
    assert "template faces128" in done.output
    assert load_model(tmp_path / "b.safetensors").template == FACES128


def test_a_subject_is_aligned_by_its_box(photo, tmp_path):
    path, _ = photo
    box = ["--box", "50,20,40,40", "--size", "40", "--output", tmp_path / "crop.png"]
    run("align", path, *NO_FACE, *box)
    inside = np.asarray(Image.open(path))[20:60, 50:90]
    assert (pixels(tmp_path / "crop.png") == inside).all()
    error = run("align", FACE, *box, code=2).stderr
    assert error.startswith("Error: got a box for a model of faces (template faces128)")
    error = run("align", path, *NO_FACE, "--box", "1,2,3", code=2).stderr
    assert error.startswith("Error: got --box 1,2,3; expected left, top, width and height in px")
