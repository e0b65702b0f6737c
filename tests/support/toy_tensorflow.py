"""Network pickles in the layout of the TensorFlow versions, written from a model of stylemix.

The classes are known by name only while the file is written: no TensorFlow, and no `dnnlib`.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
from torch import nn

from stylemix.models.model import Model

Variables = dict[str, Any]


class Network:
    """What the files know as dnnlib.tflib.network.Network."""

    def __init__(
        self, static: dict[str, Any], variables: Variables, components: dict[str, Any]
    ) -> None:
        self.version: object = 4
        self.name = "net"
        self.static_kwargs = static
        self.components = components
        self.build_module_src = "raise SystemExit"  # source text, which is never run
        self.build_func_name = "build"
        self.variables: Any = list(variables.items())


def tensorflow_file(path: Path, networks: object, protocol: int = 4, home: str = "") -> str:
    """Writes networks, any object of them, to a file; `home` is the module of the class."""
    home = home or "dnnlib.tflib.network"
    parents = [home[:i] for i, letter in enumerate(home) if letter == "."]
    modules = {name: ModuleType(name) for name in [*parents, home]}
    modules[home].Network = Network  # type: ignore[attr-defined]
    with patch.dict(sys.modules, modules), patch.object(Network, "__module__", home):
        path.write_bytes(pickle.dumps(networks, protocol))
    return str(path)


def networks_of(model: Model) -> tuple[Network, Network | None, Network]:
    """The networks (G, D, Gs) of a file; G has other weights than the average Gs."""
    changed = generator_network(model)
    for component in changed.components.values():
        component.variables = [(name, value * 2) for name, value in component.variables]
    critic = None if model.discriminator is None else discriminator_network(model)
    return changed, critic, generator_network(model)


def _numbers(value: Any) -> Any:
    return value.detach().numpy().copy()


def _dense(layer: nn.Module, scope: str) -> Variables:
    return {
        f"{scope}/weight": np.ascontiguousarray(_numbers(layer.weight).T),
        f"{scope}/bias": _numbers(layer.bias),
    }


def _kernel(layer: nn.Module) -> Any:
    """Weights [O, I, h, w] as [h, w, I, O]."""
    return np.ascontiguousarray(np.moveaxis(_numbers(layer.weight), (2, 3, 1, 0), (0, 1, 2, 3)))


def _modulated(layer: nn.Module, scope: str, up: bool = False) -> Variables:
    kernel = _kernel(layer)
    return {
        f"{scope}/weight": np.rot90(kernel, 2, axes=(0, 1)).copy() if up else kernel,
        f"{scope}/bias": _numbers(layer.bias),
        f"{scope}/mod_weight": np.ascontiguousarray(_numbers(layer.affine.weight).T),
        f"{scope}/mod_bias": _numbers(layer.affine.bias) - 1,
    }


def generator_network(model: Model) -> Network:
    """The generator: its average w, and the components mapping and synthesis."""
    g, config = model.generator, model.generator.config
    shared = {
        "num_channels": config.img_channels, "resolution": config.img_resolution,
        "label_size": config.c_dim, "fmap_base": config.channel_base // 2,
        "fmap_max": config.channel_max, "architecture": config.architecture,
        "mapping_layers": config.mapping_layers, "latent_size": config.z_dim,
        "dlatent_size": config.w_dim, "resample_kernel": list(config.resample_filter),
    }  # fmt: skip
    if config.conv_clamp is not None:
        shared |= {"conv_clamp": config.conv_clamp, "num_fp16_res": 4}
    mapping: Variables = {}
    if config.c_dim:
        mapping |= _dense(g.mapping.embed, "LabelEmbed")
    for i in range(config.mapping_layers):
        mapping |= _dense(g.mapping.get_submodule(f"fc{i}"), f"Dense{i}")
    parts = {
        "synthesis": Network(dict(shared), _synthesis(model), {}),
        "mapping": Network(dict(shared), mapping, {}),
    }
    own = {"lod": np.float32(0), "dlatent_avg": _numbers(g.mapping.w_avg)}
    return Network({**shared, "truncation_psi": 0.5, "randomize_noise": True}, own, parts)


def _synthesis(model: Model) -> Variables:
    variables: Variables = {}
    number = 0
    for name, block in model.generator.synthesis.blocks().items():
        scope = f"{name[1:]}x{name[1:]}"
        if name == "b4":
            variables["4x4/Const/const"] = _numbers(block.const)[None]
        else:
            variables |= _modulated(block.conv0, f"{scope}/Conv0_up", up=True)
        last = "Conv" if name == "b4" else "Conv1"
        variables |= _modulated(block.conv1, f"{scope}/{last}")
        for layer, kind in ((getattr(block, "conv0", None), "Conv0_up"), (block.conv1, last)):
            if layer is not None:
                variables[f"noise{number}"] = _numbers(layer.noise_const)[None, None]
                strength = np.float32(layer.noise_strength.item())
                variables[f"{scope}/{kind}/noise_strength"] = strength
                number += 1
        if hasattr(block, "torgb"):
            variables |= _modulated(block.torgb, f"{scope}/ToRGB")
        if hasattr(block, "skip"):
            variables[f"{scope}/Skip/weight"] = _kernel(block.skip)
    return variables


def discriminator_network(model: Model) -> Network:
    """The discriminator: one network without components."""
    d = model.discriminator
    assert d is not None
    config = d.config
    variables: Variables = {}
    static: dict[str, Any] = {
        "num_channels": config.img_channels, "resolution": config.img_resolution,
        "label_size": config.c_dim, "fmap_base": config.channel_base // 2,
        "fmap_max": config.channel_max, "architecture": config.architecture,
        "mbstd_group_size": config.mbstd_group_size,
        "mbstd_num_features": config.mbstd_num_channels,
    }  # fmt: skip
    if config.c_dim:
        variables |= _dense(d.mapping.embed, "LabelEmbed")
        static |= {"mapping_layers": config.mapping_layers, "mapping_lrmul": 0.01}
        for i in range(config.mapping_layers):
            variables |= _dense(d.mapping.get_submodule(f"fc{i}"), f"Mapping{i}")
    for resolution in reversed(config.resolutions):
        block, scope = d.get_submodule(f"b{resolution}"), f"{resolution}x{resolution}"
        names = {"fromrgb": "FromRGB", "conv0": "Conv0", "conv1": "Conv1_down", "conv": "Conv"}
        for ours, theirs in names.items():
            layer = getattr(block, ours, None)
            if layer is not None:
                variables[f"{scope}/{theirs}/weight"] = _kernel(layer)
                variables[f"{scope}/{theirs}/bias"] = _numbers(layer.bias)
        if hasattr(block, "skip"):
            variables[f"{scope}/Skip/weight"] = _kernel(block.skip)
    variables |= _dense(d.b4.fc, "4x4/Dense0") | _dense(d.b4.out, "Output")
    return Network(static, variables, {})
