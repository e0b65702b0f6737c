"""Students learned from a few drawings of anyone, without photos of the same faces.

Faces of the generator are the photos. What a student makes of them should have the colours that
the drawings would have there (`ColorTransfer`), and in every place it should look like a part of
the drawings: to critics on the pixels and on frozen MobileNetV2 features, which need few images
(Projected GAN, arXiv 2111.01007). They see parts of 256 px and judge patches of them, so that they
know lines, strokes and planes, and no faces: eight drawings have many patches, and too few people.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from stylemix.errors import StylemixError
from stylemix.images.filters import mirrored_blur
from stylemix.images.hands import LIGHT, PLAIN
from stylemix.images.lab import from_lab, to_lab
from stylemix.metrics.mobilenet import STAGES, load_feature_network
from stylemix.networks.student import SCALE, Student, even_light, soften_curve, tone_curve
from stylemix.progress import Progress
from stylemix.training.adapt.color_transfer import ColorTransfer
from stylemix.training.adapt.student_training import (
    FORMAT,
    PHOTO,
    StudentTraining,
    floats,
    relight,
    roughen,
)
from stylemix.training.feature_discriminator import d_hinge, g_hinge
from stylemix.training.optimizer_state import adam_tensors, load_adam, part

FACES, START = 160, "comic"  # generated faces to learn on, and the style whose student is trained
STAGES_OF_CRITICS = STAGES[:4]  # features at 1/2, 1/4, 1/8 and 1/16 of the drawing's size
WIDTHS = (16, 24, 32, 96)  # their channels
HEAD = 64  # channels of a critic on features
PIXELS = (32, 64, 96)  # channels of the critic on pixels, at 1/2, 1/4 and 1/8 of the size
SLOPE = 0.2  # of leaky ReLU
COARSE = (1.5, 3.0)  # px of a quarter of the drawing's size: blurs at which colours are compared


@dataclass(frozen=True)
class UnpairedSettings:
    """Length, rates and weights; measured in docs/log.md.

    Attributes:
        batch: parts of photos, and of drawings, in a step.
        crop: px of a part of a photo.
        colors, critics: weights of the two losses.
        light: share of the photos in another light.
        rough: share of the photos that are scaled down and up, and of those with noise.
        tinted: share of the photos in other hues, so that no colour of a wall is new.
        jitter: px by which parts of drawings are moved from the place of those of photos.
        state_steps: steps between two states.
    """

    steps: int = 300
    batch: int = 6
    crop: int = 128
    lr: float = 0.001
    colors: float = 2.0
    critics: float = 0.1
    light: float = 0.5
    rough: float = 0.3
    tinted: float = 0.5
    jitter: int = 8
    precision: str = "fp32"
    seed: int = 0
    state_steps: int = 20


class PatchCritics(nn.Module):
    """Scores patches of images [N, 3, H, W] in [-1, 1]: on pixels, and on frozen features.

    All weights have spectral normalization.
    """

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(
                _conv(width, HEAD), nn.LeakyReLU(SLOPE), _conv(HEAD, HEAD), nn.LeakyReLU(SLOPE),
                _conv(HEAD, 1, 1),
            )
            for width in WIDTHS
        )  # fmt: skip
        layers: list[nn.Module] = []
        for before, width in zip((3, *PIXELS), PIXELS, strict=False):
            layers += [_conv(before, width, 4, 2), nn.LeakyReLU(SLOPE)]
        last = PIXELS[-1]
        self.pixels = nn.Sequential(*layers, _conv(last, last), nn.LeakyReLU(SLOPE), _conv(last, 1))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Returns the scores [N, 1, h, w] of each critic."""
        maps = load_feature_network(images.device).maps(images, STAGES_OF_CRITICS)
        scores = [head(x) for head, x in zip(self.heads, maps, strict=True)]
        return [score.float() for score in (*scores, self.pixels(images))]


