"""`stylemix adapt` from the command line."""

import pickle
import re
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image, ImageOps

from stylemix.avatars.render import AppliedStyle, render
from stylemix.cli import main
from stylemix.faces.templates import NO_TEMPLATE
from stylemix.images.sources import list_images
from stylemix.inversion.settings import ProjectionSettings
from stylemix.metrics.style_distance import image_statistics
from stylemix.models.checkpoint import load_model
from stylemix.styles.style import Style, load_style, save_style
from stylemix.training.adapt import draw_kit, jojogan, method, personal
from stylemix.training.adapt.method import read_images
from tests.support.models import saved, tiny_model, ws_of

PORTRAITS = Path(__file__).parents[1] / "data" / "portraits"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapt")
    saved(tiny_model(), folder / "base.safetensors")
    draw = np.random.default_rng(0)
    with zipfile.ZipFile(folder / "grey.zip", "w") as archive:
        for i in range(30):
            grey = draw.integers(0, 255, (32, 32, 1), dtype=np.uint8).repeat(3, axis=2)
            data = BytesIO()
            Image.fromarray(grey).save(data, "PNG")
            archive.writestr(f"{i}.png", data.getvalue())
    return folder


def adapt(files, *arguments):
    command = ["adapt", "--model", str(files / "base.safetensors"), str(files / "grey.zip")]
    return CliRunner().invoke(main, [*command, *map(str, arguments)])


@pytest.mark.slow
def test_a_look(files, few_faces):
    output = files / "look.pkl"
    about = ["--name", "grey", "--license", "CC0", "--credit", "nobody", "--consent", "no persons"]
    options = ["--method", "look", "--no-align", "--steps", 3, "--strength", 0.7]
    result = adapt(files, "--output", output, *options, *about)
    assert result.exit_code == 0, result.output
    style = load_style(output, tiny_model_in(files))
    assert style.strength == 0.7
    assert style.info["method"] == "look"
    assert style.info["pictures"] == 30
    assert [style.info[k] for k in ("name", "licence", "credit", "consent")] == [
        "grey", "CC0", "nobody", "no persons",
    ]  # fmt: skip
    assert set(style.info["scores"]) == {"style accuracy", "identity distance"}
    with output.open("rb") as file:  # a stock pickle of plain containers and arrays
        data = pickle.load(file)
    assert data["format"] == "stylemix-style"
    assert all(type(value) is np.ndarray for value in data["tensors"].values())


def tiny_model_in(files):
    return load_model(files / "base.safetensors")


@pytest.mark.slow
def test_a_transfer_leaves_no_state(files, few_faces):
    output = files / "drawn.stylemix"
    result = adapt(files, "--output", output, "--method", "transfer", "--kimg", 0.064)
    assert result.exit_code == 0, result.output
    style = load_style(output, tiny_model_in(files))
    assert any(value.abs().max() > 0 for value in style.weights.values())
    assert not style.offsets
    assert not (files / "drawn.stylemix.state").exists()


@pytest.mark.slow
def test_jojogan_and_its_steps(files, few_faces, monkeypatch):
    quick = ProjectionSettings(w_steps=1, plus_steps=2, refine_steps=0)
    monkeypatch.setattr(jojogan, "LATENTS", quick)
    styles = []
    for steps in (1, 3):
        output = files / f"jojo-{steps}.pkl"
        options = ["--method", "jojogan", "--no-align", "--steps", steps]
        result = adapt(files, "--output", output, *options)
        assert result.exit_code == 0, result.output
        styles.append(load_style(output, tiny_model_in(files)))
    assert styles[0].info["method"] == "jojogan"
    assert [style.info["steps"] for style in styles] == [1, 3]
    size = [sum(float(v.square().sum()) for v in style.weights.values()) for style in styles]
    assert 0 < size[0] < size[1]
    refused = adapt(files, "--output", files / "x.pkl", "--method", "jojogan", "--kimg", 1)
    assert refused.exit_code == 2
    assert "--kimg for the method jojogan" in refused.output


@pytest.mark.slow
def test_a_style_stores_the_statistics_of_its_images(files, few_faces):
    output = files / "statistics.pkl"
    look = ["--method", "look", "--no-align", "--steps", 1]
    assert adapt(files, "--output", output, *look).exit_code == 0
    model = tiny_model_in(files)
    dataset = read_images(list_images(files / "grey.zip"), model, False, 256)
    images = dataset.batch(list(range(30)))[0].float() / 127.5 - 1
    assert images.shape[2:] == (256, 256)
    expected = image_statistics(images).mean(dim=0)
    assert torch.allclose(load_style(output, model).statistics, expected, atol=2e-3)


LOOK = ["--method", "look", "--no-align", "--steps", 2]


def nonzero_values(style):
    """The number of nonzero values of each part of a style."""
    kinds = {"offsets": style.offsets, "weights": style.weights}
    return {k: sum(int(v.count_nonzero()) for v in parts.values()) for k, parts in kinds.items()}


