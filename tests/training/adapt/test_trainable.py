"""The trainable parameters of a style."""

import pytest
import torch

from stylemix.training.adapt.trainable import sparsify, style_offsets, style_weights
from tests.support.models import tiny_model


@pytest.fixture
def generator():
    return tiny_model(resolution=32).generator


def test_offsets_begin_at_16_px_and_at_zero(generator):
    offsets = style_offsets(generator)
    assert list(offsets) == [f"b{px}.{k}" for px in (16, 32) for k in ("conv0", "conv1", "torgb")]
    assert all(v.count_nonzero() == 0 and v.requires_grad for v in offsets.values())
    channels = {name: len(value) for name, value in offsets.items()}
    assert channels["b16.conv0"] == generator.synthesis.get_parameter("b16.conv0.weight").shape[1]


def test_each_part_contains_the_previous_part(generator):
    network = generator.synthesis
    names_of = {part: set(style_weights(network, part)) for part in ("offsets", "affine", "all")}
    colors = {f"b{px}.torgb.{k}" for px in (4, 8, 16, 32) for k in ("weight", "bias")}
    assert names_of["offsets"] == colors
    names = {name for name, _ in network.named_parameters()}
    affine = {name for name in names if ".affine." in name}
    block = {name for name in names if name.startswith("b32.") and "noise_strength" not in name}
    assert names_of["affine"] == colors | affine | block
    assert names_of["all"] == {name for name in names if "noise_strength" not in name}


def test_only_the_part_gets_gradients(generator):
    weights = style_weights(generator.synthesis.requires_grad_(True), "affine")
    learned = {k for k, v in generator.synthesis.named_parameters() if v.requires_grad}
    assert learned == set(weights)


def test_the_block_of_64_px_is_free_in_larger_models():
    network = tiny_model(resolution=128).generator.synthesis
    weights = style_weights(network, "affine")
    assert "b64.conv0.weight" in weights
    assert "b128.conv0.weight" not in weights
    assert "b128.conv0.affine.weight" in weights


def test_the_largest_share_of_each_layer_remains():
    offsets = {"a": torch.tensor([0.1, -0.9, 0.5, 0.0]), "b": torch.tensor([3.0, -4.0])}
    masks = sparsify(offsets, 0.5)
    assert masks["a"].tolist() == [0, 1, 1, 0]
    assert masks["b"].tolist() == [0, 1]
    assert sparsify(offsets, 0.01)["a"].tolist() == [0, 1, 0, 0]  # one at the least
    assert sparsify(offsets, 1.0)["b"].tolist() == [1, 1]
