"""Names and shapes of all weights of a network, computed from its configuration.

Files are validated with these before a network is built, so that a small header cannot allocate any
amount of memory. (Networks on the "meta" device would give the same, but import torch's compiler,
which takes seconds.)
"""

from __future__ import annotations

import math

from stylemix.networks.config import DiscriminatorConfig, GeneratorConfig

Shapes = dict[str, tuple[int, ...]]


def expected_shapes(config: GeneratorConfig | DiscriminatorConfig) -> Shapes:
    """Returns {name: shape} of the state_dict of a network."""
    if isinstance(config, GeneratorConfig):
        return _generator(config)
    return _discriminator(config)


def _linear(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _filter(config: GeneratorConfig | DiscriminatorConfig) -> tuple[int, ...]:
    taps = len(config.resample_filter)
    return (taps, taps) if taps < 8 else (taps,)  # long filters stay separable


def _mapping(z_dim: int, c_dim: int, w_dim: int, layers: int) -> Shapes:
    shapes = _linear("mapping.embed", c_dim, w_dim) if c_dim else {}
    inputs = z_dim + (w_dim if c_dim else 0)
    for i in range(layers):
        shapes |= _linear(f"mapping.fc{i}", w_dim if i else inputs, w_dim)
    return shapes


def _generator(config: GeneratorConfig) -> Shapes:
    taps = _filter(config)
    shapes = _mapping(config.z_dim, config.c_dim, config.w_dim, config.mapping_layers)
    shapes["mapping.w_avg"] = (config.w_dim,)
    for r in config.resolutions:
        block, out, inner = f"synthesis.b{r}", config.channels(r), config.channels(r // 2)
        shapes[f"{block}.resample_filter"] = taps
        layers = {"conv1": out} if r == 4 else {"conv0": inner, "conv1": out}
        if r == 4:
            shapes[f"{block}.const"] = (out, *config.base)
        elif config.architecture == "resnet":
            shapes[f"{block}.skip.weight"] = (out, inner, 1, 1)
            shapes[f"{block}.skip.resample_filter"] = taps
        for layer, inputs in layers.items():
            name = f"{block}.{layer}"
            shapes |= _linear(f"{name}.affine", config.w_dim, inputs)
            shapes[f"{name}.weight"] = (out, inputs, 3, 3)
            shapes[f"{name}.bias"] = (out,)
            shapes[f"{name}.noise_strength"] = ()
            shapes[f"{name}.noise_const"] = config.block_size(r)
            shapes[f"{name}.resample_filter"] = taps
        if config.architecture == "skip" or r == config.img_resolution:
            shapes |= _linear(f"{block}.torgb.affine", config.w_dim, out)
            colors = config.color_channels(r)
            shapes[f"{block}.torgb.weight"] = (colors, out, 1, 1)
            shapes[f"{block}.torgb.bias"] = (colors,)
    return shapes


def _conv(name: str, inputs: int, outputs: int, kernel: int, taps: tuple[int, ...]) -> Shapes:
    weight = {f"{name}.weight": (outputs, inputs, kernel, kernel)}
    return {**weight, f"{name}.bias": (outputs,), f"{name}.resample_filter": taps}


def _discriminator(config: DiscriminatorConfig) -> Shapes:
    taps, width = _filter(config), config.channels(4)
    skip = config.architecture == "skip"
    shapes: Shapes = {}
    for r in config.resolutions[1:]:
        inner, out = config.channels(r), config.channels(r // 2)
        shapes[f"b{r}.resample_filter"] = taps
        if skip or r == config.img_resolution or r in config.fromrgb_at:
            shapes |= _conv(f"b{r}.fromrgb", config.color_channels(r), inner, 1, taps)
        shapes |= _conv(f"b{r}.conv0", inner, inner, 3, taps)
        shapes |= _conv(f"b{r}.conv1", inner, out, 3, taps)
        if config.architecture == "resnet":
            shapes[f"b{r}.skip.weight"] = (out, inner, 1, 1)
            shapes[f"b{r}.skip.resample_filter"] = taps
    cmap = (width if config.cmap_dim is None else config.cmap_dim) if config.c_dim else 0
    if config.c_dim:
        shapes |= _mapping(0, config.c_dim, cmap, config.mapping_layers)
    if skip or config.img_resolution == 4:
        # Its filter is never used; the public files always have four taps here.
        shapes |= _conv("b4.fromrgb", config.color_channels(4), width, 1, (4, 4))
    shapes |= _conv("b4.conv", width + config.mbstd_num_channels, width, 3, taps)
    shapes |= _linear("b4.fc", width * math.prod(config.base), width)
    return shapes | _linear("b4.out", width, cmap or 1)
