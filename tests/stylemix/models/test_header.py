"""What a model file says of images that are not square, and what of it is believed."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, safe_open, save_file

from stylemix.errors import StylemixError
from stylemix.faces.templates import FACES128, NO_TEMPLATE
from stylemix.models.checkpoint import load_model, save_model
from stylemix.models.header import header_of, parse_config, parse_header
from stylemix.networks.config import GeneratorConfig
from tests.support.models import saved, tiny_model, ws_of


def config_of(path):
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["config"])


def oblong(channels=3):
    return tiny_model(resolution=16, base=(3, 5), channels=channels, template=NO_TEMPLATE)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("suffix", ["safetensors", "pkl"])
def test_an_oblong_model_survives_bit_by_bit(tmp_path, suffix, channels):
    model = oblong(channels)
    loaded = load_model(saved(model, tmp_path / f"m.{suffix}"))
    for own, other in (
        (model.generator, loaded.generator),
        (model.discriminator, loaded.discriminator),
    ):
        assert other.config == own.config
        assert own.state_dict().keys() == other.state_dict().keys()
        for name, value in own.state_dict().items():
            assert torch.equal(other.state_dict()[name], value), name
    images = loaded.generator(torch.ones(2, 16), noise_mode="const")
    assert images.shape == (2, channels, 12, 20)
    assert loaded.discriminator(images).shape == (2, 1)


def test_only_another_base_is_written(tmp_path):
    """So that readers that know of no base go on reading square models."""
    square, wide = tmp_path / "square.safetensors", tmp_path / "wide.safetensors"
    saved(tiny_model(resolution=16), square)
    saved(oblong(), wide)
    for network in ("generator", "discriminator"):
        assert "base" not in config_of(square)[network]
        assert config_of(wide)[network]["base"] == [3, 5]


def test_a_base_that_is_not_that_of_the_weights_is_refused(tmp_path):
    path = tmp_path / "m.safetensors"
    save_model(path, replace(oblong(), discriminator=None))
    config = config_of(path)
    config["generator"]["base"] = [5, 3]
    metadata = {"format": "stylemix-model", "version": "1", "config": json.dumps(config)}
    save_file(load_file(path), path, metadata)
    with pytest.raises(StylemixError, match=r"of shape \[32, 3, 5\].*; expected \[32, 5, 3\] by"):
        load_model(path)


@pytest.mark.parametrize("base", [[3], [3, 5, 1], [0, 4], [4, 17], ["4", 4], [True, 4], 4, None])
def test_an_odd_base_is_one_line(base):
    with pytest.raises(StylemixError, match="base") as caught:
        parse_config(GeneratorConfig, {"img_resolution": 16, "base": base}, "m.pkl")
    assert str(caught.value).startswith("m.pkl: got ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["safetensors", "pkl"])
def test_models_with_the_same_latents_are_written_where_there_are_any(tmp_path, suffix):
    path = tmp_path / f"m.{suffix}"
    for bases in ((), ("0123456789abcdef", "x")):
        model = replace(tiny_model(resolution=16), latents_of=bases)
        assert header_of(model).get("latents_of") == (list(bases) or None)
        save_model(path, model)
        loaded = load_model(path)
        assert loaded.latents_of == bases
        assert [loaded.reads(base) for base in ("x", "y", loaded.fingerprint)] == [
            bool(bases), False, True,
        ]  # fmt: skip


@pytest.mark.parametrize("bases", ["x", [1], {"x": 1}, ["x"] * 1001])
def test_odd_models_with_the_same_latents_are_one_line(bases):
    header = {**header_of(tiny_model(resolution=16)), "latents_of": bases}
    with pytest.raises(StylemixError, match="for latents_of; expected"):
        parse_header(header, "a.pkl")


def test_faces_need_a_square_model():
    assert tiny_model(base=(3, 3)).template == FACES128
    with pytest.raises(StylemixError, match=r"faces128 for a model of 20x12 px .*--template none"):
        replace(oblong(), template=FACES128)


@pytest.mark.parametrize("suffix", [".safetensors", ".pkl"])
def test_a_haar_head_survives_and_others_are_not_written(tmp_path, suffix):
    model = tiny_model(head="haar", resolution=16)
    save_model(tmp_path / f"m{suffix}", model, dtype="float32")
    again = load_model(tmp_path / f"m{suffix}")
    assert again.generator.config == model.generator.config
    assert (again.generator.config.height, again.generator.config.img_resolution) == (32, 16)
    ws = ws_of(model)
    assert torch.equal(
        again.generator.synthesis(ws, noise_mode="const"),
        model.generator.synthesis(ws, noise_mode="const"),
    )
    assert "head" not in header_of(tiny_model())["generator"]
    with pytest.raises(StylemixError, match=r"m.pkl: got head 'dct'; expected one of rgb, haar"):
        parse_config(GeneratorConfig, {"img_resolution": 16, "head": "dct"}, "m.pkl")
