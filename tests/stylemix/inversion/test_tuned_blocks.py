"""Tuned blocks render each photo as a separate network with its weights would."""

import copy

import pytest
import torch
from torch import Tensor

from stylemix.inversion import tuned_blocks as tuned_blocks_module
from stylemix.inversion.tuned_blocks import TunedBlocks, tuned_blocks
from stylemix.models.model import Model
from stylemix.networks.generator import FeatureOverride, SynthesisNetwork
from tests.support.models import tiny_model, ws_of

pytestmark = pytest.mark.usefixtures("full_precision")


def prepared(model: Model, photos: int = 3, rows: int = 2) -> tuple[SynthesisNetwork, Tensor]:
    network = model.generator.synthesis
    return network, ws_of(model, photos * rows).unflatten(0, (photos, rows))


@pytest.mark.parametrize(
    ("resolution", "names"),
    [(4, ["b4"]), (8, ["b4", "b8"]), (16, ["b8", "b16"]), (64, ["b16", "b32", "b64"])],
)
def test_coarse_blocks_are_not_tuned(resolution, names):
    assert tuned_blocks(tiny_model(resolution=resolution).generator.synthesis) == names


def test_large_convolutions_are_not_tuned(monkeypatch):
    monkeypatch.setattr(tuned_blocks_module, "LAST_TUNED_PX", 16)
    network, ws = prepared(tiny_model(resolution=32))
    learned = set(TunedBlocks(network, ws, torch.float32).learned)
    assert {"b16.conv1.weight", "b32.conv1.affine.weight", "b32.torgb.weight"} <= learned
    assert not {"b32.conv0.weight", "b32.conv1.weight"} & learned


@pytest.mark.parametrize("head", ["rgb", "haar"])
@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
@pytest.mark.parametrize("resolution", [8, 32])
@torch.no_grad()
def test_every_photo_is_rendered_with_its_own_weights(architecture, resolution, head):
    network, ws = prepared(tiny_model(resolution=resolution, architecture=architecture, head=head))
    blocks = TunedBlocks(network, ws, torch.float32)
    networks = [copy.deepcopy(network) for _ in ws]
    rng = torch.Generator().manual_seed(3)
    for name, value in blocks.learned.items():
        parts = value.unflatten(0, (3, -1))
        for part, alone in zip(parts, networks, strict=True):
            change = 0.1 * torch.randn(part.shape, generator=rng)
            part += change
            alone.get_parameter(name).add_(change)
    features = torch.randn(3, network.config.channels(resolution // 2), *[resolution // 2] * 2)
    masks = torch.rand(2, 3, *[resolution // 2] * 2, generator=rng)
    for override in (None, FeatureOverride(features, masks)):
        images = blocks.draw([0, 1], override)
        for i, alone in enumerate(networks):
            mine = (
                None
                if override is None
                else FeatureOverride(features[i : i + 1], masks[:, i : i + 1])
            )
            expected = alone(ws[i], noise_mode="const", override=mine)
            assert torch.allclose(images[i], expected, atol=1e-4)
    for i, alone in enumerate(networks):
        for name, change in blocks.changes(i).items():
            moved = alone.get_parameter(name) - network.get_parameter(name)
            assert torch.allclose(change, moved, atol=1e-6)


def test_a_photo_moves_its_own_weights_only():
    network, ws = prepared(tiny_model())
    blocks = TunedBlocks(network, ws, torch.float32)
    assert {name.split(".")[0] for name in blocks.learned} == {"b16", "b32"}
    blocks.draw([0])[1].square().sum().backward()
    for name, value in blocks.learned.items():
        assert value.grad is not None, name
        first, second, third = value.grad.unflatten(0, (3, -1))
        assert second.abs().max() > 0, name
        assert first.abs().max() == third.abs().max() == 0, name


def test_features_are_those_of_the_first_row():
    network, ws = prepared(tiny_model())
    outputs: list[Tensor] = []
    network.blocks()["b16"].register_forward_hook(lambda _m, _i, out: outputs.append(out[0]))
    features = TunedBlocks(network, ws, torch.float32).features(16)
    network(ws[:, 0], noise_mode="const")
    assert torch.allclose(features, outputs[-1], atol=1e-5)


def test_weights_of_half_precision_are_tuned_in_full():
    model = tiny_model()
    model.generator.bfloat16()
    network, ws = prepared(model)
    blocks = TunedBlocks(network, ws, torch.float32)
    blocks.draw([0])[:, 0].mean().backward()
    assert {value.grad.dtype for value in blocks.learned.values()} == {torch.float32}