@pytest.mark.slow
def test_learn_selects_the_trained_parameters(files, few_faces):
    counts = {}
    for part in ("offsets", "affine", "all"):
        output = files / f"part-{part}.pkl"
        result = adapt(files, "--output", output, *LOOK, "--learn", part)
        assert result.exit_code == 0, result.output
        style = load_style(output, tiny_model_in(files))
        assert style.info["learned"] == part
        counts[part] = nonzero_values(style)["weights"]
    assert counts["offsets"] < counts["affine"] < counts["all"]


@pytest.mark.slow
def test_sparse_keeps_a_share_of_the_offsets(files, few_faces):
    counts, sizes = [], []
    for sparse in (1, 0.25):
        output = files / f"sparse-{sparse}.pkl"
        assert adapt(files, "--output", output, *LOOK, "--sparse", sparse).exit_code == 0
        counts.append(nonzero_values(load_style(output, tiny_model_in(files)))["offsets"])
        sizes.append(output.stat().st_size)
    assert counts[1] == pytest.approx(counts[0] / 4, abs=3)
    # A value takes 2 bytes, and its position 2 more.
    assert sizes[1] < sizes[0] - (2 * counts[0] - 4 * counts[1])


@pytest.mark.slow
def test_layers_are_recommended(files, few_faces):
    output = files / "layers.pkl"
    assert adapt(files, "--output", output, *LOOK, "--layers", "16-32px").exit_code == 0
    assert load_style(output, tiny_model_in(files)).layers == "16-32px"


@pytest.mark.slow
def test_training_starts_from_a_style(files, few_faces):
    model = tiny_model_in(files)
    bright = {"b32.torgb.bias": torch.full([3], 0.75)}
    info = {"name": "bright", "licence": "CC0", "credit": "a painter"}
    save_style(files / "bright.pkl", Style(model.fingerprint, weights=bright, info=info))
    means = {}
    for start in ("none", str(files / "bright.pkl")):
        output = files / "started.pkl"
        result = adapt(files, "--output", output, *LOOK, "--start", start, "--overwrite")
        assert result.exit_code == 0, result.output
        style = load_style(output, model)
        with torch.no_grad():
            means[start] = float(
                render(model.generator, ws_of(model, 4), [AppliedStyle(style)]).mean()
            )
    assert style.info["start"] == info
    assert style.base == model.fingerprint
    assert means[str(files / "bright.pkl")] - means["none"] == pytest.approx(0.75, abs=0.2)


@pytest.mark.slow
def test_auto_prints_its_choice(files, few_faces, monkeypatch):
    monkeypatch.setattr(method, "distance_from_photos", lambda *_: 0.123)
    result = adapt(files, "--output", files / "auto.pkl", "--no-align", "--steps", 1)
    assert result.exit_code == 0, result.output
    assert "like photos (0.12): look of offsets; of drawings say --method dra" in result.output
    assert load_style(files / "auto.pkl").info["method"] == "look"
    monkeypatch.setattr(method, "distance_from_photos", lambda *_: 0.5)
    drawn = ["--no-align", "--steps", 1, "--overwrite"]
    result = adapt(files, "--output", files / "auto.pkl", *drawn)
    assert result.exit_code == 0, result.output
    assert "30 images, unlike photos (0.50): drawing" in result.output
    assert load_style(files / "auto.pkl").info["method"] == "drawing"


@pytest.mark.slow
def test_drawings_are_drawn_like_on_any_model_of_faces(files, few_faces, monkeypatch):
    output = files / "drawn.pkl"
    result = adapt(files, "--output", output, "--steps", 1, "--overwrite")
    assert result.exit_code == 0, result.output
    style = load_style(output)
    assert (style.info["method"], style.info["steps"]) == ("drawing", 1)
    assert style.is_student
    assert set(style.info["scores"]) == {"style accuracy", "identity distance"}
    assert not output.with_name("drawn.pkl.state").exists()
    with Image.open(files / "drawn.preview.jpg") as sheet:
        assert sheet.width > 4 * 192
    words = ["mix", PORTRAITS / "obama.jpg", output, "--preset", "fast", "--output"]
    words.append(files / "mixed.png")
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    assert "mixed.png (drawn, " in done.output


@pytest.mark.slow
def test_a_person(files, few_faces, monkeypatch):
    quick = ProjectionSettings(w_steps=1, plus_steps=2, refine_steps=0)
    monkeypatch.setattr(personal, "LATENTS", quick)
    output = files / "person.pkl"
    options = ["--method", "personal", "--no-align", "--consent", "in writing", "--steps", 2]
    result = adapt(files, "--output", output, *options)
    assert result.exit_code == 0, result.output
    style = load_style(output, tiny_model_in(files))
    assert (style.psi, style.info["steps"]) == (0.0, 2)
    assert style.info["consent"] == "in writing"
    assert style.info["biometric"] is True
    said = CliRunner().invoke(main, ["inspect", str(output)]).stdout
    assert re.search("biometric data +of a person\n", said)
    assert re.search("consent +in writing\n", said)
    assert style.shift is not None


