"""Model files: `.safetensors` and plain `.pkl` of stylemix, and files of other programs.

Files of stylemix hold the JSON header of `stylemix.models.header` and tensors named "G." and "D."
followed by the names of the public StyleGAN2 files. No code in any file is run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from stylemix.devices import find_device, no_random_weights
from stylemix.errors import StylemixError, check_choice, did_you_mean, similar_file
from stylemix.io.assets import ASSETS
from stylemix.io.files import StrPath, user_path
from stylemix.io.remote import fetch, is_address
from stylemix.models.container import MODEL, read, to_float, write
from stylemix.models.header import VERSION, Header, header_of, parse_header
from stylemix.models.model import Model, fingerprint
from stylemix.models.nvidia import read_nvidia
from stylemix.models.rosinality import is_rosinality, read_rosinality
from stylemix.models.tensorflow import read_tensorflow
from stylemix.networks.config import DiscriminatorConfig, GeneratorConfig
from stylemix.networks.discriminator import Discriminator
from stylemix.networks.generator import Generator
from stylemix.networks.shapes import expected_shapes
from stylemix.safe_pickle.builders import PersistentObject, TensorFlowNetwork

Network = TypeVar("Network", bound=nn.Module)

_DTYPES = {"float16": torch.float16, "float32": torch.float32}
_KNOWN = "a stylemix model, an NVIDIA network pickle or a rosinality checkpoint"


def save_model(
    path: StrPath, model: Model, dtype: Literal["float16", "float32"] = "float16"
) -> None:
    """Writes a model to `.safetensors`, or to a `.pkl` that loads without stylemix.

    Half precision halves the file size and preserves the fingerprint. Raises StylemixError for
    another extension, and for weights that are not finite in `dtype`.
    """
    check_model_path(path)
    check_choice("dtype", dtype, _DTYPES)
    networks = {"G.": model.generator, "D.": model.discriminator}
    tensors = {
        prefix + key: value.to(_DTYPES[dtype])
        for prefix, network in networks.items()
        if network is not None
        for key, value in network.state_dict().items()
    }
    write(path, MODEL, VERSION, header_of(model), tensors)


def check_model_path(path: StrPath) -> None:
    """Raises StylemixError unless a file name ends like that of a model."""
    if user_path(path).suffix.lower() not in (".safetensors", ".pkl"):
        raise StylemixError(
            f"got the model file name {path}; expected .safetensors or .pkl at its end; change it"
        )


@torch.inference_mode(False)  # weights of that mode could not be searched or trained with
def load_model(path: StrPath, device: str | torch.device = "cpu") -> Model:
    """Loads a model from a file, or by a shipped name such as "faces-64".

    Reads files of stylemix, network pickles of NVIDIA (PyTorch and TensorFlow) and rosinality
    checkpoints, detected by their content. The networks are in fp32, in eval mode and without
    gradients.
    """
    target, file = find_device(device), find_model(path)
    content = read(file)
    if content.foreign is None:
        header = parse_header(content.expect(MODEL).header, str(file))
        model = build_model(header, content.tensors, str(file))
    else:
        model = foreign_model(content.foreign, str(file))
    model.generator.to(target)
    if model.discriminator is not None:
        model.discriminator.to(target)
    return model


def load_generator(path: StrPath, device: str | torch.device = "cpu") -> Generator:
    """Loads the generator of a model file or shipped model; see `load_model`."""
    return load_model(path, device).generator


def load_discriminator(path: StrPath, device: str | torch.device = "cpu") -> Discriminator:
    """Loads the discriminator of a model file or shipped model; StylemixError if it has none."""
    discriminator = load_model(path, device).discriminator
    if discriminator is None:
        raise StylemixError(
            f"{path}: got a model without a discriminator; expected a model with one; "
            "convert or train it again without --no-discriminator"
        )
    return discriminator


def shipped_models() -> list[str]:
    """Returns the names of the models shipped with the package."""
    files = sorted(ASSETS.glob("*.safetensors"))
    return [file.stem for file in files if read(file).format == MODEL]


def find_model(path: StrPath) -> Path:
    """Returns the file of a path, of the name of a shipped model or of an address; see `fetch`."""
    if is_address(path):
        return fetch(str(path))
    file = user_path(path)
    shipped = ASSETS / f"{path}.safetensors"
    if os.path.exists(file) or Path(path).suffix or file.name != str(path):
        return file
    if os.path.isfile(shipped) and read(shipped).format == MODEL:
        return shipped
    names = ", ".join(shipped_models()) or "none"
    near = did_you_mean(str(path), shipped_models()) or similar_file(path)
    raise StylemixError(
        f"got the model {path}; expected a file or a shipped model ({names}); check the name{near}"
    )


def foreign_model(data: object, name: str) -> Model:
    """Builds the model of a pickle of another program, as loaded by `stylemix.safe_pickle`.

    `name` is the file name for messages. Raises StylemixError for an unknown format.
    """
    if isinstance(data, PersistentObject):  # a network pickled alone
        data = {"G_ema": data}
    parts = data if isinstance(data, (tuple, list)) else [data]
    networks = [part for part in parts if isinstance(part, TensorFlowNetwork)]
    if networks and len(networks) == len(parts):
        return build_model(*read_tensorflow(networks, name), name)
    if not isinstance(data, dict):
        kind = type(data).__name__
        raise StylemixError(
            f"{name}: got a {kind}, not networks; expected {_KNOWN}; use one of these"
        )
    if any(isinstance(data.get(key), PersistentObject) for key in ("G_ema", "G")):
        return build_model(*read_nvidia(data, name), name)
    if is_rosinality(data):
        data = {"g_ema": data}
    if any(is_rosinality(data.get(key)) for key in ("g_ema", "g", "state_dict")):
        return build_model(*read_rosinality(data, name), name)
    keys = ", ".join(ascii(str(key)[:20]) for key in list(data)[:5]) or "nothing"
    raise StylemixError(
        f"{name}: got a file that holds {keys}; expected {_KNOWN}; use one of these"
    )


def build_model(header: Header, tensors: Mapping[str, Tensor], name: str) -> Model:
    """Builds the model of a header and weights: fp32, on the CPU, without gradients.

    All names and shapes are checked before a network is built. `name` is the file name for
    messages.
    """
    configs: dict[str, GeneratorConfig | DiscriminatorConfig] = {"G.": header.generator}
    if header.discriminator is not None:
        configs["D."] = header.discriminator
    unknown = [key for key in tensors if key[:2] not in configs]
    if unknown:
        raise StylemixError(
            f"{name}: got the unknown weights {unknown[0][:60]!a}; expected names that start with "
            f"{' or '.join(configs)}; get the file again from its author"
        )
    for prefix, config in configs.items():
        _check_shapes(_with_prefix(tensors, prefix), config, name)
    weights = {key: to_float(value, key, name) for key, value in tensors.items()}
    with no_random_weights():
        generator = _fill(Generator(header.generator), _with_prefix(weights, "G."))
        discriminator = None
        if header.discriminator is not None:
            discriminator = _fill(Discriminator(header.discriminator), _with_prefix(weights, "D."))
    actual = fingerprint(generator)
    if header.fingerprint not in (None, actual):
        raise StylemixError(
            f"{name}: got weights with fingerprint {actual}; expected {header.fingerprint[:40]} by "
            "its header; the file was changed: get it again from its author"
        )
    return Model(
        generator, discriminator, header.template, header.card, header.origin, header.latents_of
    )


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Returns the tensors of one network, without the prefix of their names."""
    return {key[2:]: value for key, value in tensors.items() if key.startswith(prefix)}


