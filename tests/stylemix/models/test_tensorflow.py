"""TensorFlow network pickles: the images of the original, by our networks and by definition."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from stylemix.cli import main
from stylemix.faces.templates import NO_TEMPLATE
from stylemix.models.checkpoint import load_model
from stylemix.models.model import Model
from stylemix.networks.config import DiscriminatorConfig, GeneratorConfig
from stylemix.networks.discriminator import Discriminator
from stylemix.networks.generator import Generator
from tests.support import reference
from tests.support.models import W_DIM, tiny_model
from tests.support.toy_tensorflow import networks_of, tensorflow_file

GIB = 2**30
FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64


def images_and_logits(model):
    """Truncated images with noise, and their logits if there is a discriminator."""
    g, d = model.generator, model.discriminator
    rng = torch.Generator().manual_seed(3)
    z = torch.randn([2, g.z_dim], generator=rng)
    c = torch.eye(g.c_dim)[:2] if g.c_dim else None
    images = g(z, c, truncation_psi=0.7, truncation_cutoff=3, noise_mode="const")
    return (images,) if d is None else (images, d(images, c))


def with_discriminator(model, **changes):
    """The model with another discriminator, of random weights."""
    sizes = {
        "img_resolution": model.generator.img_resolution, "channel_base": 256, "channel_max": 32,
        "img_channels": model.generator.img_channels, "c_dim": model.generator.c_dim,
        "mapping_layers": 0,
    }  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        d = Discriminator(DiscriminatorConfig(**(sizes | changes))).eval().requires_grad_(False)
    for name, parameter in d.named_parameters():
        if name.endswith(".bias"):
            parameter += 0.1
    return Model(model.generator, d, model.template)


def check(loaded, model):
    """Compares images, logits and weights with those of the model that was written."""
    for actual, expected in zip(images_and_logits(loaded), images_and_logits(model), strict=True):
        assert torch.equal(actual, expected)
    assert loaded.fingerprint == model.fingerprint
    assert loaded.generator.config == model.generator.config


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("critic", ["skip", "resnet", "orig"])
@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
def test_images_and_logits_are_those_of_the_original(tmp_path, architecture, critic, classes):
    model = tiny_model(architecture=architecture, classes=classes)
    model = with_discriminator(model, architecture=critic)
    loaded = load_model(tensorflow_file(tmp_path / "net.pkl", networks_of(model)))
    check(loaded, model)
    assert loaded.discriminator.config.architecture == critic
    assert (loaded.origin, loaded.template) == ("tensorflow", NO_TEMPLATE)
    assert loaded.card["source"] == "StyleGAN2 TensorFlow network pickle"
    assert "discriminator" not in loaded.card


@pytest.mark.parametrize("protocol", range(6))
def test_all_protocols_and_a_generator_alone(tmp_path, protocol):
    model = tiny_model(resolution=8, discriminator=False)
    file = tensorflow_file(tmp_path / "net.pkl", networks_of(model)[2], protocol)
    loaded = load_model(file)
    check(loaded, model)
    assert loaded.discriminator is None


def test_sizes_and_settings_come_from_the_file(tmp_path):
    config = GeneratorConfig(
        16, img_channels=1, z_dim=12, w_dim=20, mapping_layers=3, channel_base=512, channel_max=24,
        conv_clamp=256, resample_filter=(1, 2, 1),
    )  # fmt: skip
    torch.manual_seed(2)
    model = Model(Generator(config).eval().requires_grad_(False))
    critic = {"mbstd_group_size": 2, "mbstd_num_channels": 4, "conv_clamp": None}
    model = with_discriminator(model, channel_base=512, **critic)
    loaded = load_model(tensorflow_file(tmp_path / "net.pkl", networks_of(model)))
    check(loaded, model)
    assert loaded.generator.config.channel_base == 512  # wider than these layers need
    d = loaded.discriminator.config
    assert (d.mbstd_group_size, d.mbstd_num_channels, d.channel_base) == (2, 4, 512)


def test_single_block(tmp_path):
    model = tiny_model(resolution=4)
    check(load_model(tensorflow_file(tmp_path / "net.pkl", networks_of(model))), model)


def variables_of(network):
    """The variables of a generator by their whole names, in float64."""
    out = {name: np.float64(value) for name, value in network.variables}
    for key, part in network.components.items():
        out |= {f"{key}/{name}": np.float64(value) for name, value in part.variables}
    return out


def dense(x, v, scope, lr=1.0):
    weight = v[f"{scope}/weight"]
    return x @ weight * lr / np.sqrt(len(weight)) + v[f"{scope}/bias"] * lr


def leaky(x):
    return np.where(x > 0, x, 0.2 * x) * np.sqrt(2)


def modulated(x, w, v, scope, up=False, demodulate=True):
    """TensorFlow's layer by definition: style + 1, [h, w, I, O] kernel, correlation."""
    style = w @ v[f"{scope}/mod_weight"] / np.sqrt(len(w)) + v[f"{scope}/mod_bias"] + 1
    kernel = v[f"{scope}/weight"]
    kernel = kernel / np.sqrt(kernel[..., 0].size) * style[:, None]
    if demodulate:
        kernel = kernel / np.sqrt((kernel**2).sum(axis=(0, 1, 2)) + 1e-8)
    pad = len(kernel) // 2
    if up:  # on a larger plane of zeros, so that nothing is cut off between the two filters
        x = np.pad(x, [(0, 0), (0, 0), (2, 2), (2, 2)])
        x = reference.upfirdn2d(x, FILTER, (2, 2), padding=(2, 1, 2, 1), gain=4)[..., 3:-3, 3:-3]
    else:
        x = np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)])
    return reference.conv2d(x, kernel.transpose(3, 2, 0, 1))


