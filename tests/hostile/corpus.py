"""The corpus: for each kind of file its reader, and the files by name.

A reader has to answer each file with a StylemixError of one line (or, for those marked as odd, with
a result), within 10 seconds of the processor and a gigabyte, run nothing and write nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from stylemix.faces.templates import find_template
from stylemix.images.read import load_image
from stylemix.images.sources import list_images
from stylemix.inversion.encoder import load_encoder
from stylemix.inversion.latent import load_latent
from stylemix.models.checkpoint import load_model
from stylemix.models.model import Model
from stylemix.options_file import read_options_file
from stylemix.styles.style import load_style
from stylemix.tools.inspect import describe
from stylemix.training.curation.label_files import read_labels
from stylemix.training.data.dataset import ImageDataset
from stylemix.training.data.shards import ShardDataset
from tests.hostile import others, pictures, weights
from tests.hostile.weights import headers
from tests.support.models import tiny_model

Read = Callable[[Path], object]


@dataclass(frozen=True)
class Kind:
    """Files of one kind: the functions that read them, and what makes them."""

    name: str
    ending: str
    readers: tuple[Read, ...]
    make: Callable[[], dict[str, bytes]]
    intact: bool = False  # whether they have to be read


@cache
def base_model() -> Model:
    return tiny_model()


def load_any_encoder(path: Path) -> object:
    return load_encoder(path, base_model())


def _style(path: Path) -> object:
    return load_style(path, base_model())


def _latent(path: Path) -> object:
    return load_latent(path, base_model())


def _images(path: Path) -> object:
    return [source.open() for source in list_images(path)]


def _dataset(path: Path) -> object:
    """The labels of a folder with one image."""
    (path.parent / "a.png").write_bytes(others.PNG)
    path.rename(path.parent / "dataset.json")
    return ImageDataset(path.parent, 16, use_labels=True)


def _shards(path: Path) -> object:
    data = ShardDataset([path], 16, use_labels=True)
    return [
        data.source(i) if hasattr(data, "source") else data._open(i, None)
        for i in range(data.count)
    ]


def _options(path: Path) -> object:
    return read_options_file(path, ["mix", "project"])


def _describe(path: Path) -> object:
    return describe(str(path), "cpu")


MODEL = {
    "generator": {
        "img_resolution": 16,
        "img_channels": 3,
        "z_dim": 16,
        "w_dim": 16,
        "c_dim": 0,
        "mapping_layers": 2,
        "channel_base": 128,
        "channel_max": 32,
        "architecture": "skip",
        "conv_clamp": None,
        "resample_filter": [1, 3, 3, 1],
    },
    "discriminator": None,
    "template": {"name": "none", "kind": "none"},
    "card": {},
    "fingerprint": "0",
    "origin": "stylemix",
}


def _model_headers() -> dict[str, bytes]:
    found = headers("model", {"G.w": (2, 2)}, MODEL)
    for key, value in MODEL["generator"].items():  # type: ignore[attr-defined]
        for name, other in weights.NUMBERS.items():
            if type(other) is not type(value):
                generator = {**MODEL["generator"], key: other}  # type: ignore[dict-item]
                config = {**MODEL, "generator": generator}
                found[f"{key}_{name}"] = weights.own("model", {"G.w": (2, 2)}, config)
    for size in (3, 5, 2048, 2**40):
        generator = {**MODEL["generator"], "img_resolution": size}  # type: ignore[dict-item]
        found[f"size_{size}"] = weights.own(
            "model", {"G.w": (2, 2)}, {**MODEL, "generator": generator}
        )
    return found


def _style_headers() -> dict[str, bytes]:
    config = {"base": "0", "strength": 1.0, "psi": 1.0, "layers": "all", "info": {}, "sparse": None}
    found = headers("style", {"shift": (8, 16)}, config)
    for name, channels in {
        "wide": [1024] * 8,
        "huge": [2**40, 2],
        "text": "abc",
        "one": [4],
        "negative": [4, -4],
        "deep": [[[4]]],
        "bool": [True, True],
        "floats": [4.0, 4.0],
    }.items():
        student = {**config, "student": {"channels": channels}}
        found[f"student_{name}"] = weights.own("style", {"student.a": (1,)}, student)
    for key, value in {"hand": "pen", "eyes": weights.HUGE, "jaw": "x"}.items():
        student = {**config, "student": {"channels": [4, 4], key: value}}
        found[f"student_{key}"] = weights.own("style", {"student.a": (1,)}, student)
    for name, shape in {
        "offset.b4.conv1": (9,),
        "weight.b4.const": (1,),
        "weight.": (1,),
        "shift": (1,),
        "other": (1,),
        "values": (3,),
        "statistics": (0,),
    }.items():
        found[f"part_{name}"] = weights.own("style", {name: shape}, config)
    return found


def _latent_headers() -> dict[str, bytes]:
    config = {
        "base": "0",
        "template": {"name": "none", "kind": "none"},
        "metrics": {"mse": 1.0},
        "photo": None,
        "label": None,
    }
    found = headers("latent", {"w": (8, 16)}, config)
    del found["latent_base_none"]  # a latent of another program
    for name, value in weights.NUMBERS.items():
        found[f"metric_{name}"] = weights.own(
            "latent", {"w": (8, 16)}, {**config, "metrics": {"mse": value}}
        )
        found[f"label_{name}"] = weights.own("latent", {"w": (8, 16)}, {**config, "label": [value]})
    for name, tensors in {
        "no_w": {"x": (1,)},
        "flat": {"w": (0,)},
        "long": {"w": (99, 16)},
        "matrix": {"w": (8, 16), "matrix": (2, 2)},
        "noise": {"w": (8, 16), "noise": (3,)},
        "mask": {"w": (8, 16), "mask": (1,), "features": (2,)},
        "weight": {"w": (8, 16), "weight.b4": (2,)},
    }.items():
        found[name] = weights.own("latent", tensors, config, "2")
    return found


def _encoder_headers() -> dict[str, bytes]:
    trunk = {"channel_base": 128, "channel_max": 32, "architecture": "resnet"}
    config = {"base": base_model().fingerprint, "trunk": trunk}
    found = headers("encoder", {"mean": (1,)}, config)
    for key in (
        "channel_base",
        "channel_max",
        "mapping_layers",
        "mbstd_group_size",
        "resample_filter",
        "head",
        "other",
    ):
        for name, value in weights.NUMBERS.items():
            found[f"{key}_{name}"] = weights.own(
                "encoder", {"mean": (1,)}, {**config, "trunk": {**trunk, key: value}}
            )
    wide = {**trunk, "channel_base": 2**30, "channel_max": 2**20}
    return found | {"wide": weights.own("encoder", {"mean": (1,)}, {**config, "trunk": wide})}


KINDS = (
    Kind(
        "pickles",
        ".pkl",
        (load_model, load_latent, _describe),
        lambda: weights.weights_in_pickles("mark"),
    ),
    Kind("zips of torch", ".pt", (load_model, load_latent), weights.torch_zips),
    Kind(
        "headers of safetensors",
        ".safetensors",
        (load_model, load_style, load_latent, load_any_encoder),
        weights.broken_headers,
    ),
    Kind("headers of models", ".safetensors", (load_model, _describe), _model_headers),
    Kind("headers of styles", ".safetensors", (_style,), _style_headers),
    Kind("headers of latents", ".safetensors", (_latent,), _latent_headers),
    Kind("headers of encoders", ".safetensors", (load_any_encoder,), _encoder_headers),
    Kind("arrays", ".npy", (load_latent, _describe), weights.arrays),
    Kind("archives of arrays", ".npz", (load_latent, _describe), weights.archives_of_arrays),
    Kind("broken pictures", ".png", (load_image, _describe), pictures.broken),
    Kind("costly pictures", ".png", (load_image,), pictures.costly),
    Kind("odd pictures", ".jpg", (load_image,), pictures.odd, intact=True),
    Kind("labels of datasets", ".json", (_dataset,), others.tables_of_labels),
    Kind("labels for pack", "", (read_labels,), others.files_of_labels),
    Kind("templates", ".json", (find_template,), others.templates),
    Kind("files of options", ".toml", (_options,), others.options),
    Kind("shards", ".tar", (_shards,), others.shards),
    Kind("archives of images", ".zip", (_images,), others.archives_of_images),
    Kind("states", ".safetensors", (_describe,), others.states),
)


def files(kind: Kind, folder: Path) -> Iterator[tuple[str, Path]]:
    """Writes each file of a kind into a folder of its own; yields its name and path."""
    for number, (name, data) in enumerate(kind.make().items()):
        place = folder / str(number)
        place.mkdir(parents=True)
        path = place / (name if not kind.ending else f"file{kind.ending}")
        path.write_bytes(data)
        yield name, path
