"""Regularizers that tie an adapted generator to its base."""

import pytest
import torch

import stylemix
from stylemix.faces.recognition import embed
from stylemix.faces.templates import NO_TEMPLATE
from stylemix.images.tensors import to_tensor
from stylemix.io.assets import ASSETS
from stylemix.metrics.attributes import probe_log_odds
from stylemix.models.checkpoint import load_model
from stylemix.models.model import Model
from stylemix.training.adapt.regularizers import (
    attribute_difference,
    distance_difference,
    identity_difference,
    pooled_difference,
    tapped,
)
from tests.support.models import tiny_model, ws_of


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_pooled_colors_by_hand():
    images, plain = torch.zeros([2, 3, 8, 8]), torch.zeros([2, 3, 8, 8])
    images[0, 0, :4] = 1.0  # one of 2 x 3 x 2 x 2 cells in the upper half: two cells of 24
    assert float(pooled_difference(images, plain, 2)) == pytest.approx(2 / 24)
    images[0, 0, ::2] = -1.0
    images[0, 0, 1::2] = 1.0  # stripes, which pooling averages out
    assert float(pooled_difference(images, plain, 2)) == pytest.approx(0)


def test_distances_by_hand():
    base = torch.eye(3)[:, :, None, None]  # no pair is similar
    features = torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 0, 1]])[:, :, None, None]
    # Row by row the shares of the others: base (1/2, 1/2); now e/(e+1), 1/(e+1) for the first two.
    p = torch.tensor([torch.e, 1.0]) / (torch.e + 1)
    one = float((0.5 * (0.5 / p).log()).sum())
    assert float(distance_difference(features, base)) == pytest.approx(2 * one / 3, rel=1e-5)


def test_distances_do_not_depend_on_feature_magnitude():
    maps, other = random(4, 8, 4, 4), random(4, 8, 4, 4, seed=1)
    assert float(distance_difference(maps * 3, maps)) == pytest.approx(0, abs=1e-6)
    assert float(distance_difference(other, maps)) > 1e-3


def test_identity_is_that_of_descriptors():
    model = tiny_model()
    images, plain = random(2, 3, 32, 32).clamp(-1, 1), random(2, 3, 32, 32, seed=1).clamp(-1, 1)
    expected = (embed(images, model.template) - embed(plain, model.template)).square().sum(dim=1)
    assert float(identity_difference(model, images, plain)) == pytest.approx(float(expected.mean()))
    assert float(identity_difference(model, plain, plain)) == pytest.approx(0, abs=1e-6)
    assert float(identity_difference(tiny_model(template=NO_TEMPLATE), images, plain)) == 0


def test_features_are_tapped_while_it_lasts():
    network = tiny_model().generator.synthesis
    ws = ws_of(tiny_model(), 2)
    with tapped(network, "b16") as features:
        network(ws, noise_mode="const")
    network(ws, noise_mode="const")
    assert [list(maps.shape[2:]) for maps in features] == [[16, 16]]


@pytest.fixture(scope="module")
def faces_64() -> Model:
    return load_model("faces-64")


def test_glasses_that_are_missing_cost_and_are_asked_for(faces_64):
    """Hopper without her glasses: a step down the gradient brings the reading of glasses back."""
    photos = [ASSETS / "portraits" / f"{name}.jpg" for name in ("hopper", "collins")]
    hopper, collins = (to_tensor(stylemix.align(photo, size=128)) for photo in photos)
    same = attribute_difference(faces_64, hopper, hopper)
    assert same == pytest.approx(0, abs=1e-6)
    bare = collins.clone().requires_grad_(True)
    cost = attribute_difference(faces_64, bare, hopper)
    assert cost > 1
    cost.backward()
    assert bare.grad is not None
    before = probe_log_odds(collins, faces_64.template)["glasses"]
    moved = collins - 0.05 * bare.grad / bare.grad.abs().max()
    assert probe_log_odds(moved, faces_64.template)["glasses"] > before + 0.1


def test_without_faces_attributes_cost_nothing():
    model = tiny_model(template=NO_TEMPLATE, resolution=16)
    images = torch.randn([2, 3, 16, 16])
    assert attribute_difference(model, images, -images) == 0
