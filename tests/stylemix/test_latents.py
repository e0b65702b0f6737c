"""Latents: seeds, truncation, layers by name, mixing, and files of ours and of others."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import safe_open, save_file

from stylemix import npz
from stylemix.alignment import FACES128
from stylemix.config import GeneratorConfig
from stylemix.errors import StylemixError
from stylemix.generator import Generator
from stylemix.latents import (
    Latent,
    bands,
    layer_resolutions,
    load_latent,
    mix,
    parse_layers,
    save_latent,
    truncate,
    z_from_seed,
)
from stylemix.model import Model


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
        wanted = mapping(z, truncation_psi=psi, truncation_cutoff=cutoff)
        torch.testing.assert_close(truncate(ws, mapping.w_avg, psi, cutoff), wanted)
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
    wanted = {"coarse": tuple(coarse), "middle": tuple(middle), "fine": tuple(fine)}
    assert bands(resolution) == wanted


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
def test_layers_that_mean_nothing(text, message):
    with pytest.raises(StylemixError, match=message) as caught:
        parse_layers(text, 64)
    assert str(caught.value).isprintable()


def test_mix_takes_whole_layers(w):
    other = w + 10
    mixed = mix(w, other, (1, 4))
    assert torch.equal(mixed[[1, 4]], other[[1, 4]])
    assert torch.equal(mixed[[0, 2, 3, 5]], w[[0, 2, 3, 5]])
    assert torch.equal(mix(w, other), other)
    assert torch.equal(mix(w, other, ()), w)
    assert torch.equal(mix(w, other, strength=0.0), w)
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


def test_mix_keeps_gradients(w):
    other = (w + 1).requires_grad_()
    mix(w, other, (1,)).sum().backward()
    assert other.grad[1].eq(1).all()
    assert not other.grad[0].any()


def test_round_trip(tmp_path, model, w):
    path = tmp_path / "me.latent.safetensors"
    matrix = np.array([[2.0, 0, -3], [0, 2, 1 / 3], [0, 0, 1]])
    save_latent(path, Latent(w, model.fingerprint, matrix, FACES128, {"mse": 0.25}))
    found = load_latent(path, model)
    assert torch.equal(found.w, w)
    assert np.array_equal(found.matrix, matrix)
    assert (found.base, found.template) == (model.fingerprint, FACES128)
    assert found.metrics == {"mse": 0.25}
    with safe_open(path, "pt") as handle:
        assert handle.metadata()["format"] == "stylemix-latent"
        assert set(json.loads(handle.metadata()["config"])) == {"base", "template", "metrics"}


def test_a_latent_of_another_model_is_refused(tmp_path, model, w):
    path = tmp_path / "me.latent.safetensors"
    save_latent(path, Latent(w, "0123456789abcdef"))
    message = (
        f"of the model 0123456789abcdef; expected one of the model {model.fingerprint}; project"
    )
    with pytest.raises(StylemixError, match=message):
        load_latent(path, model)
    assert load_latent(path).base == "0123456789abcdef"


@pytest.mark.parametrize("value", [torch.ones(5), torch.full([6, 5], float("nan"))])
def test_odd_latents_are_not_saved(tmp_path, value):
    with pytest.raises(StylemixError, match="cannot write"):
        save_latent(tmp_path / "a.safetensors", Latent(value))
    assert list(tmp_path.iterdir()) == []


def test_npz_of_the_public_projectors(tmp_path, model, w):
    path = tmp_path / "projected_w.npz"
    np.savez(path, w=w.numpy()[None])
    assert torch.equal(load_latent(path, model).w, w)
    np.savez_compressed(path, w=w.numpy()[None].astype(np.float64))
    assert torch.equal(load_latent(path, model).w, w)
    np.savez(path, w=np.asfortranarray(w.numpy()))
    assert torch.equal(load_latent(path, model).w, w)


@pytest.mark.parametrize("shape", [(1, 1, 5), (1, 5), (5,)])
def test_one_w_serves_all_layers(tmp_path, model, w, shape):
    path = tmp_path / "w.npz"
    np.savez(path, w=w.numpy()[:1].reshape(shape))
    assert torch.equal(load_latent(path, model).w, w[:1].repeat(6, 1))
    assert load_latent(path).w.shape == (1, 5)
    np.save(tmp_path / "w.npy", w.numpy()[:1].reshape(shape))
    assert torch.equal(load_latent(tmp_path / "w.npy", model).w, w[:1].repeat(6, 1))


@pytest.mark.parametrize(
    "pack",
    [
        lambda w: w,
        lambda w: w[None],
        lambda w: [w],
        lambda w: {"latent": w, "noise": [torch.ones(2)]},
        lambda w: {"photos/me.png": {"img": torch.ones(3), "latent": w[None]}},
        lambda w: {"w": w.numpy()},
    ],
)
def test_latents_in_torch_files(tmp_path, model, w, pack):
    torch.save(pack(w), tmp_path / "latent.pt")
    assert torch.equal(load_latent(tmp_path / "latent.pt", model).w, w)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"w": np.ones((3, 6, 5))}, "got 3 latents; expected one"),
        ({"w": np.ones((4, 5))}, r"w of shape \[4, 5\]; expected \[6, 5\]"),
        ({"w": np.ones((6, 512))}, r"w of shape \[6, 512\]"),
        ({"w": np.ones((200, 5))}, r"w of shape \[200, 5\]"),
        ({"w": np.full((6, 5), np.inf)}, "NaN or infinite"),
        ({"w": np.ones((6, 5), int)}, "without w values"),
        ({"w": np.float64(1)}, "without w values"),
        ({"w": np.ones((0, 5))}, "expected"),
        ({"a": np.ones(2), "b": np.ones(2)}, "holds 'a', 'b'; expected one latent"),
        ({"w": np.array(["a"])}, "objects"),
    ],
)
def test_odd_arrays_are_refused(tmp_path, model, content, message):
    path = tmp_path / "w.npz"
    np.savez(path, **content)
    with pytest.raises(StylemixError, match=message) as caught:
        load_latent(path, model)
    assert str(caught.value).startswith(f"{path}: ")


def test_compressed_bombs_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "MAX_BYTES", 2**20)
    np.savez_compressed(tmp_path / "w.npz", w=np.zeros(2**20, np.float32))
    assert (tmp_path / "w.npz").stat().st_size < 2**14
    with pytest.raises(StylemixError, match="more than 1 MB"):
        load_latent(tmp_path / "w.npz")


@pytest.mark.parametrize(
    ("tensors", "metadata", "message"),
    [
        ({"w": torch.ones(6, 5)}, {"format": "stylemix-model"}, "a model file; expected a latent"),
        ({"w": torch.ones(6, 5)}, {"format": "stylemix-style"}, "a style file; expected a latent"),
        ({"w": torch.ones(6, 5)}, None, "weights of another program"),
        ({"w": torch.ones(6, 5)}, {"version": "2"}, "newer version"),
        ({"w": torch.ones(6, 5)}, {"config": "{"}, "not readable JSON"),
        ({"v": torch.ones(6, 5)}, {}, "without w values"),
        ({"w": torch.ones(6, 5), "matrix": torch.ones(2, 3)}, {}, "3 by 3"),
        ({"w": torch.ones(6, 5), "matrix": torch.ones(3, 3) / 0}, {}, "3 by 3"),
        ({"w": torch.ones(6, 5)}, {"config": '{"template": 3}'}, "template"),
    ],
)
def test_odd_latent_files_are_refused(tmp_path, tensors, metadata, message):
    path = tmp_path / "a.safetensors"
    good = {"format": "stylemix-latent", "version": "1", "config": "{}"}
    save_file(tensors, path, None if metadata is None else {**good, **metadata})
    with pytest.raises(StylemixError, match=message) as caught:
        load_latent(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_the_card_does_not_bind_a_latent(tmp_path, model, w):
    save_latent(tmp_path / "a.safetensors", Latent(w, model.fingerprint))
    assert torch.equal(load_latent(tmp_path / "a.safetensors", replace(model, card={"a": 1})).w, w)
