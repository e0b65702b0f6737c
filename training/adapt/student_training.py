"""The training of a student: its average, its state on the disk, and what is done to photos."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from stylemix.inversion.schedule import hold_then_cosine
from stylemix.networks.student import Student, StudentConfig
from stylemix.progress import Progress
from stylemix.training.optimizer_state import adam_tensors, load_adam, load_work, part, save_work

FORMAT = "stylemix-student-state"
PRECISIONS = ("fp32", "bf16")
PHOTO = 256  # px of a photo; drawings have twice that


class StudentTraining:
    """A student, its average (EMA) and the optimizer; subclasses say what a step does.

    Args:
        start: a student to start from; None for fresh weights.
        lr, betas: of Adam.
        seed: of fresh weights.
    """

    def __init__(
        self,
        start: Student | None,
        lr: float,
        betas: tuple[float, float],
        seed: int,
        device: str | torch.device = "cpu",
    ) -> None:
        self.device, self.lr = torch.device(device), lr
        with torch.random.fork_rng(devices=[]):  # all that is random is drawn on the CPU
            torch.default_generator.manual_seed(seed)
            student = Student(StudentConfig()) if start is None else copy.deepcopy(start)
        student = student.to(self.device).requires_grad_(True)
        self.student = student.to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.student).requires_grad_(False).eval()
        self.adam = torch.optim.Adam(self.student.parameters(), lr, betas)

    def step(self, t: float, steps: int) -> float:
        """One step at progress t in [0, 1); returns the loss."""
        raise NotImplementedError

    def descend(self, loss: Tensor, t: float, steps: int, weight: float) -> None:
        """A step along the gradients of a loss; the average moves by `weight` to the result."""
        self.adam.param_groups[0]["lr"] = self.lr * hold_then_cosine(t, steps)
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self.adam.step()
        with torch.no_grad():
            pairs = zip(self.average.parameters(), self.student.parameters(), strict=True)
            for averaged, current in pairs:
                averaged.lerp_(current, weight)

    def tensors(self) -> dict[str, Tensor]:
        """All that a state needs."""
        out = {f"now.{key}": value for key, value in self.student.state_dict().items()}
        out |= {f"average.{key}": value for key, value in self.average.state_dict().items()}
        return out | adam_tensors(self.adam, "adam.")

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Goes back to `tensors`; RuntimeError, ValueError or KeyError where they do not fit."""
        self.student.load_state_dict(part(tensors, "now."))
        self.average.load_state_dict(part(tensors, "average."))
        load_adam(self.adam, part(tensors, "adam."))

    def run(
        self,
        steps: int,
        batch: int,
        seed: int,
        kind: dict[str, str],
        state_file: Path | None,
        interval: int,
        progress: Progress | None,
    ) -> Student:
        """Runs all steps and returns the average.

        With `state_file` the state is saved every `interval` parts of photos, and resumed from if
        it is of the same `kind`.
        """
        seen = 0
        if state_file is not None and state_file.exists():
            seen = load_work(state_file, kind, self.restore)
        for step in range(seen // batch, steps):
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed((seed * 1_000_003 + step) % 2**63)
                loss = self.step(step / steps, steps)
            seen = (step + 1) * batch
            due = seen // interval > (seen - batch) // interval or step + 1 == steps
            if state_file is not None and due:
                save_work(state_file, kind, seen, self.tensors())
            if progress is not None:
                progress(step + 1, steps, loss)
        return self.average.cpu()


def relight(photos: Tensor, share: float) -> Tensor:
    """Photos in [-1, 1], a share of them with another exposure, gamma and white balance."""
    count = len(photos)
    chosen = (torch.rand([count, 1, 1, 1]) < share).float()
    gamma = torch.exp(0.25 * chosen * torch.randn([count, 1, 1, 1]))
    gain = torch.exp(chosen * (0.1 * torch.randn([count, 1, 1, 1])
                               + 0.04 * torch.randn([count, 3, 1, 1])))  # fmt: skip
    rgb = ((photos + 1) / 2).clamp(0, 1) ** gamma.to(photos) * gain.to(photos)
    return rgb.clamp(0, 1) * 2 - 1


def roughen(photos: Tensor, share: float) -> Tensor:
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


def floats(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Images of 0..255 in [-1, 1], laid out as the networks want them."""
    images = images.contiguous(memory_format=torch.channels_last)
    return images.to(dtype).mul_(1 / 127.5).sub_(1)
