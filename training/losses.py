"""Losses of adversarial training (StyleGAN2, arXiv 1912.04958, section 3 and appendix B)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def g_logistic(fake_logits: Tensor) -> Tensor:
    """Returns the non-saturating logistic loss of the generator for logits [N, 1]."""
    return F.softplus(-fake_logits).mean()


def d_logistic(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Returns the logistic loss of the discriminator for logits [N, 1]."""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def g_minimax(fake_logits: Tensor) -> Tensor:
    """Returns the saturating loss of the generator, log(1 - sigmoid) (arXiv 1406.2661, eq. 1)."""
    return -F.softplus(fake_logits).mean()


def g_relativistic(fake_logits: Tensor, real_logits: Tensor) -> Tensor:
    """Returns the relativistic pairing loss of the generator (arXiv 2501.05441, eq. 2)."""
    return F.softplus(real_logits - fake_logits).mean()


def d_relativistic(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Returns the relativistic pairing loss of the discriminator."""
    return F.softplus(fake_logits - real_logits).mean()


LOSSES = ("logistic", "minimax", "relativistic")


def r1_penalty(real_logits: Tensor, reals: Tensor) -> Tensor:
    """Returns squared gradient norms [N] of logits at reals [N, C, H, W] (arXiv 1801.04406).

    The loss is gamma / 2 times their mean. `reals` must require a gradient.
    """
    (grad,) = torch.autograd.grad(real_logits.sum(), reals, create_graph=True)
    return grad.float().square().sum(dim=[1, 2, 3])


def path_lengths(images: Tensor, ws: Tensor, noise: Tensor) -> Tensor:
    """Returns path lengths [N]: gradient norms of images [N, C, H, W] * noise by ws [N, L, w_dim].

    `noise` is random images; divided by (H * W)^.5 it makes lengths independent of resolution.
    """
    (grad,) = torch.autograd.grad((images * noise).sum(), ws, create_graph=True)
    return grad.square().sum(dim=2).mean(dim=1).sqrt()
