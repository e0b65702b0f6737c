"""How a step's batch is split, and its random numbers, which do not depend on the split.

Everything random in a step follows from (seed, images seen, name of the draw) and the place in the
whole batch. So one process with accumulation, several processes and several hosts show the
networks the same numbers.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Microbatch:
    """The images `start` to `stop` of a step's batch of `total`: what goes through at once."""

    start: int
    stop: int
    total: int

    def __len__(self) -> int:
        """Images in the part."""
        return self.stop - self.start

    @property
    def weight(self) -> float:
        """Its share of the batch: a mean over the part times this adds up to the batch's mean."""
        return len(self) / self.total


def parts_of(rank: int, world: int, batch: int, size: int) -> list[Microbatch]:
    """The parts of at most `size` images that a rank works on, one after the other.

    Ranks get neighbouring parts, as evenly as whole parts allow; any number of ranks will do.
    """
    parts = [Microbatch(i, min(i + size, batch), batch) for i in range(0, batch, size)]
    return parts[rank * len(parts) // world : (rank + 1) * len(parts) // world]


@dataclass(frozen=True)
class StepRandom:
    """The random numbers of one step; each method gives those of a part."""

    seed: int
    cur_nimg: int

    def key(self, name: str) -> int:
        """A seed of 63 bits for one draw."""
        text = f"{self.seed}/{self.cur_nimg}/{name}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1

    def generator(self, name: str) -> torch.Generator:
        """A generator on the CPU for one draw."""
        return torch.Generator().manual_seed(self.key(name))

    def normal(self, name: str, part: Microbatch, width: int) -> Tensor:
        """Gaussian rows [len(part), width], on the CPU."""
        rows = torch.randn([part.total, width], generator=self.generator(name))
        return rows[part.start : part.stop]

    def labels(self, name: str, part: Microbatch, labels: Tensor | None) -> Tensor | None:
        """Labels [len(part), c_dim] of random images of the data, None without labels."""
        if labels is None:
            return None
        which = torch.randint(len(labels), [part.total], generator=self.generator(name))
        return labels[which[part.start : part.stop]]

    def cutoff(self, name: str, probability: float, num_ws: int) -> int | None:
        """Layer where style mixing changes latents, one for the batch; None for no mixing."""
        generator = self.generator(name)
        if float(torch.rand([], generator=generator)) >= probability:
            return None
        return int(torch.randint(1, num_ws, [], generator=generator))

    def noise(self, name: str, part: Microbatch, width: int, device: torch.device) -> Tensor:
        """Gaussian rows [len(part), width] on a device; a row follows from its place alone."""
        rows = torch.empty([len(part), width], device=device)
        generator = torch.Generator(device)
        key = self.key(name)
        for i, row in enumerate(rows):
            generator.manual_seed((key + part.start + i) % 2**63)
            torch.randn([width], generator=generator, device=device, out=row)
        return rows


def cells(count: int, group: int) -> Tensor:
    """An order of `count` images in which minibatch statistics see neighbours as one group.

    The layer takes image i, i + count / group and so on together, so that groups would depend on
    how a batch is split. In this order they are the cells of `group` neighbours.
    """
    order = torch.arange(count)
    return order.view(-1, group).t().reshape(-1) if count % group == 0 else order
