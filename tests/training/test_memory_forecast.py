"""The memory forecast: within a third of the real use of a step, and advice that fits."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stylemix.devices import free_memory
from stylemix.training import memory_forecast
from stylemix.training.config import TrainConfig
from stylemix.training.memory_forecast import estimate, forecast

CPU = torch.device("cpu")
SETTINGS = {"resolution": 64, "batch": 16, "channel_base": 2048, "precision": "fp32"}
# A fresh process, since only its peak can be asked for.
MEASURE = """
import re, torch
from pathlib import Path
from stylemix.training.config import TrainConfig
from stylemix.training.microbatches import StepRandom, parts_of
from stylemix.training.phases import Step, batches
from stylemix.training.state import TrainState
torch.set_num_threads(1)
config = TrainConfig(**{settings}).resolve()
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
Path("/proc/self/clear_refs").write_text("5")  # forgets the peak, which a child inherits
before = peak()
state = TrainState.create(config, 0, torch.device("cpu"))
pixels = torch.zeros([config.batch, 3, 64, 64], dtype=torch.uint8)
parts = parts_of(0, 1, config.batch, config.part_size(1))
for step in range(2):
    data = batches(parts, pixels, None, torch.device("cpu"))
    Step(state, config, {{}})(StepRandom(0, step * config.batch), data)
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is told in other units there")
@pytest.mark.parametrize("changes", [{}, {"path_length_weight": 0, "noise": "none"}])
def test_the_estimate_is_near_the_peak(changes):
    settings = SETTINGS | changes
    root = str(Path(__file__).resolve().parents[2])
    result = subprocess.run(
        [sys.executable, "-c", MEASURE.format(settings=settings)], capture_output=True, text=True,
        check=True, cwd=root, timeout=200,
    )  # fmt: skip
    expected = sum(estimate(TrainConfig(**settings).resolve(), 0, 1))
    assert 0.67 < expected / int(result.stdout) < 1.5


@pytest.mark.slow
def test_settings_that_reduce_memory():
    config = TrainConfig(**SETTINGS).resolve()
    weights, images = estimate(config, 0, 1)
    assert estimate(replace(config, batch_gpu=4), 0, 1)[0] == weights
    # Weights times their gains are saved, too, for any number of images.
    assert 0.25 < estimate(replace(config, batch_gpu=4), 0, 1)[1] / images < 0.5
    assert 0.5 < estimate(config, 0, 2)[1] / images < 0.7
    assert estimate(replace(config, channel_base=1024), 0, 1)[0] < weights
    assert estimate(config, 10, 1)[0] > weights


@pytest.mark.slow
def test_the_line(monkeypatch):
    config = TrainConfig(**SETTINGS).resolve()
    weights, images = estimate(config, 0, 1)
    needed = weights + images
    monkeypatch.setattr(memory_forecast, "free_memory", lambda device: 2 * needed)
    monkeypatch.setattr(memory_forecast, "peak_memory", lambda: 7 * 2**30)
    line = forecast(config, 0, 1, CPU)  # beside what the libraries take
    assert line.startswith(f"about {7 + needed / 2**30:.2g} GB of memory per process, ")
    assert line.endswith(" GB free")
    monkeypatch.setattr(memory_forecast, "free_memory", lambda device: weights + images * 0.6)
    assert "may not be enough; use --batch-gpu 8 or a smaller" in forecast(config, 0, 1, CPU)
    monkeypatch.setattr(memory_forecast, "free_memory", lambda device: None)
    assert forecast(config, 0, 1, CPU).endswith("per process")


def test_free_memory_of_this_machine():
    free = free_memory(CPU)
    assert free is None or 2**20 < free < 2**50
