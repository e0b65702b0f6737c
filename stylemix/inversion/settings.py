"""Settings of a projection (steps, learning rates and loss weights) and their presets."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from stylemix.errors import StylemixError

METHODS = ("hybrid", "w", "w+", "pti")
FULL_STEPS_PX = 256  # on a CPU a step takes about four times as long at twice the resolution
# Few steps are longer, and more of them refine (docs/log.md): the share of the steps of the search
# that remain, how many of the others take as long as one of refinement, and factors of the rates.
SEARCHED, REFINE_STEP = 0.6, 3
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
        fewer_when_large: on a CPU, steps are divided by the resolution over `FULL_STEPS_PX` px,
            above it, and other shares and rates make up for a part of that.
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

    def at(self, resolution: int, device: str = "cpu") -> ProjectionSettings:
        """The settings for a model of a resolution in px on a device ("cpu", "cuda", ...)."""
        if not self.fewer_when_large or resolution <= FULL_STEPS_PX or device != "cpu":
            return self
        share, searched = FULL_STEPS_PX / resolution, SEARCHED if self.refine_steps else 1.0
        left = (1 - searched) * (self.w_steps + self.plus_steps) / REFINE_STEP
        rates = {name: factor * getattr(self, name) for name, factor in FEW_RATES.items()}
        return replace(
            self,
            w_steps=math.ceil(searched * share * self.w_steps),
            plus_steps=math.ceil(searched * share * self.plus_steps),
            refine_steps=round(share * (self.refine_steps + left)),
            **rates,
        )


PRESETS = {
    "fast": ProjectionSettings(w_steps=20, plus_steps=0, refine_steps=50),
    "balanced": ProjectionSettings(),
    "best": ProjectionSettings(w_steps=100, plus_steps=300, refine_steps=300),
}
# For uses that need only the latents of a photo, without refinement.
LATENTS = ProjectionSettings(w_steps=50, plus_steps=60, refine_steps=0)


def preset_settings(
    preset: str | ProjectionSettings, budget: float | None = None, seed: int = 0
) -> ProjectionSettings:
    """Settings by the name of a preset; `budget` is in seconds per photo."""
    if isinstance(preset, ProjectionSettings):
        return preset
    if preset not in PRESETS:
        raise StylemixError(f"got the preset {preset!r}; expected one of {', '.join(PRESETS)}")
    return replace(PRESETS[preset], budget=budget, seed=seed)
