"""A discriminator on frozen features: inputs, training, closed forms of its losses."""

import pytest
import torch

from stylemix.training.config import TrainConfig
from stylemix.training.feature_discriminator import FeatureDiscriminator, d_hinge, g_hinge
from stylemix.training.memory_forecast import estimate


def test_hinge_losses_by_hand():
    reals = [torch.tensor([[2.0, 0.0]]), torch.tensor([[0.5]])]
    fakes = [torch.tensor([[-2.0, 1.0]]), torch.tensor([[-0.5]])]
    # Scale one: (0 + 1) / 2 + (0 + 2) / 2; scale two: .5 + .5.
    assert d_hinge(reals, fakes) == pytest.approx(0.5 + 1 + 0.5 + 0.5)
    assert g_hinge(fakes) == pytest.approx(0.5 + 0.5)


@pytest.mark.parametrize(
    ("size", "channels", "scores"),
    [
        ((256, 256), 3, (16, 16, 16, 16)),
        ((16, 16), 1, (16, 16, 16, 16)),
        ((128, 192), 4, (24,) * 4),
    ],
)
def test_every_size_has_scores_at_four_scales(size, channels, scores):
    network = FeatureDiscriminator(size)
    found = network(torch.rand([2, channels, *size]) * 2 - 1)
    assert [tuple(f.shape) for f in found] == [(2, n) for n in scores]


def test_only_heads_learn_and_features_are_not_kept():
    network = FeatureDiscriminator((32, 32))
    learning = {name for name, p in network.named_parameters() if p.requires_grad}
    assert learning
    assert all(name.startswith("heads.") for name in learning)
    assert {name.split(".")[0] for name in network.state_dict()} == {"mix", "blend", "heads"}
    images = torch.zeros([2, 3, 32, 32], requires_grad=True)
    g_hinge(network(images)).backward()
    assert images.grad.abs().sum() > 0


@pytest.mark.slow
def test_norms_are_renewed_once_a_step_only():
    torch.manual_seed(0)
    network = FeatureDiscriminator((32, 32))
    images = torch.rand([2, 3, 32, 32])
    first = [f.clone() for f in network(images)]
    assert all(torch.equal(a, b) for a, b in zip(first, network(images), strict=True))
    for _ in range(100):
        network.renew()
    for module in network.heads.modules():
        if isinstance(module, torch.nn.Conv2d):
            norm = torch.linalg.matrix_norm(module.weight.detach().flatten(1), ord=2)
            assert float(norm) == pytest.approx(1, abs=0.02)


@pytest.mark.slow
def test_it_separates_images_from_blurred_images():
    """A few steps on two kinds of images: the hinge loss falls, the scores separate."""
    torch.manual_seed(0)
    network = FeatureDiscriminator((32, 32))
    adam = torch.optim.Adam(network.heads.parameters(), lr=1e-3, betas=(0.0, 0.99))
    sharp = torch.rand([8, 3, 32, 32]) * 2 - 1
    soft = torch.nn.functional.avg_pool2d(sharp, 3, 1, 1)
    losses = []
    for _ in range(12):
        network.renew()
        loss = d_hinge(network(sharp), network(soft))
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert all(a.mean() > b.mean() for a, b in zip(network(sharp), network(soft), strict=True))


@pytest.mark.slow
def test_its_memory_is_foretold_in_half_precision():
    config = TrainConfig(resolution=16, preset="laptop", batch=4, precision="bf16")
    plain = estimate(config.resolve(), 0, 1)
    both = estimate(TrainConfig(**(vars(config) | {"feature_weight": 1})).resolve(), 0, 1)
    assert both[1] > 1.5 * plain[1]
