"""Network pickles of the NVIDIA PyTorch family: stylegan2-ada, and stylegan3 with --cfg=stylegan2.

The names of their weights are those of stylemix. Sizes are read from the attributes of the pickled
modules, which hold the actual values, whatever the defaults of the release were.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.faces.templates import template_for
from stylemix.io.atomic import Json
from stylemix.models.header import Header, parse_config
from stylemix.networks.config import DiscriminatorConfig, GeneratorConfig, channel_rule
from stylemix.ops import setup_filter
from stylemix.safe_pickle.builders import PersistentObject

MAX_MODULES = 5000  # a 1024 px network has about 150
MAX_DEPTH = 8
MAPPING_LR_MULTIPLIER = 0.01
LEAKY_GAIN = math.sqrt(2)

Modules = dict[str, PersistentObject]


def read_nvidia(data: Mapping[str, object], name: str) -> tuple[Header, dict[str, Tensor]]:
    """Returns header and tensors of a network pickle: G_ema, or G without it, and D."""
    modules = _modules(data.get("G_ema") if data.get("G_ema") is not None else data.get("G"), name)
    weights = _weights(modules)
    _check_family(weights, name)
    config = _generator_config(modules, weights, name)
    tensors = {f"G.{key}": value for key, value in weights.items()}
    card: dict[str, Json] = {
        "source": "NVIDIA PyTorch network pickle",
        "licence": "that of its authors; not covered by the licence of stylemix",
    }
    discriminator = None
    if isinstance(data.get("D"), PersistentObject):
        modules = _modules(data["D"], name)
        weights = _weights(modules)
        if "b4.fc.weight" in weights and "b4.conv.weight" in weights:
            discriminator = _discriminator_config(modules, weights, name)
            tensors |= {f"D.{key}": value for key, value in weights.items()}
        else:
            card["discriminator"] = "left out: not a StyleGAN2 discriminator"
    template = template_for(config.img_resolution, "nvidia")
    return Header(config, discriminator, template, card, None, "nvidia"), tensors


def _modules(root: object, name: str) -> Modules:
    """Returns all modules of a network by their dotted names, with "" for the root."""
    modules: Modules = {}
    for path, module in _walk(root, "", 0, name):
        modules[path] = module
        if len(modules) > MAX_MODULES:
            raise _unsupported(name, "thousands of modules", "a StyleGAN2 network")
    return modules


def _walk(
    module: object, path: str, depth: int, name: str
) -> Iterator[tuple[str, PersistentObject]]:
    if not isinstance(module, PersistentObject) or depth > MAX_DEPTH:
        raise _unsupported(name, f"an unknown part at {path or 'its root'}", "network modules")
    yield path, module
    children = module.state.get("_modules")
    for key, child in children.items() if isinstance(children, dict) else ():
        if child is not None:
            yield from _walk(child, f"{path}.{key}" if path else str(key), depth + 1, name)


def _weights(modules: Modules) -> dict[str, Tensor]:
    """Returns parameters and buffers by their dotted names."""
    weights = {}
    for path, module in modules.items():
        for kind in ("_parameters", "_buffers"):
            entries = module.state.get(kind)
            for key, value in entries.items() if isinstance(entries, dict) else ():
                if isinstance(value, Tensor) and not value.is_complex():  # no weight is
                    weights[f"{path}.{key}" if path else str(key)] = value
    return weights


def _check_family(weights: Mapping[str, Tensor], name: str) -> None:
    if any(key.startswith("synthesis.input.") for key in weights):
        raise _unsupported(
            name, "an alias-free StyleGAN3 generator", "a StyleGAN2 generator (--cfg=stylegan2)"
        )
    if "synthesis.b4.const" not in weights:
        raise _unsupported(name, "a generator of another architecture", "a StyleGAN2 generator")


def _unsupported(name: str, got: str, expected: str) -> StylemixError:
    return StylemixError(f"{name}: got {got}; expected {expected}; choose another model")


def _generator_config(modules: Modules, weights: dict[str, Tensor], name: str) -> GeneratorConfig:
    size = _integer(modules, "", "img_resolution", name)
    blocks = _resolutions(size)
    if not blocks or size != blocks[-1]:
        raise _unsupported(name, f"a resolution of {size!r:.20} px", "4, 8, 16 ... 1024 px")
    table = {r: _channels(weights, f"synthesis.b{r}.conv1.weight", name) for r in blocks}
    base, widest = _rule(modules, "synthesis", table, name)
    layers = _integer(modules, "mapping", "num_layers", name)
    _check_mapping(modules, layers, name)
    _check_synthesis(modules, weights, name)
    sizes = {
        "img_resolution": size,
        "img_channels": _integer(modules, "", "img_channels", name),
        "c_dim": _integer(modules, "", "c_dim", name),
        "z_dim": _integer(modules, "", "z_dim", name),
        "w_dim": _integer(modules, "", "w_dim", name),
        "mapping_layers": layers,
        "channel_base": base,
        "channel_max": widest,
        "architecture": _text(modules, "synthesis.b4", "architecture", name),
        "conv_clamp": _clamp(modules, "synthesis.", name),
        "resample_filter": _filter(weights, "synthesis.b4.resample_filter", name),
    }
    return parse_config(GeneratorConfig, sizes, name)


def _discriminator_config(
    modules: Modules, weights: dict[str, Tensor], name: str
) -> DiscriminatorConfig:
    size = _integer(modules, "", "img_resolution", name)
    table = {4: _channels(weights, "b4.conv.weight", name)}
    table |= {r: _channels(weights, f"b{r}.conv0.weight", name) for r in _resolutions(size)[1:]}
    base, widest = _rule(modules, "", table, name)
    c_dim = _integer(modules, "", "c_dim", name)
    if c_dim:
        _check_mapping(modules, _integer(modules, "mapping", "num_layers", name), name)
    first = f"b{size}.resample_filter" if size > 4 else "b4.conv.resample_filter"
    sizes = {
        "img_resolution": size,
        "img_channels": _integer(modules, "", "img_channels", name),
        "c_dim": c_dim,
        "mapping_layers": _integer(modules, "mapping", "num_layers", name) if c_dim else 8,
        "channel_base": base,
        "channel_max": widest,
        "architecture": _text(modules, "b4", "architecture", name),
        "conv_clamp": _clamp(modules, "b", name),
        "resample_filter": _filter(weights, first, name),
        "cmap_dim": _integer(modules, "b4", "cmap_dim", name) if c_dim else None,
        "mbstd_group_size": _integer(modules, "b4.mbstd", "group_size", name),
        "mbstd_num_channels": _integer(modules, "b4.mbstd", "num_channels", name),
    }
    return parse_config(DiscriminatorConfig, sizes, name)


def _resolutions(size: int) -> list[int]:
    return [1 << i for i in range(2, min(size, 1024).bit_length())]


def _channels(weights: Mapping[str, Tensor], key: str, name: str) -> int:
    if key not in weights or not weights[key].ndim:
        raise _unsupported(name, f"a network without {key}", "a StyleGAN2 network")
    return int(weights[key].shape[0])


def _rule(modules: Modules, path: str, table: dict[int, int], name: str) -> tuple[int, int]:
    """Returns (channel_base, channel_max): the values in the file if they give these widths."""
    kwargs = modules[path].state.get("_init_kwargs") if path in modules else None
    base = kwargs.get("channel_base") if isinstance(kwargs, dict) else None
    widest = kwargs.get("channel_max") if isinstance(kwargs, dict) else None
    if (
        type(base) is int
        and type(widest) is int
        and all(min(base // r, widest) == channels for r, channels in table.items())
    ):
        return base, widest
    return channel_rule(table, name)


def _attribute(modules: Modules, path: str, key: str) -> object:
    """Returns an attribute of a module, or its constructor argument of that name."""
    state = modules[path].state if path in modules else {}
    kwargs = state.get("_init_kwargs")
    return state.get(key, kwargs.get(key) if isinstance(kwargs, dict) else None)


def _integer(modules: Modules, path: str, key: str, name: str) -> int:
    value = _attribute(modules, path, key)
    if type(value) is not int or not 0 <= value <= 65536:
        raise _unsupported(name, f"a network without a valid {key}", "an integer")
    return value


def _text(modules: Modules, path: str, key: str, name: str) -> str:
    value = _attribute(modules, path, key)
    if not isinstance(value, str):
        raise _unsupported(name, f"a network without a valid {key}", "text")
    return value


def _clamp(modules: Modules, prefix: str, name: str) -> float | None:
    """Returns the common `conv_clamp` of all convolutions below `prefix`."""
    values = []
    for path, module in modules.items():
        layer = path.rpartition(".")[2]
        inner = path.startswith(prefix) and layer in ("conv", "conv0", "conv1", "torgb")
        if inner and "conv_clamp" in module.state:
            values.append(module.state["conv_clamp"])
    plain = [value for value in values if value is None or isinstance(value, (int, float))]
    if len(plain) != len(values) or len(set(plain)) != 1:
        raise _unsupported(name, "layers with different values of conv_clamp", "one value")
    return plain[0]


def _filter(weights: Mapping[str, Tensor], key: str, name: str) -> tuple[float, ...]:
    """Returns the taps of a stored resampling filter, scaled to integers where possible."""
    stored = weights.get(key)
    if stored is None or stored.ndim not in (1, 2) or not 0 < stored.shape[-1] <= 32:
        raise _unsupported(name, "a network without a resampling filter", f"1 to 32 taps in {key}")
    taps = stored.double() if stored.ndim == 1 else stored.double().sum(dim=0)
    taps = taps / taps[taps != 0].abs().min() if bool((taps != 0).any()) else taps
    rounded = taps.round()
    exact = torch.allclose(rounded, taps, atol=1e-3)
    values = tuple((rounded.int() if exact else taps).tolist())
    made = setup_filter(values)
    if made.shape != stored.shape or not torch.allclose(made, stored.float(), atol=1e-4):
        raise _unsupported(name, "an uncommon resampling filter", "a separable one")
    return values


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) else "unknown"


def _is_close(value: object, expected: float) -> bool:
    return isinstance(value, (int, float)) and math.isclose(value, expected, rel_tol=1e-4)


def _check_mapping(modules: Modules, layers: int, name: str) -> None:
    for i in range(min(layers, MAX_MODULES)):
        layer = modules.get(f"mapping.fc{i}")
        gain = layer.state.get("bias_gain") if layer else None
        if not _is_close(gain, MAPPING_LR_MULTIPLIER):
            raise _unsupported(
                name,
                f"a mapping network with learning-rate multiplier {_shown(gain)}",
                f"{MAPPING_LR_MULTIPLIER}, with which stylemix scales the weights",
            )


def _check_synthesis(modules: Modules, weights: dict[str, Tensor], name: str) -> None:
    """Refuses other activations; adds noise of strength zero to layers without noise."""
    for path, module in modules.items():
        kind = path.rpartition(".")[2]
        if not path.startswith("synthesis.") or kind not in ("conv0", "conv1"):
            continue
        act = module.state.get("activation", "lrelu")
        if not isinstance(act, str) or act != "lrelu":
            raise _unsupported(name, "an uncommon activation", "leaky ReLU")
        if not _is_close(module.state.get("act_gain", LEAKY_GAIN), LEAKY_GAIN):
            raise _unsupported(name, "an uncommon activation gain", "the square root of two")
        if module.state.get("use_noise") is False:
            size = _integer(modules, path, "resolution", name)
            weights.setdefault(f"{path}.noise_strength", torch.zeros([]))
            weights.setdefault(f"{path}.noise_const", torch.zeros([min(size, 1024)] * 2))
