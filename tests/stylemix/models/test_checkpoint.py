"""Model files of stylemix: round trips, plain pickles, and invalid files."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, safe_open, save_file

from stylemix.errors import StylemixError
from stylemix.faces.templates import FACES128, FFHQ
from stylemix.models import checkpoint
from stylemix.models.checkpoint import (
    load_discriminator,
    load_generator,
    load_model,
    save_model,
    shipped_models,
)
from stylemix.models.header import parse_config
from stylemix.models.model import Model, count_parameters, fingerprint
from stylemix.networks.config import DiscriminatorConfig, GeneratorConfig
from stylemix.networks.discriminator import Discriminator
from stylemix.networks.generator import Generator
from stylemix.networks.shapes import expected_shapes

GOLDEN = Path(__file__).parents[2] / "golden"
SMALL = {"img_resolution": 16, "channel_base": 64, "channel_max": 8}


def make(seed=0, **changes):
    torch.manual_seed(seed)
    config = GeneratorConfig(**{**SMALL, "z_dim": 6, "w_dim": 5, "mapping_layers": 2, **changes})
    shared = {key: getattr(config, key) for key in (*SMALL, "c_dim", "resample_filter")}
    generator = Generator(config)
    generator.mapping.w_avg.normal_()
    card = {"data": "two colours", "kimg": 1.5, "scores": {"fd": [1, None]}, "licence": "CC0"}
    return Model(generator, Discriminator(DiscriminatorConfig(**shared)), FACES128, card)


@pytest.fixture
def model():
    return make()


def change(path, tensors=None, drop=(), metadata=None, config=None):
    """Rewrite a safetensors file with some of its parts changed."""
    weights = load_file(path)
    with safe_open(path, "pt") as handle:
        header = dict(handle.metadata())
    if config is not None:
        header["config"] = json.dumps(config(json.loads(header["config"])))
    weights = {key: value for key, value in weights.items() if key not in drop}
    save_file({**weights, **(tensors or {})}, path, {**header, **(metadata or {})})


def equal(a, b):
    """Returns whether two networks have bitwise equal weights."""
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("suffix", ["safetensors", "pkl"])
def test_round_trip_is_bitwise(tmp_path, model, suffix):
    path = tmp_path / f"m.{suffix}"
    save_model(path, model, "float32")
    loaded = load_model(path)
    assert equal(loaded.generator, model.generator)
    assert equal(loaded.discriminator, model.discriminator)
    assert loaded.generator.config == model.generator.config
    assert loaded.discriminator.config == model.discriminator.config
    assert (loaded.template, loaded.card) == (FACES128, model.card)
    assert (loaded.origin, loaded.fingerprint) == ("stylemix", model.fingerprint)


@pytest.mark.parametrize("suffix", ["safetensors", "pkl"])
def test_half_precision_rounds_once_and_preserves_the_fingerprint(tmp_path, model, suffix):
    path = tmp_path / f"m.{suffix}"
    save_model(path, model)
    loaded = load_model(path)
    for key, value in model.generator.state_dict().items():
        assert torch.equal(loaded.generator.state_dict()[key], value.half().float())
    assert loaded.fingerprint == model.fingerprint
    save_model(path, loaded)
    assert equal(load_model(path).generator, loaded.generator)


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": "resnet", "c_dim": 3},
        {"architecture": "orig", "conv_clamp": 256.0},
        {"resample_filter": (1, 1), "img_channels": 1},
        {"img_resolution": 4},
    ],
)
def test_every_size_is_preserved(tmp_path, changes):
    model = replace(make(**changes), discriminator=None)
    save_model(tmp_path / "m.safetensors", model, "float32")
    loaded = load_model(tmp_path / "m.safetensors")
    assert loaded.generator.config == model.generator.config
    assert equal(loaded.generator, model.generator)


def test_loaded_networks_are_ready_to_use(tmp_path, model):
    save_model(tmp_path / "m.safetensors", model)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    g, d = (load(tmp_path / "m.safetensors") for load in (load_generator, load_discriminator))
    assert torch.equal(torch.get_rng_state(), before)
    assert not g.training
    assert not any(p.requires_grad for p in [*g.parameters(), *d.parameters()])
    assert {t.dtype for t in g.state_dict().values()} == {torch.float32}
    assert d(g(torch.ones(2, 6), noise_mode="const")).shape == (2, 1)


def test_the_file_has_the_documented_content(tmp_path, model):
    save_model(tmp_path / "m.safetensors", model)
    with safe_open(tmp_path / "m.safetensors", "pt") as handle:
        metadata = handle.metadata()
        names = set(handle.keys())
    assert (metadata["format"], metadata["version"]) == ("stylemix-model", "1")
    config = json.loads(metadata["config"])
    assert config["generator"]["channel_base"] == 64
    assert config["discriminator"]["mbstd_group_size"] == 4
    assert config["template"]["name"] == "faces128"
    assert config["fingerprint"] == model.fingerprint
    assert {name[:2] for name in names} == {"G.", "D."}
    assert "G.synthesis.b8.conv0.affine.weight" in names


def test_pickles_need_no_stylemix(tmp_path, model):
    save_model(tmp_path / "m.pkl", model, "float32")
    data = pickle.loads((tmp_path / "m.pkl").read_bytes())
    assert (data["format"], data["version"]) == ("stylemix-model", 1)
    assert data["config"]["card"] == model.card
    const = data["tensors"]["G.synthesis.b4.const"]
    assert type(const) is np.ndarray
    assert np.array_equal(const, model.generator.synthesis.b4.const.detach().numpy())


def test_the_type_is_detected_by_content(tmp_path, model):
    save_model(tmp_path / "m.safetensors", model)
    save_model(tmp_path / "m.pkl", model)
    (tmp_path / "m.safetensors").rename(tmp_path / "x.pkl")
    (tmp_path / "m.pkl").rename(tmp_path / "x.safetensors")
    for name in ("x.pkl", "x.safetensors"):
        assert load_model(tmp_path / name).fingerprint == model.fingerprint


def test_fingerprint_depends_on_every_weight(model):
    original = model.fingerprint
    assert len(original) == 16
    assert int(original, 16) >= 0
    assert make(seed=1).fingerprint != original
    assert replace(model, discriminator=None, card={}).fingerprint == original
    with torch.no_grad():
        model.generator.synthesis.b8.conv0.noise_const[0, 0] += 1
    assert fingerprint(model.generator) != original


def test_fingerprint_value():
    # It must never change, since latents and styles refer to their model by it.
    assert load_model(GOLDEN / "uncond_32_skip_resnet.pkl").fingerprint == "c06f2ad499083de2"


def test_a_missing_discriminator_raises(tmp_path, model):
    save_model(tmp_path / "m.safetensors", replace(model, discriminator=None))
    with pytest.raises(StylemixError, match="a model without a discriminator"):
        load_discriminator(tmp_path / "m.safetensors")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
def test_weights_that_are_not_finite_are_not_saved(tmp_path, model, value):
    with torch.no_grad():
        model.generator.synthesis.b4.const[0, 0, 0] = value
    with pytest.raises(StylemixError, match=r"cannot save G\.synthesis\.b4\.const"):
        save_model(tmp_path / "m.safetensors", model)
    assert list(tmp_path.iterdir()) == []
    if value == 1e6:  # too large for half precision only
        save_model(tmp_path / "m.safetensors", model, "float32")


@pytest.mark.parametrize("value", [float("nan"), object(), b"x"])
def test_cards_hold_plain_values(tmp_path, model, value):
    model.card["score"] = value
    for name in ("m.safetensors", "m.pkl"):
        with pytest.raises(StylemixError, match="cannot save the model card"):
            save_model(tmp_path / name, model)
    model.card["score"] = (1, 2)
    save_model(tmp_path / "m.pkl", model)
    assert load_model(tmp_path / "m.pkl").card["score"] == [1, 2]


def test_other_extensions_are_refused(tmp_path, model):
    with pytest.raises(StylemixError, match=r"expected \.safetensors or \.pkl"):
        save_model(tmp_path / "m.pt", model)


CONST = "G.synthesis.b4.const"
INVALID = {
    "lacks mapping.fc0.bias": {"drop": ["G.mapping.fc0.bias"]},
    "unknown mapping.fc9.bias": {"tensors": {"G.mapping.fc9.bias": torch.ones(5)}},
    r"const of shape \[1\]; expected \[8, 4, 4\]": {"tensors": {CONST: torch.ones(1)}},
    "NaN or infinite": {"tensors": {CONST: torch.full([8, 4, 4], float("nan"))}},
    "floating point": {"tensors": {CONST: torch.ones([8, 4, 4], dtype=torch.int32)}},
    "fingerprint": {"tensors": {CONST: torch.ones(8, 4, 4)}},
    "unknown weights 'X.a'": {"tensors": {"X.a": torch.ones(1)}},
    "unknown weights 'D": {"config": lambda c: {**c, "discriminator": None}},
    "a file of another program": {"metadata": {"format": "other"}},
    "a style file": {"metadata": {"format": "stylemix-style"}},
    "a latent file": {"metadata": {"format": "stylemix-latent"}},
    "version '9'": {"metadata": {"version": "9"}},
    "not readable JSON": {"metadata": {"config": "{oh"}},
    "got list for header": {"metadata": {"config": "[]"}},
    "not JSON|not readable JSON": {"metadata": {"config": "[" * 100_000}},
    "template": {"config": lambda c: {**c, "template": {"kind": "none"}}},
    "discriminator weights": {"drop": ["D.b4.fc.bias"]},
}
SIZES = {
    "resolution 12": {"img_resolution": 12},
    "4 to 1024": {"img_resolution": 2**40},
    "1 to 8192": {"w_dim": 10**9},
    "0 to 32": {"mapping_layers": 10**6},
    "got 'big' for z_dim": {"z_dim": "big"},
    "got True for z_dim": {"z_dim": True},
    "got None for img_channels": {"img_channels": None},
    "architecture 'x'": {"architecture": "x"},
    "conv_clamp": {"conv_clamp": -1},
    "resample_filter": {"resample_filter": [0, 0]},
    "unknown size 'depth'": {"depth": 3},
    "uncommon": {"resample_filter": ["a"]},
}


@pytest.mark.parametrize("message", list(INVALID))
def test_invalid_files_are_refused_in_one_line(tmp_path, model, message):
    path = tmp_path / "m.safetensors"
    save_model(path, model, "float32")
    change(path, **INVALID[message])
    with pytest.raises(StylemixError, match=message) as caught:
        load_model(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("message", list(SIZES))
def test_invalid_sizes_are_refused(message):
    good = {"img_resolution": 16, "z_dim": 4, "channel_base": 64}
    parse_config(GeneratorConfig, good, "m")
    with pytest.raises(StylemixError, match=message if message != "uncommon" else "resample"):
        parse_config(GeneratorConfig, {**good, **SIZES[message]}, "m")


def test_missing_sizes_raise():
    with pytest.raises(StylemixError, match="got nothing for img_resolution"):
        parse_config(DiscriminatorConfig, {}, "m")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"version": 2}, "version '2'"),
        ({"config": 3}, "got int for header"),
        ({"tensors": []}, "without weights"),
        ({"tensors": {"G.a": np.arange(3)}}, "without weights"),
        ({"tensors": {}}, "lacks mapping"),
    ],
)
def test_invalid_pickles_are_refused(tmp_path, model, content, message):
    path = tmp_path / "m.pkl"
    save_model(path, model)
    data = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps({**data, **content}))
    with pytest.raises(StylemixError, match=message):
        load_model(path)


def test_endless_headers_are_refused(tmp_path, model):
    path = tmp_path / "m.pkl"
    save_model(path, model)
    data = pickle.loads(path.read_bytes())
    many = ["ha"]
    for _ in range(25):  # 2 ** 25 entries by reference
        many = [many, many]
    data["config"]["card"] = {"laughs": many}
    path.write_bytes(pickle.dumps(data))
    with pytest.raises(StylemixError, match="too many values"):
        load_model(path)


def test_unknown_names_list_the_shipped_models(tmp_path, monkeypatch, model):
    monkeypatch.setattr(checkpoint, "ASSETS", tmp_path)
    save_model(tmp_path / "faces-8.safetensors", model)
    save_file({"a": torch.ones(1)}, tmp_path / "other.safetensors")
    assert shipped_models() == ["faces-8"]
    assert load_model("faces-8").fingerprint == model.fingerprint
    for name in ("faces", "other"):
        with pytest.raises(StylemixError, match=rf"got the model {name}; .*\(faces-8\)"):
            load_model(name)
    with pytest.raises(StylemixError, match="no such file"):
        load_model(tmp_path / "faces.pkl")


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
@pytest.mark.parametrize("resolution", [4, 8, 16])
@pytest.mark.parametrize("taps", [(1, 3, 3, 1), tuple(range(1, 10))])
@pytest.mark.parametrize("head", ["rgb", "haar"])
def test_expected_shapes_are_those_of_the_networks(architecture, resolution, taps, head):
    shared = {**SMALL, "img_resolution": resolution, "architecture": architecture}
    shared |= {"resample_filter": taps, "c_dim": 3}
    configs = {Generator: GeneratorConfig(**shared, z_dim=6, w_dim=5, head=head)}
    if architecture != "skip" or head == "rgb":
        more = {"cmap_dim": 4, "mbstd_num_channels": 2, "head": head}
        configs[Discriminator] = DiscriminatorConfig(**shared, **more)
    for kind, config in configs.items():
        loaded = {name: tuple(t.shape) for name, t in kind(config).state_dict().items()}
        assert expected_shapes(config) == loaded


@pytest.mark.parametrize(
    ("config", "parameters"),
    [  # the totals of the public networks
        (GeneratorConfig(1024), 30_370_060),
        (GeneratorConfig(256, channel_base=16384), 24_767_458),
        (DiscriminatorConfig(1024), 29_012_513),
        (DiscriminatorConfig(256, channel_base=16384), 24_001_089),
    ],
)
def test_parameter_totals(config, parameters):
    buffers = ("w_avg", "noise_const", "resample_filter")
    shapes = expected_shapes(config).items()
    assert sum(int(np.prod(s)) for name, s in shapes if not name.endswith(buffers)) == parameters


def test_state_dict_sizes_of_the_public_networks(model):
    assert len(expected_shapes(GeneratorConfig(1024))) == 182
    assert len(expected_shapes(GeneratorConfig(1024, mapping_layers=2))) == 170
    assert len(expected_shapes(DiscriminatorConfig(1024))) == 82
    assert count_parameters(model.generator) == sum(p.numel() for p in model.generator.parameters())


def test_template_may_be_changed(tmp_path, model):
    save_model(tmp_path / "m.pkl", replace(model, template=FFHQ))
    assert load_model(tmp_path / "m.pkl").template == FFHQ
