"""Runs of a second, and what they leave."""

import json

import torch
from safetensors.torch import load_file

from stylemix.training.loop import train
from stylemix.training.session import TrainingData
from stylemix.training.state_files import state_files


def run(config, dataset, folder, **rest):
    """Train on the CPU without a word."""
    return train(config, TrainingData(dataset), folder, torch.device("cpu"), progress=False, **rest)


def lines(folder, name="stats.jsonl"):
    """The lines of a file of JSON lines."""
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def last_state(folder):
    """Tensors of the newest state."""
    return load_file(state_files(folder)[0])