def _fill(network: Network, weights: dict[str, Tensor]) -> Network:
    network.load_state_dict(weights, assign=True)
    return network.eval().requires_grad_(False)


def _check_shapes(
    tensors: Mapping[str, Tensor], config: GeneratorConfig | DiscriminatorConfig, name: str
) -> None:
    """Raises StylemixError if names or shapes differ from those of a network of `config`."""
    expected = expected_shapes(config)
    shapes = {key: tuple(value.shape) for key, value in tensors.items()}
    kind = "generator" if isinstance(config, GeneratorConfig) else "discriminator"
    missing = [key for key in expected if key not in shapes]
    extra = [key for key in shapes if key not in expected]
    wrong = [key for key in expected if key in shapes and shapes[key] != expected[key]]
    if wrong:
        key = wrong[0]
        raise StylemixError(
            f"{name}: got {kind} weights {key} of shape {list(shapes[key])}"
            f"{_and_more(wrong)}; expected {list(expected[key])} by the sizes in the file; "
            "it is damaged or of another architecture: get it again or choose another model"
        )
    if missing or extra:
        problems = [f"lacks {missing[0]}{_and_more(missing)}"] if missing else []
        problems += [f"has the unknown {_escaped(extra[0])}{_and_more(extra)}"] if extra else []
        raise StylemixError(
            f"{name}: got {kind} weights that do not fit, it {' and '.join(problems)}; expected a "
            f"StyleGAN2 {kind} of {config.size_text}; choose another model"
        )


def _and_more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _escaped(name: str) -> str:
    return ascii(name[:60])[1:-1]
