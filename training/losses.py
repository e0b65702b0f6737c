"""Losses of adversarial training (StyleGAN2, arXiv 1912.04958, section 3 and appendix B)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def g_logistic(fake_logits: Tensor) -> Tensor:
    """Non-saturating logistic loss of the generator, a mean over logits [N, 1]."""
    return F.softplus(-fake_logits).mean()


def d_logistic(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Logistic loss of the discriminator: reals should score high, fakes low."""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def g_minimax(fake_logits: Tensor) -> Tensor:
    """Saturating loss of the original game, mean log(1 - sigmoid) (arXiv 1406.2661, eq. 1)."""
    return -F.softplus(fake_logits).mean()


def g_relativistic(fake_logits: Tensor, real_logits: Tensor) -> Tensor:
    """A fake should score above the real image it is paired with (arXiv 2501.05441, eq. 2)."""
    return F.softplus(real_logits - fake_logits).mean()


def d_relativistic(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """A real image should score above the fake that it is paired with."""
    return F.softplus(fake_logits - real_logits).mean()


LOSSES = ("logistic", "minimax", "relativistic")


def r1_penalty(real_logits: Tensor, reals: Tensor) -> Tensor:
    """Squared gradient norms [N] of the logits at reals [N, C, H, W] (arXiv 1801.04406).

    The loss is gamma / 2 times their mean. `reals` must require a gradient.
    """
    (grad,) = torch.autograd.grad(real_logits.sum(), reals, create_graph=True)
    return grad.float().square().sum(dim=[1, 2, 3])


def path_lengths(images: Tensor, ws: Tensor, noise: Tensor) -> Tensor:
    """Path lengths [N]: how much images [N, C, H, W] move along noise as ws [N, L, w_dim] do.

    `noise` is random images; divided by (H * W)^.5 they give lengths that no size changes.
    """
    (grad,) = torch.autograd.grad((images * noise).sum(), ws, create_graph=True)
    return grad.square().sum(dim=2).mean(dim=1).sqrt()
