"""`stylemix project` from the command line."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from stylemix.cli import main
from stylemix.errors import StylemixError
from stylemix.faces.templates import NO_TEMPLATE
from stylemix.inversion import portraits
from stylemix.inversion.encoder import Encoder, save_encoder
from stylemix.inversion.latent import load_latent
from stylemix.inversion.settings import PRESETS
from stylemix.models.checkpoint import load_model
from tests.support.models import saved, tiny_model

PORTRAITS = Path(__file__).parents[1] / "data" / "portraits"
OBAMA, ASTRONAUT = (str(PORTRAITS / f"{name}.jpg") for name in ("obama", "astronaut"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("project") / "base.safetensors"
    saved(tiny_model(), path)
    return str(path)


def project(model, *arguments):
    quick = ["--w-steps", "3", "--steps", "4", "--refine-steps", "2"]
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
    assert report["photo 1"]["mse"] == pytest.approx(latent.metrics["mse"])
    assert latent.consent == "not recorded"
    with Image.open(tmp_path / "obama.recon.png") as image:
        assert image.size == (32, 32)


def test_names_and_consent_where_asked(model, tmp_path):
    options = ["--output", str(tmp_path), "--keep-names", "--consent", "in writing"]
    result = project(model, OBAMA, *options)
    assert result.exit_code == 0, result.output
    assert list(json.loads((tmp_path / "report.json").read_text())) == ["obama"]
    file = str(tmp_path / "obama.latent.safetensors")
    assert load_latent(file).consent == "in writing"
    said = CliRunner().invoke(main, ["inspect", file]).stdout
    assert re.search("biometric data +of a person, consent: in writing\n", said)


def test_an_oblong_model_gets_a_centre_crop(tmp_path):
    model = tiny_model(resolution=16, base=(10, 6), channels=4, template=NO_TEMPLATE)
    result = project(saved(model, tmp_path / "m.pkl"), OBAMA, "--output", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "out" / "obama.recon.png") as image:
        assert (image.size, image.mode) == ((24, 40), "RGBA")
    with Image.open(tmp_path / "out" / "obama.side-by-side.png") as image:
        assert image.width < 3 * 256  # three cells of 154 x 256 px
    latent = load_latent(tmp_path / "out" / "obama.latent.safetensors", model)
    assert latent.metrics["mse"] > 0
    assert latent.consent is None  # no faces, so nobody's


@pytest.mark.slow
def test_the_same_again_and_more_steps(model, tmp_path):
    errors = []
    for name, steps in (("a", "4"), ("b", "4"), ("c", "30")):
        result = project(model, OBAMA, "--output", str(tmp_path / name), "--steps", steps)
        assert result.exit_code == 0, result.output
        errors.append(json.loads((tmp_path / name / "report.json").read_text())["photo 1"]["mse"])
    assert errors[0] == errors[1]
    assert errors[2] < errors[0]


@pytest.mark.slow
def test_the_same_command_projects_missing_photos(model, tmp_path):
    first = project(model, OBAMA, "--output", str(tmp_path))
    path = tmp_path / "obama.latent.safetensors"
    before = path.stat().st_mtime_ns
    both = project(model, OBAMA, ASTRONAUT, "--output", str(tmp_path))
    assert (first.exit_code, both.exit_code) == (0, 0), both.output
    assert "obama.latent.safetensors: already there" in both.output
    assert "astronaut.latent.safetensors (MSE" in both.output
    assert path.stat().st_mtime_ns == before
    assert list(json.loads((tmp_path / "report.json").read_text())) == ["photo 1", "photo 2"]
    for change in (["--seed", "1"], ["--again"], ["--steps", "5"]):
        again = project(model, OBAMA, "--output", str(tmp_path), *change)
        assert "already there" not in again.output, change
    path.write_bytes(path.read_bytes()[:500])  # cut short: made again
    assert "MSE" in project(model, OBAMA, "--output", str(tmp_path)).output


@pytest.mark.slow
def test_marks_reveal_nothing_of_the_photo(model, tmp_path):
    marks = []
    for name in ("a", "b"):
        project(model, OBAMA, "--output", str(tmp_path / name))
        marks.append(load_latent(tmp_path / name / "obama.latent.safetensors").photo)
    assert marks[0] != marks[1]  # salted, although the photo is the same
    assert not set(marks[0].split(":")) & set(marks[1].split(":"))


@pytest.mark.slow
def test_processes_share_the_photos(model, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, name, other in (("0", "obama", "astronaut"), ("1", "astronaut", "obama")):
        monkeypatch.setenv("RANK", rank)
        result = project(model, OBAMA, ASTRONAUT, "--output", str(tmp_path), "--keep-names")
        assert name in result.output
        assert other not in result.output
        assert list(json.loads((tmp_path / f"report-{rank}.json").read_text())) == [name]


def test_presets_methods_and_budgets(model, tmp_path, monkeypatch):
    """Each option changes the settings of the projection."""
    asked = []

    def spy(_model, targets, settings, *rest):
        asked.append(settings)
        raise StylemixError("enough")

    monkeypatch.setattr(portraits, "project", spy)
    for option in (["--preset", "fast"], ["--method", "pti"], ["--budget", "2.5"], []):
        CliRunner().invoke(
            main, ["project", "--model", model, OBAMA, "--output", str(tmp_path), *option]
        )
    fast, pti, budget, usual = asked
    assert fast == PRESETS["fast"]
    assert (pti.method, budget.budget) == ("pti", 2.5)
    assert usual == PRESETS["balanced"]
    project(model, OBAMA, "--output", str(tmp_path))
    assert (asked[-1].w_steps, asked[-1].plus_steps, asked[-1].refine_steps) == (3, 4, 2)


def test_published_methods_have_their_own_steps(model, tmp_path):
    result = project(model, OBAMA, "--method", "w", "--output", str(tmp_path))
    assert result.exit_code == 2
    assert "expected these for hybrid only" in result.output
    command = ["project", "--model", model, OBAMA, "--method", "w", "--preset", "best"]
    result = CliRunner().invoke(main, command)
    assert (result.exit_code, "got --method w with a preset" in result.output) == (2, True)


@pytest.mark.slow
def test_refinement_lowers_the_error(model, tmp_path):
    errors = []
    for steps in ("0", "30"):
        out = tmp_path / steps
        result = project(model, OBAMA, "--output", str(out), "--refine-steps", steps)
        assert result.exit_code == 0, result.output
        latent = load_latent(out / "obama.latent.safetensors")
        assert (latent.detail is None) == (steps == "0")
        errors.append(latent.metrics["mse"])
    assert errors[1] < 0.8 * errors[0]


def test_a_mask_image(model, tmp_path):
    painted = Image.new("L", (64, 64))
    painted.paste(255, (0, 0, 64, 32))  # the crop's upper half stays as it is
    painted.save(tmp_path / "mask.png")
    result = project(model, OBAMA, "--output", str(tmp_path), "--mask", str(tmp_path / "mask.png"))
    assert result.exit_code == 0, result.output
    mask = load_latent(tmp_path / "obama.latent.safetensors").detail.mask
    assert float(mask[0, :7].min()) > 0.99
    assert float(mask[0, 9:].max()) < 0.01


def test_paste_back_changes_only_the_face(model, tmp_path):
    result = project(model, OBAMA, "--output", str(tmp_path), "--paste-back", "--no-marks")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "obama.pasted.png") as pasted, Image.open(OBAMA) as photo:
        assert pasted.size == photo.size
        change = np.abs(np.asarray(pasted, np.int16) - np.asarray(photo.convert("RGB"), np.int16))
    assert change[:20, :20].max() == 0
    rows, columns = np.nonzero(change.max(axis=2) > 40)
    assert len(rows) > 500
    assert np.ptp(columns) < 0.8 * photo.width


def test_an_encoder_of_another_model_is_refused(model, tmp_path):
    base = load_model(model)
    other = tiny_model(seed=5)
    encoder = Encoder(base.discriminator.config, base.generator.num_ws, base.generator.w_dim)
    save_encoder(tmp_path / "own.safetensors", encoder, base.fingerprint)
    save_encoder(tmp_path / "other.safetensors", encoder, other.fingerprint)
    good = project(
        model, OBAMA, "--output", str(tmp_path), "--encoder", f"{tmp_path}/own.safetensors"
    )
    assert good.exit_code == 0, good.output
    bad = project(
        model, OBAMA, "--output", str(tmp_path), "--encoder", f"{tmp_path}/other.safetensors"
    )
    assert bad.exit_code == 2
    assert "got an encoder of the model" in bad.output
    assert bad.output.count("\n") == 1


def test_an_unusable_photo_does_not_stop_the_others(model, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_text("no photo")
    result = project(model, str(bad), OBAMA, "--output", str(tmp_path / "out"))
    assert result.exit_code == 2
    assert "bad.jpg" in result.output
    assert (tmp_path / "out" / "obama.latent.safetensors").is_file()


@pytest.mark.slow
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
