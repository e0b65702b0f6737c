"""Models of other programs: golden values after conversion, and unsupported files."""

from pathlib import Path

import numpy as np
import pytest
import torch

from stylemix.errors import StylemixError
from stylemix.faces.templates import FFHQ, NO_TEMPLATE
from stylemix.models.checkpoint import foreign_model, load_model
from stylemix.networks.config import channel_rule
from stylemix.safe_pickle.builders import PersistentObject
from stylemix.safe_pickle.reader import load

GOLDEN = Path(__file__).parents[2] / "golden"
NVIDIA = ["uncond_32_skip_resnet", "cond_32_skip_resnet_clamp"]
TOLERANCE = 1e-4  # of the largest magnitude


def check(actual, expected):
    """Compares with a golden array."""
    assert actual.shape == expected.shape
    assert np.abs(actual.numpy() - expected).max() <= TOLERANCE * np.abs(expected).max()


@pytest.mark.parametrize("name", NVIDIA)
def test_nvidia_pickles_compute_the_golden_values(name):
    model, golden = load_model(GOLDEN / f"{name}.pkl"), np.load(GOLDEN / f"{name}.npz")
    g, d = model.generator, model.discriminator
    z, c = torch.from_numpy(golden["in.z"]), torch.from_numpy(golden["in.c"])
    ws = g.mapping(z, c)
    truncated = g.mapping(z, c, truncation_psi=0.7, truncation_cutoff=4)
    check(ws, golden["out.w"])
    check(truncated, golden["out.w_truncated_psi0.7_cutoff4"])
    check(g.synthesis(ws, noise_mode="const"), golden["out.image_noise_const"])
    check(g.synthesis(ws, noise_mode="none"), golden["out.image_noise_none"])
    check(g.synthesis(truncated, noise_mode="const"), golden["out.image_truncated"])
    mixed = torch.from_numpy(golden["in.w_mixed"])
    check(g.synthesis(mixed, noise_mode="const"), golden["out.image_mixed"])
    check(d(torch.from_numpy(golden["out.image_noise_const"]), c), golden["out.logits"])
    assert (model.origin, model.template) == ("nvidia", NO_TEMPLATE)
    assert "NVIDIA" in model.card["source"]


def test_nvidia_sizes():
    config = load_model(GOLDEN / f"{NVIDIA[1]}.pkl").generator.config
    assert (config.img_resolution, config.z_dim, config.w_dim, config.c_dim) == (32, 32, 32, 3)
    assert (config.mapping_layers, config.channel_base, config.channel_max) == (2, 1024, 32)
    assert (config.architecture, config.conv_clamp) == ("skip", 256)
    assert config.resample_filter == (1, 3, 3, 1)


def test_rosinality_checkpoint_computes_the_golden_values():
    model, golden = load_model(GOLDEN / "rosinality_32.pt"), np.load(GOLDEN / "rosinality_32.npz")
    g, d = model.generator, model.discriminator
    z = torch.from_numpy(golden["in.z"])
    ws = g.mapping(z)
    check(ws[:, 0], golden["out.w"])
    check(g.synthesis(ws, noise_mode="const"), golden["out.image_noise_const"])
    truncated = g.mapping(z, truncation_psi=0.7)
    check(g.synthesis(truncated, noise_mode="const"), golden["out.image_truncated_psi0.7"])
    check(d(torch.from_numpy(golden["out.image_noise_const"])), golden["out.logits"])
    assert (g.config.mapping_layers, g.config.z_dim, g.config.channel_max) == (4, 24, 24)
    assert model.origin == "rosinality"


def rosinality():
    return load(GOLDEN / "rosinality_32.pt")


def test_rosinality_without_mean_w_gets_one():
    data = rosinality()
    del data["latent_avg"]
    model = foreign_model(data, "x.pt")
    again = foreign_model(rosinality() | {"latent_avg": None}, "x.pt")
    g = model.generator
    assert torch.equal(g.mapping.w_avg, again.generator.mapping.w_avg)
    ws = g.mapping(torch.randn(4000, 24, generator=torch.Generator().manual_seed(1)))[:, 0]
    spread = ws.std(dim=0)
    assert ((ws.mean(dim=0) - g.mapping.w_avg).abs() < 0.1 * spread + 1e-3).all()


def test_rosinality_variants():
    data = rosinality()
    bare = {f"module.{key}": value for key, value in data["g_ema"].items()}
    only_g = {"g_ema": data["g_ema"], "latent_avg": data["latent_avg"]}
    whole = foreign_model(data, "x.pt")
    assert foreign_model(only_g, "x.pt").discriminator is None
    assert foreign_model(only_g, "x.pt").fingerprint == whole.fingerprint
    parallel = foreign_model({**only_g, "g_ema": bare}, "x.pt")
    assert parallel.fingerprint == whole.fingerprint
    assert foreign_model(data["g_ema"], "x.pt").generator.config == whole.generator.config


