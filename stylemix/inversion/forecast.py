"""Forecasts of memory and time: of generated images, projections and directions of a model."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F

from stylemix.inversion.encoder import shipped_encoder
from stylemix.inversion.label_search import SAMPLES, candidates
from stylemix.inversion.prior import start_count
from stylemix.inversion.settings import ProjectionSettings
from stylemix.models.model import Model, count_parameters
from stylemix.networks.batches import image_bytes
from stylemix.networks.config import GeneratorConfig
from stylemix.networks.generator import Generator

# Ratios to one image without gradients, measured at 64 and 1024 px on two cores.
OVERHEAD = 1.75  # of an image to its multiplications at the speed of a convolution
SEARCH = 2.1  # a step of the latent search
REFINEMENT = 7.0  # a step of the refinement, which renders a neighbour, too
STEP_SECONDS = 0.05  # of a step in the networks of the loss
COMPARED = 2.0  # an image with its features, in the search of a photo's class
COMPARED_SECONDS = 0.005  # beside that, of an image in the networks of the loss
PROGRAM = 0.7 * 2**30  # bytes of Python, PyTorch and the networks for faces
WEIGHT_COPIES = 7  # of refined weights: model, tuned, best, gradients, Adam's two, residual


@dataclass(frozen=True)
class Forecast:
    """Expected seconds, and bytes of memory at the peak."""

    seconds: float
    bytes: float

    def __str__(self) -> str:
        return f"about {duration(self.seconds)}, {self.bytes / 2**30:.1f} GiB"


def forecast_image(model: Model) -> Forecast:
    """An image of the model, as the command and everything else that generates one."""
    generator = model.generator
    seconds = OVERHEAD * image_operations(generator.config) / speed(generator.device)
    return Forecast(seconds, PROGRAM + _weights(model) + image_bytes(generator))


def forecast_projection(model: Model, settings: ProjectionSettings) -> Forecast:
    """A projection of a photo; the first one of a model also makes its starting images."""
    generator = model.generator
    settings = settings.at(generator.img_resolution, generator.device)
    image = forecast_image(model).seconds
    encoder = shipped_encoder(model) is not None
    searched = settings.plus_steps + (0 if encoder else settings.w_steps)
    step = SEARCH * image + STEP_SECONDS
    seconds = searched * step + settings.refine_steps * (REFINEMENT * image + step)
    if settings.budget is not None:
        seconds = settings.budget
    if not encoder:
        seconds += start_count(generator) * image
    if generator.needs_label:
        seconds += _search_seconds(generator, image)
    copies = WEIGHT_COPIES if settings.refine_steps else 1
    features = 2 * image_bytes(generator, gradients=True)
    return Forecast(seconds, PROGRAM + copies * _weights(model) + features)


def image_operations(config: GeneratorConfig) -> float:
    """Floating-point operations of one image: two for each multiplication of a convolution."""
    total = 0.0
    for side in config.resolutions:
        height, width = config.block_size(side)
        channels = config.channels(side)
        if side > 4:  # a transposed convolution multiplies at the smaller size
            total += 2 * 9 * config.channels(side // 2) * channels * height * width / 4
        total += 2 * 9 * channels**2 * height * width
        total += 2 * channels * config.color_channels(side) * height * width
    return total


@cache
def speed(device: torch.device) -> float:
    """Operations per second of a 3 x 3 convolution on a device; measured once, in about 0.1 s."""
    x = torch.randn([1, 128, 64, 64], device=device).to(memory_format=torch.channels_last)
    weight = torch.randn([128, 128, 3, 3], device=device).to(memory_format=torch.channels_last)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        F.conv2d(x, weight, padding=1)[0, 0, 0, 0].item()  # .item() waits for a GPU
        seconds.append(time.perf_counter() - started)
    return 2 * 9 * 128 * 128 * 64 * 64 / min(seconds)


def _search_seconds(generator: Generator, image: float) -> float:
    """Seconds of the search of a photo's class: images of every class, and their latents."""
    config = generator.config
    each = candidates(generator) * (COMPARED * image + COMPARED_SECONDS)
    mapping = 2 * SAMPLES * config.mapping_layers * config.w_dim**2
    return config.c_dim * (each + mapping / speed(generator.device))


def _weights(model: Model) -> float:
    return 4.0 * count_parameters(model.generator)


def duration(seconds: float) -> str:
    """A duration in one unit: "0.3 s", "45 s", "12 min", "3.5 h"."""
    if seconds < 10:
        return f"{max(seconds, 0.1):.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