def _conv(ins: int, outs: int, size: int = 3, stride: int = 1) -> nn.Module:
    return spectral_norm(nn.Conv2d(ins, outs, size, stride, (size - 1) // 2))


class UnpairedTraining(StudentTraining):
    """A student that learns from drawings and from photos of other people.

    Args:
        photos: [N, 3, 256, 256] in 0..255, uint8: faces as the template has them.
        drawings: [K, 3, 512, 512] in 0..255, uint8, with faces in the same place if they have any.
        start: as for `StudentTraining`.
    """

    def __init__(
        self,
        photos: Tensor,
        drawings: Tensor,
        settings: UnpairedSettings,
        start: Student | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        super().__init__(start, settings.lr, (0.5, 0.99), settings.seed, device)
        self.photos, self.drawings, self.settings = photos, drawings, settings
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(settings.seed)
            critics = PatchCritics()
        self.critics = critics.to(self.device).to(memory_format=torch.channels_last)
        self.critics_adam = torch.optim.Adam(self.critics.parameters(), settings.lr, (0.5, 0.99))
        even = torch.cat([self._even(floats(each)) for each in photos.split(16)])
        self.colors = ColorTransfer(even, floats(drawings))

    @staticmethod
    def _even(photos: Tensor) -> Tensor:
        return even_light(photos, soften_curve(tone_curve(photos), LIGHT[PLAIN]))

    def batch(self) -> tuple[Tensor, Tensor]:
        """Parts of photos [N, 3, crop, crop] in even light, and of drawings, twice as large.

        All have about the same place in their image: what is a mouth is compared with mouths.
        """
        s = self.settings
        chosen = torch.randint(0, len(self.photos), [s.batch])
        photos = floats(self.photos[chosen].to(self.device))
        photos = self._even(_tint(relight(photos, s.light), s.tinted))
        photos = roughen(photos, s.rough)
        drawn = torch.randint(0, len(self.drawings), [s.batch])
        drawings = floats(self.drawings[drawn].to(self.device))
        if torch.rand([]) < 0.5:
            photos, drawings = photos.flip(3), drawings.flip(3)
        y, x = (torch.randint(0, (PHOTO - s.crop) // 2 + 1, [2]) * 2).tolist()
        side, moves = SCALE * s.crop, torch.randint(-s.jitter, s.jitter + 1, [2]).tolist()
        corner = (min(max(SCALE * at + move, 0), SCALE * PHOTO - side)
                  for at, move in zip((y, x), moves, strict=True))  # fmt: skip
        top, left = corner
        return (
            photos[:, :, y : y + s.crop, x : x + s.crop],
            drawings[:, :, top : top + side, left : left + side],
        )

    def step(self, t: float, steps: int) -> float:
        """One step of the student and of its critics; returns the error of the colours."""
        s = self.settings
        layout = torch.channels_last
        photos, drawings = (one.contiguous(memory_format=layout) for one in self.batch())
        mixed = torch.autocast(self.device.type, torch.bfloat16, enabled=s.precision == "bf16")
        self.critics.requires_grad_(False)
        with mixed:
            drawn = self.student.draw(photos).float().contiguous(memory_format=layout)
            judged = g_hinge(self.critics(drawn))
        off = self._color_error(drawn, photos)
        done = t * steps
        loss = s.critics * judged + s.colors * off
        self.descend(loss, t, steps, max(0.01, 9 / (10 + done)))
        self.critics.requires_grad_(True)
        with mixed:
            told_apart = d_hinge(self.critics(drawings), self.critics(drawn.detach()))
        self.critics_adam.zero_grad(set_to_none=True)
        told_apart.backward()
        self.critics_adam.step()
        return float(off.detach())

    def _color_error(self, drawn: Tensor, photos: Tensor) -> Tensor:
        """How far blurred drawings are from the colours that their photos should get."""
        target = self.colors(functional.avg_pool2d(photos, 2))
        off = functional.avg_pool2d(drawn, 2 * SCALE) - target
        return torch.stack([mirrored_blur(off, sigma).abs().mean() for sigma in COARSE]).sum()

    def tensors(self) -> dict[str, Tensor]:
        """All that a state needs."""
        critics = {f"critics.{key}": value for key, value in self.critics.state_dict().items()}
        return super().tensors() | critics | adam_tensors(self.critics_adam, "critics-adam.")

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Goes back to what `tensors` returned."""
        super().restore(tensors)
        self.critics.load_state_dict(part(tensors, "critics."))
        load_adam(self.critics_adam, part(tensors, "critics-adam."))


def learn_unpaired(
    photos: Tensor,
    drawings: Tensor,
    settings: UnpairedSettings | None = None,
    start: Student | None = None,
    state_file: Path | None = None,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> Student:
    """Learns a student; the arguments are those of `UnpairedTraining`.

    With `state_file` the state is saved during training, and resumed from. Raises StylemixError
    where photos or drawings are missing.
    """
    if not len(photos) or not len(drawings):
        raise StylemixError(
            f"got {len(photos)} photos and {len(drawings)} drawings; expected some of both; add "
            "what is missing"
        )
    s = settings or UnpairedSettings()
    work = UnpairedTraining(photos, drawings, s, start, device)
    sums = [int(images.sum(dtype=torch.int64)) for images in (photos, drawings)]
    kind = {
        "format": FORMAT,
        "settings": json.dumps(asdict(s)),
        "images": f"{len(photos)} {len(drawings)} {sums}",
    }
    return work.run(s.steps, s.batch, s.seed, kind, state_file, s.state_steps * s.batch, progress)


def _tint(photos: Tensor, share: float) -> Tensor:
    """Photos in [-1, 1], a share of them with turned hues and other saturation."""
    count = len(photos)
    chosen = (torch.rand([count]) < share).float()
    angle = 0.7 * chosen * torch.randn([count])
    gain = torch.exp(0.5 * chosen * torch.randn([count]))
    cos, sin = ((gain * f(angle)).to(photos).view(-1, 1, 1) for f in (torch.cos, torch.sin))
    light, a, b = to_lab(photos).unbind(1)
    return from_lab(torch.stack([light, cos * a - sin * b, sin * a + cos * b], dim=1))