def test_mean_w_of_encoders_is_read():
    """pSp and e4e keep it once or once for each layer, and the generator as their decoder."""
    data = rosinality()
    mean = data["latent_avg"].reshape(-1)
    whole = foreign_model(data, "x.pt")
    state = {f"decoder.{key}": value for key, value in data["g_ema"].items()}
    state["encoder.body.0.weight"] = torch.ones(3)
    layers = whole.generator.num_ws
    rows = mean.repeat(layers, 1)
    for stored in (mean, mean.numpy(), mean[None], rows, rows[None].numpy(), mean.tolist()):
        model = foreign_model({"state_dict": state, "latent_avg": stored}, "x.pt")
        assert torch.equal(model.generator.mapping.w_avg, mean)
        assert model.generator.num_ws == layers
    different = rows + torch.arange(float(layers))[:, None]
    model = foreign_model({"g": data["g_ema"], "latent_avg": different}, "x.pt")
    expected = (mean.double() + (layers - 1) / 2).float()
    assert torch.allclose(model.generator.mapping.w_avg, expected, atol=1e-5)
    for odd in (mean[:-1], rows[:-1], "text", [[1.0], [2.0]], torch.tensor(1.0)):
        with pytest.raises(StylemixError, match="as latent_avg; expected"):
            foreign_model({"g": data["g_ema"], "latent_avg": odd}, "x.pt")


def test_rosinality_with_arrays_for_tensors():
    data = rosinality()
    arrays = {key: value.numpy() for key, value in data["g_ema"].items()}
    whole = foreign_model({"g_ema": data["g_ema"], "latent_avg": data["latent_avg"]}, "x.pt")
    model = foreign_model({"g_ema": arrays, "latent_avg": data["latent_avg"].numpy()}, "x.pt")
    assert model.fingerprint == whole.fingerprint
    arrays["style.1.weight"] = arrays["style.1.weight"].astype(">f8")
    again = foreign_model({"g_ema": arrays, "latent_avg": data["latent_avg"]}, "x.pt")
    assert again.fingerprint == whole.fingerprint
    lists = arrays | {"style.1.weight": arrays["style.1.weight"].tolist()}
    with pytest.raises(StylemixError, match=r"got a list for the weights 'style.1.weight'"):
        foreign_model({"g_ema": lists}, "x.pt")


def test_rosinality_without_noise_maps_draws_the_same_ones():
    data = rosinality()
    data["g_ema"] = {k: v for k, v in data["g_ema"].items() if not k.startswith("noises.")}
    first, second = foreign_model(data, "x.pt"), foreign_model(data, "x.pt")
    assert first.fingerprint == second.fingerprint
    assert float(first.generator.synthesis.b32.conv1.noise_const.std()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("convs.1.conv.weight", lambda t: t[:, :20], "uncommon widths|shape"),
        ("style.1.weight", lambda t: t[0], "odd shapes"),
        ("conv1.noise.weight", lambda t: None, "no 'conv1.noise.weight'"),
        ("to_rgb1.conv.weight", lambda t: t * float("nan"), "NaN"),
        ("convs.0.conv.blur.kernel", lambda t: t.triu(), "upsampling filter"),
        ("convs.2.conv.weight", lambda t: t.long(), "floating point"),
        ("style.1.weight", lambda t: t.cfloat(), "no 'style.1.weight'"),
    ],
)
def test_odd_rosinality_checkpoints_are_refused(key, change, message):
    data = rosinality()
    data["g_ema"] = {**data["g_ema"], key: change(data["g_ema"][key])}
    with pytest.raises(StylemixError, match=message) as caught:
        foreign_model(data, "x.pt")
    assert str(caught.value).startswith("x.pt: ")


def nvidia():
    return load(GOLDEN / f"{NVIDIA[0]}.pkl")


def part(data, path):
    module = data["G_ema"]
    for name in path.split("."):
        module = module.state["_modules"][name]
    return module.state


def test_g_stands_in_for_a_missing_average():
    data = nvidia()
    expected = foreign_model(data, "x.pkl").fingerprint
    model = foreign_model({"G": data["G_ema"], "G_ema": None, "D": None}, "x.pkl")
    assert model.fingerprint == expected
    assert model.discriminator is None
    assert foreign_model(data["G_ema"], "x.pkl").fingerprint == expected


