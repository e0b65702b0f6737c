"""`stylemix metrics` from the command line: each option and its effect."""

import json
import sys
from types import ModuleType

import pytest
import torch
from click.testing import CliRunner

from stylemix.cli import main
from stylemix.faces.templates import NO_TEMPLATE
from stylemix.metrics.extractors import Extractor
from tests.support.images import colors, write_pictures
from tests.support.models import saved, tiny_model


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model and images of the same size."""
    folder = tmp_path_factory.mktemp("metrics")
    saved(tiny_model(), folder / "m.safetensors")
    write_pictures(folder / "reals")
    return folder


@pytest.fixture(autouse=True)
def features(monkeypatch, tmp_path):
    """A cheap feature extractor that records its batch sizes."""
    module = ModuleType("cheap_features")
    module.batches = []

    def hues(images):
        module.batches.append(len(images))
        return colors(images)

    module.hues = hues
    monkeypatch.setitem(sys.modules, "cheap_features", module)
    monkeypatch.setenv("STYLEMIX_CACHE", str(tmp_path / "cache"))
    return module


def call(files, *options, features="cheap_features:hues"):
    arguments = ["metrics", str(files / "m.safetensors"), "--data", str(files / "reals")]
    arguments += ["--features", features, "--device", "cpu", "--overwrite", *map(str, options)]
    return CliRunner().invoke(main, arguments)


def report(files, tmp_path, *options, **given):
    """The report that a call writes to --output."""
    path = tmp_path / "scores.json"
    result = call(files, "--output", path, *options, **given)
    assert result.exit_code == 0, result.output
    return json.loads(path.read_text())


def test_the_table_and_the_file_agree(files, tmp_path):
    path = tmp_path / "scores.json"
    result = call(files, "--metrics", "fd, kid,pr,dc", "--output", path)
    assert result.exit_code == 0, result.output
    written = json.loads(path.read_text())
    names = ["FD", "KID", "KID-std", "precision", "recall", "density", "coverage"]
    assert list(written["scores"]) == [f"{name}-hues" for name in names]
    for name, value in written["scores"].items():
        line = next(line for line in result.stdout.splitlines() if line.startswith(f"{name} "))
        assert float(line.split()[-1]) == pytest.approx(value, abs=0.005)
    assert set(written["seconds"]) == {
        "features of real images", "features of generated images", "fd", "kid", "pr", "dc",
    }  # fmt: skip
    assert "12 generated against 12 real images, 32 px" in result.output
    assert written["model"] == tiny_model().fingerprint
    assert (written["generated"], written["real"], written["features"]) == (12, 12, "hues")
    assert len(written["data"]) >= 16


def test_count_seed_and_truncation_change_the_generated_pictures(files, tmp_path):
    usual = report(files, tmp_path)
    assert usual["scores"] == report(files, tmp_path, "--count", 12, "--seed", 0)["scores"]
    assert (usual["seed"], usual["truncation"]) == (0, 1)
    for option, value, key in (
        ("--count", 7, "generated"),
        ("--seed", 5, "seed"),
        ("--truncation", 0.3, "truncation"),
    ):
        other = report(files, tmp_path, option, value)
        assert other[key] == value
        assert other["scores"] != usual["scores"]


def test_batch_is_the_number_of_images_processed_at_once(files, features):
    assert call(files).exit_code == 0
    assert features.batches == [12, 12]
    features.batches.clear()
    assert call(files, "--batch", 5).exit_code == 0
    assert features.batches == [5, 5, 2, 5, 5, 2]


def test_features_of_real_images_are_cached_unless_disabled(files, tmp_path, features):
    features.hues = Extractor(
        "hues", features.hues, "1"
    )  # only extractors with a version are cached
    cached = tmp_path / "cache" / "features"
    plain = report(files, tmp_path, "--no-cache")["scores"]
    assert not cached.exists()
    assert report(files, tmp_path)["scores"] == plain
    assert len(list(cached.iterdir())) == 1
    features.batches.clear()
    assert report(files, tmp_path)["scores"] == plain
    assert features.batches == [12]  # only the generated images


def test_interval_contains_the_distance(files, tmp_path):
    write_pictures(tmp_path / "more", count=24)
    written = report(files, tmp_path, "--data", tmp_path / "more", "--interval")["scores"]
    assert written["FD-low-hues"] < written["FD-hues"] < written["FD-high-hues"]
    result = call(files, "--interval", "--metrics", "kid")
    assert result.exit_code == 2
    assert "got --interval without fd" in result.output


def test_too_few_images_for_an_interval_are_refused_at_once(files, features):
    result = call(files, "--interval")
    assert result.exit_code == 2
    assert "expected 20 or more of each for the interval" in result.output
    assert not features.batches


def test_path_length_needs_no_features(files, tmp_path, features):
    written = report(files, tmp_path, "--metrics", "ppl", "--count", 2)
    assert list(written["scores"]) == ["PPL-MobileNetV2"]
    assert written["scores"]["PPL-MobileNetV2"] > 0
    assert features.batches == []


def test_classes_come_from_the_data(files, tmp_path):
    saved(tiny_model(classes=2), tmp_path / "m.safetensors")
    reals = write_pictures(tmp_path / "reals")
    result = call(tmp_path)
    assert result.exit_code == 2
    assert "dataset.json" in result.output
    scores = []
    for label in (0, 1):
        labels = [[f"{index:03}.png", label] for index in range(11)] + [["011.png", 1]]
        (reals / "dataset.json").write_text(json.dumps({"labels": labels}))
        scores.append(report(tmp_path, tmp_path)["scores"]["FD-hues"])
    assert scores[0] != scores[1]


def test_grey_models_that_are_not_square(tmp_path, monkeypatch, features):
    shapes = []
    monkeypatch.setattr(features, "hues", lambda x: shapes.append(x.shape[1:]) or colors(x))
    write_pictures(tmp_path / "reals", side=48)
    saved(tiny_model(template=NO_TEMPLATE, channels=1, base=(4, 6)), tmp_path / "m.safetensors")
    result = call(tmp_path)
    assert result.exit_code == 0, result.output
    assert set(shapes) == {(3, 32, 48)}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--metrics", "fd,fid"], "got metrics fid; expected some of fd, kid, pr, dc, ppl"),
        (["--truncation", "nan"], "got --truncation nan"),
        (["--weights", "w.pth"], "got --weights for cheap_features:hues; expected inception"),
        (["--features", "nosuch:name"], "cannot be imported"),
        (["--device", "tpu"], "expected cpu, cuda"),
        (["--count", "1"], "--count"),
    ],
)
def test_bad_options_are_one_line(files, options, words):
    result = call(files, *options)
    assert result.exit_code == 2
    assert words in result.output
    assert "Traceback" not in result.output


def test_weights_name_the_file_of_inception(files, monkeypatch, tmp_path):
    name = "torch_fidelity.feature_extractor_inceptionv3"
    module = ModuleType(name)
    module.FeatureExtractorInceptionV3 = torch.nn.Module
    module.URL_INCEPTION_V3 = "https://example.org/weights.pth"
    monkeypatch.setitem(sys.modules, "torch_fidelity", ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, name, module)
    result = call(files, "--weights", tmp_path / "mine.pth", features="inception")
    assert result.exit_code == 2
    assert "got no Inception weights at" in result.output
    assert "mine.pth" in result.output
