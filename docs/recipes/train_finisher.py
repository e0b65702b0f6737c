"""Train the finisher: a small network that enlarges the faces of a 64 px model four times.

    python docs/recipes/train_finisher.py faces256.zip --kimg 96 --output finisher.safetensors

It sees photos of 256 px that were made as small as the model's images, and learns what was lost: by
pixels and their edges, by MobileNetV2's features, and against a discriminator of patches
(SRGAN, arXiv 1609.04802; relativistic as in ESRGAN, arXiv 1809.00219). Stopped and started again it
goes on from its last state.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from stylemix.images.sources import list_images
from stylemix.io.tensor_files import read_tensors
from stylemix.metrics.mobilenet import load_feature_network
from stylemix.models.container import write_safetensors
from stylemix.networks.student import SCALE, Student
from stylemix.training.adapt.distill import difference
from stylemix.training.optimizer_state import adam_tensors, load_adam, part

SMALL, SIDE = 64, 256  # px of the model's images and of photos
CROP = 48  # px of the parts of a small image that are learned from
STAGES = (1, 3, 6)
FEATURES, ADVERSARIAL = 0.5, 0.03  # weights beside pixels and edges
WARM_UP = 0.25  # share of the steps without the discriminator
SAVE_EVERY = 200  # steps


class Patches(nn.Module):
    """A discriminator of patches of 32 px: images [N, 3, H, W] to scores [N, 1, h, w]."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [(3, 32, 2), (32, 64, 2), (64, 96, 2), (96, 96, 1)]
        layers: list[nn.Module] = []
        for ins, outs, stride in sizes:
            layers += [nn.utils.parametrizations.spectral_norm(nn.Conv2d(ins, outs, 4, stride, 1))]
            layers += [nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(96, 1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Scores patches of images."""
        scores: Tensor = self.layers(images)
        return scores


def shrink(photos: Tensor) -> Tensor:
    """Photos [N, 3, 256, 256] as a model of 64 px has them, enlarged to half their size."""
    count = len(photos)
    softness = torch.rand([count, 1, 1, 1])
    sharp = functional.interpolate(photos, [SMALL, SMALL], mode="bicubic", antialias=True)
    soft = functional.interpolate(
        functional.interpolate(photos, [44, 44], mode="area"), [SMALL, SMALL], mode="bicubic"
    )
    small = sharp.lerp(soft, 0.7 * softness) + 0.02 * torch.rand([count, 1, 1, 1]) * torch.randn(
        sharp.shape
    )
    return functional.interpolate(small.clamp(-1, 1), [SIDE // 2, SIDE // 2], mode="bicubic")


def batch(photos: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Parts of small images [N, 3, 96, 96] and of their photos [N, 3, 192, 192]."""
    chosen = photos[torch.randint(0, len(photos), [count])].float() / 127.5 - 1
    small = shrink(chosen)
    inputs, targets = [], []
    side = 2 * CROP
    for image, photo in zip(small, chosen, strict=True):
        y, x = (torch.randint(0, (SIDE // 2 - side) + 1, [2])).tolist()
        flip = [2] if torch.rand([]) < 0.5 else []
        inputs.append(image[:, y : y + side, x : x + side].flip(flip))
        y, x = SCALE * y, SCALE * x
        targets.append(photo[:, y : y + SCALE * side, x : x + SCALE * side].flip(flip))
    layout = torch.channels_last
    return torch.stack(inputs).contiguous(memory_format=layout), torch.stack(targets)


class Finisher:
    """The network, its average, the discriminator, and their optimizers."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.student = Student().to(memory_format=torch.channels_last)
        nn.init.zeros_(self.student.head.last.weight)  # at first the image enlarged
        self.average = Student()
        self.average.load_state_dict(self.student.state_dict())
        self.patches = Patches().to(memory_format=torch.channels_last)
        self.adam = torch.optim.Adam(self.student.parameters(), 1e-3, (0.9, 0.99))
        self.d_adam = torch.optim.Adam(self.patches.parameters(), 4e-4, (0.5, 0.99))
        self.network = load_feature_network("cpu")

    def draw(self, inputs: Tensor) -> Tensor:
        """Finished images: the network adds to the enlarged image."""
        plain = functional.interpolate(inputs, scale_factor=2.0, mode="bicubic")
        return plain + self.student.draw(inputs)

    def step(self, photos: Tensor, t: float, bf16: bool) -> dict[str, float]:
        """One step of both networks at progress t in [0, 1); the losses."""
        inputs, targets = batch(photos, 16)
        rate = min(1.0, 20 * t + 0.05) * min(1.0, 2.5 * (1 - t) + 0.02)
        self.adam.param_groups[0]["lr"] = 1e-3 * rate
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            drawn = self.draw(inputs).float()
            pairs = zip(
                self.network.maps(drawn, STAGES), self.network.maps(targets, STAGES), strict=True
            )
            features = torch.stack([(a - b).float().abs().mean() for a, b in pairs]).mean()
            loss = difference(drawn, targets, 2.0) + FEATURES * features
            values = {"loss": float(loss.detach())}
            if t > WARM_UP:
                self.patches.requires_grad_(False)
                fake, real = self.patches(drawn).float(), self.patches(targets).float()
                loss = loss + ADVERSARIAL * functional.softplus(-(fake - real.mean())).mean()
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self.adam.step()
        if t > WARM_UP:
            self.patches.requires_grad_(True)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                real = self.patches(targets).float()
                fake = self.patches(drawn.detach()).float()
                d_loss = (
                    functional.softplus(-(real - fake.mean())).mean()
                    + functional.softplus(fake - real.mean()).mean()
                )
            self.d_adam.zero_grad(set_to_none=True)
            d_loss.backward()
            self.d_adam.step()
            values["d"] = float(d_loss.detach())
        with torch.no_grad():
            both = zip(self.average.parameters(), self.student.parameters(), strict=True)
            for averaged, current in both:
                averaged.lerp_(current, 0.005)
        return values

    def parts(self) -> dict[str, nn.Module]:
        """The networks by their prefixes in a state."""
        return {"now.": self.student, "average.": self.average, "d.": self.patches}

    def save(self, path: Path, step: int) -> None:
        """Writes a state that `load` resumes from."""
        tensors: dict[str, Tensor] = {}
        for prefix, network in self.parts().items():
            tensors |= {prefix + key: value for key, value in network.state_dict().items()}
        tensors |= adam_tensors(self.adam, "adam.") | adam_tensors(self.d_adam, "d_adam.")
        tensors = {k: v.detach().contiguous().clone() for k, v in tensors.items()}
        write_safetensors(path, {"format": "stylemix-finisher-state", "step": str(step)}, tensors)

    def load(self, path: Path) -> int:
        """Resumes from a state; the step to go on with."""
        header, tensors = read_tensors(path)
        for prefix, network in self.parts().items():
            network.load_state_dict(part(tensors, prefix))
        load_adam(self.adam, part(tensors, "adam."))
        load_adam(self.d_adam, part(tensors, "d_adam."))
        return int(header["step"])


@click.command()
@click.argument("images", type=click.Path(exists=True, path_type=Path))
@click.option("--kimg", type=float, default=96, show_default=True)
@click.option("--count", type=int, default=4000, show_default=True, help="Photos to learn from.")
@click.option("--precise", is_flag=True, help="fp32; bf16 is faster where it is known.")
@click.option("--output", type=click.Path(path_type=Path), required=True)
def main(images: Path, kimg: float, count: int, precise: bool, output: Path) -> None:
    """Train the finisher on aligned photos of 256 px."""
    sources = list_images(images)[:count]
    photos = torch.empty([len(sources), 3, SIDE, SIDE], dtype=torch.uint8)
    for number, source in enumerate(tqdm(sources, "Reading")):
        pixels = np.array(source.open().convert("RGB").resize((SIDE, SIDE)))
        photos[number] = torch.from_numpy(pixels).permute(2, 0, 1)
    work, steps = Finisher(), round(kimg * 1000 / 16)
    state = output.with_name(output.name + ".state")
    first = work.load(state) if state.exists() else 0
    with tqdm(initial=first, total=steps, mininterval=5) as bar:
        for step in range(first, steps):
            torch.manual_seed(step)
            values = work.step(photos, step / steps, not precise)
            bar.set_postfix({k: f"{v:.3f}" for k, v in values.items()}, refresh=False)
            bar.update()
            if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
                work.save(state, step + 1)
    tensors = {key: value.half().contiguous() for key, value in work.average.state_dict().items()}
    write_safetensors(output, {"format": "stylemix-finisher"}, tensors)


if __name__ == "__main__":
    main()
