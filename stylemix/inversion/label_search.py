"""The class of a photo, for a projection into a conditional model without a given label."""

from __future__ import annotations

import torch
from torch import Tensor

from stylemix.inversion.loss import Similarity
from stylemix.inversion.settings import ProjectionSettings
from stylemix.models.loading import adjust
from stylemix.models.model import Model
from stylemix.networks.batches import batch_size
from stylemix.networks.generator import Generator
from stylemix.networks.latents import sample_ws
from stylemix.progress import Progress

MAX_CANDIDATES = 32  # images of each class
MAX_PIXELS = 2**22  # of all candidates, unless one of each class has more
SAMPLES = 200  # mapped latents whose mean is a class's first candidate
SPREAD = 0.7  # truncation of the others towards that mean
CHUNK = 4  # images generated at most at once


def candidates(generator: Generator) -> int:
    """The number of images of each class that are compared with a photo."""
    pixels = generator.c_dim * generator.config.height * generator.config.width
    return max(1, min(MAX_CANDIDATES, MAX_PIXELS // pixels))


@torch.no_grad()
def nearest_classes(
    model: Model,
    targets: Tensor,
    settings: ProjectionSettings,
    progress: Progress | None = None,
) -> list[int]:
    """The class of each target [N, C, H, W] whose start of a projection has the lowest loss.

    The starts are the image of the mean w of a class, and others of random latents of it. After
    each class `progress` is called with (classes, number of them).
    """
    generator = model.generator
    similarity = Similarity(model, targets.to(generator.device, generator.dtype), settings)
    count = candidates(generator)
    losses = []
    for number in range(generator.c_dim):
        at_class = adjust(model, None, number).generator
        w = sample_ws(at_class, SAMPLES, settings.seed)[:, :1]
        mean = w.mean(dim=0, keepdim=True)
        starts = torch.cat([mean, mean.lerp(w[: count - 1], SPREAD)])
        lowest = [
            similarity.distances(
                generator.synthesis(ws.expand(-1, generator.num_ws, -1), noise_mode="const")
            )
            for ws in starts.split(batch_size(generator, CHUNK))
        ]
        losses.append(torch.cat(lowest, dim=1).amin(dim=1))
        if progress is not None:
            progress(number + 1, generator.c_dim)
    classes: list[int] = torch.stack(losses).argmin(dim=0).tolist()
    return classes
