"""Checkpoints in the layout of rosinality/stylegan2-pytorch: `.pt` files with g_ema, g and d.

Files of encoders such as pSp and e4e hold such a generator, too, as "decoder." of their state_dict.
The networks are those of stylemix under other names, so conversion is renaming and reshaping. Sizes
are not stored; they follow from the shapes of the weights.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from stylemix.devices import no_random_weights
from stylemix.errors import StylemixError
from stylemix.faces.templates import template_for
from stylemix.io.atomic import Json
from stylemix.models.header import Header, parse_config
from stylemix.networks.config import DiscriminatorConfig, GeneratorConfig, channel_rule
from stylemix.networks.mapping import MappingNetwork
from stylemix.ops import setup_filter

AVERAGE_SAMPLES = 10_000  # as in the public projectors
AVERAGE_SEED = 123
NOISE_SEED = 0
MAX_MAPPING_LAYERS = 63
PREFIXES = ("module.decoder.", "module.", "decoder.")

Weights = dict[str, Tensor]

_SYNTHESIS_LEAVES = {
    "conv.weight": "weight",
    "conv.modulation.weight": "affine.weight",
    "conv.modulation.bias": "affine.bias",
    "noise.weight": "noise_strength",
    "activate.bias": "bias",
    "bias": "bias",  # of to_rgb
}


def read_rosinality(data: Mapping[str, object], name: str) -> tuple[Header, Weights]:
    """Returns header and tensors of a checkpoint: the averaged generator, and d if present."""
    source = next(
        _tensors(data[key], name)
        for key in ("g_ema", "g", "state_dict")
        if isinstance(data.get(key), dict)
    )
    discriminator = None
    try:
        config, weights = _generator(source, name)
        average = _stored_average(data.get("latent_avg"), config, name)
        weights["mapping.w_avg"] = _mean_w(config, weights) if average is None else average
        weights = {f"G.{key}": value for key, value in weights.items()}
        if isinstance(data.get("d"), dict):
            discriminator, d_weights = _discriminator(_tensors(data["d"], name), name)
            weights |= {f"D.{key}": value for key, value in d_weights.items()}
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        cause = f"no {str(error)[:60]}" if isinstance(error, KeyError) else "weights of odd shapes"
        raise StylemixError(
            f"{name}: got a checkpoint with {cause}; expected the layout of "
            "rosinality/stylegan2-pytorch; choose another file"
        ) from error
    card: dict[str, Json] = {
        "source": "rosinality/stylegan2-pytorch checkpoint",
        "licence": "that of its authors; not covered by the licence of stylemix",
    }
    template = template_for(config.img_resolution, "rosinality")
    return Header(config, discriminator, template, card, None, "rosinality"), weights


def is_rosinality(part: object) -> bool:
    """Whether a state_dict names its weights as this layout does."""
    firsts = (f"{prefix}input.input" for prefix in ("", *PREFIXES))
    return isinstance(part, dict) and any(first in part for first in firsts)


def _tensors(part: object, name: str) -> Weights:
    """Returns the tensors of a state_dict without the prefix of DataParallel or of an encoder.

    Raises StylemixError for weights that are neither tensors nor arrays.
    """
    items = {str(k): v for k, v in part.items()} if isinstance(part, dict) else {}
    for prefix in PREFIXES:
        if f"{prefix}input.input" in items:  # what has no such prefix belongs to another network
            items = {
                key.removeprefix(prefix): value
                for key, value in items.items()
                if key.startswith(prefix)
            }
    tensors = {key.removeprefix("module."): _tensor(value) for key, value in items.items()}
    for key, value in items.items():
        if isinstance(value, list | tuple | Mapping) and key.endswith((".weight", ".bias")):
            raise StylemixError(
                f"{name}: got a {type(value).__name__} for the weights {key[:60]!a}; expected a "
                "tensor or an array; save the file again with tensors"
            )
    return {key: tensor for key, tensor in tensors.items() if tensor is not None}


def _tensor(value: object) -> Tensor | None:
    """Returns a real tensor, also one kept as an array of floats or integers; else None."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiu" and value.dtype.itemsize <= 8:
        return torch.from_numpy(value.astype(value.dtype.newbyteorder("=")))
    return value if isinstance(value, Tensor) and not value.is_complex() else None


