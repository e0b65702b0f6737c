"""Latents: seeds, truncation, layers by name, mixing."""

import pytest
import torch

from stylemix.errors import StylemixError
from stylemix.models.model import Model
from stylemix.networks.config import GeneratorConfig
from stylemix.networks.generator import Generator
from stylemix.networks.labels import at_label
from stylemix.networks.latents import (
    bands,
    flatten_styles,
    layer_resolutions,
    map_latents,
    mix,
    nest_styles,
    parse_layers,
    sample_ws,
    truncate,
    z_from_seed,
)
from tests.support.models import tiny_model


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = GeneratorConfig(16, z_dim=6, w_dim=5, mapping_layers=2, channel_base=64, channel_max=8)
    generator = Generator(config)
    generator.mapping.w_avg.normal_()
    return Model(generator.requires_grad_(False))


@pytest.fixture
def w():
    return torch.randn(6, 5, generator=torch.Generator().manual_seed(1))


def test_z_from_seed_values():
    # RandomState(0).randn(4), the start of every public gallery of seeds.
    z = z_from_seed(0, 4)
    assert z.dtype == torch.float64
    assert z[0].tolist() == pytest.approx(
        [1.764052345967664, 0.4001572083672233, 0.9787379841057392, 2.240893199201458], abs=1e-15
    )
    assert torch.equal(z_from_seed(2**32 - 1, 3), z_from_seed(2**32 - 1, 3))
    for seed in (-1, 2**32):
        with pytest.raises(StylemixError, match=f"got seed {seed}"):
            z_from_seed(seed, 4)


def test_truncate_agrees_with_the_mapping_network(model):
    mapping, z = model.generator.mapping, z_from_seed(3, 6)
    ws = mapping(z)
    for psi, cutoff in ((0.5, None), (0.7, 2), (0.0, None), (-1.0, None), (1.0, 3)):
        expected = mapping(z, truncation_psi=psi, truncation_cutoff=cutoff)
        torch.testing.assert_close(truncate(ws, mapping.w_avg, psi, cutoff), expected)
    assert torch.equal(truncate(ws, mapping.w_avg, 1.0), ws)
    assert torch.equal(truncate(ws, mapping.w_avg, 0.0)[0, 3], mapping.w_avg)


def test_layer_resolutions():
    assert layer_resolutions(4) == [4, 4]
    assert layer_resolutions(64) == [4, 8, 8, 16, 16, 32, 32, 64, 64, 64]
    assert len(layer_resolutions(1024)) == 18
    for resolution in (4, 32, 256):
        assert len(layer_resolutions(resolution)) == GeneratorConfig(resolution).num_ws
    with pytest.raises(StylemixError, match="got resolution 48"):
        layer_resolutions(48)


@pytest.mark.parametrize(
    ("resolution", "coarse", "middle", "fine"),
    [
        (1024, range(3), range(3, 7), range(7, 18)),
        (64, range(3), range(3, 7), range(7, 10)),
        (32, range(3), range(3, 6), range(6, 8)),
        (16, range(3), range(3, 4), range(4, 6)),
        (8, range(2), range(0), range(2, 4)),
        (4, range(0), range(0), range(2)),
    ],
)
def test_bands(resolution, coarse, middle, fine):
    expected = {"coarse": tuple(coarse), "middle": tuple(middle), "fine": tuple(fine)}
    assert bands(resolution) == expected


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("all", range(10)),
        ("coarse", range(3)),
        ("Middle, FINE", range(3, 10)),
        ("8px", (1, 2)),
        ("64px", (7, 8, 9)),
        ("16-64px", range(3, 10)),
        ("4px-8px", range(3)),
        ("32-1024px", range(5, 10)),
        ("0-3,7", (0, 1, 2, 3, 7)),
        ("9,9,coarse,0", (0, 1, 2, 9)),
    ],
)
def test_parse_layers(text, layers):
    assert parse_layers(text, 64) == tuple(layers)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected all, coarse"),
        ("coarse,", "expected all, coarse"),
        ("rough", "got layers 'rough'"),
        ("5px", "expected pixels from 4 to 64"),
        ("128px", "expected pixels from 4 to 64"),
        ("64-16px", "the smaller one first"),
        ("10", "expected numbers from 0 to 9"),
        ("3-1", "the smaller one first"),
        ("-1", "got layers '-1'"),
        ("1-2-3", "got layers '1-2-3'"),
        ("9" * 50, "got layers"),
        ("16-64 px\n\x00", "got layers"),
    ],
)
def test_invalid_layers_raise(text, message):
    with pytest.raises(StylemixError, match=message) as caught:
        parse_layers(text, 64)
    assert str(caught.value).isprintable()


