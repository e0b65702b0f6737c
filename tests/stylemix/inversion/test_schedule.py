"""The optimisation loop: rates, plateaus, progress."""

from itertools import pairwise

import pytest
import torch

from stylemix.inversion.adam import Adam
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
    adam = Adam([([x], 0.2)])
    rates, reported = [], []

    def loss_at(_step, _t):
        rates.append(adam.param_groups[0]["lr"])
        return (x - 1).square().sum()

    optimise(adam, loss_at, Stages([100], lambda *call: reported.append(call)), warm_up_then_linear)
    assert rates[0] == pytest.approx(0.2 / 20)
    assert rates[19] == pytest.approx(0.2 * (1 - 0.9 * 0.19))
    assert max(rates) == rates[19]
    assert rates[-1] == pytest.approx(0.2 * (1 - 0.9 * 0.99))
    assert float(x.detach()) == pytest.approx(1, abs=0.05)
    assert [call[:2] for call in reported] == [(i + 1, 100) for i in range(100)]
    assert reported[0][2] == pytest.approx(4)


def test_a_plateau_skips_to_the_decay_phase():
    x = torch.zeros([1], requires_grad=True)
    adam = Adam([([x], 0.1)])
    progress, reported = [], []

    def loss_at(_step, _t):
        return x.sum() * 0 + 1

    stages = Stages([400], lambda *call: reported.append(call))
    optimise(adam, loss_at, stages, warm_up_then_linear, lambda _, t: progress.append(t))
    stages.finish()
    assert len(progress) == 50 + 160  # 50 steps detect a plateau, 40 % of 400 are the decay phase
    assert max(b - a for a, b in pairwise(progress)) > 0.4
    assert reported[-1][:2] == (400, 400)


def test_a_stage_without_improvement_ends_early():
    pace, steps = Pace(1000), 0
    for _ in pace:
        pace.note(1.0)
        steps += 1
    assert steps == 50 + 400  # two windows, and then the decay phase
    pace, steps = Pace(300), 0
    for _ in pace:
        pace.note(0.99**steps)
        steps += 1
    assert steps == 300


def test_several_stages_are_one_progress_and_only_some_end_at_a_plateau():
    x, reported = torch.zeros([2], requires_grad=True), []
    stages = Stages([3, 300], lambda *call: reported.append(call))
    for plateau in (True, False):
        adam = Adam([([x], 0.1)])
        optimise(adam, lambda _step, _t: x * 0 + 1, stages, constant, plateau=plateau)
        assert adam.param_groups[0]["lr"] == 0.1
    assert [call[:2] for call in reported] == [(i + 1, 303) for i in range(303)]
    assert reported[0][2] == 1  # the mean of the losses


def test_first_and_last_factors_of_ramps():
    steps = 1000
    for ramp, first, last in ((hold_then_cosine, 0.02, 0), (cosine, 0.01, 0), (stylegan2, 0, 0),
                              (warm_up_then_linear, 0.05, 0.1), (constant, 1, 1)):  # fmt: skip
        factors = [ramp(i / steps, steps) for i in range(steps)]
        assert factors[0] == pytest.approx(first)
        assert factors[-1] == pytest.approx(last, abs=1e-3)
        assert max(factors) > 0.9
