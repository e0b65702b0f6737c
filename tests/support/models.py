"""Small models with random weights, made on the fly, for tests of what is done with a model."""

import copy
from pathlib import Path

import torch

from stylemix.faces.templates import FACES128, Template
from stylemix.models.checkpoint import save_model
from stylemix.models.model import Model
from stylemix.networks.config import DiscriminatorConfig, GeneratorConfig
from stylemix.networks.discriminator import Discriminator
from stylemix.networks.generator import Generator

W_DIM = 16


def tiny_model(
    seed: int = 0,
    resolution: int = 32,
    template: Template = FACES128,
    discriminator: bool = True,
    channels: int = 3,
    classes: int = 0,
    architecture: str = "skip",
    base: tuple[int, int] = (4, 4),
    head: str = "rgb",
) -> Model:
    """A model whose noise, biases and average w are not zero, so that mistakes with them show."""
    sizes = {
        "img_resolution": resolution, "img_channels": channels, "c_dim": classes,
        "mapping_layers": 2, "channel_base": 8 * resolution, "channel_max": 32, "base": base,
    }  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = GeneratorConfig(
            **sizes, z_dim=W_DIM, w_dim=W_DIM, architecture=architecture, head=head
        )
        generator = Generator(config).eval().requires_grad_(False)
        for name, parameter in generator.named_parameters():
            if name.endswith(("noise_strength", ".bias")):
                parameter += 0.1 * torch.randn(parameter.shape)
            if name.endswith("torgb.weight"):
                parameter *= 0.4  # images mostly within -1 and 1
        classless = torch.zeros([1000, classes]) if classes else None
        ws = generator.mapping(torch.randn([1000, W_DIM]), classless)
        generator.mapping.w_avg.copy_(ws[:, 0].mean(dim=0))
        critic = None
        if discriminator:
            sizes["img_resolution"] = resolution * config.upsampling
            critic = Discriminator(DiscriminatorConfig(**sizes)).eval().requires_grad_(False)
    return Model(generator, critic, template)


def halved(model: Model) -> Model:
    """The model as its file in half precision gives it back."""
    copied = copy.deepcopy(model)
    for network in (copied.generator, copied.discriminator):
        for tensor in () if network is None else network.state_dict().values():
            tensor.copy_(tensor.half().float())
    return copied


def trained_on(model: Model, amount: float = 0.05, seed: int = 1) -> Model:
    """A model as if trained on from another: all weights of synthesis changed a little."""
    other = copy.deepcopy(model)
    rng = torch.Generator().manual_seed(seed)
    for parameter in other.generator.synthesis.parameters():
        parameter += amount * torch.randn(parameter.shape, generator=rng)
    return other


def saved(model: Model, path: Path) -> str:
    """Writes a model in full precision; returns the name of its file."""
    save_model(path, model, dtype="float32")
    return str(path)


def ws_of(model: Model, count: int = 2, seed: int = 5) -> torch.Tensor:
    """Mapped latents [N, L, w_dim]."""
    z = torch.randn([count, W_DIM], generator=torch.Generator().manual_seed(seed))
    generator = model.generator
    c = torch.zeros([count, generator.c_dim]) if generator.c_dim else None
    return generator.mapping(z, c)
