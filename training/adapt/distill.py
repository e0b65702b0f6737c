"""Students of drawn styles: small networks that redraw photos, learned from pairs.

The pairs come from a generator and its style at the same latents, or from photos and their
drawings by any means.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from stylemix.errors import StylemixError, check_choice
from stylemix.networks.student import SCALE, Student, even_light, tone_curve
from stylemix.progress import Progress
from stylemix.training.adapt.student_training import (
    FORMAT,
    PHOTO,
    PRECISIONS,
    StudentTraining,
    floats,
    relight,
    roughen,
)

MIN_PAIRS = 4


@dataclass(frozen=True)
class DistillSettings:
    """Length, rates and weights; measured in docs/log.md.

    Attributes:
        kimg: thousands of parts of photos that are seen.
        crop: px of a part.
        edges: weight of the differences between neighbouring pixels beside that of the pixels.
        light: share of the parts whose photo gets another light, which the drawing does not.
        rough: share of the parts whose photo is scaled down and up, as if from a small image.
    """

    kimg: float = 8.0
    batch: int = 16
    crop: int = 128
    lr: float = 0.001
    edges: float = 2.0
    light: float = 0.5
    rough: float = 0.3
    ema: float = 0.997
    precision: str = "fp32"
    seed: int = 0
    state_kimg: float = 0.5

    def __post_init__(self) -> None:
        check_choice("precision", self.precision, PRECISIONS)


class Distillation(StudentTraining):
    """A student that learns from pairs.

    Args:
        photos: [N, 3, 256, 256] in 0..255, uint8: faces as the template has them.
        drawings: [N, 3, 512, 512] in 0..255, uint8.
        start: as for `StudentTraining`.
    """

    def __init__(
        self,
        photos: Tensor,
        drawings: Tensor,
        settings: DistillSettings,
        start: Student | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        if len(photos) < MIN_PAIRS or len(drawings) != len(photos):
            raise StylemixError(
                f"got {len(photos)} photos and {len(drawings)} drawings; expected as many of both, "
                f"at least {MIN_PAIRS}; add pairs"
            )
        super().__init__(start, settings.lr, (0.9, 0.99), settings.seed, device)
        self.photos, self.drawings, self.settings = photos, drawings, settings

    def batch(self) -> tuple[Tensor, Tensor]:
        """Parts of photos [N, 3, crop, crop] in even light, and of their drawings, twice as large.

        The drawings are in 0..255. Parts are mirrored at random; some photos get another light or
        lose their finest details.
        """
        s = self.settings
        chosen = torch.randint(0, len(self.photos), [s.batch])
        photos = floats(self.photos[chosen].to(self.device))
        photos = relight(photos, s.light)
        photos = even_light(photos, tone_curve(photos))
        photos = roughen(photos, s.rough)
        corners = torch.randint(0, (PHOTO - s.crop) // 2 + 1, [s.batch, 2]) * 2
        mirrored = torch.rand([s.batch]) < 0.5

        def parts(images: Iterator[Tensor], scale: int) -> Tensor:
            cut = []
            for image, (y, x), flip in zip(images, corners.tolist(), mirrored, strict=True):
                side = scale * s.crop
                one = image[:, scale * y : scale * y + side, scale * x : scale * x + side]
                cut.append(one.flip(2) if flip else one)
            return torch.stack(cut)

        drawings = parts((self.drawings[i] for i in chosen), SCALE)
        return parts(iter(photos), 1), drawings.to(self.device)

    def step(self, t: float, steps: int) -> float:
        """One step at progress t in [0, 1); returns the loss."""
        s = self.settings
        photos, targets = self.batch()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=s.precision == "bf16"):
            drawn = self.student.draw(photos.contiguous(memory_format=torch.channels_last))
        loss = difference(drawn, floats(targets, drawn.dtype), s.edges).float()
        done = t * steps
        # The first averages are short.
        self.descend(loss, t, steps, 1 - min(s.ema, (1 + done) / (10 + done)))
        return float(loss.detach())


def learn_student(
    photos: Tensor,
    drawings: Tensor,
    settings: DistillSettings | None = None,
    start: Student | None = None,
    state_file: Path | None = None,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> Student:
    """Learns a student; the arguments are those of `Distillation`.

    With `state_file` the state is saved during training, and resumed from.
    """
    settings = settings or DistillSettings()
    work = Distillation(photos, drawings, settings, start, device)
    sums = [int(images.sum(dtype=torch.int64)) for images in (photos, drawings)]
    kind = {
        "format": FORMAT,
        "settings": json.dumps(asdict(replace(settings, state_kimg=0))),
        "pairs": f"{len(photos)} {sums}",
    }
    steps, batch = math.ceil(settings.kimg * 1000 / settings.batch), settings.batch
    interval = max(round(settings.state_kimg * 1000), batch)
    return work.run(steps, batch, settings.seed, kind, state_file, interval, progress)


def difference(drawn: Tensor, target: Tensor, edges: float) -> Tensor:
    """Mean absolute difference of images [N, 3, H, W], and `edges` times that of their gradients.

    Means of pixels alone would leave lines grey that are uncertain by a pixel.
    """
    off = drawn - target
    across = (off[:, :, :, 1:] - off[:, :, :, :-1]).abs().mean()
    down = (off[:, :, 1:] - off[:, :, :-1]).abs().mean()
    return off.abs().mean() + edges * (across + down)
