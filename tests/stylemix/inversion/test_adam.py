"""Adam without its class: the same bits, and no compiler is loaded."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from stylemix.inversion.adam import Adam

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("fused", [False, True])
def test_steps_are_those_of_pytorch(fused, device):
    starts = [torch.randn([5, 3], device=device), torch.randn([7], device=device)]
    ours, theirs = ([value.clone().requires_grad_(True) for value in starts] for _ in range(2))
    rates, betas = (0.1, 0.003), (0.8, 0.99)
    adam = Adam([([value], rate) for value, rate in zip(ours, rates, strict=True)], betas, fused)
    groups = [{"params": [value], "lr": rate} for value, rate in zip(theirs, rates, strict=True)]
    other = torch.optim.Adam(groups, betas=betas, fused=fused or None)
    for step in range(12):
        for optimiser, values in ((adam, ours), (other, theirs)):
            if step == 8:
                optimiser.state[0].clear() if optimiser is adam else optimiser.state.clear()
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate / (step + 1)
            optimiser.zero_grad()
            sum((value - 1).pow(4).sum() for value in values).backward()
            optimiser.step()
        for one, another in zip(ours, theirs, strict=True):
            assert torch.equal(one, another), step
    assert not torch.equal(ours[0], starts[0])


@pytest.mark.parametrize("fused", [False, True])
def test_parts_are_optimised_as_if_alone(fused):
    start, factors = torch.randn([6, 3]), (1.0, 0.5, 0.25)
    value = start.clone().requires_grad_(True)
    parts = [part.clone().requires_grad_(True) for part in start.chunk(3)]
    adam = Adam([([value], 0.1)], fused=fused, parts=3)
    adam.factors = list(factors)
    others = [Adam([([one], 0.1 * f)], fused=fused) for one, f in zip(parts, factors, strict=True)]
    for step in range(6):
        if step == 4:
            adam.state[1].clear()
            others[1].state[0].clear()
        for optimiser, values in ((adam, [value]), *zip(others, [[p] for p in parts], strict=True)):
            optimiser.zero_grad()
            sum((x - 1).pow(4).sum() for x in values).backward()
            optimiser.step()
        assert torch.equal(value, torch.cat(parts)), step


def test_parts_must_be_contiguous():
    value = torch.zeros([4, 2, 3, 3]).transpose(1, 3)
    Adam([([value], 0.1)], fused=True)
    with pytest.raises(ValueError, match="must be contiguous"):
        Adam([([value], 0.1)], fused=True, parts=2)


def test_a_tensor_without_a_gradient_stays():
    used, unused, alone = (torch.ones([2], requires_grad=True) for _ in range(3))
    adam = Adam([([alone], 0.1), ([used, unused], 0.1)])
    used.sum().backward()
    adam.step()
    assert used.tolist() == pytest.approx([0.9, 0.9])
    assert unused.tolist() == alone.tolist() == [1, 1]
    adam.zero_grad()
    assert used.grad is None


@pytest.mark.slow
def test_a_projection_does_not_load_the_compiler():
    """Importing torch._dynamo takes two to three seconds of a command."""
    code = """
import sys
from stylemix.inversion.projection import project
from stylemix.inversion.settings import ProjectionSettings
from tests.support.models import tiny_model
import torch
settings = ProjectionSettings(w_steps=2, plus_steps=2, refine_steps=2)
project(tiny_model(), torch.zeros([1, 3, 32, 32]), settings)
sys.exit("torch._dynamo" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