def _stored_average(value: object, config: GeneratorConfig, name: str) -> Tensor | None:
    """Returns the mean w [w_dim] of a checkpoint: one row, or one for each layer; None without it.

    Rows that differ, as of an encoder trained with them, are averaged.
    """
    if value is None:
        return None
    average = _tensor(np.asarray(value)) if isinstance(value, list | tuple) else _tensor(value)
    rows = 0 if average is None or not average.ndim else average.numel() // config.w_dim
    if average is None or average.shape[-1:] != (config.w_dim,) or rows not in (1, config.num_ws):
        got = f"values of shape {list(average.shape)}" if average is not None else "no numbers"
        raise StylemixError(
            f"{name}: got {got} as latent_avg; expected [{config.w_dim}] or "
            f"[{config.num_ws}, {config.w_dim}]; save the file again without it, and it is drawn "
            "anew"
        )
    rows_of_w = average.reshape(-1, config.w_dim)
    return rows_of_w[0] if bool((rows_of_w == rows_of_w[0]).all()) else rows_of_w.float().mean(0)


def _mean_w(config: GeneratorConfig, weights: Weights) -> Tensor:
    """Returns the mean w [w_dim] of random z, for files that do not store it."""
    with no_random_weights():
        mapping = MappingNetwork(config.z_dim, 0, config.w_dim, config.mapping_layers)
    mapping.load_state_dict(
        {k[8:]: v.float() for k, v in weights.items() if k.startswith("mapping.")}
    )
    z = np.random.RandomState(AVERAGE_SEED).randn(AVERAGE_SAMPLES, config.z_dim)
    chunks = [torch.from_numpy(z[i : i + 1000]) for i in range(0, AVERAGE_SAMPLES, 1000)]
    with torch.no_grad():
        sums = [mapping(chunk).double().sum(dim=0) for chunk in chunks]
    return (torch.stack(sums).sum(dim=0) / AVERAGE_SAMPLES).float()


def _count(weights: Weights, pattern: str) -> int:
    """Returns one more than the largest index in names that match `pattern`; 0 without any."""
    indices = [int(m[1]) for key in weights if (m := re.match(pattern, key)) and len(m[1]) < 4]
    return max(indices, default=-1) + 1


def _generator(source: Weights, name: str) -> tuple[GeneratorConfig, Weights]:
    blocks = _count(source, r"to_rgbs\.(\d+)\.")
    layers = _count(source, r"style\.(\d+)\.weight") - 1  # style.0 only normalises
    if blocks > 8 or not 0 < layers <= MAX_MAPPING_LAYERS:
        raise StylemixError(
            f"{name}: got {blocks + 1} resolutions and {layers} mapping layers; expected at most 9 "
            f"and 1 to {MAX_MAPPING_LAYERS}; choose another file"
        )
    table = {4: source["input.input"].shape[1]}
    for k in range(blocks):
        table[8 << k] = source[f"convs.{2 * k + 1}.conv.weight"].shape[1]
        _check_blur(source.get(f"convs.{2 * k}.conv.blur.kernel"), name)
    base, widest = channel_rule(table, name)
    w_dim, z_dim = source["style.1.weight"].shape
    sizes = {
        "img_resolution": 4 << blocks,
        "img_channels": source["to_rgb1.conv.weight"].shape[1],
        "z_dim": z_dim,
        "w_dim": w_dim,
        "mapping_layers": layers,
        "channel_base": base,
        "channel_max": widest,
    }
    config = parse_config(GeneratorConfig, sizes, name)
    weights = {"synthesis.b4.const": source["input.input"][0]}
    for i in range(layers):
        weights[f"mapping.fc{i}.weight"] = source[f"style.{i + 1}.weight"]
        weights[f"mapping.fc{i}.bias"] = source[f"style.{i + 1}.bias"]
    _add_layers(weights, source, blocks)
    _add_buffers(weights, source, config)
    return config, weights


def _add_layers(weights: Weights, source: Weights, blocks: int) -> None:
    layers = {"conv1": "b4.conv1", "to_rgb1": "b4.torgb"}
    for k in range(blocks):
        layers[f"convs.{2 * k}"] = f"b{8 << k}.conv0"
        layers[f"convs.{2 * k + 1}"] = f"b{8 << k}.conv1"
        layers[f"to_rgbs.{k}"] = f"b{8 << k}.torgb"
    for theirs, ours in layers.items():
        rgb = ours.endswith("torgb")
        for leaf, own in _SYNTHESIS_LEAVES.items():
            if (leaf in ("noise.weight", "activate.bias")) if rgb else leaf == "bias":
                continue
            value = source[f"{theirs}.{leaf}"]
            if leaf == "conv.weight":
                value = value[0]
            elif leaf == "noise.weight":
                value = value.reshape(())
            elif leaf == "bias":
                value = value.reshape(-1)
            weights[f"synthesis.{ours}.{own}"] = value


