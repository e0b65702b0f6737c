"""Splits a batch into microbatches, with random numbers that do not depend on the split.

All random numbers of a step depend on (seed, images seen, name) and the position in the whole
batch. So gradient accumulation, several processes and several hosts give the same values.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Microbatch:
    """The images `start` to `stop` of a batch of `total` that are processed at once."""

    start: int
    stop: int
    total: int

    def __len__(self) -> int:
        """Number of images in the microbatch."""
        return self.stop - self.start

    @property
    def weight(self) -> float:
        """Its share of the batch: weighted means of microbatches sum to the mean of the batch."""
        return len(self) / self.total


def parts_of(rank: int, world: int, batch: int, size: int) -> list[Microbatch]:
    """Returns a rank's microbatches of at most `size` images, in order.

    Ranks get contiguous microbatches, distributed as evenly as possible for any number of ranks.
    """
    all_parts = [Microbatch(i, min(i + size, batch), batch) for i in range(0, batch, size)]
    return all_parts[rank * len(all_parts) // world : (rank + 1) * len(all_parts) // world]


@dataclass(frozen=True)
class StepRandom:
    """The random numbers of one step; each method returns those of a microbatch."""

    seed: int
    cur_nimg: int

    def key(self, name: str) -> int:
        """Returns a seed of 63 bits for a name."""
        text = f"{self.seed}/{self.cur_nimg}/{name}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1

    def generator(self, name: str) -> torch.Generator:
        """Returns a CPU generator for a name."""
        return torch.Generator().manual_seed(self.key(name))

    def normal(self, name: str, part: Microbatch, width: int) -> Tensor:
        """Returns Gaussian rows [len(part), width] on the CPU."""
        rows = torch.randn([part.total, width], generator=self.generator(name))
        return rows[part.start : part.stop]

    def labels(self, name: str, part: Microbatch, labels: Tensor | None) -> Tensor | None:
        """Returns labels [len(part), c_dim] of random training images, None without labels."""
        if labels is None:
            return None
        which = torch.randint(len(labels), [part.total], generator=self.generator(name))
        return labels[which[part.start : part.stop]]

    def cutoff(self, name: str, probability: float, num_ws: int) -> int | None:
        """Returns the crossover layer of style mixing for the batch; None for no mixing."""
        generator = self.generator(name)
        if float(torch.rand([], generator=generator)) >= probability:
            return None
        return int(torch.randint(1, num_ws, [], generator=generator))

    def noise(self, name: str, part: Microbatch, width: int, device: torch.device) -> Tensor:
        """Returns Gaussian rows [len(part), width] on a device; each has its own seed."""
        rows = torch.empty([len(part), width], device=device)
        generator = torch.Generator(device)
        key = self.key(name)
        for i, row in enumerate(rows):
            generator.manual_seed((key + part.start + i) % 2**63)
            torch.randn([width], generator=generator, device=device, out=row)
        return rows


def cells(count: int, group: int) -> Tensor:
    """Returns an order of `count` images that puts neighbours into one minibatch-stddev group.

    The layer groups images i, i + count / group and so on, so that groups would depend on how a
    batch is split. In this order each group is `group` neighbours.
    """
    order = torch.arange(count)
    return order.view(-1, group).t().reshape(-1) if count % group == 0 else order
