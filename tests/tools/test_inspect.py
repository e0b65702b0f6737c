"""`stylemix inspect`: what files are, and the shipped models and styles."""

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import save_file

from stylemix import cli
from stylemix.errors import StylemixError
from stylemix.faces.templates import NO_TEMPLATE
from stylemix.images.video import save_video
from stylemix.images.write import save_image
from stylemix.inversion import forecast
from stylemix.inversion.encoder import Encoder, save_encoder
from stylemix.inversion.latent import Latent, save_latent
from stylemix.models.checkpoint import shipped_models
from stylemix.tools import inspect
from stylemix.tools.inspect import describe
from tests.support.models import saved, tiny_model

ROOT = Path(__file__).resolve().parents[2]
OBAMA = ROOT / "tests" / "data" / "portraits" / "obama.jpg"
GOLDEN = ROOT / "tests" / "golden"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _run(*arguments):
    result = CliRunner().invoke(cli.main, ["inspect", *arguments], prog_name="stylemix")
    return result.exit_code, result.output


def test_lists_shipped_models_with_their_resolution():
    lines = dict(inspect.shipped())
    for name in shipped_models():
        assert " px, generator" in lines[f"model {name}"]
    assert "faces-64" in shipped_models()
    assert lines["model faces-64"].startswith("64 px, generator and discriminator, ")


def test_lists_shipped_styles_and_directions():
    lines = dict(inspect.shipped())
    base = lines["model faces-64"].split()[-1]
    assert lines["style comic"].endswith("for every model of faces")
    assert lines["style noir"].endswith(f"for the base {base}")
    directions = {label: text for label, text in lines.items() if label.startswith("direction ")}
    readings = ("light", "mouth", "pitch", "smile", "yaw")
    names = [name for reading in readings for name in (reading, f"{reading}-channels")]
    assert sorted(directions) == [f"direction {name}" for name in names]
    assert all(text.endswith(f"for the base {base}") for text in directions.values())


def test_prints_the_size_and_colors_of_a_model(tmp_path):
    model = tiny_model(resolution=16, base=(3, 5), channels=4, template=NO_TEMPLATE)
    saved(model, tmp_path / "m.safetensors")
    line = inspect._model_line(tmp_path / "m.safetensors")
    assert line.startswith("20x12 px (width x height), RGBA, generator and discriminator, ")


def test_what_a_model_takes_here(tmp_path):
    saved(tiny_model(resolution=16, classes=3), tmp_path / "m.safetensors")
    table = dict(describe(str(tmp_path / "m.safetensors"), "cpu"))
    assert table["model"].startswith("16 px, RGB, generator and discriminator, 0.")
    assert table["classes"] == "3"
    assert table["project balanced"].startswith("about ")
    assert table["project balanced"].endswith(" GiB a photo")


def test_what_a_look_takes_of_a_small_model(tmp_path, monkeypatch):
    """The networks that compare the images take most of it."""
    monkeypatch.setattr(forecast, "speed", lambda device: 1e15)
    for channels in (3, 1):
        saved(tiny_model(resolution=16, channels=channels), tmp_path / f"{channels}.pkl")
    assert dict(describe(str(tmp_path / "3.pkl"), "cpu"))["adapt"].startswith("about 20 s, ")
    assert "adapt" not in dict(describe(str(tmp_path / "1.pkl"), "cpu"))


def test_a_pickle_of_another_program():
    table = dict(describe(str(GOLDEN / "uncond_32_skip_resnet.pkl"), "cpu"))
    assert table["model"].startswith("32 px, RGB, ")
    assert table["origin"].startswith("nvidia, ")


def test_a_style_by_name():
    table = dict(describe("noir"))
    assert table["style"].startswith("noir, for the base ")
    assert table["made by"].startswith("look from ")
    assert "offsets" in table["parts"]


def test_a_style_says_what_it_was_learned_from():
    assert dict(describe("comic"))["made by"] == "student from 1500 pairs"
    drawn = {"method": "student", "student": {"pairs": 24}}
    assert inspect._making(drawn) == "student from 24 pairs"
    assert inspect._making({"method": "look", "pictures": 3, "student": {"pairs": 9}}) == (
        "look from 3 images"
    )
    assert inspect._making({}) == "?"


def test_a_latent_an_encoder_and_a_latent_of_another_projector(here):
    model = tiny_model(resolution=16)
    w = torch.zeros(model.generator.num_ws, model.generator.w_dim)
    save_latent("me.latent.safetensors", Latent(w, model.fingerprint, metrics={"mse": 0.25}))
    table = dict(describe("me.latent.safetensors"))
    layers, width = w.shape
    assert table["latent"].startswith(f"w of {layers} x {width}, without refinement, ")
    assert (table["model"], table["metrics"]) == (model.fingerprint, "mse 0.25")
    np.savez("theirs.npz", w=w[None].numpy())
    assert dict(describe("theirs.npz"))["model"] == "not recorded"
    assert model.discriminator is not None
    encoder = Encoder(model.discriminator.config, model.generator.num_ws, model.generator.w_dim)
    save_encoder("e.safetensors", encoder, model.fingerprint)
    assert describe("e.safetensors")[0][1].endswith(f"for the model {model.fingerprint}")


