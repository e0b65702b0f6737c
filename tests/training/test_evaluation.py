"""Metrics of snapshots: the best is kept, early stopping, old ones are removed."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from stylemix.errors import StylemixError
from stylemix.models.checkpoint import load_model
from stylemix.models.model import fingerprint
from stylemix.training import evaluation
from stylemix.training import loop as module
from stylemix.training.data.dataset import ImageDataset
from stylemix.training.distributed import Ranks
from stylemix.training.evaluation import Evaluation, prune
from stylemix.training.loop import train
from stylemix.training.session import TrainingData
from stylemix.training.state import TrainState
from tests.support.images import COLORS
from tests.support.toy_runs import run

CPU = torch.device("cpu")


@pytest.fixture
def graded(tiny, dataset, tmp_path, monkeypatch):
    """A run of five snapshots with given metrics."""

    def run(figures, **changes):
        left = iter(figures)

        class Given:
            def __call__(self, state, batch, ranks):
                return {"FD-MobileNetV2": next(left)}

        monkeypatch.setattr(module.Evaluation, "of", lambda *rest: Given())
        settings = {"kimg": 0.08, "metrics": "fd", **changes}
        config = replace(tiny, snapshot_kimg=0.016, **settings)
        return train(config, TrainingData(dataset), tmp_path, CPU, progress=False)

    return run


def _lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_the_best_is_kept(graded, tmp_path):
    outcome = graded([5.0, 3.0, 4.0, 3.5, 6.0], keep_snapshots=2)
    assert outcome.metrics == {"FD-MobileNetV2": 6.0}
    assert [line["FD-MobileNetV2"] for line in _lines(tmp_path)] == [5, 3, 4, 3.5, 6]
    left = sorted(path.name for path in tmp_path.glob("snapshot-*"))
    assert left == ["snapshot-000000_064.safetensors", "snapshot-000000_080.safetensors"]
    assert load_model(tmp_path / "best.safetensors").card["kimg"] == 0.032


@pytest.mark.slow
def test_a_resumed_run_compares_with_its_own_metric_only(graded, tmp_path):
    graded([5.0, 3.0, 4.0, 3.5, 6.0])
    graded([40.0, 20.0], kimg=0.112, metrics="kid,fd")
    assert load_model(tmp_path / "best.safetensors").card["kimg"] == 0.112
    graded([21.0], kimg=0.128, metrics="kid")
    assert load_model(tmp_path / "best.safetensors").card["kimg"] == 0.112


def test_a_rollback_keeps_no_metric_of_another_measure(graded, tmp_path, monkeypatch):
    graded([0.5], kimg=0.016)
    reasons = iter(["bad luck"])
    monkeypatch.setattr(module, "what_went_wrong", lambda *rest: next(reasons, ""))
    graded([40.0], kimg=0.032, metrics="kid,fd")
    assert _lines(tmp_path)[-1]["FD-MobileNetV2"] == 40
    assert load_model(tmp_path / "best.safetensors").card["kimg"] == 0.032


@pytest.mark.slow
def test_no_better_for_long_ends_the_run(graded, tmp_path):
    outcome = graded([5.0, 3.0, 4.0, 3.5, 1.0], early_stop=2)
    assert outcome.kimg == 0.064
    assert outcome.stopped == (
        "2 snapshots in a row were no better than the one at 0 kimg, which is best.safetensors"
    )
    assert len(_lines(tmp_path)) == 4
    again = graded([], early_stop=2)
    assert (again.idle, again.kimg, again.stopped) == (True, 0.064, outcome.stopped)
    assert graded([9.0], early_stop=3).kimg == 0.08


@pytest.mark.slow
def test_an_equal_metric_is_no_better(graded):
    assert graded([0.1] * 5, early_stop=2).kimg == 0.048  # 0.1 is not a float32


def test_old_snapshots_are_removed(tmp_path):
    for i in (100, 20, 3):
        (tmp_path / f"snapshot-{i:06d}.safetensors").touch()
    (tmp_path / "best.safetensors").touch()
    prune(tmp_path, 0)
    assert len(list(tmp_path.iterdir())) == 4
    prune(tmp_path, 2)
    assert not (tmp_path / "snapshot-000003.safetensors").exists()
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.slow
def test_values_equal_those_of_the_metrics_command(tiny, pictures, dataset, tmp_path, monkeypatch):
    from stylemix.metrics.generator import score

    monkeypatch.setenv("STYLEMIX_CACHE", str(tmp_path / "cache"))
    config = replace(tiny, kimg=0.004, metrics="fd,ppl", metrics_count=6)
    outcome = train(config, TrainingData(dataset), tmp_path / "run", CPU, progress=False)
    model = load_model(outcome.snapshot)
    assert fingerprint(model.generator)
    again = score(model.generator, dataset, ("fd",), 6)
    assert set(outcome.metrics) == {"FD-MobileNetV2", "PPL-MobileNetV2"}
    # The snapshot holds half precision.
    assert outcome.metrics["FD-MobileNetV2"] == pytest.approx(again["FD-MobileNetV2"], rel=0.02)
    held_out = ImageDataset([pictures / "1.png", pictures / "2.png"], 8)
    assert Evaluation.of(config, held_out).count == 6
    assert Evaluation.of(replace(config, metrics_count=None), dataset).count == 10
    assert Evaluation.of(replace(config, metrics="none"), dataset) is None


def test_images_that_do_not_compare_are_refused_at_the_start(tiny, pictures, dataset, tmp_path):
    config = replace(tiny, metrics="kid,pr", metrics_count=3)
    with pytest.raises(StylemixError, match="got 3 generated and 10 real images; expected 4 or"):
        run(config, dataset, tmp_path / "few")
    config = replace(tiny, metrics="fd")
    with pytest.raises(StylemixError, match="for a model with labels of width 3; expected"):
        Evaluation.of(config, dataset, 3)
    assert not (tmp_path / "few").exists()


def test_the_first_metric_selects_the_best(tiny, dataset, tmp_path, monkeypatch):
    """Metrics are computed in the given order, and the first of them counts."""
    monkeypatch.setattr(evaluation, "FEATURES", COLORS)
    monkeypatch.setattr(evaluation, "path_length", lambda *rest: {"PPL-MobileNetV2": 1.0})
    monkeypatch.setenv("STYLEMIX_CACHE", str(tmp_path))
    state = TrainState.create(tiny.resolve(), 0, CPU)
    for metrics, first in (("kid, fd", "KID-Colours"), ("ppl,fd", "PPL-MobileNetV2")):
        measure = Evaluation.of(replace(tiny, metrics=metrics, metrics_count=4), dataset)
        assert next(iter(measure(state, 4, Ranks()))) == first


@pytest.mark.slow
def test_a_model_that_is_missing_at_the_end_is_written_without_metrics(
    tiny, dataset, straight, tmp_path, monkeypatch
):
    def collective(*rest):
        raise AssertionError("the other ranks have left, so that this would wait for them")

    shutil.copytree(straight, tmp_path / "run")
    for path in (tmp_path / "run").glob("snapshot-*"):
        path.unlink()
    monkeypatch.setattr(Evaluation, "of", lambda *rest: collective)
    outcome = run(tiny, dataset, tmp_path / "run")
    assert load_model(outcome.snapshot).card["kimg"] == 0.064


@pytest.mark.slow
def test_more_ranks_than_images(tiny, dataset, tmp_path, monkeypatch):
    summed = []

    class Third(Ranks):
        def all_reduce_(self, tensors):
            summed.extend(tensors)

    measure = Evaluation.of(replace(tiny, metrics="fd", metrics_count=2), dataset)
    assert measure(TrainState.create(tiny.resolve(), 0, CPU), 1, Third(2, 4)) == {}
    assert summed[0].shape[0] == 2
    assert not summed[0].any()