def test_a_person_is_one(files, tmp_path):
    model = saved(tiny_model(resolution=64), tmp_path / "m.pkl")
    photos = [str(PORTRAITS / name) for name in ("obama.jpg", "astronaut.jpg")]
    words = ["adapt", *photos, "--model", model, "--output", str(tmp_path / "person.pkl")]
    words += ["--method", "personal", "--consent", "in writing"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2
    assert "got photos of 2 people, of another one" in done.stderr
    assert done.stderr.rstrip().split(", of another one ")[1].startswith(photos[1])
    assert not (tmp_path / "person.pkl").exists()


@pytest.mark.slow
def test_a_look_for_an_oblong_model(files, tmp_path, few_faces):
    model = tiny_model(resolution=32, base=(3, 5), template=NO_TEMPLATE)
    base = ["--model", saved(model, tmp_path / "base.pkl")]
    look = ["--output", tmp_path / "look.pkl", "--method", "look", "--steps", 2]
    result = adapt(files, *base, *look)
    assert result.exit_code == 0, result.output
    assert load_style(tmp_path / "look.pkl", model).offsets


@pytest.mark.slow
def test_a_drawn_style_for_a_grey_model(files, tmp_path, few_faces):
    model = tiny_model(resolution=16, base=(4, 6), channels=1, template=NO_TEMPLATE)
    base = ["--model", saved(model, tmp_path / "base.pkl")]
    transfer = ["--output", tmp_path / "drawn.pkl", "--method", "transfer", "--kimg", 0.064]
    result = adapt(files, *base, *transfer)
    assert result.exit_code == 0, result.output
    style = load_style(tmp_path / "drawn.pkl", model)
    assert style.weights["b16.torgb.weight"].shape == (1, 8, 1, 1)
    result = adapt(files, *base, "--output", tmp_path / "look.pkl", "--method", "look")
    assert result.exit_code == 2
    assert "got a model of 1 channels; expected one of colour" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "look.txt"], "look.txt"),
        (["--output", "look.pkl", "--method", "look", "--kimg", "1"], "--kimg for the method look"),
        (
            ["--output", "look.pkl", "--method", "transfer", "--steps", "1"],
            "--steps for the method",
        ),
        (["--output", "look.pkl", "--method", "transfer", "--sparse", ".5"], "--sparse for the"),
        (["--output", "look.pkl", "--method", "jojogan", "--learn", "all"], "--learn for the"),
        (["--output", "look.pkl", "--method", "personal", "--start", "x"], "--start for the"),
        (["--output", "look.pkl", "--method", "personal"], "got no --consent"),
        (["--output", "look.pkl", "--method", "drawing", "--start", "x"], "--start for the"),
        (["--output", "look.pkl", "--method", "look", "--several-people"], "for the method look"),
        (["--output", "look.pkl", "--layers", "hair"], "got layers 'hair'"),
        (["--output", "look.pkl", "--method", "look", "--start", "nobody"], "got the style nobody"),
        (["--output", "look.pkl", "--align"], "face"),
    ],
)
def test_bad_input_is_one_line(files, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = adapt(files, *arguments)
    assert result.exit_code == 2
    assert message in result.output.splitlines()[-1]
    assert not (tmp_path / "look.pkl").exists()


@pytest.mark.slow
def test_a_kit_is_drawn_and_learned(files, tmp_path, few_faces):
    kit = tmp_path / "kit"
    base = ["--model", files / "base.safetensors"]
    done = CliRunner().invoke(
        main, ["adapt", *map(str, base), "--draw-kit", "6", "--output", str(kit)]
    )
    assert done.exit_code == 0, done.output
    assert "kit (6 faces to draw on)" in done.output
    for path in kit.glob("face-00[1-5].png"):  # the sixth is not drawn yet
        with Image.open(path) as face:
            drawing = ImageOps.invert(face.convert("RGB"))
        drawing.save(path)
    learn = [kit, "--output", tmp_path / "s.pkl", "--steps", 3]
    result = CliRunner().invoke(main, ["adapt", *map(str, [*base, *learn])])
    assert result.exit_code == 0, result.output
    style = load_style(tmp_path / "s.pkl")
    assert (style.info["method"], style.info["pictures"]) == ("pairs", 5)
    assert style.info["learned"] == "affine"
    assert "pairs, 5 images" in result.output


@pytest.mark.slow
def test_photos_and_their_drawings(files, tmp_path, few_faces, monkeypatch):
    quick = ProjectionSettings(w_steps=1, plus_steps=1, refine_steps=0)
    monkeypatch.setattr(draw_kit, "LATENTS", quick)
    photos, drawings = tmp_path / "photos", tmp_path / "drawings"
    photos.mkdir()
    drawings.mkdir()
    with Image.open(PORTRAITS / "obama.jpg") as photo:
        for k in range(4):
            photo.save(photos / f"{k}.png")
            ImageOps.invert(photo.convert("RGB")).resize((192, 240)).save(drawings / f"{k}.jpg")
    arguments = ["--pairs", photos, drawings, "--steps", 2, "--output", tmp_path / "s.pkl"]
    command = ["adapt", *map(str, arguments)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert load_style(tmp_path / "s.pkl").info["pictures"] == 4
    Image.new("RGB", (240, 240)).save(drawings / "1.jpg")
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    assert "expected the same aspect ratio" in result.stderr
