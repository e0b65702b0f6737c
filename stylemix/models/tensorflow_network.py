"""A network of a TensorFlow pickle: its variables and arguments, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stylemix.errors import StylemixError
from stylemix.safe_pickle.builders import TensorFlowNetwork

MIN_VERSION = 4  # of the networks' format; StyleGAN1 wrote 2 and 3
MAX_NETWORKS = 16  # a generator has three: itself, mapping and synthesis
MAX_VARIABLES = 5000  # a 1024 px generator has about 170

Array = NDArray[Any]

_FIXED = {  # arguments with the only value that stylemix computes
    "nonlinearity": "lrelu",
    "mapping_nonlinearity": "lrelu",
    "normalize_latents": True,
}
_READ = {  # arguments whose values are used, or must agree with the weights
    "architecture", "conv_clamp", "dlatent_size", "fmap_base", "fmap_decay", "fmap_max", "fmap_min",
    "label_size", "latent_size", "mapping_fmaps", "mapping_layers", "mapping_lrmul",
    "mbstd_group_size", "mbstd_num_features", "num_channels", "resample_kernel", "resolution",
    "resolution_h", "resolution_w", "use_noise",
}  # fmt: skip
_UNUSED = {  # arguments of training, of truncation and of the precision of the features
    "dlatent_avg_beta", "dtype", "func_name", "fused_modconv", "mapping_func", "num_fp16_res",
    "randomize_noise", "style_mixing_prob", "synthesis_func", "truncation_cutoff",
    "truncation_psi",
}  # fmt: skip

_GET_AGAIN = "the file is damaged or of another architecture: get it again or choose another model"
_CHOOSE = "stylemix has no such network: choose a StyleGAN2 model"
_DIFFERENT = "its images would differ: choose another model"


@dataclass
class Network:
    """A network with its components: variables by their whole names, and arguments by name."""

    file: str
    variables: dict[str, Array] = field(default_factory=dict)
    arguments: dict[str, object] = field(default_factory=dict)
    version: object = None

    def variable(self, name: str) -> Array:
        """Returns a variable; StylemixError if it is missing or not floating point."""
        value = self.variables.get(name)
        if value is None or value.dtype.kind != "f":
            got = f"without the variable {name}" if value is None else f"with integers in {name}"
            raise self.refusal(got, "the weights of a StyleGAN2 network")
        return value

    def size(self, name: str, axis: int) -> int:
        """Returns a side of a variable; StylemixError if it has no such axis."""
        shape = self.variable(name).shape
        if not -len(shape) <= axis < len(shape):
            raise self.refusal(f"with {name} of shape {list(shape)}", "weights with more axes")
        return int(shape[axis])

    def count(self, pattern: str) -> int:
        """Returns the number of variables whose names match a pattern."""
        return sum(bool(re.fullmatch(pattern, name)) for name in self.variables)

    def check_agreement(self, sizes: Mapping[str, object]) -> None:
        """Raises StylemixError for arguments that contradict the weights."""
        for key, size in sizes.items():
            value = self.arguments.get(key)
            if value is not None and (type(value) is not type(size) or value != size):
                raise self.refusal(f"with {key} {shown(value)} and weights of {size}", "one value")

    def refusal(self, got: str, expected: str, advice: str = _GET_AGAIN) -> StylemixError:
        """Returns the error that refuses a network "with" or "without" something."""
        return StylemixError(
            f"{self.file}: got a TensorFlow network {got}; expected {expected}; {advice}"
        )


def shown(value: object) -> str:
    """Returns the text of a plain value for messages; that of a container could be endless."""
    plain = value is None or isinstance(value, (bool, int, float, str))
    return ascii(value)[:80].strip("'") if plain else f"a {type(value).__name__}"


def collect(root: TensorFlowNetwork, file: str) -> Network:
    """Returns a network with the variables and arguments of its components.

    Raises StylemixError for an unknown format and for arrays that repeat, which could be a small
    file of endless weights.
    """
    network = Network(file, version=root.values.get("version"))
    waiting = [("", root)]
    seen: set[int] = set()  # identities of arrays
    for prefix, part in waiting:
        arguments = part.values.get("static_kwargs", {})
        components = part.values.get("components", {})
        variables = part.values.get("variables", [])
        if not (
            isinstance(arguments, dict)
            and isinstance(components, dict)
            and isinstance(variables, (list, tuple))
            and all(isinstance(component, TensorFlowNetwork) for component in components.values())
        ):
            raise network.refusal("in an unknown format", "arguments, components and variables")
        network.arguments |= {str(key): value for key, value in arguments.items()}
        for entry in variables:
            name, value = _entry(entry, network)
            if id(value) in seen or prefix + name in network.variables:
                raise network.refusal(f"that repeats the variable {shown(name)}", "each once")
            seen.add(id(value))
            network.variables[prefix + name] = value
        waiting += [(f"{prefix}{key}/", component) for key, component in components.items()]
        if len(waiting) > MAX_NETWORKS or len(network.variables) > MAX_VARIABLES:
            raise network.refusal("of too many parts", "those of a StyleGAN2 network")
    return network


def _entry(entry: object, network: Network) -> tuple[str, Array]:
    if isinstance(entry, (list, tuple)) and len(entry) == 2 and isinstance(entry[0], str):
        name, value = entry
        # A NumPy scalar is read as a number of Python.
        if isinstance(value, float) or (type(value) is int and abs(value) < 2**63):
            value = np.array(value)
        if isinstance(value, np.ndarray):
            return name, value
    raise network.refusal("in an unknown format", "pairs of name and array as variables")


def check_generator(network: Network) -> None:
    """Raises StylemixError that says what a network is, unless it is one of config E or F."""
    names = network.variables
    layers = "mod_weight" in {name.rpartition("/")[2] for name in names}
    grown = any("lod" in name.rpartition("/")[0] for name in names)
    expected = "a StyleGAN2 generator"
    if not layers and any(name.startswith("mapping/") for name in names):
        raise network.refusal("that is a StyleGAN1 generator", expected, _CHOOSE)
    if not layers:
        kind = "a progressive GAN (ProGAN)" if grown else "no StyleGAN2 generator"
        raise network.refusal(f"that is {kind}", expected, _CHOOSE)
    if grown:
        got = "that was grown progressively, as configs A to D of StyleGAN2 were"
        raise network.refusal(got, "one of config E or F or of stylegan2-ada", _CHOOSE)
    if any(re.match(r"synthesis/(\d+)x(?!\1/)\d+/", name) for name in names):
        raise network.refusal("of rectangular images", "square images", _CHOOSE)
    if type(network.version) is not int or network.version < MIN_VERSION:
        got = f"of format version {shown(network.version)}"
        raise network.refusal(got, f"version {MIN_VERSION} or later")


def unknown_arguments(network: Network) -> list[str]:
    """Returns the names of arguments whose meaning is unknown."""
    return sorted(set(network.arguments) - _READ - _UNUSED - set(_FIXED))


def check_arguments(network: Network) -> None:
    """Raises StylemixError for unknown arguments and for values that stylemix does not compute."""
    for key in unknown_arguments(network):
        got = f"with the unknown argument {shown(key)}"
        raise network.refusal(got, "those of StyleGAN2 and stylegan2-ada", _DIFFERENT)
    for key, expected in _FIXED.items():
        value = network.arguments.get(key, expected)
        if type(value) is not type(expected) or value != expected:
            raise network.refusal(f"with {key} {shown(value)}", str(expected), _DIFFERENT)
    noise = network.arguments.get("use_noise", True)
    if type(noise) is not bool:
        raise network.refusal(f"with use_noise {shown(noise)}", "True or False")
