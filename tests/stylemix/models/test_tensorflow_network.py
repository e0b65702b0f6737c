"""TensorFlow files that are refused, each in one line that says why, or read without their D."""

import copy
import re

import numpy as np
import pytest
from click.testing import CliRunner

from stylemix.cli import main
from stylemix.errors import StylemixError
from stylemix.models.checkpoint import load_model
from tests.support.models import tiny_model
from tests.support.toy_tensorflow import Network, networks_of, tensorflow_file


def change_argument(key, value):
    def change(networks):
        networks[2].static_kwargs[key] = value
        for part in networks[2].components.values():
            part.static_kwargs.pop(key, None)

    return change


def change_variable(name, value, part="synthesis"):
    """Replaces a variable by a value or what a function makes of it; None removes it."""

    def change(networks):
        network = networks[2].components[part] if part else networks[2]
        variables = dict(network.variables)
        variables[name] = value(variables[name]) if callable(value) else value
        network.variables = [item for item in variables.items() if item[1] is not None]

    return change


def change_state(key, value, part=""):
    def change(networks):
        network = networks[2].components[part] if part else networks[2]
        setattr(network, key, value(getattr(network, key)) if callable(value) else value)

    return change


ODD = {
    "missing variable": (change_variable("8x8/Conv1/bias", None), "without the variable .*Conv1/b"),
    "missing average": (change_variable("dlatent_avg", None, ""), "without the variable dlatent_a"),
    "missing layer": (change_variable("Dense0/weight", None, "mapping"), "mapping/Dense0/weight"),
    "missing colours": (change_variable("8x8/ToRGB/weight", None), "8x8/ToRGB/weight"),
    "unknown variable": (change_variable("8x8/Attention/weight", np.ones(2)), "8x8/Attention"),
    "a bias more": (change_variable("8x8/Conv1/bias", np.ones(33)), r"conv1.bias of shape \[33\]"),
    "wide layer": (change_variable("8x8/Conv1/weight", np.ones((3, 3, 32, 40))), "8 px: 40"),
    "kernel": (change_variable("8x8/Conv0_up/weight", lambda k: k[:2]), "conv0.weight of shape"),
    "flat kernel": (change_variable("8x8/Conv0_up/weight", np.ones(3)), r"of shape \[3\]"),
    "scalar style": (change_variable("8x8/Conv1/mod_bias", 1.0), r"mod_bias of shape \[\]"),
    "empty constant": (change_variable("4x4/Const/const", np.ones((0, 4))), r"of shape \[0, 4\]"),
    "two noises": (change_variable("8x8/Conv1/noise_strength", np.ones(2)), r"strength of shape"),
    "no axes": (change_variable("8x8/Conv1/weight", np.ones(())), "weights with more axes"),
    "integers": (change_variable("8x8/Conv1/bias", np.arange(32)), "integers in .*8x8/Conv1/bias"),
    "not finite": (change_variable("8x8/Conv1/bias", np.full(8, np.nan)), "NaN or infinite"),
    "not an array": (change_variable("8x8/Conv1/bias", [1.0]), "pairs of name and array"),
    "text": (change_variable("8x8/Conv1/bias", "1"), "pairs of name and array"),
    "long integer": (change_variable("8x8/Conv1/bias", 2**400), "pairs of name and array"),
    "sizes": (change_variable("4096x4096/Conv1/bias", np.ones(3)), "16x16/Conv1/weight"),
    "unknown argument": (change_argument("attention", True), "the unknown argument attention"),
    "activation": (change_argument("nonlinearity", "relu"), "nonlinearity relu; expected lrelu"),
    "latents": (change_argument("normalize_latents", 0), "normalize_latents 0; expected True"),
    "noise": (change_argument("use_noise", "no"), "use_noise no; expected True or False"),
    "contradiction": (change_argument("resolution", 64), "resolution 64 and weights of 8"),
    "array": (change_argument("label_size", np.ones(3)), "label_size a ndarray and weights of 0"),
    "design": (change_argument("architecture", "resnet"), "resnet and weights of skip"),
    "other design": (change_argument("architecture", ["skip"]), "architecture a list"),
    "clamp": (change_argument("conv_clamp", "256"), "conv_clamp"),
    "filter": (change_argument("resample_kernel", [1, 3, {}]), "resample_filter"),
    "rate": (change_argument("mapping_lrmul", float("nan")), "mapping_lrmul nan"),
    "layers": (change_argument("mapping_layers", 10**9), "mapping_layers 1000000000 and weights"),
    "labels": (change_argument("label_size", 10), "labels join z"),
    "rectangle": (change_variable("8x4/Conv1/bias", np.ones(3)), "rectangular images"),
    "old": (change_state("version", 3), "format version 3"),
    "version": (change_state("version", [4]), "format version a list"),
    "no variables": (change_state("variables", []), "variable dlatent_avg"),
    "variables": (change_state("variables", {}), "unknown format"),
    "arguments": (change_state("static_kwargs", [1]), "unknown format"),
    "components": (change_state("components", {"synthesis": 3}), "unknown format"),
    "entries": (change_state("variables", [("a", 1.0, 2.0)]), "pairs of name and array"),
    "twice": (change_state("variables", lambda v: v + v[:1], "mapping"), "repeats .*Dense0/weight"),
}


