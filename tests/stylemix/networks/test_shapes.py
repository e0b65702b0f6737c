"""The networks' sizes: parameter totals, names and shapes, as in the public files."""

import numpy as np
import pytest
import torch

from stylemix.errors import StylemixError
from stylemix.models.model import count_parameters
from stylemix.networks.config import DiscriminatorConfig, GeneratorConfig
from stylemix.networks.discriminator import Discriminator
from stylemix.networks.generator import Generator
from stylemix.networks.shapes import expected_shapes

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


def test_every_block_of_a_non_square_network():
    common = {"base": (3, 5), "img_channels": 4, "channel_max": 8}
    with torch.device("meta"):
        G = Generator(GeneratorConfig(128, **common))
        D = Discriminator(DiscriminatorConfig(128, **common))
    sizes = {"b4": [3, 5], "b8": [6, 10], "b16": [12, 20], "b32": [24, 40], "b64": [48, 80]}
    sizes["b128"] = [96, 160]
    noise = {name: list(b.conv1.noise_const.shape) for name, b in G.synthesis.blocks().items()}
    assert noise == sizes
    assert list(G.synthesis.b4.const.shape) == [8, 3, 5]
    assert list(G.synthesis.b128.torgb.weight.shape) == [4, 8, 1, 1]
    assert list(D.b128.fromrgb.weight.shape) == [8, 4, 1, 1]
    assert list(D.b4.fc.weight.shape) == [8, 8 * 3 * 5]
    for network in (G, D):
        shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
        assert expected_shapes(network.config) == shapes


@torch.no_grad()
def test_the_maps_of_a_non_square_discriminator():
    D = Discriminator(DiscriminatorConfig(32, base=(3, 5), img_channels=1, channel_max=4))
    maps = D.features(torch.randn([2, 1, 24, 40]))
    assert [tuple(m.shape[2:]) for m in maps] == [(12, 20), (6, 10), (3, 5)]
    with pytest.raises(StylemixError, match=r"got images of shape \(2, 1, 40, 24\); expected \[N"):
        D(torch.randn([2, 1, 40, 24]))


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
@torch.no_grad()
def test_a_non_square_image_agrees_with_a_square_one(architecture):
    """Convolutions are local: added columns have no effect far from them."""
    common = {"channel_max": 4, "architecture": architecture}
    torch.manual_seed(0)
    square = Generator(GeneratorConfig(8, z_dim=4, w_dim=4, base=(12, 12), **common))
    oblong = Generator(GeneratorConfig(8, z_dim=4, w_dim=4, base=(12, 16), **common))
    state = square.state_dict()
    for name, value in oblong.state_dict().items():
        if value.shape == state[name].shape:
            value.copy_(state[name])
        else:  # the constant and the noise
            value[..., : state[name].shape[-1]] = state[name]
        if name.endswith("noise_strength"):
            value.fill_(0.3)
            state[name].fill_(0.3)
    z = torch.randn([2, 4])
    small, wide = square(z, noise_mode="const"), oblong(z, noise_mode="const")
    assert (small.shape, wide.shape) == ((2, 3, 24, 24), (2, 3, 24, 32))
    assert torch.allclose(wide[..., :14], small[..., :14], atol=1e-5)
    assert not torch.allclose(wide[..., 20:24], small[..., 20:24], atol=1e-3)
