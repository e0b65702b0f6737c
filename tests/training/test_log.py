"""What a run writes down: stats.jsonl."""

import json
from types import SimpleNamespace

import pytest
import torch

from stylemix.training import log


def _state(cur_nimg):
    return SimpleNamespace(cur_nimg=cur_nimg, augment_p=0.123456, seconds=61.26)


def test_a_line_is_the_mean_of_what_was_added(tmp_path):
    stats = {}
    log.add(stats, "Loss/G/loss", torch.tensor([1.0, 2.0], requires_grad=True))
    log.add(stats, "Loss/G/loss", torch.tensor(4.5))
    assert log.write_stats(tmp_path, _state(1500), stats) == {
        "Progress/kimg": 1.5, "Progress/augment": 0.1235, "Timing/total_sec": 61.3,
        "Loss/G/loss": 3.0,
    }  # fmt: skip
    assert stats == {}
    log.write_stats(tmp_path, _state(2000), stats)
    lines = (tmp_path / "stats.jsonl").read_text().splitlines()
    assert [json.loads(line)["Progress/kimg"] for line in lines] == [1.5, 2.0]


def test_lines_that_come_again_are_dropped(tmp_path):
    path = tmp_path / "stats.jsonl"
    for images in (1000, 1004, 2000, 3000):
        log.write_stats(tmp_path, _state(images), {})
    log.drop_stats_after(tmp_path, 1.004)
    kept = [json.loads(line)["Progress/kimg"] for line in path.read_text().splitlines()]
    assert kept == [1.0, 1.004]
    assert [p.name for p in tmp_path.iterdir()] == ["stats.jsonl"]


@pytest.mark.parametrize("rest", ['{"Progress/kimg": 1.0, "Lo', "\x00\x00\x00", "[]", "{}", "7"])
def test_an_unfinished_line_is_dropped(tmp_path, rest):
    path = tmp_path / "stats.jsonl"
    log.write_stats(tmp_path, _state(1000), {})
    before = path.read_text()
    path.write_text(before + rest)
    log.drop_stats_after(tmp_path, 5)
    assert path.read_text() == before


def test_no_file_is_no_problem(tmp_path):
    log.drop_stats_after(tmp_path, 0)
    assert list(tmp_path.iterdir()) == []
