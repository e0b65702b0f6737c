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
        parts: number of equal parts of the first dimension of every tensor, which is contiguous:
            the photos of a batch, optimised as if each were alone.

    Attributes:
        param_groups: dictionaries with `params` and `lr`, which may change between steps.
        factors: the factor of the rates of each part.
        state: means and number of steps by tensor, for each part; without them steps begin anew.
    """

    def __init__(
        self,
        groups: Sequence[tuple[Sequence[Tensor], float]],
        betas: tuple[float, float] = (0.9, 0.999),
        fused: bool = False,
        parts: int = 1,
    ) -> None:
        self.param_groups: list[dict[str, Any]] = [
            {"params": list(tensors), "lr": rate} for tensors, rate in groups
        ]
        values = [value for tensors, _ in groups for value in tensors]
        if parts > 1 and not all(value.is_contiguous() for value in values):
            # The fused kernel takes a part for one piece of memory.
            raise ValueError("tensors with parts must be contiguous")
        self.betas, self.fused = betas, fused
        self.factors = [1.0] * parts
        self.state: list[dict[Tensor, tuple[Tensor, Tensor, Tensor]]] = [{} for _ in range(parts)]

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
            for part in range(len(self.state) if changed else 0):
                self._step(changed, part, group["lr"] * self.factors[part])

    def _step(self, tensors: list[Tensor], part: int, rate: float) -> None:
        values = [self._part(value.detach(), part) for value in tensors]
        grads = [self._part(value.grad, part) for value in tensors if value.grad is not None]
        state = self.state[part]
        for tensor, value in zip(tensors, values, strict=True):
            if tensor not in state:
                state[tensor] = self._begin(value)
        means, squares, steps = map(list, zip(*(state[tensor] for tensor in tensors), strict=True))
        adam(
            values, grads, means, squares, [], steps,
            fused=self.fused or None, amsgrad=False, beta1=self.betas[0], beta2=self.betas[1],
            lr=rate, weight_decay=0.0, eps=EPSILON, maximize=False,
        )  # fmt: skip

    def _part(self, tensor: Tensor, part: int) -> Tensor:
        return tensor.chunk(len(self.state))[part]

    def _begin(self, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        device = value.device if self.fused else None  # where PyTorch wants the number of steps
        steps = torch.zeros([], dtype=torch.float32, device=device)
        return torch.zeros_like(value), torch.zeros_like(value), steps
