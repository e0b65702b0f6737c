"""Students of drawn styles: small networks that redraw photos, learned from pairs.

The pairs come from a generator and its style at the same latents, or from photos and their
drawings by any means.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from stylemix.errors import StylemixError
from stylemix.inversion.schedule import hold_then_cosine
from stylemix.io.tensor_files import Damaged, read_tensors
from stylemix.models.container import write_safetensors
from stylemix.networks.student import SCALE, Student, StudentConfig, even_light, tone_curve
from stylemix.progress import Progress
from stylemix.training.optimizer_state import adam_tensors, load_adam, part

FORMAT = "stylemix-student-state"
PHOTO = 256  # px of a photo; drawings have twice that
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
    state_kimg: float = 4


class Distillation:
    """The student, its average (EMA) and the optimizer.

    Args:
        photos: [N, 3, 256, 256] in 0..255, uint8: faces as the template has them.
        drawings: [N, 3, 512, 512] in 0..255, uint8.
        start: a student to start from; None for fresh weights.
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
        self.photos, self.drawings, self.settings = photos, drawings, settings
        self.device = torch.device(device)
        with torch.random.fork_rng(devices=[]):  # all that is random is drawn on the CPU
            torch.default_generator.manual_seed(settings.seed)
            student = Student(StudentConfig()) if start is None else copy.deepcopy(start)
        student = student.to(self.device).requires_grad_(True)
        self.student = student.to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.student).requires_grad_(False).eval()
        self.adam = torch.optim.Adam(self.student.parameters(), settings.lr, (0.9, 0.99))

    def batch(self) -> tuple[Tensor, Tensor]:
        """Parts of photos [N, 3, crop, crop] in even light, and of their drawings, twice as large.

        The drawings are in 0..255. Parts are mirrored at random; some photos get another light or
        lose their finest details.
        """
        s = self.settings
        chosen = torch.randint(0, len(self.photos), [s.batch])
        photos = _floats(self.photos[chosen].to(self.device))
        photos = _relight(photos, s.light)
        photos = even_light(photos, tone_curve(photos))
        photos = _roughen(photos, s.rough)
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
        loss = difference(drawn, _floats(targets, drawn.dtype), s.edges).float()
        self.adam.param_groups[0]["lr"] = s.lr * hold_then_cosine(t, steps)
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self.adam.step()
        done = t * steps
        weight = 1 - min(s.ema, (1 + done) / (10 + done))  # the first averages are short
        with torch.no_grad():
            pairs = zip(self.average.parameters(), self.student.parameters(), strict=True)
            for averaged, current in pairs:
                averaged.lerp_(current, weight)
        return float(loss.detach())

    def save(self, path: Path, kind: dict[str, str], seen: int) -> None:
        """Writes a state that `load` resumes from."""
        tensors = {f"now.{key}": value for key, value in self.student.state_dict().items()}
        tensors |= {f"average.{key}": value for key, value in self.average.state_dict().items()}
        tensors |= adam_tensors(self.adam, "adam.")
        tensors = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
        write_safetensors(path, {**kind, "cur_nimg": str(seen)}, tensors)

    def load(self, path: Path, kind: dict[str, str]) -> int:
        """Resumes from a state of the same settings and pairs; returns the parts seen."""
        try:
            header, tensors = read_tensors(path)
            seen = int(header.pop("cur_nimg", "0"))
            if header != kind:
                raise StylemixError(
                    f"got a state {path} of other pairs or settings; expected the same; delete it "
                    "to start over"
                )
            self.student.load_state_dict(part(tensors, "now."))
            self.average.load_state_dict(part(tensors, "average."))
            load_adam(self.adam, part(tensors, "adam."))
            return seen
        except (Damaged, RuntimeError, ValueError, KeyError) as error:
            raise StylemixError(f"got a damaged state {path}; delete it to start over") from error


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
    seen, steps = 0, math.ceil(settings.kimg * 1000 / settings.batch)
    if state_file is not None and state_file.exists():
        seen = work.load(state_file, kind)
    for step in range(seen // settings.batch, steps):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed((settings.seed * 1_000_003 + step) % 2**63)
            loss = work.step(step / steps, steps)
        seen = (step + 1) * settings.batch
        interval = max(round(settings.state_kimg * 1000), settings.batch)
        due = seen // interval > (seen - settings.batch) // interval or step + 1 == steps
        if state_file is not None and due:
            work.save(state_file, kind, seen)
        if progress is not None:
            progress(step + 1, steps, loss)
    return work.average.cpu()


def difference(drawn: Tensor, target: Tensor, edges: float) -> Tensor:
    """Mean absolute difference of images [N, 3, H, W], and `edges` times that of their gradients.

    Means of pixels alone would leave lines grey that are uncertain by a pixel.
    """
    off = drawn - target
    across = (off[:, :, :, 1:] - off[:, :, :, :-1]).abs().mean()
    down = (off[:, :, 1:] - off[:, :, :-1]).abs().mean()
    return off.abs().mean() + edges * (across + down)


def _relight(photos: Tensor, share: float) -> Tensor:
    """Photos in [-1, 1], a share of them with another exposure, gamma and white balance."""
    count = len(photos)
    chosen = (torch.rand([count, 1, 1, 1]) < share).float()
    gamma = torch.exp(0.25 * chosen * torch.randn([count, 1, 1, 1]))
    gain = torch.exp(chosen * (0.1 * torch.randn([count, 1, 1, 1])
                               + 0.04 * torch.randn([count, 3, 1, 1])))  # fmt: skip
    rgb = ((photos + 1) / 2).clamp(0, 1) ** gamma.to(photos) * gain.to(photos)
    return rgb.clamp(0, 1) * 2 - 1


def _roughen(photos: Tensor, share: float) -> Tensor:
    """Photos, a share of them without their finest details, or with a little noise."""
    out = []
    for photo in photos.split(1):
        if torch.rand([]) < share:
            size = int(torch.randint(PHOTO // 4, PHOTO, []))
            small = functional.interpolate(photo, [size, size], mode="area")
            photo = functional.interpolate(small, [PHOTO, PHOTO], mode="bicubic")
        if torch.rand([]) < share:
            noise = torch.randn(photo.shape).to(photo)
            photo = photo + float(0.08 * torch.rand([])) * noise
        out.append(photo)
    return torch.cat(out)


def _floats(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Images of 0..255 in [-1, 1], laid out as the networks want them."""
    images = images.contiguous(memory_format=torch.channels_last)
    return images.to(dtype).mul_(1 / 127.5).sub_(1)