def test_sizes_come_from_the_network_where_arguments_lack():
    data = nvidia()
    expected = foreign_model(data, "x.pkl").generator.config
    del part(data, "synthesis")["_init_kwargs"]
    assert foreign_model(data, "x.pkl").generator.config == expected


def test_layers_without_noise_get_none():
    data = nvidia()
    state = part(data, "synthesis.b8.conv1")
    state["use_noise"] = False
    del state["_parameters"]["noise_strength"], state["_buffers"]["noise_const"]
    layer = foreign_model(data, "x.pkl").generator.synthesis.b8.conv1
    assert float(layer.noise_strength) == 0.0
    assert not layer.noise_const.any()


@pytest.mark.parametrize(
    ("path", "key", "value", "message"),
    [
        ("mapping.fc1", "bias_gain", 0.1, "learning-rate multiplier 0.1; expected 0.01"),
        ("mapping.fc1", "bias_gain", [[]], "learning-rate multiplier unknown"),
        ("mapping", "num_layers", 7, "unknown mapping.fc7"),
        ("mapping", "num_layers", 10**6, "num_layers"),
        ("synthesis.b8.conv0", "conv_clamp", 256, "different values of conv_clamp"),
        ("synthesis.b8.conv0", "activation", "relu", "activation"),
        ("synthesis.b8.conv0", "act_gain", 1.0, "activation gain"),
        ("synthesis.b4", "architecture", "resnet", "lacks|unknown"),
        ("synthesis.b4", "architecture", "other", "architecture"),
        ("synthesis", "_modules", {"input": 3}, "unknown part at synthesis.input"),
    ],
)
def test_odd_nvidia_networks_are_refused(path, key, value, message):
    data = nvidia()
    part(data, path)[key] = value
    with pytest.raises(StylemixError, match=message) as caught:
        foreign_model(data, "x.pkl")
    assert str(caught.value).startswith("x.pkl: ")


def test_complex_values_are_no_weights():
    """PyTorch would warn and leave half of them out."""
    data = nvidia()
    buffers = part(data, "synthesis.b8")["_buffers"]
    buffers["resample_filter"] = buffers["resample_filter"].cfloat()
    with pytest.raises(StylemixError, match=r"lacks synthesis\.b8\.resample_filter"):
        foreign_model(data, "x.pkl")


def test_other_designs_are_named():
    tensors = {"_parameters": {"freqs": torch.ones(1)}, "_modules": {}}
    synthesis = PersistentObject("S", {"_modules": {"input": PersistentObject("I", tensors)}})
    root = PersistentObject("Generator", {"_modules": {"synthesis": synthesis}})
    with pytest.raises(StylemixError, match="alias-free StyleGAN3"):
        foreign_model({"G_ema": root}, "x.pkl")
    with pytest.raises(StylemixError, match="generator of another architecture"):
        foreign_model({"G_ema": PersistentObject("R3", {})}, "x.pkl")
    with pytest.raises(StylemixError, match="holds 'epoch', 'model'; expected"):
        foreign_model({"epoch": 3, "model": {}}, "x.pkl")
    with pytest.raises(StylemixError, match="got a list, not networks"):
        foreign_model([1], "x.pkl")


def test_other_discriminators_are_left_out():
    data = nvidia()
    data["D"] = PersistentObject("ProjectedDiscriminator", {})
    model = foreign_model(data, "x.pkl")
    assert model.discriminator is None
    assert model.card["discriminator"].startswith("left out")


def test_modules_that_repeat_without_end_are_refused(monkeypatch):
    monkeypatch.setattr("stylemix.models.nvidia.MAX_MODULES", 100)
    module = PersistentObject("M", {})
    for _ in range(6):
        module = PersistentObject("M", {"_modules": {str(i): module for i in range(10)}})
    with pytest.raises(StylemixError, match="thousands of modules"):
        foreign_model({"G_ema": module}, "x.pkl")


def test_channel_rule():
    assert channel_rule({4: 512, 8: 512, 256: 64}, "x") == (16384, 512)
    assert channel_rule({4: 24, 32: 24}, "x") == (768, 24)
    assert channel_rule({4: 100, 8: 75, 16: 37}, "x") == (600, 100)
    with pytest.raises(StylemixError, match="4 px: 8, 8 px: 16"):
        channel_rule({4: 8, 8: 16, 16: 4}, "x")


def test_template_follows_the_resolution():
    from stylemix.faces.templates import template_for

    assert template_for(256, "nvidia") == FFHQ
    assert template_for(64, "rosinality") == NO_TEMPLATE
