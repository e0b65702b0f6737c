"""Network pickles of the TensorFlow versions: StyleGAN2 (configs E and F) and stylegan2-ada.

A file holds three networks: G, D, and Gs with averaged weights. Their arithmetic is that of
stylemix, so conversion is renaming and reordering: dense weights are [inputs, outputs], kernels
[height, width, inputs, outputs], those of upsampling convolutions are mirrored, and style biases
lack the one that is added to them. Sizes follow from the shapes of the weights.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stylemix.faces.templates import template_for
from stylemix.io.atomic import Json
from stylemix.models.header import Header, parse_config
from stylemix.models.tensorflow_network import (
    Array,
    Network,
    check_arguments,
    check_generator,
    collect,
    shown,
    unknown_arguments,
)
from stylemix.networks.config import DiscriminatorConfig, GeneratorConfig, channel_rule
from stylemix.networks.shapes import expected_shapes
from stylemix.ops import setup_filter
from stylemix.safe_pickle.builders import TensorFlowNetwork

LR_MULTIPLIER = 0.01  # of mapping networks here, by which their weights are stored divided
D_LR_MULTIPLIER = 0.1  # the default of the label mapping of a discriminator in TensorFlow
DEFAULT_FILTER = (1, 3, 3, 1)

Layout = Callable[[Array], Array]
Names = dict[str, tuple[str, Layout]]  # our name: (their name, conversion to our layout)


def read_tensorflow(
    networks: Sequence[TensorFlowNetwork], name: str
) -> tuple[Header, dict[str, Tensor]]:
    """Returns header and tensors of the networks (G, D, Gs), or of one generator: Gs and D."""
    network = collect(networks[-1], name)
    if len(networks) not in (1, 3):
        raise network.refusal(f"as one of {len(networks)}", "G, D and Gs")
    check_generator(network)
    check_arguments(network)
    config = _generator_config(network)
    names = _generator_names(config, network)
    for key in _unknown_variables(names, network):
        got = f"with the unknown variable {shown(key)}"
        raise network.refusal(got, f"those of a StyleGAN2 generator of {config.size_text}")
    tensors = _converted(names, network, config, "G.")
    card: dict[str, Json] = {
        "source": "StyleGAN2 TensorFlow network pickle",
        "licence": "that of its authors; not covered by the licence of stylemix",
    }
    discriminator: DiscriminatorConfig | None = None
    if len(networks) == 3:
        critic = _read_discriminator(collect(networks[1], name))
        if critic is None:
            card["discriminator"] = "left out: not a StyleGAN2 discriminator"
        else:
            discriminator = critic[0]
            tensors |= critic[1]
    template = template_for(config.img_resolution, "tensorflow")
    return Header(config, discriminator, template, card, None, "tensorflow"), tensors


def _read_discriminator(network: Network) -> tuple[DiscriminatorConfig, dict[str, Tensor]] | None:
    """Returns sizes and weights of a discriminator; None for one of another architecture."""
    if "4x4/Dense0/weight" not in network.variables or unknown_arguments(network):
        return None
    check_arguments(network)
    config = _discriminator_config(network)
    names = _discriminator_names(config, network)
    if _unknown_variables(names, network):
        return None
    return config, _converted(names, network, config, "D.")


def _generator_config(network: Network) -> GeneratorConfig:
    size = _resolution(network, r"synthesis/(\d{1,5})x")
    table = {r: network.size(f"synthesis/{r}x{r}/Conv1/weight", 3) for r in _doubled(size)}
    table[4] = network.size("synthesis/4x4/Conv/weight", 3)
    conditional = "mapping/LabelEmbed/weight" in network.variables
    w_dim = network.size("dlatent_avg", 0)
    sizes = _common_sizes(network, table, "synthesis/", "ToRGB", "skip") | {
        "img_channels": network.size(f"synthesis/{size}x{size}/ToRGB/weight", 3),
        "c_dim": network.size("mapping/LabelEmbed/weight", 0) if conditional else 0,
        "z_dim": network.size("mapping/Dense0/weight", 0) - (w_dim if conditional else 0),
        "w_dim": w_dim,
        "mapping_layers": network.count(r"mapping/Dense\d+/weight"),
    }
    labels = network.arguments.get("label_size")
    if type(labels) is int and labels > 0 and not conditional:
        raise network.refusal(
            "whose labels join z as in StyleGAN2 before stylegan2-ada",
            "labels with an embedding of their own",
            "its images would differ: choose another model",
        )
    config = parse_config(GeneratorConfig, sizes, network.file)
    _check_sizes(network, config)
    network.check_agreement(
        {
            "mapping_layers": config.mapping_layers,
            "latent_size": config.z_dim,
            "dlatent_size": config.w_dim,
        }
    )
    return config


def _discriminator_config(network: Network) -> DiscriminatorConfig:
    size = _resolution(network, r"(\d{1,5})x")
    table = {r: network.size(f"{r}x{r}/Conv0/weight", 3) for r in _doubled(size)}
    table[4] = network.size("4x4/Conv/weight", 3)
    conditional = "LabelEmbed/weight" in network.variables
    extra = network.size("4x4/Conv/weight", 2) - table[4]
    sizes = _common_sizes(network, table, "", "FromRGB", "resnet") | {
        "img_channels": network.size(f"{size}x{size}/FromRGB/weight", 2),
        "c_dim": network.size("LabelEmbed/weight", 0) if conditional else 0,
        "mapping_layers": network.count(r"Mapping\d+/weight") if conditional else 8,
        "cmap_dim": network.size("Output/weight", 1) if conditional else None,
        "mbstd_group_size": network.arguments.get("mbstd_group_size", 4),
        "mbstd_num_channels": extra,
    }
    config = parse_config(DiscriminatorConfig, sizes, network.file)
    _check_sizes(network, config)
    network.check_agreement({"mbstd_num_features": extra})
    if conditional:  # else no mapping network uses the argument
        network.check_agreement({"mapping_layers": config.mapping_layers})
    return config


def _resolution(network: Network, pattern: str) -> int:
    matches = (re.match(pattern, name) for name in network.variables)
    return max((int(match[1]) for match in matches if match), default=0)


def _doubled(last: int) -> Iterable[int]:
    return (8 << i for i in range(16) if 8 << i <= last)


def _common_sizes(
    network: Network, table: dict[int, int], scope: str, colors: str, default: str
) -> dict[str, Any]:
    """Returns the sizes that follow from widths {px: channels} and from the names in `scope`."""
    arguments = network.arguments
    base, widest = channel_rule(table, network.file)
    given, limit = arguments.get("fmap_base"), arguments.get("fmap_max")
    if (
        type(given) is int
        and type(limit) is int
        and all(min(2 * given // r, limit) == channels for r, channels in table.items())
    ):
        base, widest = 2 * given, limit  # also right for blocks that are added; given for 2 px
    architecture = arguments.get("architecture", default)
    if len(table) > 1:
        kinds = {"resnet": "8x8/Skip/weight", "skip": f"4x4/{colors}/weight"}
        found = [kind for kind, key in kinds.items() if scope + key in network.variables]
        architecture = found[0] if found else "orig"
        network.check_agreement({"architecture": architecture})
    return {
        "img_resolution": max(table),
        "channel_base": base,
        "channel_max": widest,
        "architecture": architecture,
        "conv_clamp": arguments.get("conv_clamp"),
        "resample_filter": arguments.get("resample_kernel", DEFAULT_FILTER),
    }


def _check_sizes(network: Network, config: GeneratorConfig | DiscriminatorConfig) -> None:
    sizes = dict.fromkeys(("resolution", "resolution_h", "resolution_w"), config.img_resolution)
    sizes |= {"num_channels": config.img_channels, "label_size": config.c_dim}
    network.check_agreement(sizes)


# Names and layouts.


def _plain(value: Array) -> Array:
    return value


def _dense(value: Array) -> Array:
    return np.transpose(value)


def _kernel(value: Array) -> Array:
    return np.transpose(value, (3, 2, 0, 1))


def _mirrored(value: Array) -> Array:
    mirrored = value[::-1, ::-1].copy()  # torch has no negative strides
    return np.transpose(mirrored, (3, 2, 0, 1))


def _scaled(layout: Layout, factor: float, value: Array) -> Array:
    with np.errstate(over="ignore"):  # values that are too large are refused later, by name
        return layout(value) * factor


def _mapping_names(network: Network, layers: int, theirs: str, default: float) -> Names:
    """Returns the names of a mapping network; another learning-rate multiplier scales weights."""
    multiplier = network.arguments.get("mapping_lrmul", default)
    if type(multiplier) not in (int, float) or not 0 < float(str(multiplier)) <= 1000:
        got = f"with mapping_lrmul {shown(multiplier)}"
        raise network.refusal(got, "a positive number")
    factor = float(str(multiplier)) / LR_MULTIPLIER
    names: Names = {}
    for i in range(layers):
        for leaf, layout in (("weight", _dense), ("bias", _plain)):
            convert: Layout = layout if factor == 1 else partial(_scaled, layout, factor)
            names[f"mapping.fc{i}.{leaf}"] = (f"{theirs}{i}/{leaf}", convert)
    return names


def _layer_names(ours: str, theirs: str, weight: Layout) -> Names:
    return {
        f"{ours}.weight": (f"{theirs}/weight", weight),
        f"{ours}.bias": (f"{theirs}/bias", _plain),
    }


def _generator_names(config: GeneratorConfig, network: Network) -> Names:
    names = _mapping_names(network, config.mapping_layers, "mapping/Dense", LR_MULTIPLIER)
    names["mapping.w_avg"] = ("dlatent_avg", _plain)
    if config.c_dim:
        names |= _layer_names("mapping.embed", "mapping/LabelEmbed", _dense)
    names["synthesis.b4.const"] = ("synthesis/4x4/Const/const", lambda value: value[0])
    for i, r in enumerate(config.resolutions):
        ours, theirs = f"synthesis.b{r}", f"synthesis/{r}x{r}"
        layers = {"conv0": ("Conv0_up", 2 * i - 1), "conv1": ("Conv1", 2 * i)}
        for layer, (kind, index) in ({"conv1": ("Conv", 0)} if r == 4 else layers).items():
            block, scope = f"{ours}.{layer}", f"{theirs}/{kind}"
            names |= _layer_names(block, scope, _mirrored if layer == "conv0" else _kernel)
            names |= _affine_names(block, scope)
            noise = (f"synthesis/noise{index}", lambda value: value[0, 0])
            names[f"{block}.noise_const"] = noise
            strength = (f"{scope}/noise_strength", lambda value: value.reshape(()))
            names[f"{block}.noise_strength"] = strength
        if config.architecture == "skip" or r == config.img_resolution:
            names |= _layer_names(f"{ours}.torgb", f"{theirs}/ToRGB", _kernel)
            names |= _affine_names(f"{ours}.torgb", f"{theirs}/ToRGB")
        if config.architecture == "resnet" and r > 4:
            names[f"{ours}.skip.weight"] = (f"{theirs}/Skip/weight", _kernel)
    return names


def _affine_names(ours: str, theirs: str) -> Names:
    return {
        f"{ours}.affine.weight": (f"{theirs}/mod_weight", _dense),
        f"{ours}.affine.bias": (f"{theirs}/mod_bias", lambda value: value + 1),
    }


def _discriminator_names(config: DiscriminatorConfig, network: Network) -> Names:
    names: Names = {}
    if config.c_dim:
        names |= _layer_names("mapping.embed", "LabelEmbed", _dense)
        names |= _mapping_names(network, config.mapping_layers, "Mapping", D_LR_MULTIPLIER)
    for r in config.resolutions:
        ours, theirs = f"b{r}", f"{r}x{r}"
        if config.architecture == "skip" or r == config.img_resolution:
            names |= _layer_names(f"{ours}.fromrgb", f"{theirs}/FromRGB", _kernel)
        if r > 4:
            names |= _layer_names(f"{ours}.conv0", f"{theirs}/Conv0", _kernel)
            names |= _layer_names(f"{ours}.conv1", f"{theirs}/Conv1_down", _kernel)
        if config.architecture == "resnet" and r > 4:
            names[f"{ours}.skip.weight"] = (f"{theirs}/Skip/weight", _kernel)
    names |= _layer_names("b4.conv", "4x4/Conv", _kernel)
    names |= _layer_names("b4.fc", "4x4/Dense0", _dense)
    return names | _layer_names("b4.out", "Output", _dense)


def _unknown_variables(names: Names, network: Network) -> list[str]:
    """Returns the variables without a place, except for counters beside the layers."""
    used = {theirs for theirs, _ in names.values()}
    return [
        key
        for key, value in network.variables.items()
        if key not in used and ("/" in key or value.size != 1)
    ]


def _converted(
    names: Names, network: Network, config: GeneratorConfig | DiscriminatorConfig, prefix: str
) -> dict[str, Tensor]:
    """Returns the weights and the filters under our names."""
    taps = {"b4.fromrgb.resample_filter": setup_filter(DEFAULT_FILTER)}  # never used
    tensors = {}
    for key, shape in expected_shapes(config).items():
        if key.endswith("resample_filter"):
            tensors[prefix + key] = taps.get(key, setup_filter(config.resample_filter))
        elif ".noise_" in key and network.arguments.get("use_noise") is False:
            tensors[prefix + key] = torch.zeros(shape)
    for key, (theirs, layout) in names.items():
        if prefix + key in tensors:
            continue
        value = network.variable(theirs)
        try:
            tensors[prefix + key] = torch.from_numpy(layout(value))
        except (IndexError, TypeError, ValueError) as error:  # too few axes, or too many
            got = f"with {theirs} of shape {list(value.shape)}"
            raise network.refusal(got, "the shape of a StyleGAN2 network's") from error
    return tensors
