"""The averaged generator (StyleGAN2, appendix B; ramp-up as in ADA, appendix C)."""

from __future__ import annotations

import torch

from stylemix.training.config import ResolvedConfig
from stylemix.training.state import TrainState


def ema_beta(config: ResolvedConfig, cur_nimg: int) -> float:
    """Weight of the average before a step that ended at `cur_nimg` images.

    The half-life is `ema_kimg`, at most `ema_rampup` times the images seen.
    """
    half_life = config.value("ema_kimg", cur_nimg) * 1000
    if config.ema_rampup:
        half_life = min(half_life, cur_nimg * config.ema_rampup)
    return float(0.5 ** (config.batch / max(half_life, 1e-8)))


@torch.no_grad()
def update_ema(state: TrainState, config: ResolvedConfig) -> None:
    """Moves the averaged generator towards the current one; its buffers are copied.

    Of the strengths of noise the magnitudes are averaged: their signs mean nothing, so a strength
    may change its own, and would then be averaged away.
    """
    beta = ema_beta(config, state.counters.cur_nimg)
    averaged = dict(state.generator_ema.named_parameters())
    source = state.generator.state_dict()
    for name, value in state.generator_ema.state_dict().items():
        if name.endswith("noise_strength"):
            value.abs_().lerp_(source[name].abs(), 1 - beta)
        elif name in averaged:
            value.lerp_(source[name], 1 - beta)
        else:
            value.copy_(source[name])
