"""Latent files: ours, with and without residual, and those of other programs."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import safe_open, save_file

from stylemix.avatars.render import render
from stylemix.errors import StylemixError
from stylemix.faces.templates import FACES128
from stylemix.inversion.latent import Latent, load_latent, save_latent
from stylemix.inversion.residual import Residual
from stylemix.io import npz
from stylemix.models.model import Model
from stylemix.networks.config import GeneratorConfig
from stylemix.networks.generator import Generator
from tests.support.models import tiny_model, ws_of


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


def test_round_trip(tmp_path, model, w):
    path = tmp_path / "me.latent.safetensors"
    matrix = np.array([[2.0, 0, -3], [0, 2, 1 / 3], [0, 0, 1]])
    save_latent(path, Latent(w, model.fingerprint, matrix, FACES128, {"mse": 0.25}))
    loaded = load_latent(path, model)
    assert torch.equal(loaded.w, w)
    assert np.array_equal(loaded.matrix, matrix)
    assert (loaded.base, loaded.template) == (model.fingerprint, FACES128)
    assert loaded.metrics == {"mse": 0.25}
    with safe_open(path, "pt") as handle:
        assert handle.metadata()["format"] == "stylemix-latent"
        assert set(json.loads(handle.metadata()["config"])) == {"base", "template", "metrics"}


def test_the_label_of_a_conditional_model(tmp_path, w):
    model, path = tiny_model(classes=3), tmp_path / "me.latent.safetensors"
    latent = Latent(ws_of(model)[0], model.fingerprint, label=(0, 0.5, 1))
    save_latent(path, latent)
    assert load_latent(path, model).label == (0, 0.5, 1)
    with safe_open(path, "pt") as handle:
        assert handle.metadata()["version"] == "1"  # readers that know no labels read it, too
    save_latent(path, replace(latent, label=(1, 0)))
    with pytest.raises(StylemixError, match="got a label of 2 values; expected 3 for this model"):
        load_latent(path, model)


@pytest.mark.parametrize("label", ["3", [True], [None], {"a": 1}, [[1.0]]])
def test_an_odd_label_in_a_file_is_one_line(tmp_path, w, label):
    path = tmp_path / "a.safetensors"
    config = json.dumps({"base": None, "label": label})
    metadata = {"format": "stylemix-latent", "version": "1", "config": config}
    save_file({"w": w}, path, metadata)
    with pytest.raises(StylemixError, match=r"got the label .* expected a list of numbers") as no:
        load_latent(path)
    assert "\n" not in str(no.value)


def test_a_latent_of_another_model_is_refused(tmp_path, model, w):
    path = tmp_path / "me.latent.safetensors"
    save_latent(path, Latent(w, "0123456789abcdef"))
    message = f"of the model 0123456789abcdef; expected the model {model.fingerprint}; project"
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
        ({"w": np.full((6, 5), 1e300)}, "NaN or infinite"),
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
        ({"w": torch.ones(6, 5)}, None, "a file of another program"),
        ({"w": torch.ones(6, 5)}, {"version": "3"}, "newer version"),
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


@pytest.fixture
def detail(model):
    rng = torch.Generator().manual_seed(5)
    weights = {"b8.conv0.weight": torch.randn(8, 8, 3, 3, generator=rng) * 0.1}
    features = torch.randn(8, 8, 8, generator=rng).half().float()
    mask = torch.zeros(1, 8, 8)
    mask[:, :, 4:] = 1
    return Residual({k: v.half().float() for k, v in weights.items()}, features, mask)


def test_a_detail_comes_back(tmp_path, model, w, detail):
    path = tmp_path / "a.safetensors"
    save_latent(path, Latent(w, model.fingerprint, detail=detail, photo="abc"))
    loaded = load_latent(path, model)
    assert loaded.photo == "abc"
    assert torch.equal(loaded.detail.weights["b8.conv0.weight"], detail.weights["b8.conv0.weight"])
    assert torch.equal(loaded.detail.features, detail.features)
    assert torch.equal(loaded.detail.mask, detail.mask)
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["version"] == "2"  # older readers refuse it


def test_files_without_detail_are_as_before(tmp_path, model, w):
    save_latent(tmp_path / "a.safetensors", Latent(w, model.fingerprint))
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        assert file.metadata()["version"] == "1"
    assert load_latent(tmp_path / "a.safetensors", model).detail is None


def test_features_change_their_side_of_the_image(model, w, detail):
    plain = render(model.generator, w[None])
    replaced = render(model.generator, w[None], detail=replace(detail, weights={}))
    change = (replaced - plain).abs().amax(dim=(0, 1, 2))
    assert float(change[:4].max()) == 0  # beyond the receptive field of two filters
    assert float(change[10:].min()) > 1e-3


def test_features_are_the_input_of_the_following_layers(model, w):
    """Where the mask is 1, the layers before it no longer matter."""
    detail = Residual({}, torch.randn(8, 8, 8), torch.ones(1, 8, 8))
    model.generator.synthesis.b4.torgb.weight.zero_()  # shares a w with b8.conv0
    other = w.clone()
    other[:2] += 1  # b4.conv1 and b8.conv0, after which b8.conv1 is replaced
    a, b = (render(model.generator, ws[None], detail=detail) for ws in (w, other))
    assert torch.equal(a, b)
    plain_a, plain_b = (render(model.generator, ws[None]) for ws in (w, other))
    assert float((plain_a - plain_b).abs().max()) > 0.1


def test_changed_weights_are_the_generator_with_these_weights(model, w, detail):
    got = render(model.generator, w[None], detail=Residual(detail.weights))
    with torch.no_grad():
        model.generator.synthesis.b8.conv0.weight += detail.weights["b8.conv0.weight"]
    assert torch.allclose(got, render(model.generator, w[None]), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": {"b8.conv0.weight": torch.zeros(2, 2)}}, "expected a parameter of the model"),
        ({"weights": {"b8.what": torch.zeros(2)}}, "expected a parameter of the model"),
        ({"features": torch.zeros(3, 8, 8)}, "expected those of the model"),
        ({"mask": torch.zeros(1, 4, 4)}, "expected those of the model"),
    ],
)
def test_details_of_other_models_are_refused(tmp_path, model, w, detail, change, message):
    path = tmp_path / "a.safetensors"
    save_latent(path, Latent(w, model.fingerprint, detail=replace(detail, **change)))
    with pytest.raises(StylemixError, match=message):
        load_latent(path, model)


def test_unknown_parts_are_refused(tmp_path, w):
    path = tmp_path / "a.safetensors"
    header = {"format": "stylemix-latent", "version": "2", "config": "{}"}
    save_file({"w": w, "surprise": torch.zeros(3)}, path, header)
    with pytest.raises(StylemixError, match="unknown or damaged part 'surprise'"):
        load_latent(path)
