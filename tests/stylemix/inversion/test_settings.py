"""Settings of a projection: what is refused, and what replaces the values of a preset."""

import numpy as np
import pytest

from stylemix.errors import StylemixError
from stylemix.inversion.settings import (
    PRESETS,
    RATES_AND_WEIGHTS,
    ProjectionSettings,
    preset_settings,
)


@pytest.mark.parametrize("budget", [0, -1, float("nan"), float("inf"), "3", 1e30, 10**400])
def test_a_budget_that_would_never_end_is_refused(budget):
    with pytest.raises(StylemixError, match=r"got a budget of .*; expected seconds from .* to 86"):
        preset_settings("fast", budget)


@pytest.mark.parametrize(
    "values",
    [{"w_steps": -1}, {"plus_steps": 0.5}, {"refine_steps": "3"}, {"seed": 0.5}, {"method": "x"}],
)
def test_other_values_are_refused(values):
    with pytest.raises(StylemixError, match=r"got .*; expected .*; (change it|choose another)"):
        ProjectionSettings(**values)


def test_a_budget_and_a_seed_replace_those_of_given_settings():
    given = ProjectionSettings(w_steps=3, seed=5, budget=7)
    assert preset_settings(given) == given
    assert preset_settings(given, 2, 9) == ProjectionSettings(w_steps=3, seed=9, budget=2)
    assert preset_settings("fast", seed=9).seed == 9
    assert preset_settings("fast") == PRESETS["fast"]


@pytest.mark.parametrize("name", RATES_AND_WEIGHTS)
def test_rates_and_weights_are_numbers(name):
    for wrong in (None, "0.1", -1, float("nan"), float("inf"), 1j):
        with pytest.raises(StylemixError, match=f"got {name} .*; expected 0 to 1e"):
            ProjectionSettings(**{name: wrong})
    assert type(getattr(ProjectionSettings(**{name: np.float32(0.5)}), name)) is float


def test_seeds_of_numpy_are_seeds():
    assert ProjectionSettings(seed=np.int64(3)) == ProjectionSettings(seed=3)
    with pytest.raises(StylemixError, match="got seed 4294967296"):
        ProjectionSettings(seed=2**32)