def refusal(path):
    """The one line that refuses a file, by the command line, with exit code 2."""
    done = CliRunner().invoke(main, ["convert", str(path), str(path) + ".safetensors"])
    assert done.exit_code == 2, done.output
    assert done.output.startswith(f"Error: {path}: ")
    assert done.output.count("\n") == 1
    with pytest.raises(StylemixError):
        load_model(path)
    return done.output


@pytest.mark.parametrize("name", ODD)
def test_odd_files_are_refused_in_one_line(tmp_path, name):
    change, message = ODD[name]
    networks = networks_of(tiny_model(resolution=8))
    change(networks)
    assert re.search(message, refusal(tensorflow_file(tmp_path / "net.pkl", networks)))


def test_other_designs_are_named(tmp_path):
    def told(variables, components=None, home=""):
        network = Network({"use_styles": True}, variables, components or {})
        network.version = 3
        return refusal(tensorflow_file(tmp_path / "net.pkl", (network,) * 3, home=home))

    grown = {"lod": np.float32(0), "ToRGB_lod0/weight": np.ones((1, 1, 4, 3))}
    mapping = Network({}, {"Dense0/weight": np.ones((4, 4))}, {})
    text = told({}, {"mapping": mapping, "synthesis": Network({}, grown, {})})
    assert "a TensorFlow network that is a StyleGAN1 generator; expected a StyleGAN2" in text
    assert text.endswith("stylemix has no such network: choose a StyleGAN2 model\n")
    assert "is a progressive GAN (ProGAN)" in told(grown)
    assert "is a progressive GAN (ProGAN)" in told(grown, home="tfutil")
    assert "is no StyleGAN2 generator" in told({"conv1/weight": np.ones(3)})
    modulated_layers = grown | {"4x4/Conv/mod_weight": np.ones((4, 4))}
    text = told({}, {"mapping": mapping, "synthesis": Network({}, modulated_layers, {})})
    assert "grown progressively, as configs A to D" in text


def test_numbers_of_networks(tmp_path):
    networks = networks_of(tiny_model(resolution=8))
    assert "as one of 2; expected G, D and Gs" in refusal(
        tensorflow_file(tmp_path / "net.pkl", networks[1:])
    )
    assert "got a tuple, not networks" in refusal(tensorflow_file(tmp_path / "net.pkl", ()))
    text = refusal(tensorflow_file(tmp_path / "net.pkl", {"Gs": networks[2]}))
    assert "holds 'Gs'" in text


def test_other_discriminators_are_left_out(tmp_path):
    model = tiny_model(resolution=8)
    for change in ("argument", "variable", "other"):
        networks = networks_of(model)
        if change == "argument":
            networks[1].static_kwargs["spectral_norm"] = True
        elif change == "variable":
            networks[1].variables.append(("8x8/Attention/weight", np.ones((2, 2))))
        else:
            networks[1].variables = [("conv1/weight", np.ones(3))]
        loaded = load_model(tensorflow_file(tmp_path / "net.pkl", networks))
        assert loaded.discriminator is None
        assert loaded.card["discriminator"].startswith("left out")
        assert loaded.fingerprint == model.fingerprint


def test_damaged_discriminators_are_refused(tmp_path):
    networks = networks_of(tiny_model(resolution=8))
    networks[1].variables = [item for item in networks[1].variables if item[0] != "Output/bias"]
    assert "without the variable Output/bias" in refusal(
        tensorflow_file(tmp_path / "net.pkl", networks)
    )


def test_files_that_would_grow_are_refused(tmp_path, monkeypatch):
    networks = networks_of(tiny_model(resolution=8))
    part = networks[2].components["synthesis"]
    shared = dict(part.variables)["8x8/Conv1/weight"]
    part.variables += [("16x16/Conv1/weight", shared)]
    assert "repeats the variable 16x16/Conv1/weight" in refusal(
        tensorflow_file(tmp_path / "net.pkl", networks)
    )
    endless = copy.copy(networks[2])
    endless.components = {"mapping": endless, "synthesis": endless}
    endless.variables = []
    assert "of too many parts" in refusal(tensorflow_file(tmp_path / "net.pkl", endless))
    monkeypatch.setattr("stylemix.models.tensorflow_network.MAX_VARIABLES", 50)
    many = Network({}, {f"a{i}": np.float32(i) for i in range(51)}, {})
    assert "of too many parts" in refusal(tensorflow_file(tmp_path / "net.pkl", many))


def test_networks_without_a_state(tmp_path):
    path = tmp_path / "net.pkl"
    path.write_bytes(b"\x80\x02cdnnlib.tflib.network\nNetwork\n)\x81.")
    assert "no StyleGAN2 generator" in refusal(path)
    path.write_bytes(b"\x80\x02cdnnlib.tflib.network\nNetwork\n)\x81]b.")
    assert "state of an object to something other" in refusal(path)
    path.write_bytes(b"\x80\x02cdnnlib.tflib.tfutil\nrun\n)R.")
    assert "it asks for dnnlib.tflib.tfutil.run" in refusal(path)
