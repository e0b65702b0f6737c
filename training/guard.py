"""Detects failing training: losses that are not finite, mode collapse."""

from __future__ import annotations

from torch import Tensor

from stylemix.training.state import TrainState

# Diversity is the fakes' spread over the reals' spread.
HEALTHY = 0.3  # collapse is detected only after the diversity was above this
COLLAPSED = 0.08  # diversity below which the run has collapsed
FROM_NIMG = 20_000  # images; before that, fakes go from random to grey and back
P_WARNING = 0.8  # above it augmentations leak into the images (ADA, section 3.1)
SPREAD_SIDE = 64  # px of an image of which the spread is taken, at most


def what_went_wrong(state: TrainState, bad_losses: int) -> str:
    """Returns a reason to roll back, or ""; updates the greatest diversity so far."""
    if bad_losses:
        return f"{bad_losses} losses were not finite"
    counters, diversity = state.counters, float(state.diversity)
    if counters.cur_nimg < FROM_NIMG:
        return ""
    counters.best_diversity = max(counters.best_diversity, diversity)
    if counters.best_diversity > HEALTHY and diversity < COLLAPSED:
        return (
            f"mode collapse: the diversity of the images fell from {counters.best_diversity:.2f} "
            f"to {diversity:.2f} of that of the reals"
        )
    return ""


def augment_warning(before: float, now: float) -> str:
    """Returns a warning when p crosses the value above which augmentations leak, else ""."""
    if before < P_WARNING <= now:
        return (
            f"augmentation p reached {now:.2f}: above {P_WARNING} augmentations leak into the "
            "images; add images, --mirror, or lower --ada-target"
        )
    return ""


def adapt_augment(state: TrainState, target: float, ada_kimg: float, images: int) -> float:
    """Adjusts p so that the reals' mean sign meets the target (ADA, section 3); returns p before.

    p is clamped to [0, 1].
    """
    before = state.counters.augment_p
    mean = state.sign_sum / state.sign_count.clamp(min=1)
    direction = float((mean - target).sign())
    state.counters.augment_p = min(max(before + direction * images / (ada_kimg * 1000), 0.0), 1.0)
    state.sign_sum.zero_()
    state.sign_count.zero_()
    return before


def thinned(images: Tensor) -> Tensor:
    """Returns every k-th row and column of images, at most `SPREAD_SIDE`: few values to reduce."""
    step = -(-max(images.shape[2:]) // SPREAD_SIDE)
    return images.detach().float()[:, :, ::step, ::step]


def spread(values: dict[str, Tensor], kind: str) -> Tensor:
    """Returns the mean deviation of a pixel over the whole batch, a measure of diversity."""
    variance = values[f"{kind} square"] - values[f"{kind} mean"].square()
    return variance.clamp(min=0).sqrt().mean()
