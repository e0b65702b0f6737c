"""The readers that are fuzzed: what each does with bytes, and small files to begin with."""

from __future__ import annotations

import io
import json
import pickle
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from stylemix.errors import StylemixError
from stylemix.faces.templates import find_template
from stylemix.images.read import load_image
from stylemix.images.sources import list_images
from stylemix.inversion.latent import Latent, load_latent, save_latent
from stylemix.models.checkpoint import load_model, save_model
from stylemix.models.model import Model, fingerprint
from stylemix.networks.generator import Generator
from stylemix.networks.student import Student, StudentConfig
from stylemix.options_file import read_options_file
from stylemix.safe_pickle.reader import loads
from stylemix.styles.style import Style, load_style, save_style
from stylemix.training.curation.label_files import read_labels
from stylemix.training.data.dataset import ImageDataset
from stylemix.training.data.shards import ShardDataset
from tests.hostile import corpus, others, pictures, weights
from tests.support.models import tiny_model
from tests.support.toy_tensorflow import networks_of, tensorflow_file

MAX_SEED = 20_000  # bytes; mutations of larger files seldom hit what matters
PLACE = Path(tempfile.gettempdir()) / "stylemix-fuzz"  # of this process, see `run`


@dataclass(frozen=True)
class Reader:
    """`read` raises StylemixError for what it refuses, and nothing else."""

    read: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]


def _file(data: bytes, name: str) -> Path:
    path = PLACE / name
    path.write_bytes(data)
    return path


@cache
def _model() -> Model:
    return tiny_model(resolution=8, channels=1)


def _safetensors(data: bytes) -> None:
    path = _file(data, "a.safetensors")
    for read in (load_model, load_latent, load_style):
        _tolerate(read, path)


def _tolerate(read: Callable[[Path], object], path: Path) -> None:
    with suppress(StylemixError):
        read(path)


def _header(data: bytes) -> None:
    """The JSON header of one of our formats, by the first letter, around tensors that are right."""
    text = data[1:].decode("utf-8", "replace")
    shapes = {f"G.{k}": tuple(v.shape) for k, v in _model().generator.state_dict().items()}
    weights_of = Student(StudentConfig((4, 4))).state_dict()
    student = {f"student.{k}": tuple(v.shape) for k, v in weights_of.items()}
    kinds = {
        "model": (shapes, load_model),
        "style": ({"shift": (4, 16)} | student, load_style),
        "latent": ({"w": (4, 16), "matrix": (3, 3)}, load_latent),
        "encoder": ({"mean": (4, 16)}, corpus.load_any_encoder),
    }
    kind = sorted(kinds)[data[0] % 4 if data else 0]
    tensors, read = kinds[kind]
    read(_file(weights.own(kind, tensors, text), "a.safetensors"))


def _latent(data: bytes) -> None:
    load_latent(_file(data, "a.npy"))


def _archive(data: bytes) -> None:
    if data[257:262] == b"ustar" or data[:2] != b"PK":
        shard = _file(data, "a.tar")
        images = ShardDataset([shard], 16)
        [images._open(i, None) for i in range(min(images.count, 9))]
        return
    path = _file(data, "a.zip")
    [source.open() for source in list_images(path)[:9]]
    ImageDataset(path, 16, use_labels=True)


def _labels(data: bytes) -> None:
    for name in ("a.json", "a.csv"):
        _tolerate(read_labels, _file(data, name))
    _tolerate(find_template, _file(data, "template.json"))
    folder = PLACE / "data"
    folder.mkdir(exist_ok=True)
    (folder / "a.png").write_bytes(others.PNG)
    _file(data, "data/dataset.json")
    _tolerate(lambda path: ImageDataset(path, 16, use_labels=True), folder)


def _options(data: bytes) -> None:
    read_options_file(_file(data, "a.toml"), ["mix", "project"])


def _small(*makes: Callable[[], dict[str, bytes]]) -> list[bytes]:
    return [data for make in makes for data in make().values() if len(data) <= MAX_SEED]


