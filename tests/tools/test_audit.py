"""`stylemix audit`: the table, the files, and styles."""

import json
import shutil

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from stylemix.cli import main
from stylemix.images.tensors import to_pil
from stylemix.inversion.settings import ProjectionSettings
from stylemix.metrics.extractors import Extractor, generated_images
from stylemix.privacy import audit as module
from stylemix.privacy.spaces import Space
from stylemix.styles.style import Style, save_style
from tests.support.images import colors
from tests.support.models import saved, tiny_model


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model, images that it copies, others of it, and a style with its pictures."""
    folder, model = tmp_path_factory.mktemp("audit"), tiny_model()
    saved(model, folder / "m.safetensors")
    for name, first in (("data", 0), ("held-out", 100)):
        (folder / name).mkdir()
        images = generated_images(model.generator, range(first, first + 24))
        for number, image in enumerate(images):
            to_pil(image).save(folder / name / f"{number:02}.png")
    weight = model.generator.synthesis.get_parameter("b8.conv0.weight")
    drawn = Style(model.fingerprint, weights={"b8.conv0.weight": 0.5 * weight}, psi=0.8)
    save_style(folder / "drawn.pkl", drawn)
    person = Style(model.fingerprint, shift=torch.ones(8, 16) * 0.1)
    save_style(folder / "person.pkl", person)
    return folder


@pytest.fixture(autouse=True)
def cheap(monkeypatch, tmp_path):
    spaces = [Space(Extractor("hues", colors, "1"), False), Space(Extractor("who", colors), True)]
    monkeypatch.setattr(module, "feature_spaces", lambda template, device: spaces)
    quick = ProjectionSettings(w_steps=1, plus_steps=0, refine_steps=0)
    monkeypatch.setattr(module, "PRESETS", {"fast": quick})
    monkeypatch.setenv("STYLEMIX_CACHE", str(tmp_path / "cache"))


def call(files, *options, data="data"):
    words = ["audit", str(files / "m.safetensors"), "--data", str(files / data), "--device", "cpu"]
    return CliRunner().invoke(main, [*words, *map(str, options)])


def test_the_table_and_the_file(files, tmp_path):
    output, sheet = tmp_path / "a.json", tmp_path / "pairs.png"
    done = call(files, "--held-out", files / "held-out", "--projected", 0, "--output", output,
                "--sheet", sheet)  # fmt: skip
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].split(maxsplit=1) == [
        "images", "24 generated, 24 learned from, 24 held out",
    ]  # fmt: skip
    rate = next(line for line in lines if line.startswith("copy rate, hues"))
    assert rate.endswith("100.00 % [85.75, 100.00], held-out 4.17 % [0.11, 21.12]")
    assert "Found: C_T in hues is below -3: training images are copied" in lines
    written = json.loads(output.read_text())
    assert written["spaces"]["hues"]["c_t"] < -4
    assert written["membership"].keys() == {"value", "low", "high"}
    assert (written["by"], written["recovery"]) == ("discriminator", None)
    assert len(written["findings"]) == len([line for line in lines if line[:6] == "Found:"])
    assert str(files) not in output.read_text()
    with Image.open(sheet) as image:
        assert image.width > 8 * 128
    assert len(list((tmp_path / "cache" / "features").iterdir())) == 2


def test_json_and_no_held_out_images(files, tmp_path):
    done = call(files, "--json", "--count", 10, "--seed", 500, "--no-cache")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["result"]["generated"] == 10
    assert told["result"]["membership"] is None
    assert "without --held-out neither recovery nor membership" in told["notes"][0]
    assert not (tmp_path / "cache" / "features").exists()


def test_images_that_were_learned_from_are_not_held_out(files, tmp_path):
    """Wherever they lie: the same bytes in another folder say nothing about new images."""
    shutil.copytree(files / "data", tmp_path / "copies")
    done = call(files, "--held-out", tmp_path / "copies")
    assert done.exit_code == 2
    assert "copies, whose images are all among those of --data, by their content" in done.stderr


@pytest.mark.slow
def test_a_style(files):
    """Its images at its own truncation; the discriminator of the base knows nothing of it."""
    options = ["--held-out", files / "held-out", "--projected", 2, "--json"]
    plain, styled = (
        json.loads(call(files, *options, *more).stdout)["result"]
        for more in ([], ["--style", files / "drawn.pkl"])
    )
    assert (plain["by"], styled["by"]) == ("discriminator", "reconstruction")
    assert (plain["truncation"], styled["truncation"]) == (1, 0.8)
    assert plain["spaces"]["hues"]["c_t"] < styled["spaces"]["hues"]["c_t"]
    assert styled["style"] == "drawn"
    assert styled["recovery"]["low"] <= styled["recovery"]["value"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--truncation", "nan"],
            "got --truncation nan; expected -100 to 100, 0 to 1 for good images",
        ),
        (["--style", "person.pkl"], "got the style person.pkl, which shows its person on purpose"),
        (["--style", "comic"], "which redraws photos; expected one that changes the model's"),
        (["--sheet", "a.txt"], "a.txt"),
        (["--sheet", "a.png", "--output", "a.png"], "got a.png for --output and --sheet"),
    ],
)
def test_what_cannot_be(files, options, said, monkeypatch):
    monkeypatch.chdir(files)
    done = call(files, *options)
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
