"""The networks' sizes: parameter totals, names and shapes, as in the public files."""

import numpy as np
import pytest
import torch

from stylemix.config import DiscriminatorConfig, GeneratorConfig
from stylemix.discriminator import Discriminator
from stylemix.generator import Generator
from stylemix.model import count_parameters

SIZES = [4, 8, 16, 32, 64, 128, 256, 512, 1024]


@pytest.mark.parametrize("size", SIZES)
def test_every_size_can_be_built(size):
    with torch.device("meta"):
        G = Generator(GeneratorConfig(size))
        D = Discriminator(DiscriminatorConfig(size))
    assert G.num_ws == 2 * int(np.log2(size)) - 2
    blocks = [f"b{r}" for r in SIZES if r <= size]
    assert list(G.synthesis.blocks()) == blocks
    assert sorted(name for name, _ in D.named_children()) == sorted(blocks)
    top = G.synthesis.get_submodule(f"b{size}")
    assert top.conv1.weight.shape[0] == min(32768 // size, 512)
    assert tuple(top.torgb.weight.shape[:2]) == (3, min(32768 // size, 512))


@pytest.mark.parametrize(
    ("size", "base", "layers", "parameters", "entries"),
    [
        (1024, 32768, 8, 30_370_060, 182),
        (1024, 32768, 2, 28_794_124, 170),
        (256, 16384, 8, 24_767_458, None),
        (256, 16384, 2, 23_191_522, None),
        (256, 32768, 8, 30_034_338, None),
    ],
)
def test_generator_totals(size, base, layers, parameters, entries):
    with torch.device("meta"):
        G = Generator(GeneratorConfig(size, channel_base=base, mapping_layers=layers))
    assert count_parameters(G) == parameters
    assert entries is None or len(G.state_dict()) == entries


@pytest.mark.parametrize(
    ("size", "base", "parameters", "entries"),
    [(1024, 32768, 29_012_513, 82), (256, 16384, 24_001_089, None)],
)
def test_discriminator_totals(size, base, parameters, entries):
    with torch.device("meta"):
        D = Discriminator(DiscriminatorConfig(size, channel_base=base))
    assert count_parameters(D) == parameters
    assert entries is None or len(D.state_dict()) == entries


def _generator_names(sizes, layers, labels):
    leaves = "weight bias noise_strength noise_const resample_filter affine.weight affine.bias"
    conv, rgb = leaves.split(), ["weight", "bias", "affine.weight", "affine.bias"]
    names = {"mapping.w_avg", "synthesis.b4.const"}
    names |= {f"mapping.{x}.{y}" for x in ["embed"] * labels for y in ("weight", "bias")}
    names |= {f"mapping.fc{i}.{y}" for i in range(layers) for y in ("weight", "bias")}
    for r in sizes:
        names.add(f"synthesis.b{r}.resample_filter")
        for layer in ["conv0"] * (r > 4) + ["conv1"]:
            names |= {f"synthesis.b{r}.{layer}.{leaf}" for leaf in conv}
        names |= {f"synthesis.b{r}.torgb.{leaf}" for leaf in rgb}
    return names


def _discriminator_names(sizes, labels):
    conv = ("weight", "bias", "resample_filter")
    names = {f"b4.conv.{leaf}" for leaf in conv}
    names |= {f"b4.{x}.{y}" for x in ("fc", "out") for y in ("weight", "bias")}
    names |= {f"b{sizes[-1]}.fromrgb.{leaf}" for leaf in conv}
    for r in sizes[1:]:
        names.add(f"b{r}.resample_filter")
        names |= {f"b{r}.{layer}.{leaf}" for layer in ("conv0", "conv1") for leaf in conv}
        names |= {f"b{r}.skip.weight", f"b{r}.skip.resample_filter"}
    mapping = [*["embed"] * labels, *[f"fc{i}" for i in range(8 * labels)]]
    return names | {f"mapping.{x}.{y}" for x in mapping for y in ("weight", "bias")}


@pytest.mark.parametrize("labels", [0, 1])
def test_state_dict_names_and_shapes(labels):
    c_dim = 5 * labels
    with torch.device("meta"):
        G = Generator(GeneratorConfig(64, c_dim=c_dim, channel_base=16384, mapping_layers=3))
        D = Discriminator(DiscriminatorConfig(64, c_dim=c_dim, channel_base=16384))
    g = {name: list(value.shape) for name, value in G.state_dict().items()}
    d = {name: list(value.shape) for name, value in D.state_dict().items()}
    sizes = [4, 8, 16, 32, 64]
    assert set(g) == _generator_names(sizes, 3, labels)
    assert set(d) == _discriminator_names(sizes, labels)
    expected = {
        "mapping.w_avg": [512], "mapping.fc0.weight": [512, 512 * (1 + labels)],
        "mapping.fc1.weight": [512, 512], "synthesis.b4.const": [512, 4, 4],
        "synthesis.b4.conv1.noise_strength": [], "synthesis.b8.conv0.noise_const": [8, 8],
        "synthesis.b64.conv0.weight": [256, 512, 3, 3],
        "synthesis.b64.conv0.affine.weight": [512, 512],
        "synthesis.b64.conv1.affine.bias": [256],
        "synthesis.b64.torgb.weight": [3, 256, 1, 1], "synthesis.b64.resample_filter": [4, 4],
    }  # fmt: skip
    assert {name: g[name] for name in expected} == expected
    expected = {
        "b64.fromrgb.weight": [256, 3, 1, 1], "b64.conv0.weight": [256, 256, 3, 3],
        "b64.conv1.weight": [512, 256, 3, 3], "b64.skip.weight": [512, 256, 1, 1],
        "b4.conv.weight": [512, 513, 3, 3], "b4.fc.weight": [512, 8192],
        "b4.out.weight": [512 if labels else 1, 512],
    }  # fmt: skip
    assert {name: d[name] for name in expected} == expected
    if labels:
        assert g["mapping.embed.weight"] == d["mapping.embed.weight"] == [512, 5]