def test_a_training_state_and_its_run(here):
    counters, config = json.dumps({"cur_nimg": 2500}), json.dumps({"kimg": 10})
    metadata = {"format": "stylemix-train-state", "counters": counters, "config": config}
    Path("run").mkdir()
    save_file({"x": torch.zeros(1)}, "run/state-000000002500.safetensors", metadata)
    assert describe("run/state-000000002500.safetensors")[0][1].startswith("2.5 of 10 kimg, ")
    Path("run/snapshot-000002.safetensors").touch()
    kind, text = describe("run")[0]
    assert (kind, text) == ("training run", "1 snapshots, 1 states")
    save_file({"x": torch.zeros(1)}, "broken.safetensors", {"format": "stylemix-train-state"})
    with pytest.raises(StylemixError, match="got a damaged training state"):
        describe("broken.safetensors")


def test_an_image_its_faces_and_marks(here):
    shutil.copy(OBAMA, "me.jpg")
    table = dict(describe("me.jpg", "cpu"))
    assert table["image"].startswith("384 x 480 px, jpg, ")
    assert table["face 1"].endswith("score 1.00")
    assert table["marks"] == "none of generated images"
    image = Image.new("RGB", (64, 64))
    for name in ("a.png", "a.jpg", "a.webp"):
        save_image(name, image, generated="composite")
        table = dict(describe(name, "cpu"))
        assert table["faces"] == "none found"
        assert table["marks"].startswith("compositeWithTrainedAlgorithmicMedia, stylemix ")


def test_a_dataset(here):
    Path("data").mkdir()
    for number in range(3):
        Image.new("RGB", (32, 24 if number else 32)).save(f"data/{number}.png")
    Path("data/broken.png").write_text("no image")
    table = dict(describe("data"))
    assert table["dataset"] == "4 images"
    assert table["sizes"] == "32x24, 32x32, unreadable (px, of 4 images)"
    assert (table["labels"], table["template"]) == ("none", "none")
    Path("data/dataset.json").write_text("{}")
    shutil.make_archive("data", "zip", "data")
    assert dict(describe("data.zip"))["labels"] == "yes"


def test_several_files_are_one_json_object(here):
    code, output = _run("faces-64", "comic", "--device", "cpu", "--json")
    assert code == 0
    files = json.loads(output)["result"]["files"]
    assert {name: about["kind"] for name, about in files.items()} == {
        "faces-64": "model", "comic": "style",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nosuch", "got nosuch; expected a file, a folder, or the name of a shipped model or"),
        ("commic", "did you mean comic?"),
        ("notes.tx", "did you mean notes.txt?"),
        ("notes.txt", "got a text file"),
        ("other.safetensors", "got weights of the format 'theirs'; expected a model"),
    ],
)
def test_what_is_unknown_is_one_sentence(here, name, message):
    Path("notes.txt").write_text("some words\n")
    save_file({"x": torch.zeros(1)}, "other.safetensors", {"format": "theirs"})
    code, output = _run(name)
    assert code == 2
    assert message in output
    assert output.count("\n") == 1


def test_a_video_and_its_marks(here):
    pytest.importorskip("av", reason="MP4 needs the extra video")
    frames = [Image.effect_noise((320, 256), 40).convert("RGB") for _ in range(3)]
    save_video("a.mp4", frames, [1, 1, 1], 10)
    code, output = _run("a.mp4", "--json")
    assert code == 0, output
    about = json.loads(output)["result"]["files"]["a.mp4"]
    assert about["kind"] == "video"
    assert about["video"].startswith("320 x 256 px, ")
    assert about["marks"].startswith("compositeWithTrainedAlgorithmicMedia, stylemix ")
    assert about["watermark"].startswith("found, score ")
    assert "credentials" in about
    Path("b.mp4").write_bytes(b"no video")
    code, output = _run("b.mp4")
    assert (code, output.count("\n")) == (2, 1)
    assert "got a damaged video; expected an MP4 file" in output


@pytest.mark.parametrize("data", [None, b"", b"hello", bytes(2000)])
def test_what_is_no_shard_is_refused(here, data):
    if data is not None:
        (here / "a.tar").write_bytes(data)
    code, output = _run("a.tar")
    assert code == 2
    assert output.startswith("Error: a.tar: got no shard (")


def test_what_has_an_address_is_fetched(here, monkeypatch):
    (here / "them.jpg").write_bytes(OBAMA.read_bytes())
    fetched = []

    def fetch(name):
        fetched.append(name)
        return here / "them.jpg"

    monkeypatch.setattr(inspect, "fetch", fetch)
    assert describe("https://example.org/them.jpg")[0][1].startswith("384 x 480 px, jpg")
    assert fetched == ["https://example.org/them.jpg"]


def test_shards_are_counted(here):
    for name in ("0", "1"):
        with tarfile.open(here / f"{name}.tar", "w") as archive:
            archive.add(OBAMA, "a.jpg")
    assert _run("{0..1}.tar") == (0, "dataset  2 shards\n")
