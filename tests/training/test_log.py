"""The statistics of a run: stats.jsonl."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from stylemix.networks.batches import use_batch
from stylemix.training import log
from stylemix.training.session import TrainingData
from stylemix.training.state import Counters, TrainState


@pytest.fixture
def state(tiny):
    found = TrainState.create(tiny.resolve(), 0, torch.device("cpu"))
    found.counters = Counters(1500, 0.123456, 61.26, lr_scale=0.5, rollbacks=1)
    return found


def test_a_line_is_the_mean_of_the_added_values(state, tiny):
    stats, timing = {}, log.Timing(Counters(500, 0, 41.26))
    log.add(stats, "Loss/G/loss", torch.tensor([1.0, 2.0], requires_grad=True))
    log.add(stats, "Loss/G/loss", torch.tensor(4.5))
    line = log.report(state, tiny.resolve(), stats, timing)
    assert line.pop("Resources/cpu_mem_gb") > 0.01
    assert line == {
        "Progress/kimg": 1.5, "Progress/augment": 0.1235, "Progress/lr": 0.00125,
        "Progress/rollbacks": 1, "Timing/total_sec": 61.3, "Timing/sec_per_kimg": 20.0,
        "Loss/G/loss": 3.0,
    }  # fmt: skip
    assert stats == {}
    state.counters.cur_nimg, state.counters.seconds = 2000, 64.26
    assert log.report(state, tiny.resolve(), {}, timing)["Timing/sec_per_kimg"] == 6.0


def test_values_that_are_not_finite_are_null(tmp_path):
    log.write_line(tmp_path / "a.jsonl", {"x": float("nan"), "y": float("inf"), "z": 1.5})
    log.write_line(tmp_path / "a.jsonl", {"x": 2})
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"x": None, "y": None, "z": 1.5}, {"x": 2}]


def test_lines_that_will_be_repeated_are_removed(tmp_path):
    path = tmp_path / "stats.jsonl"
    for kimg in (1.0, 1.004, 2.0, 3.0):
        log.write_line(path, {"Progress/kimg": kimg})
    log.drop_lines_after(path, 1.004)
    kept = [json.loads(line)["Progress/kimg"] for line in path.read_text().splitlines()]
    assert kept == [1.0, 1.004]
    assert [p.name for p in tmp_path.iterdir()] == ["stats.jsonl"]


@pytest.mark.parametrize("rest", ['{"Progress/kimg": 1.0, "Lo', "\x00\x00\x00", "[]", "{}", "7"])
def test_an_unfinished_line_is_dropped(tmp_path, rest):
    path = tmp_path / "stats.jsonl"
    log.write_line(path, {"Progress/kimg": 1.0})
    before = path.read_text()
    path.write_text(before + rest)
    log.drop_lines_after(path, 5)
    assert path.read_text() == before


def test_no_file_is_no_problem(tmp_path):
    log.drop_lines_after(tmp_path / "stats.jsonl", 0)
    assert list(tmp_path.iterdir()) == []


def test_the_grid_is_generated_in_parts_that_fit(state, tiny, dataset, tmp_path):
    sizes = []
    synthesis = state.generator_ema.synthesis
    hook = synthesis.register_forward_pre_hook(lambda _, ws: sizes.append(len(ws[0])))
    for folder, batch in (("whole", None), ("parts", 20)):
        (tmp_path / folder).mkdir()
        with use_batch(batch):
            log.save_snapshot(tmp_path / folder, state, tiny.resolve(), TrainingData(dataset))
    hook.remove()
    assert sizes == [48, 20, 20, 8]
    whole, parts = (
        np.asarray(Image.open(next(tmp_path.glob(f"{folder}/fakes-*"))), np.int16)
        for folder in ("whole", "parts")
    )
    assert abs(whole - parts).max() <= 1