def _written(write: Callable[[Path], object], name: str) -> list[bytes]:
    write(PLACE / name)
    return [(PLACE / name).read_bytes()]


def _torch(data: object) -> bytes:
    stream = io.BytesIO()
    torch.save(data, stream)
    return stream.getvalue()


def _pickles() -> list[bytes]:
    array = np.ones((2, 3), np.float32)
    data = {"w": array, "l": [1, 2.5, None, True, "a", b"b", {1, 2}], "t": (1, (2, 3))}
    whole = [pickle.dumps(data, protocol=p) for p in range(6)]
    return whole + _small(lambda: weights.weights_in_pickles("mark"))


def _checkpoints() -> list[bytes]:
    """Small checkpoints of other programs, as far as their size allows."""
    state = {"input.input": torch.ones(1, 4, 4, 4), "style.1.weight": torch.ones(4, 4)}
    state["to_rgb1.conv.weight"] = torch.ones(1, 3, 4, 1, 1)
    data = {"g_ema": state, "latent_avg": torch.ones(4)}
    return [_torch(data), _torch({"state_dict": state}), *_small(weights.torch_zips)]


def _safetensors_seeds() -> list[bytes]:
    style = Style("0", offsets={"b4.conv1": torch.ones(4)}, shift=torch.ones(4, 16))
    seeds = _written(lambda path: save_model(path, _model()), "seed.safetensors")
    seeds += _written(lambda path: save_style(path, style), "seed-style.safetensors")
    latent = Latent(torch.ones(4, 16), "0")
    seeds += _written(lambda path: save_latent(path, latent), "seed-latent.safetensors")
    return seeds + _small(weights.broken_headers)


def _header_seeds() -> list[bytes]:
    base, config = corpus.base_model().fingerprint, asdict(_model().generator.config)
    zeros = Generator(_model().generator.config)
    zeros.load_state_dict({k: torch.zeros_like(v) for k, v in zeros.state_dict().items()})
    model = {**corpus.MODEL, "generator": config, "fingerprint": fingerprint(zeros)}
    student = {"channels": [4, 4], "hand": "", "eyes": 0.1, "jaw": 0.2}
    style = {"base": "0", "strength": 1, "psi": 0.7, "layers": "coarse", "student": student}
    latent = {
        "base": "0",
        "label": [1, 0],
        "metrics": {"mse": 0.1},
        "template": {"name": "none", "kind": "none"},
    }
    encoder = {"base": base, "trunk": {"channel_base": 64, "channel_max": 8}}
    headers = [encoder, latent, model, style]  # as `sorted` has their kinds
    return [bytes([48 + i]) + json.dumps(header).encode() for i, header in enumerate(headers)]


def _tensorflow() -> list[bytes]:
    networks = networks_of(tiny_model(resolution=8, channels=1))
    return _written(lambda path: tensorflow_file(path, networks), "seed.pkl")


READERS = {
    "pickle": Reader(loads, _pickles),
    "torch": Reader(lambda data: load_model(_file(data, "a.pt")), _checkpoints),
    "safetensors": Reader(_safetensors, _safetensors_seeds),
    "header": Reader(_header, _header_seeds),
    "latent": Reader(_latent, lambda: _small(weights.arrays, weights.archives_of_arrays)),
    "tensorflow": Reader(lambda data: load_model(_file(data, "a.pkl")), _tensorflow),
    "image": Reader(
        lambda data: load_image(_file(data, "a.png")), lambda: _small(pictures.broken, pictures.odd)
    ),
    "archive": Reader(_archive, lambda: _small(others.archives_of_images, others.shards)),
    "labels": Reader(
        _labels, lambda: _small(others.tables_of_labels, others.files_of_labels, others.templates)
    ),
    "options": Reader(
        _options,
        lambda: [b'[mix]\npreset = "fast"\n[all]\ndevice = "cpu"', *_small(others.options)],
    ),
}