def test_sample_ws_by_seed(model):
    generator = model.generator
    ws = sample_ws(generator, 5, 7)
    assert ws.shape == (5, generator.num_ws, generator.w_dim)
    z = torch.randn([5, generator.z_dim], generator=torch.Generator().manual_seed(7))
    assert torch.equal(ws, map_latents(generator, z))
    assert torch.equal(sample_ws(generator, 5, 7, 0.6), map_latents(generator, z, 0.6))
    rng = torch.Generator().manual_seed(7)
    assert torch.equal(sample_ws(generator, 5, rng), ws)
    assert not torch.equal(sample_ws(generator, 5, rng), ws)  # it continues


def test_nest_and_flatten_styles():
    flat = {"b8.conv0": torch.ones(3), "b8.torgb": torch.ones(2), "b16.conv0": torch.ones(1)}
    nested = nest_styles(flat)
    assert {block: list(own) for block, own in nested.items()} == {
        "b8": ["conv0", "torgb"], "b16": ["conv0"]
    }  # fmt: skip
    assert flatten_styles(nested) == flat


def test_mix_replaces_layers(w):
    other = w + 10
    mixed = mix(w, other, (1, 4))
    assert torch.equal(mixed[[1, 4]], other[[1, 4]])
    assert torch.equal(mixed[[0, 2, 3, 5]], w[[0, 2, 3, 5]])
    assert torch.equal(mix(w, other), other)
    assert torch.equal(mix(w, other, ()), w)
    assert torch.equal(mix(w, other, strength=0.0), w)
    assert torch.equal(mix(w, other, range(2, 6)), torch.cat([w[:2], other[2:]]))
    assert mixed is not w


def test_mix_by_strength(w):
    other = w + 10
    for strength in (0.25, 1.5, -1.0):
        torch.testing.assert_close(mix(w, other, (2,), strength)[2], w[2] + 10 * strength)


def test_mix_with_batches(w):
    batch = torch.stack([w, w + 1, w + 2])
    assert mix(batch, w, (0,)).shape == (3, 6, 5)
    mixed = mix(w, batch, (0,))
    assert torch.equal(mixed[:, 0], batch[:, 0])
    assert torch.equal(mixed[2, 1:], w[1:])
    with pytest.raises(StylemixError, match="expected the same layers"):
        mix(w, w[:4])


def test_mix_preserves_gradients(w):
    other = (w + 1).requires_grad_()
    mix(w, other, (1,)).sum().backward()
    assert other.grad[1].eq(1).all()
    assert not other.grad[0].any()


def test_latents_without_a_label_are_of_all_classes():
    generator = tiny_model(classes=3).generator
    ws = sample_ws(generator, 64, 5)
    z = torch.randn([64, generator.z_dim], generator=torch.Generator().manual_seed(5))
    own = torch.stack([generator.mapping(z, c.expand(64, -1)) for c in torch.eye(3)])
    same = (own == ws).flatten(2).all(dim=2)
    assert (same.sum(dim=0) == 1).all()
    assert (same.sum(dim=1) > 10).all()
    assert torch.equal(sample_ws(generator, 64, 5), ws)
    at_one = sample_ws(at_label(generator, 1), 64, 5)
    assert torch.equal(at_one, own[1])
