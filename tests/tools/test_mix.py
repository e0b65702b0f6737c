"""`stylemix mix` from the command line."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from stylemix.avatars.inputs import StyleArgument
from stylemix.cli import main
from stylemix.errors import StylemixError
from stylemix.faces.templates import NO_TEMPLATE
from stylemix.inversion.latent import Latent, save_latent
from stylemix.styles.style import Style, save_style
from tests.support.models import saved, tiny_model, trained_on

GOLDEN = Path(__file__).parents[1] / "golden"
PORTRAITS = Path(__file__).parents[1] / "data" / "portraits"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mix")
    model = tiny_model()
    saved(model, folder / "base.safetensors")
    saved(trained_on(model), folder / "child.safetensors")
    shift = torch.ones([model.generator.num_ws, model.generator.w_dim])
    save_style(folder / "shift.pkl", Style(model.fingerprint, shift=shift))
    save_style(folder / "strange.pkl", Style("0123456789abcdef", shift=shift))
    ws = model.generator.mapping(torch.randn([1, 16], generator=torch.Generator().manual_seed(3)))
    save_latent(folder / "me.latent.safetensors", Latent(ws[0], model.fingerprint))
    return folder


def run(files, *arguments):
    command = ["mix", "--model", str(files / "base.safetensors"), *map(str, arguments)]
    return CliRunner().invoke(main, command)


def pixels(path):
    return np.asarray(Image.open(path)).astype(int)


def mixed(files, name, *arguments):
    output = files / f"{name}.png"
    result = run(files, "--output", output, *arguments)
    assert result.exit_code == 0, result.output
    return pixels(output)


@pytest.fixture(scope="module")
def plain(files):
    return mixed(files, "plain", "--source", "seed:1", "--style", "seed:2:0")


def test_an_oblong_image_keeps_its_aspect_ratio(tmp_path):
    few = ["--w-steps", 2, "--steps", 1, "--refine-steps", 0]
    model = tiny_model(resolution=16, base=(10, 6), channels=4, template=NO_TEMPLATE)
    saved(model, tmp_path / "base.safetensors")
    start = ["--source", "seed:1", "--style", "seed:2"]
    assert mixed(tmp_path, "own", *start).shape == (256, 154, 4)
    assert mixed(tmp_path, "small", *start, "--output-size", 80).shape == (80, 48, 4)
    assert (
        mixed(tmp_path, "sheet", *start, "--grid", "--output-size", 100).shape[1] < 200
    )  # 2 x 60 px
    given = ["--source", PORTRAITS / "obama.jpg", "--style", "seed:2", *few]
    photo = mixed(tmp_path, "photo", *given)
    assert photo.shape == (256, 154, 4)


def test_written_weights(tmp_path):
    assert StyleArgument.parse("a.pkl:0.5") == StyleArgument("a.pkl", 0.5)
    assert StyleArgument.parse("seed:7") == StyleArgument("seed:7")
    assert StyleArgument.parse("seed:7:.3") == StyleArgument("seed:7", 0.3)
    assert StyleArgument.parse("C:\\look.pkl") == StyleArgument("C:\\look.pkl")
    (tmp_path / "own.pkl").write_text("")
    for name in ("comic", str(tmp_path / "own.pkl")):
        for wrong in ("", "strong", "0.5.1", "50%"):
            with pytest.raises(StylemixError, match=r"got the weight .*; expected a number"):
                StyleArgument.parse(f"{name}:{wrong}")


def test_zero_strength_is_the_source(files, plain):
    assert plain.shape == (256, 256, 3)
    for style in ("shift.pkl", "child.safetensors", "me.latent.safetensors"):
        got = mixed(files, "zero", "--source", "seed:1", "--style", f"{files / style}:0")
        assert np.abs(got - plain).max() <= 1


@pytest.mark.parametrize("style", ["shift.pkl", "child.safetensors", "me.latent.safetensors"])
def test_every_kind_of_file_changes_the_image(files, plain, style):
    full = mixed(files, "full", "--source", "seed:1", "--style", files / style)
    half = mixed(files, "half", "--source", "seed:1", "--style", files / style, "--strength", 0.5)
    change, less = np.abs(full - plain).mean(), np.abs(half - plain).mean()
    assert change > 2
    assert 0.1 * change < less < 0.95 * change


def test_all_layers_of_another_seed_give_its_image(files):
    other = mixed(files, "other", "--source", "seed:2", "--style", "seed:2:0")
    got = mixed(files, "all", "--source", "seed:1", "--style", "seed:2", "--layers", "all")
    assert np.abs(got - other).max() <= 1


def test_layers_by_pixels_and_by_name(files, plain):
    same = [
        mixed(files, "l", "--source", "seed:1", "--style", "seed:2", "--layers", text)
        for text in ("coarse", "4-8px", "0-2")
    ]
    assert (same[0] == same[1]).all()
    assert (same[0] == same[2]).all()
    assert np.abs(same[0] - plain).mean() > 1


@pytest.mark.slow
@pytest.mark.parametrize("asked", [["--layers", "fine"], ["--strength", "coarse=.5"], []])
def test_layers_that_do_not_matter_are_named(tmp_path, asked):
    arguments = ["mix", PORTRAITS / "obama.jpg", "toon", "--output", tmp_path / "o.png", *asked]
    result = CliRunner().invoke(main, [str(word) for word in arguments])
    assert result.exit_code == 0, result.output
    note = "Note: layers do not matter to toon, which students draw"
    assert (note in result.stderr) == bool(asked)


def test_styles_add_in_any_order(files):
    one = ["--style", f"{files / 'shift.pkl'}:0.3"]
    two = ["--style", f"{files / 'child.safetensors'}:0.6"]
    first = mixed(files, "ab", "--source", "seed:1", *one, *two)
    second = mixed(files, "ba", "--source", "seed:1", *two, *one)
    assert np.abs(first - second).max() <= 1


def test_grid_folder_size_and_marks(files):
    sources = ["--source", "seed:1", "--source", files / "me.latent.safetensors"]
    style = ["--style", files / "shift.pkl"]
    sheet = mixed(
        files, "grid", *sources, *style, "--style", "seed:5", "--grid", "--output-size", "64"
    )
    assert sheet.shape[1] > 3 * 64
    assert sheet.shape[0] > 2 * 64
    result = run(files, *sources, *style, "--output", files / "people", "--output-size", 48)
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in (files / "people").iterdir()) == ["me.png", "seed1.png"]
    with Image.open(files / "people" / "me.png") as image:
        assert image.size == (48, 48)
        assert any("compositeWithTrainedAlgorithmicMedia" in v for v in image.text.values())


def test_photo_of_two_needs_a_choice(files):
    photo = PORTRAITS / "two_people.jpg"
    result = run(files, "--source", photo, "--style", files / "shift.pkl")
    assert result.exit_code == 2
    assert "--face" in result.output
    assert result.output.count("\n") == 1


@pytest.mark.parametrize("model", ["uncond_32_skip_resnet.pkl", "rosinality_32.pt"])
def test_foreign_models_load_directly(tmp_path, model):
    output = tmp_path / "out.png"
    command = ["mix", "--model", str(GOLDEN / model), "--source", "seed:1", "--style", "seed:2"]
    result = CliRunner().invoke(main, [*command, "--output", str(output)])
    assert result.exit_code == 0, result.output
    assert pixels(output).std() > 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source", "seed:1", "--style", "{strange}"], "0123456789abcdef"),
        (["--source", "nobody.jpg", "--style", "seed:2"], "nobody.jpg"),
        (["--source", "seed:1", "--style", "nothing.pkl"], "nothing.pkl"),
        (["--source", "seed:x", "--style", "seed:2"], "seed:x"),
        (["--source", "seed:1", "--style", "seed:2", "--layers", "fnie"], "--layers"),
        (["--source", "seed:1", "--style", "seed:2", "--output", "out.txt"], ".png"),
        (["--source", "{text}", "--style", "seed:2"], "text"),
        (["--source", "{flat}", "--style", "seed:2"], "no face"),
        (["--source", "{text}", "--style", "{strange}"], "0123456789abcdef"),
    ],
)
def test_bad_input_is_one_line(files, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    Path("me.jpg").write_text("I am no photo")
    Image.new("RGB", (200, 200), "gray").save("flat.png")
    names = {"strange": files / "strange.pkl", "text": "me.jpg", "flat": "flat.png"}
    result = run(files, *[text.format(**names) for text in arguments])
    assert result.exit_code == 2
    assert message in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert not Path("out.png").exists()


@pytest.mark.slow
def test_a_kept_latent_needs_no_scipy():
    """Its import takes a quarter of a second."""
    code = "import sys, stylemix.tools.mix; print({'scipy', 'optuna', 'onnx'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "set()\n", result.stderr