def layer(x, w, v, scope, noise, up=False):
    x = modulated(x, w, v, scope, up) + v[f"{scope}/noise_strength"] * v[f"synthesis/noise{noise}"]
    return leaky(x + v[f"{scope}/bias"][:, None, None])


def colors(x, w, v, scope):
    return modulated(x, w, v, scope, demodulate=False) + v[f"{scope}/bias"][:, None, None]


def test_images_by_definition_in_float64(tmp_path):
    model = tiny_model(resolution=8)
    _, _, averaged = networks_of(model)
    loaded = load_model(tensorflow_file(tmp_path / "net.pkl", averaged)).generator
    v = variables_of(averaged)
    z = np.random.RandomState(0).randn(1, W_DIM)
    w = z / np.sqrt((z**2).mean() + 1e-8)
    for i in range(2):
        w = leaky(dense(w, v, f"mapping/Dense{i}", lr=0.01))
    w = (v["dlatent_avg"] + 0.5 * (w - v["dlatent_avg"]))[0]
    x = layer(v["synthesis/4x4/Const/const"], w, v, "synthesis/4x4/Conv", 0)
    image = colors(x, w, v, "synthesis/4x4/ToRGB")
    up = layer(x, w, v, "synthesis/8x8/Conv0_up", 1, up=True)
    # The upsampling convolution alone, whose kernel is mirrored in the file.
    ours = loaded.synthesis.b8.conv0
    m = ours.modulation(ours.affine(torch.from_numpy(w).float()[None]), torch.float32)
    actual = ours(torch.from_numpy(x).float(), m, "const").numpy()
    np.testing.assert_allclose(actual, up, rtol=1e-5, atol=1e-5)
    x = layer(up, w, v, "synthesis/8x8/Conv1", 2)
    image = reference.upfirdn2d(image, FILTER, (2, 2), padding=(2, 1, 2, 1), gain=4)
    image = image + colors(x, w, v, "synthesis/8x8/ToRGB")
    drawn = loaded(torch.from_numpy(z), None, truncation_psi=0.5, noise_mode="const")
    np.testing.assert_allclose(drawn.numpy(), image, rtol=1e-5, atol=1e-5)


