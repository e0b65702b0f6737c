"""Adam (arXiv 1412.6980) for commands that last seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

EPSILON = 1e-8


class Adam:
    """The steps of `torch.optim.Adam`, bit for bit, by PyTorch's own function.

    PyTorch's class imports the compiler when it is made: three of the eighteen seconds of a command
    that projects a single photo with the preset "fast" (docs/log.md).

    Args:
        groups: tensors with their learning rate.
        betas: decay rates of the means of gradients and of their squares.
        fused: one kernel for a whole step of a group.

    Attributes:
        param_groups: dictionaries with `params` and `lr`, which may change between steps.
        state: means and number of steps by tensor; without them steps begin anew.
    """

    def __init__(
        self,
        groups: Sequence[tuple[Sequence[Tensor], float]],
        betas: tuple[float, float] = (0.9, 0.999),
        fused: bool = False,
    ) -> None:
        self.param_groups: list[dict[str, Any]] = [
            {"params": list(tensors), "lr": rate} for tensors, rate in groups
        ]
        self.betas, self.fused = betas, fused
        self.state: dict[Tensor, tuple[Tensor, Tensor, Tensor]] = {}

    def zero_grad(self) -> None:
        """Forgets the gradients."""
        for group in self.param_groups:
            for value in group["params"]:
                value.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Changes all tensors that have a gradient."""
        for group in self.param_groups:
            changed = [value for value in group["params"] if value.grad is not None]
            if not changed:
                continue
            for value in changed:
                if value not in self.state:
                    self.state[value] = self._begin(value)
            means, squares, steps = map(list, zip(*(self.state[v] for v in changed), strict=True))
            adam(
                changed, [value.grad for value in changed], means, squares, [], steps,
                fused=self.fused or None, amsgrad=False, beta1=self.betas[0], beta2=self.betas[1],
                lr=group["lr"], weight_decay=0.0, eps=EPSILON, maximize=False,
            )  # fmt: skip

    def _begin(self, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        device = value.device if self.fused else None  # where PyTorch wants the number of steps
        steps = torch.zeros([], dtype=torch.float32, device=device)
        return torch.zeros_like(value), torch.zeros_like(value), steps
