"""`stylemix evaluate-style` from the command line."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from stylemix.avatars import evaluation
from stylemix.cli import main
from stylemix.images.write import save_image
from stylemix.inversion.settings import ProjectionSettings
from stylemix.metrics.style_distance import image_statistics
from stylemix.networks.latents import layer_resolutions
from stylemix.styles.style import Style, save_style
from stylemix.tools import evaluate_style
from tests.support.models import saved, tiny_model, ws_of

PORTRAITS = Path(__file__).parents[1] / "data" / "portraits"
FEW = ProjectionSettings(w_steps=2, plus_steps=3, refine_steps=2)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A tiny model, two styles for it and their images."""
    model = tiny_model()
    saved(model, tmp_path / "base.safetensors")
    monkeypatch.setattr(evaluate_style, "PRESETS", {"fast": FEW, "balanced": FEW, "best": FEW})
    monkeypatch.setattr(evaluate_style, "_settings", lambda method: replace(FEW, seed=len(method)))
    for name, sign in (("red", 1.0), ("blue", -1.0)):
        bias = sign * torch.tensor([2.0, 0.0, -2.0])
        style = Style(model.fingerprint, weights={"b32.torgb.bias": bias})
        plain = model.generator.synthesis(ws_of(model, 4), noise_mode="const")
        images = (plain + bias[:, None, None]).clamp(-1, 1)
        style.statistics = image_statistics(images).mean(dim=0)
        save_style(tmp_path / f"{name}.pkl", style)
        style.statistics = torch.zeros(1408)  # as files of before had, of a discriminator
        save_style(tmp_path / f"{name}-old.pkl", style)
        (tmp_path / name).mkdir()
        for i, image in enumerate(images):
            save_image(tmp_path / name / f"{i}.png", image)
    assert layer_resolutions(32)[-1] == 32
    return tmp_path


def evaluate(files, *arguments):
    command = ["evaluate-style", "--model", f"{files}/base.safetensors", "--output", f"{files}/out"]
    people = [f"--source={PORTRAITS / name}.jpg" for name in ("obama", "astronaut")]
    return CliRunner().invoke(main, [*command, *people, *map(str, arguments)])


@pytest.mark.slow
def test_metrics_table_and_sheets(files):
    styles = ["--style", files / "red.pkl", "--style", files / "blue.pkl"]
    result = evaluate(files, *styles, "--method", "fast", "--method", "balanced", "--rows", 1)
    assert result.exit_code == 0, result.output
    report = json.loads((files / "out" / "report.json").read_text())
    assert (report["photos"], report["styles"]) == (2, ["red", "blue"])
    for method in ("fast", "balanced"):
        metrics = report["methods"][method]
        assert metrics["avatars"]["style accuracy"]["mean"] > 0.1
        assert set(metrics["avatars"]["styles"]) == {"red", "blue"}
        for group, key in (
            ("reconstruction", "ms-ssim"), ("reconstruction", "identity"), ("avatars", "h"),
            ("avatars", "expression kept"), ("edits", "smile"), ("cost", "seconds a photo"),
        ):  # fmt: skip
            value = metrics[group][key]
            assert value["low"] <= value["mean"] <= value["high"], (group, key)
        with Image.open(files / "out" / f"{method}.png") as sheet:
            assert sheet.width > 4 * 192 > 4 * sheet.height / 3  # four columns, one row
        assert len(list((files / "out" / method).glob("*.latent.safetensors"))) == 2
    table = (files / "out" / "table.md").read_text()
    assert table in result.output
    assert table.count("\n") == 4


@pytest.mark.slow
def test_stored_latents_are_reused(files):
    evaluate(files, "--style", files / "red.pkl")
    path = files / "out" / "balanced" / "obama.latent.safetensors"
    before = path.stat().st_mtime_ns
    assert evaluate(files, "--style", files / "blue.pkl").exit_code == 0
    assert path.stat().st_mtime_ns == before


@pytest.mark.slow
def test_the_strength_is_used(files):
    accuracies = []
    for strength in (0, 1):
        evaluate(files, "--style", files / "red.pkl", "--strength", strength, "--overwrite")
        report = json.loads((files / "out" / "report.json").read_text())
        accuracies.append(report["methods"]["balanced"]["avatars"]["style accuracy"]["mean"])
    # Strength 0 is the reconstruction, here of a few steps, which is compared with its photo.
    assert accuracies[1] > accuracies[0] + 0.1


@pytest.mark.slow
def test_styles_without_statistics_need_images(files):
    result = evaluate(files, "--style", files / "red-old.pkl")
    assert result.exit_code == 2
    assert "add --images red-old=PATH" in result.output
    result = evaluate(files, "--style", files / "red-old.pkl", "--images", f"rde={files / 'red'}")
    assert result.exit_code == 2
    assert "got images of 'rde'; expected images of a style that is measured (red-old)" in (
        result.output
    )
    accuracies = []
    for name in ("red", "blue"):
        images = f"red-old={files / name}"
        old = ["--style", files / "red-old.pkl", "--images", images, "--overwrite"]
        result = evaluate(files, *old)
        assert result.exit_code == 0, result.output
        report = json.loads((files / "out" / "report.json").read_text())
        accuracies.append(report["methods"]["balanced"]["avatars"]["style accuracy"]["mean"])
    assert accuracies[0] > accuracies[1] + 0.1


@pytest.mark.slow
def test_photos_without_a_face_are_left_out(files):
    Image.new("RGB", (200, 200)).save(files / "black.png")
    result = evaluate(files, "--source", files / "black.png", "--style", files / "red.pkl")
    assert result.exit_code == 0, result.output
    assert "Left out" in result.output
    assert json.loads((files / "out" / "report.json").read_text())["photos"] == 2


@pytest.mark.slow
def test_measured_images_are_clipped_as_in_files(files, monkeypatch):
    drawn = []
    read = evaluation.read_avatars
    monkeypatch.setattr(
        evaluation, "read_avatars", lambda *args: drawn.append(args[2]) or read(*args)
    )
    result = evaluate(files, "--style", f"{files / 'red.pkl'}:3", "--method", "fast")
    assert result.exit_code == 0, result.output
    (avatars,) = drawn
    assert float(avatars.max()) == 1.0  # 6 and more before clipping
    assert float(avatars.min()) == -1.0


@pytest.mark.slow
def test_people_who_are_measured_one_by_one_have_the_same_metrics(files, monkeypatch):
    styles = ["--style", files / "red.pkl", "--style", files / "blue.pkl", "--overwrite"]
    reports = []
    for people in (8, 1):
        monkeypatch.setattr(evaluation, "PEOPLE", people)
        assert evaluate(files, *styles).exit_code == 0
        measured = json.loads((files / "out" / "report.json").read_text())["methods"]["balanced"]
        metrics = measured["reconstruction"] | measured["avatars"] | measured["edits"]
        styled = metrics.pop("styles")
        means = [group[key]["mean"] for group in (metrics, *styled.values()) for key in group]
        reports.append(means)
    assert len(reports[0]) > 30
    assert reports[1] == pytest.approx(reports[0], rel=1e-3, abs=1e-4)
