"""What tells a run that goes wrong: losses that are no numbers, images that are all alike."""

from __future__ import annotations

from stylemix.training.state import TrainState

HEALTHY = 0.3  # a run has been well once the fakes spread by this part of the reals' spread
COLLAPSED = 0.08  # and has collapsed when they no longer spread by this
FROM_NIMG = 20_000  # before that, images go from random to grey and back
P_WARNING = 0.8  # above it augmentations leak into the images (ADA, section 3.1)


def what_went_wrong(state: TrainState, bad_losses: int) -> str:
    """A reason to go back, or "" while all is well; keeps the greatest diversity so far."""
    if bad_losses:
        return f"{bad_losses} losses were no numbers"
    counters, diversity = state.counters, float(state.diversity)
    if counters.cur_nimg < FROM_NIMG:
        return ""
    counters.best_diversity = max(counters.best_diversity, diversity)
    if counters.best_diversity > HEALTHY and diversity < COLLAPSED:
        return (
            f"the images collapsed: they differ {diversity:.2f} times as much as the reals, "
            f"once {counters.best_diversity:.2f} times"
        )
    return ""


def augment_warning(before: float, now: float) -> str:
    """A word when p crosses the value above which augmentations leak, else ""."""
    if before < P_WARNING <= now:
        return (
            f"augmentation p reached {now:.2f}: above {P_WARNING} augmentations show up in the "
            "images; add images, --mirror, or lower --ada-target"
        )
    return ""


def adapt_augment(state: TrainState, target: float, ada_kimg: float, images: int) -> float:
    """Moves p so that the reals' mean sign meets the target (ADA, section 3); returns p before.

    p stays within 0 and 1, however long the reals are told apart.
    """
    before = state.counters.augment_p
    mean = state.sign_sum / state.sign_count.clamp(min=1)
    direction = float((mean - target).sign())
    state.counters.augment_p = min(max(before + direction * images / (ada_kimg * 1000), 0.0), 1.0)
    state.sign_sum.zero_()
    state.sign_count.zero_()
    return before
