"""A toy conditional model: drawn shapes in any colour and place, one class for each shape."""

from functools import cache
from pathlib import Path

import torch
from torch.nn.functional import one_hot

from stylemix.faces.templates import NO_TEMPLATE
from stylemix.models.checkpoint import load_model, save_model
from stylemix.models.model import Model
from stylemix.networks.config import GeneratorConfig
from stylemix.networks.generator import Generator

SHAPES = ("disc", "square", "cross")
SIDE, Z_DIM = 16, 8
STEPS, BATCH = 2000, 32
FILE = Path(__file__).parents[1] / "data" / "shapes-16.safetensors"


def draw_shapes(classes: torch.Tensor, z: torch.Tensor, side: int = SIDE) -> torch.Tensor:
    """Shapes [N, 3, H, H] in [-1, 1]; colour, place and ground by the values of z [N, 8]."""
    line = (torch.arange(side) + 0.5) / side
    z = torch.nn.functional.normalize(z, dim=1) * Z_DIM**0.5  # as the mapping network sees it
    centre = 0.5 + 0.08 * z[:, 3:5].clamp(-1.5, 1.5)
    y, x = line[None, :, None] - centre[:, :1, None], line[None, None, :] - centre[:, 1:, None]
    soft = side / 2
    disc = 0.3 - (x.square() + y.square()).sqrt()
    square = 0.27 - torch.maximum(x.abs(), y.abs())
    arm, length = torch.minimum(x.abs(), y.abs()), torch.maximum(x.abs(), y.abs())
    cross = torch.minimum(0.1 - arm, 0.36 - length)
    inside = torch.stack([disc, square, cross], dim=1)[torch.arange(len(z)), classes]
    share = (0.5 + soft * inside).clamp(0, 1)[:, None]
    color = (0.4 + 0.5 * torch.sigmoid(2 * z[:, :3]))[:, :, None, None]
    ground = (-0.9 + 0.3 * torch.sigmoid(z[:, 5:6]))[:, :, None, None]
    return ground + (color - ground) * share


@cache
def shapes_model() -> Model:
    """The model of the drawings, as `python -m tests.support.shapes` made it."""
    return load_model(FILE)


def fit_shapes(steps: int = STEPS) -> Model:
    """A model fitted to the drawings by least squares."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = GeneratorConfig(
            img_resolution=SIDE, img_channels=3, c_dim=len(SHAPES), mapping_layers=2,
            channel_base=SIDE * 16, channel_max=32, z_dim=Z_DIM, w_dim=32,
        )  # fmt: skip
        generator = Generator(config).train()
        adam = torch.optim.Adam(generator.parameters(), lr=0.01, betas=(0.8, 0.99))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
        for _ in range(steps):
            z, classes = torch.randn([BATCH, Z_DIM]), torch.randint(len(SHAPES), [BATCH])
            images = generator(z, one_hot(classes, len(SHAPES)), noise_mode="none")
            loss = (images - draw_shapes(classes, z)).square().mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
            schedule.step()
        generator.eval().requires_grad_(False)
        z, classes = torch.randn([3000, Z_DIM]), torch.arange(3000) % len(SHAPES)
        ws = generator.mapping(z, one_hot(classes, len(SHAPES)))
        generator.mapping.w_avg.copy_(ws[:, 0].mean(dim=0))
    card = {"data": "drawn shapes", "mse": round(float(loss.detach()), 4)}
    return Model(generator, None, NO_TEMPLATE, card)


if __name__ == "__main__":
    save_model(FILE, fit_shapes())
