"""Training runs of a second, and their files."""

import json

import torch
from safetensors.torch import load_file

from stylemix.training.loop import train
from stylemix.training.session import TrainingData
from stylemix.training.state_files import state_files


def run(config, dataset, folder, **rest):
    """Trains on the CPU without output."""
    return train(config, TrainingData(dataset), folder, torch.device("cpu"), progress=False, **rest)


def lines(folder, name="stats.jsonl"):
    """Returns the lines of a JSON Lines file."""
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def last_state(folder):
    """Returns the tensors of the newest state."""
    return load_file(state_files(folder)[0])