def _add_buffers(weights: Weights, source: Weights, config: GeneratorConfig) -> None:
    """Adds the filters and the noise maps, which are random if an old file has none."""
    taps = setup_filter(config.resample_filter)
    rng = torch.Generator().manual_seed(NOISE_SEED)
    for resolution in config.resolutions:
        weights[f"synthesis.b{resolution}.resample_filter"] = taps
        index = 2 * int(math.log2(resolution)) - 5
        for layer, i in (("conv0", index), ("conv1", index + 1)):
            if resolution == 4 and layer == "conv0":
                continue
            noise = source.get(f"noises.noise_{i}")
            if noise is None:
                noise = torch.randn([1, 1, resolution, resolution], generator=rng)
            prefix = f"synthesis.b{resolution}.{layer}"
            weights[f"{prefix}.noise_const"] = noise.reshape(noise.shape[-2:])
            weights[f"{prefix}.resample_filter"] = taps


def _check_blur(kernel: Tensor | None, name: str) -> None:
    """Raises StylemixError for an upsampling filter other than 1, 3, 3, 1."""
    if kernel is None:
        return
    expected = setup_filter((1, 3, 3, 1))
    actual = kernel.float() / kernel.float().sum()
    if actual.shape != expected.shape or not torch.allclose(actual, expected, atol=1e-3):
        raise StylemixError(
            f"{name}: got an uncommon upsampling filter; expected 1, 3, 3, 1; "
            "this network cannot be converted, choose another"
        )


def _discriminator(source: Weights, name: str) -> tuple[DiscriminatorConfig, Weights]:
    blocks = _count(source, r"convs\.(\d+)\.") - 1
    if not 0 <= blocks <= 8:
        raise StylemixError(
            f"{name}: got a discriminator of {blocks + 1} resolutions; expected 1 to 9; "
            "choose another file"
        )
    size = 4 << blocks
    table = {size: source["convs.0.0.weight"].shape[0], 4: source["final_conv.0.weight"].shape[0]}
    for k in range(blocks):
        table[size >> (k + 1)] = source[f"convs.{k + 1}.conv2.1.weight"].shape[0]
    base, widest = channel_rule(table, name)
    sizes = {
        "img_resolution": size,
        "img_channels": source["convs.0.0.weight"].shape[1],
        "channel_base": base,
        "channel_max": widest,
        "mbstd_num_channels": source["final_conv.0.weight"].shape[1] - table[4],
    }
    config = parse_config(DiscriminatorConfig, sizes, name)
    return config, _discriminator_weights(source, config, blocks)


def _discriminator_weights(source: Weights, config: DiscriminatorConfig, blocks: int) -> Weights:
    size = config.img_resolution
    names = {"b4.conv": ("final_conv.0.weight", "final_conv.1.bias")}
    names["b4.fc"] = ("final_linear.0.weight", "final_linear.0.bias")
    names["b4.out"] = ("final_linear.1.weight", "final_linear.1.bias")
    names[f"b{size}.fromrgb"] = ("convs.0.0.weight", "convs.0.1.bias")
    for k in range(1, blocks + 1):
        block = f"b{size >> (k - 1)}"
        names[f"{block}.conv0"] = (f"convs.{k}.conv1.0.weight", f"convs.{k}.conv1.1.bias")
        names[f"{block}.conv1"] = (f"convs.{k}.conv2.1.weight", f"convs.{k}.conv2.2.bias")
        names[f"{block}.skip"] = (f"convs.{k}.skip.1.weight", "")
    taps = setup_filter(config.resample_filter)
    weights: Weights = {f"b{size >> k}.resample_filter": taps for k in range(blocks)}
    for ours, (weight, bias) in names.items():
        weights[f"{ours}.weight"] = source[weight]
        if bias:
            weights[f"{ours}.bias"] = source[bias]
        if ours not in ("b4.fc", "b4.out"):
            weights[f"{ours}.resample_filter"] = taps
    return weights
