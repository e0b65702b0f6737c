"""The optimisation loop: rates, plateaus, progress."""

from itertools import pairwise

import pytest
import torch

from stylemix.inversion.schedule import (
    Pace,
    Stages,
    constant,
    cosine,
    hold_then_cosine,
    optimise,
    stylegan2,
    warm_up_then_linear,
)


def test_rates_rise_and_fall_and_the_minimum_is_found():
    x = torch.tensor([3.0], requires_grad=True)
    adam = torch.optim.Adam([{"params": [x], "lr": 0.2}])
    rates, told = [], []

    def loss_at(_step, _t):
        rates.append(adam.param_groups[0]["lr"])
        return (x - 1).square().sum()

    optimise(adam, loss_at, Stages([100], lambda *call: told.append(call)), warm_up_then_linear)
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

    def loss_at(_step, _t):
        return x.sum() * 0 + 1

    stages = Stages([400], lambda *call: told.append(call))
    optimise(adam, loss_at, stages, warm_up_then_linear, lambda _, t: ways.append(t))
    stages.finish()
    assert len(ways) == 50 + 160  # 50 steps tell a plateau, 40 % of 400 are the last part
    assert max(b - a for a, b in pairwise(ways)) > 0.4
    assert told[-1][:2] == (400, 400)


def test_a_stage_that_gains_nothing_ends_early():
    pace, steps = Pace(1000), 0
    for _ in pace:
        pace.note(1.0)
        steps += 1
    assert steps == 50 + 400  # two windows, and then the last part
    pace, steps = Pace(300), 0
    for _ in pace:
        pace.note(0.99**steps)
        steps += 1
    assert steps == 300


def test_several_stages_are_one_progress_and_only_some_end_at_a_plateau():
    x, told = torch.zeros([2], requires_grad=True), []
    stages = Stages([3, 300], lambda *call: told.append(call))
    for plateau in (True, False):
        adam = torch.optim.Adam([x], lr=0.1)
        optimise(adam, lambda _step, _t: x * 0 + 1, stages, constant, plateau=plateau)
        assert adam.param_groups[0]["lr"] == 0.1
    assert [call[:2] for call in told] == [(i + 1, 303) for i in range(303)]
    assert told[0][2] == 1  # the mean of the losses


def test_ramps_begin_and_end_where_they_say():
    steps = 1000
    for ramp, first, last in ((hold_then_cosine, 0.02, 0), (cosine, 0.01, 0), (stylegan2, 0, 0),
                              (warm_up_then_linear, 0.05, 0.1), (constant, 1, 1)):  # fmt: skip
        shares = [ramp(i / steps, steps) for i in range(steps)]
        assert shares[0] == pytest.approx(first)
        assert shares[-1] == pytest.approx(last, abs=1e-3)
        assert max(shares) > 0.9
