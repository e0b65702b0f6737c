"""A model in memory: networks with what is known about them, and how weights become networks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from stylemix.errors import StylemixError
from stylemix.faces.templates import NO_TEMPLATE, Template
from stylemix.io.atomic import Json
from stylemix.networks.config import DiscriminatorConfig, GeneratorConfig
from stylemix.networks.discriminator import Discriminator
from stylemix.networks.generator import Generator
from stylemix.networks.shapes import expected_shapes

FINGERPRINT_DIGITS = 16

Network = TypeVar("Network", bound=nn.Module)


@dataclass
class Model:
    """A generator, its discriminator if there is one, its face template, card and origin.

    `origin` is "stylemix", "nvidia" or "rosinality"; `card` says what the model was made of.
    """

    generator: Generator
    discriminator: Discriminator | None = None
    template: Template = NO_TEMPLATE
    card: dict[str, Json] = field(default_factory=dict)
    origin: str = "stylemix"

    def __post_init__(self) -> None:
        check_template(self.template, self.generator.config)

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that name the generator's weights."""
        return fingerprint(self.generator)


def check_template(template: Template, config: GeneratorConfig) -> None:
    """Raise StylemixError where faces are to be aligned for a generator that is not square."""
    if template.kind != "none" and config.height != config.width:
        raise StylemixError(
            f"got the face template {template.name} for a model of {config.size_text}; expected "
            "none, since faces are cut out as squares; use --template none"
        )


def fingerprint(generator: nn.Module) -> str:
    """Sixteen hex digits of SHA-256 over names, shapes and fp16 values of all weights.

    Values are rounded to fp16 first, so the fp16 and fp32 copies of a model share a fingerprint.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(generator.state_dict().items()):
        digest.update(f"{name}{list(tensor.shape)}".encode())
        half = tensor.detach().to("cpu", torch.float16).contiguous()
        digest.update(half.numpy().astype("<f2", copy=False).tobytes())
    return digest.hexdigest()[:FINGERPRINT_DIGITS]


def check_shapes(
    shapes: Mapping[str, tuple[int, ...]],
    config: GeneratorConfig | DiscriminatorConfig,
    name: str,
) -> None:
    """Raise StylemixError in one line where names or shapes are not those that `config` needs."""
    wanted = expected_shapes(config)
    kind = "generator" if isinstance(config, GeneratorConfig) else "discriminator"
    missing = [key for key in wanted if key not in shapes]
    extra = [key for key in shapes if key not in wanted]
    wrong = [key for key in wanted if key in shapes and shapes[key] != wanted[key]]
    if wrong:
        key = wrong[0]
        raise StylemixError(
            f"{name}: got {kind} weights {key} of shape {list(shapes[key])}"
            f"{_and_more(wrong)}; expected {list(wanted[key])} by its own sizes; "
            "the file is damaged or of another design: get it again or choose another model"
        )
    if missing or extra:
        parts = [f"lacks {missing[0]}{_and_more(missing)}"] if missing else []
        parts += [f"has the unknown {_shown(extra[0])}{_and_more(extra)}"] if extra else []
        raise StylemixError(
            f"{name}: got {kind} weights that do not fit, it {' and '.join(parts)}; expected a "
            f"StyleGAN2 {kind} of {config.size_text}; choose another model"
        )


def _and_more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _shown(name: str) -> str:
    return ascii(name[:60])[1:-1]


def build_generator(
    config: GeneratorConfig, tensors: Mapping[str, Tensor], name: str = "model"
) -> Generator:
    """Make a generator of that size with these weights: fp32, on the CPU, eval mode, no gradients.

    Checks every name, shape and value first; `name` is the file's, for messages.
    """
    check_shapes({key: tuple(t.shape) for key, t in tensors.items()}, config, name)
    weights = _checked(tensors, name)
    with torch.random.fork_rng(devices=[]):  # reading a file leaves the caller's random numbers be
        network = Generator(config)
    return _fill(network, weights)


def build_discriminator(
    config: DiscriminatorConfig, tensors: Mapping[str, Tensor], name: str = "model"
) -> Discriminator:
    """Make a discriminator as `build_generator` does."""
    check_shapes({key: tuple(t.shape) for key, t in tensors.items()}, config, name)
    weights = _checked(tensors, name)
    with torch.random.fork_rng(devices=[]):
        network = Discriminator(config)
    return _fill(network, weights)


def _checked(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: _numbers(tensor, key, name) for key, tensor in tensors.items()}


def _fill(network: Network, weights: dict[str, Tensor]) -> Network:
    network.load_state_dict(weights, assign=True)
    return network.eval().requires_grad_(False)


def _numbers(tensor: Tensor, key: str, name: str) -> Tensor:
    """Return an own fp32 copy; StylemixError where a value is not a number."""
    if not tensor.is_floating_point():
        raise StylemixError(
            f"{name}: got {str(tensor.dtype)[6:]} values in {key}; expected floating point; "
            "get the file again from its author"
        )
    copy = tensor.detach().to(torch.float32, copy=True, memory_format=torch.contiguous_format)
    if not bool(torch.isfinite(copy).all()):
        raise StylemixError(
            f"{name}: got NaN or infinite values in {key}; expected numbers; "
            "the training failed or the file is damaged: use an earlier snapshot or get it again"
        )
    return copy


def count_parameters(network: nn.Module) -> int:
    """Number of trainable values, buffers left out."""
    return sum(int(np.prod(p.shape)) for p in network.parameters())
