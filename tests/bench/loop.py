"""Overhead of the training loop over the bare step: seconds per kimg of both, as JSON.

    python -m tests.bench.loop --repeats 5 --steps 24

The bare step has its images in memory and only trains; the loop also reads images from files,
updates the EMA, adapts the augmentation, reports, and writes states as in normal use. Both run
the same steps from the same seed; a first round warms up and is not counted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from stylemix.memory import keep_memory
from stylemix.training.config import TrainConfig
from stylemix.training.data.dataset import ImageDataset
from stylemix.training.loop import train
from stylemix.training.microbatches import Microbatch, StepRandom
from stylemix.training.phases import Batch, Step
from stylemix.training.session import TrainingData
from stylemix.training.state import TrainState
from tests.bench.machine import describe

PICTURES = 256


def bare(config: TrainConfig, dataset: ImageDataset, steps: int) -> float:
    """Returns the seconds of `steps` steps only."""
    config = config.resolve()
    assert config.batch is not None
    state = TrainState.create(config, 0, torch.device("cpu"))
    step, part = Step(state, config, {}), Microbatch(0, config.batch, config.batch)
    reals = dataset.batch(range(config.batch))[0].float() / 127.5 - 1
    started = time.perf_counter()
    for i in range(steps):
        step(StepRandom(0, i * config.batch), [Batch(part, reals, None)])
        state.counters.cur_nimg += config.batch
    return time.perf_counter() - started


def looped(config: TrainConfig, dataset: ImageDataset, folder: Path) -> float:
    """Returns the total seconds of a run, from its last line of statistics."""
    train(config, TrainingData(dataset), folder, torch.device("cpu"), progress=False)
    lines = (folder / "stats.jsonl").read_text(encoding="utf-8").splitlines()
    return float(json.loads(lines[-1])["Timing/total_sec"])


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--channel-base", type=int, help="of G and D (default: the preset's)")
    options = parser.parse_args()
    keep_memory()
    side = options.resolution
    config = TrainConfig(
        "laptop", side, precision="fp32", augment="fixed", augment_p=0.2,
        channel_base=options.channel_base,
    )  # fmt: skip
    batch = config.resolve().batch
    assert batch is not None
    config = replace(config, kimg=options.steps * batch / 1000, tick_kimg=8 * batch / 1000)
    sec_per_kimg: dict[str, list[float]] = {"bare": [], "loop": []}
    with tempfile.TemporaryDirectory() as work:
        pictures = Path(work) / "pictures"
        pictures.mkdir()
        rng = np.random.RandomState(0)
        for i in range(PICTURES):
            pixels = rng.randint(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(pictures / f"{i}.png")
        for turn in range(options.repeats + 1):
            seconds = {
                "bare": bare(config, ImageDataset(pictures, side), options.steps),
                "loop": looped(config, ImageDataset(pictures, side), Path(work) / f"run{turn}"),
            }
            for name, value in seconds.items() if turn else ():
                sec_per_kimg[name].append(value / (options.steps * batch / 1000))
    pairs = zip(sec_per_kimg["bare"], sec_per_kimg["loop"], strict=True)
    ratios = [loop / bare - 1 for bare, loop in pairs]
    print(
        json.dumps(
            {
                "machine": describe(torch.device("cpu")),
                "resolution": side,
                "batch": batch,
                "steps": options.steps,
                "seconds per kimg": {
                    k: round(statistics.median(v), 3) for k, v in sec_per_kimg.items()
                },
                "overhead": round(statistics.median(ratios), 4),
                "overheads": [round(r, 4) for r in ratios],
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
