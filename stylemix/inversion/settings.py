"""Settings of a projection (steps, learning rates and loss weights) and their presets."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from numbers import Integral, Real

import torch

from stylemix.devices import search_dtype
from stylemix.errors import StylemixError, check_choice, check_range, check_seed, shown

METHODS = ("hybrid", "w", "w+", "pti")
MIN_BUDGET, MAX_BUDGET = 0.01, 86400.0  # seconds
MAX_RATE = 1e6
RATES_AND_WEIGHTS = (
    "lr", "refine_lr", "feature_lr", "exploration", "pixel_weight", "refine_pixel_weight",
    "feature_weight", "identity_weight", "delta_weight", "prior_weight", "local_weight",
)  # fmt: skip
# The largest models that a CPU projects with all steps, in fp32 and in bf16: 1024 px take about ten
# minutes with 2 cores then. A step takes up to four times as long at twice the resolution.
FULL_STEPS_PX, FULL_STEPS_BF16_PX = 256, 1024
# Few steps are longer, and more of them refine (docs/log.md): the share of the steps of the search
# that remain, how many of the others take as long as one of refinement, and factors of the rates.
SEARCHED, REFINE_STEP = 0.6, 3
PHOTOS_AT_ONCE = 8  # that are projected, where there is memory for so many
FEW_RATES = {"lr": 1.5, "feature_lr": 3.0}


@dataclass(frozen=True)
class ProjectionSettings:
    """Steps, learning rates and loss weights of the method "hybrid"; measured in docs/log.md.

    Attributes:
        method: "hybrid" or a published method with its published settings: "w" and "w+"
            (StyleGAN2, arXiv 1912.04958, 1000 steps), "pti" (pivotal tuning, arXiv 2106.05744,
            450 + 350 steps).
        w_steps: steps in W; skipped if an encoder gives the initial latents.
        plus_steps: steps in W+; with 0, refinement starts from W.
        refine_steps: refinement steps, on weights and features.
        budget: seconds per photo; the steps then only divide the time among the stages.
        fewer_when_large: above the resolution of `full_steps_px`, steps are divided by the ratio to
            it, and other shares and rates make up for a part of that.
    """

    method: str = "hybrid"
    w_steps: int = 60
    plus_steps: int = 100
    refine_steps: int = 100
    lr: float = 0.1
    refine_lr: float = 0.006  # of the weights
    feature_lr: float = 0.04  # of the features
    exploration: float = 0.025  # initial noise on w, in standard deviations
    pixel_weight: float = 10.0
    refine_pixel_weight: float = 20.0  # replaces `pixel_weight` in refinement
    feature_weight: float = 1.0
    identity_weight: float = 0.3
    delta_weight: float = 0.002
    prior_weight: float = 0.0005
    local_weight: float = 0.1  # of the locality term (PTI), in refinement
    seed: int = 0
    budget: float | None = None
    fewer_when_large: bool = True

    def __post_init__(self) -> None:
        """Raises StylemixError for values with which a projection would fail or never end."""
        check_choice("the method", self.method, METHODS)
        for name in ("w_steps", "plus_steps", "refine_steps"):
            steps = getattr(self, name)
            if not isinstance(steps, Integral) or steps < 0:
                raise StylemixError(
                    f"got {name} {steps!r}; expected a number of steps from 0; change it"
                )
        for name in RATES_AND_WEIGHTS:
            check_range(name, value := getattr(self, name), 0, MAX_RATE)
            object.__setattr__(self, name, float(value))  # of NumPy, too
        object.__setattr__(self, "seed", check_seed(self.seed))
        if self.budget is not None and not (
            isinstance(self.budget, Real) and MIN_BUDGET <= self.budget <= MAX_BUDGET
        ):
            raise StylemixError(
                f"got a budget of {shown(self.budget)}; expected seconds from {MIN_BUDGET:g} to "
                f"{MAX_BUDGET:g}; change it"
            )

    def at(self, resolution: int, device: torch.device) -> ProjectionSettings:
        """The settings for a model of a resolution in px on a device."""
        share = full_steps_px(device) / resolution
        if not self.fewer_when_large or share >= 1:
            return self
        searched = SEARCHED if self.refine_steps else 1.0
        left = (1 - searched) * (self.w_steps + self.plus_steps) / REFINE_STEP
        rates = {name: factor * getattr(self, name) for name, factor in FEW_RATES.items()}
        return replace(
            self,
            w_steps=math.ceil(searched * share * self.w_steps),
            plus_steps=math.ceil(searched * share * self.plus_steps),
            refine_steps=round(share * (self.refine_steps + left)),
            **rates,
        )


def full_steps_px(device: torch.device) -> float:
    """The resolution up to which a device projects with all steps."""
    if device.type != "cpu":
        return math.inf
    return FULL_STEPS_BF16_PX if search_dtype(device) is torch.bfloat16 else FULL_STEPS_PX


PRESETS = {
    "fast": ProjectionSettings(w_steps=20, plus_steps=0, refine_steps=50),
    "balanced": ProjectionSettings(),
    "best": ProjectionSettings(w_steps=100, plus_steps=300, refine_steps=300),
}
# For uses that need only the latents of a photo, without refinement.
LATENTS = ProjectionSettings(w_steps=50, plus_steps=60, refine_steps=0)


def preset_settings(
    preset: str | ProjectionSettings, budget: float | None = None, seed: int | None = None
) -> ProjectionSettings:
    """Settings by the name of a preset, or those given; a budget and a seed replace theirs.

    `budget` is in seconds per photo.
    """
    if not isinstance(preset, ProjectionSettings):
        check_choice("the preset", preset, PRESETS)
        preset = PRESETS[preset]
    return replace(
        preset,
        budget=preset.budget if budget is None else budget,
        seed=preset.seed if seed is None else seed,
    )