def test_another_learning_rate_of_the_mapping_is_the_same_network(tmp_path):
    model = tiny_model(resolution=8, classes=2)
    networks = networks_of(model)
    for network in (networks[2], networks[2].components["mapping"], networks[1]):
        network.static_kwargs["mapping_lrmul"] = 0.1
        network.variables = [
            (name, value / 10 if name.startswith(("Dense", "Mapping")) else value)
            for name, value in network.variables
        ]
    loaded = load_model(tensorflow_file(tmp_path / "net.pkl", networks))
    for actual, expected in zip(images_and_logits(loaded), images_and_logits(model), strict=True):
        np.testing.assert_allclose(actual.numpy(), expected.numpy(), rtol=1e-5, atol=1e-5)
    del networks[1].static_kwargs["mapping_lrmul"]  # 0.1 is the default of a discriminator
    again = load_model(tensorflow_file(tmp_path / "net.pkl", networks))
    assert torch.equal(images_and_logits(again)[1], images_and_logits(loaded)[1])


def test_layers_without_noise_get_none(tmp_path):
    model = tiny_model(resolution=8, discriminator=False)
    network = networks_of(model)[2]
    part = network.components["synthesis"]
    part.static_kwargs["use_noise"] = False
    part.variables = [(name, value) for name, value in part.variables if "noise" not in name]
    loaded = load_model(tensorflow_file(tmp_path / "net.pkl", network)).generator
    assert float(loaded.synthesis.b8.conv0.noise_strength) == 0.0
    ws = loaded.mapping(torch.ones(1, W_DIM))
    expected = model.generator.synthesis(ws, noise_mode="none")
    assert torch.equal(loaded.synthesis(ws, noise_mode="const"), expected)


def test_counters_of_forks_are_ignored(tmp_path):
    model = tiny_model(resolution=8)
    networks = networks_of(model)
    networks[2].variables += [("epochs", np.int64(3)), ("epochs_1", np.array(3.0))]
    networks[2].static_kwargs |= {"resolution_w": 8, "resolution_h": 8}
    check(load_model(tensorflow_file(tmp_path / "net.pkl", networks)), model)


def test_commands_read_them(tmp_path):
    model = tiny_model(resolution=8)
    file = tensorflow_file(tmp_path / "net.pkl", networks_of(model))
    done = CliRunner().invoke(main, ["convert", file, str(tmp_path / "out.safetensors")])
    assert done.exit_code == 0, done.output
    assert "StyleGAN2 TensorFlow network pickle. The weights remain under" in done.output
    converted = load_model(tmp_path / "out.safetensors")
    assert (converted.origin, converted.fingerprint) == ("tensorflow", model.fingerprint)
    for name in (file, str(tmp_path / "out.safetensors")):
        image = tmp_path / "out.png"
        done = CliRunner().invoke(
            main, ["generate", "--model", name, "--seeds", "1", "--output", str(image)]
        )
        assert done.exit_code == 0, done.output
        assert image.exists()
        image.unlink()


# A fresh process, since only its peak can be asked for; loading is all that it does.
MEASURE = """
import re, sys
from pathlib import Path
Path("/proc/self/clear_refs").write_text("5")  # forgets the peak, which a child inherits
from stylemix.models.checkpoint import load_model
model = load_model(sys.argv[1])
assert sum(p.numel() for p in model.generator.parameters()) == 30_370_060
assert sum(p.numel() for p in model.discriminator.parameters()) == 29_012_513
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is told in other units there")
def test_config_f_at_1024_px_is_read_in_2_gib(tmp_path):
    g = Generator(GeneratorConfig(1024)).requires_grad_(False)
    model = Model(g, Discriminator(DiscriminatorConfig(1024)).requires_grad_(False))
    file = tensorflow_file(tmp_path / "net.pkl", networks_of(model))
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, file], capture_output=True, text=True, check=True,
        cwd=Path(__file__).resolve().parents[3], timeout=300,
    )  # fmt: skip
    assert int(result.stdout) < 2 * GIB
