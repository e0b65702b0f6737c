"""A sweep without real training: metrics are computed from the settings."""

import json
import math

from stylemix.training.config import TrainConfig
from stylemix.training.loop import TrainResult
from stylemix.training.sweep.search import Plan
from stylemix.training.sweep.space import parse_space

BASE = TrainConfig(resolution=8, kimg=4, snapshot_kimg=1, lr=0.001)
SPACE = parse_space(["lr=0.0001..0.1:log", "augment_pipe=blit,bg", "mapping_layers=1..4"], BASE)
PLAN = Plan(BASE, SPACE, trials=10, startup=4)


class KilledError(BaseException):
    """Simulates SIGKILL: nothing after it is executed."""


class Training:
    """Replaces training: metrics depend on lr and pipe; `stop_at` counts snapshots."""

    def __init__(self, stop_at: float = math.inf) -> None:
        self.left, self.ran = stop_at, 0

    def __call__(self, config, folder, on_metrics):
        path = folder / "metrics.jsonl"
        done = path.read_text().count("\n") if path.exists() else 0
        distance = abs(math.log10(config.lr) + 2) + 0.3 * (config.augment_pipe == "bg")
        stop_reason = ""
        for kimg in range(done + 1, 5):
            value = 10 * distance + 8 / kimg
            with path.open("a") as file:
                file.write(json.dumps({"Progress/kimg": kimg, "FD-Toy": value}) + "\n")
            self.left -= 1
            self.ran += 1
            stop_reason = on_metrics(kimg, {"FD-Toy": value})
            if self.left <= 0:
                raise KilledError
            if stop_reason:
                break
        return TrainResult(folder / "best.safetensors", kimg if done < 4 else 4, stop_reason)
