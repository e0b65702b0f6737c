"""The way down a loss: rates, plateaus, what is told."""

from itertools import pairwise

import pytest
import torch

from stylemix.inversion.descent import descend


def test_rates_rise_and_fall_and_the_minimum_is_found():
    x = torch.tensor([3.0], requires_grad=True)
    adam = torch.optim.Adam([{"params": [x], "lr": 0.2}])
    rates, told = [], []

    def loss_of(_step):
        rates.append(adam.param_groups[0]["lr"])
        return (x - 1).square().sum()

    descend(adam, loss_of, 100, lambda *call: told.append(call))
    assert rates[0] == pytest.approx(0.2 / 20)
    assert rates[19] == pytest.approx(0.2 * (1 - 0.9 * 0.19))
    assert max(rates) == rates[19]
    assert rates[-1] == pytest.approx(0.2 * (1 - 0.9 * 0.99))
    assert float(x.detach()) == pytest.approx(1, abs=0.05)
    assert [call[:2] for call in told] == [(i + 1, 100) for i in range(100)]
    assert told[0][2] == pytest.approx(4)


def test_a_plateau_goes_straight_to_the_last_part():
    x = torch.zeros([1], requires_grad=True)
    adam = torch.optim.Adam([{"params": [x], "lr": 0.1}])
    ways, told = [], []

    def loss_of(_step):
        return x.sum() * 0 + 1

    descend(adam, loss_of, 400, lambda *call: told.append(call), lambda _, way: ways.append(way))
    assert len(ways) == 50 + 160  # 50 steps tell a plateau, 40 % of 400 are the last part
    assert max(b - a for a, b in pairwise(ways)) > 0.4
    assert told[-1][:2] == (400, 400)
