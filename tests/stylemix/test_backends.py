"""The shipped generator draws the same picture with the plain and with the compiled ops."""

import pytest
import torch

from stylemix import ops
from stylemix.checkpoint import load_model
from stylemix.losses import path_lengths, r1_penalty


@pytest.fixture(scope="module")
def model():
    return load_model("faces-64")


def _both(device, function):
    results = []
    for backend in ("torch", "native"):
        if backend == "native" and "native" not in ops.backends("epilogue", device.type):
            pytest.fail(f"no native ops for {device.type}: see stylemix info")
        with ops.use(backend):
            results.append(function())
    return results


def test_same_picture(device, model):
    G = model.generator.to(device)
    z = torch.randn([4, G.z_dim], generator=torch.Generator().manual_seed(0)).to(device)
    with torch.no_grad():
        one, other = _both(device, lambda: G(z, truncation_psi=0.7, noise_mode="const"))
    assert one.abs().max() > 0.5
    assert (one - other).abs().max() < 1e-3


def test_same_scores_and_penalties(device, model):
    """Second derivatives through whole networks: R1 of the discriminator, path lengths."""
    G, D = model.generator.to(device), model.discriminator.to(device)
    z = torch.randn([2, G.z_dim], generator=torch.Generator().manual_seed(1)).to(device)
    noise = torch.randn([2, 3, 64, 64], generator=torch.Generator().manual_seed(2)).to(device)
    parameters = [D.b64.conv0.weight, G.synthesis.b16.conv0.affine.weight]
    for parameter in parameters:
        parameter.requires_grad_(True)

    def run():
        ws = G.mapping(z).detach().requires_grad_()
        images = G.synthesis(ws, noise_mode="const")
        lengths = path_lengths(images, ws, noise / 64)
        reals = images.detach().requires_grad_()
        penalty = r1_penalty(D(reals), reals)
        grads = torch.autograd.grad(penalty.sum() + lengths.sum(), parameters)
        return [lengths, penalty, *grads]

    one, other = _both(device, run)
    for a, b in zip(one, other, strict=True):
        # Rounding moves single features over the kink of the activation.
        assert (a - b).norm() <= 1e-3 * a.norm()
