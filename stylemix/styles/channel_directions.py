"""Directions in style space: a single channel, or the few channels that control an attribute.

StyleSpace (arXiv 2011.12799): the values that scale the features of a layer change an image more
locally than w does, since w affects all channels of a layer at once. Channels are selected by the
gradient of an attribute reading, not by correlation over generated faces: channels of a layer share
w, so most channels that correlate with a smile do not cause it.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.faces.attributes import readings
from stylemix.models.model import Model
from stylemix.networks.batches import batch_size
from stylemix.networks.generator import Generator
from stylemix.networks.latents import flatten_styles, nest_styles, sample_ws
from stylemix.progress import Progress
from stylemix.styles.style import Style

FACES = 512  # generated faces over which gradients are averaged
SCALE_FACES = 64  # further faces, on which the scale of a direction is measured
BATCH = 16  # images generated at once
CHANNELS = 40  # per direction
LATENTS = 4000  # latents for the standard deviation of each channel
CHUNK = 1000  # latents mapped at once
PSI = 0.7  # truncation of the faces for the scale, the default of the commands
MAX_SCALE = 2.0  # upper bound of a direction's scale, for readings that saturate


@torch.no_grad()
def channel_deviations(generator: Generator) -> dict[str, Tensor]:
    """Standard deviations of all style channels over sampled latents: {"b4.conv1": [C], ...}."""
    rng = torch.Generator().manual_seed(0)
    chunks = (sample_ws(generator, CHUNK, rng) for _ in range(0, LATENTS, CHUNK))
    styles = [flatten_styles(generator.synthesis.styles(ws)) for ws in chunks]
    return {name: torch.cat([chunk[name] for chunk in styles]).std(dim=0) for name in styles[0]}


def channel_style(model: Model, layer: str, number: int) -> Style:
    """The style that moves a single channel by one standard deviation at strength 1.

    Raises StylemixError for a layer or a channel number that the model does not have.
    """
    deviations = channel_deviations(model.generator)
    if layer not in deviations:
        raise StylemixError(
            f"got a channel of the layer {layer[:40]!a}; expected one of {', '.join(deviations)}; "
            "change it"
        )
    width = len(deviations[layer])
    if number >= width:
        raise StylemixError(
            f"got channel {number} of {layer}; expected 0 to {width - 1}; change it"
        )
    offset = torch.zeros(width)
    offset[number] = deviations[layer][number].cpu()
    info = {"name": f"channel-{layer}-{number}", "method": "channel"}
    return Style(model.fingerprint, offsets={layer: offset}, info={**info})


def reading_channels(
    model: Model,
    samples: int = FACES,
    count: int = CHANNELS,
    progress: Progress | None = None,
) -> dict[str, Style]:
    """For each of `readings`, the style that changes it with few channels and the others little.

    Channels are measured in their standard deviations. The move is the minimum-norm solution with
    gradient 1 for the reading and 0 for the others; the half of the channels with the smallest
    values is dropped and the system solved again, until `count` channels are left. The result is
    scaled to change the reading of further faces by one standard deviation.

    Args:
        model: a model with a face template.
        samples: number of generated faces over which gradients are averaged.
        count: number of channels of each direction.
        progress: called with (done, samples).
    """
    deviations = channel_deviations(model.generator)
    names, slopes, spread = _slopes(model, deviations, samples, progress)
    out = {}
    for k, name in enumerate(names):
        move = _split(_few(slopes, k, count), deviations)
        moved = _moved(model, move, name) / float(spread[k].clamp(min=1e-9))
        scale = min(1 / max(moved, 1e-9), MAX_SCALE)
        offsets = {layer: scale * part.cpu() for layer, part in move.items() if bool(part.any())}
        title = f"{name}-channels"
        out[title] = Style(
            model.fingerprint, offsets=offsets, info={"name": title, "method": "channels"}
        )
    return out


def _slopes(
    model: Model, deviations: dict[str, Tensor], samples: int, progress: Progress | None
) -> tuple[list[str], Tensor, Tensor]:
    """Names; gradients [K, C], readings and channels in standard deviations; deviations [K]."""
    rng = torch.Generator().manual_seed(0)
    generator, names = model.generator, list[str]()
    gradients, values = [], []
    for ws in _parts(generator, samples, rng, gradients=True):
        with torch.no_grad():
            styles = generator.synthesis.styles(ws)
        leaves = [style.requires_grad_(True) for style in flatten_styles(styles).values()]
        _, images = generator.synthesis.run(styles, noise_mode="const")
        assert images is not None
        read = readings(images.clamp(-1, 1), model.template)
        names = list(read)
        rows = []
        for value in read.values():
            by_layer = torch.autograd.grad(value.sum(), leaves, retain_graph=True)
            rows.append(torch.cat(by_layer, dim=1))
        gradients.append(torch.stack(rows, dim=1).cpu())
        values.append(torch.stack(list(read.values()), dim=1).detach().cpu())
        if progress is not None:
            progress(sum(map(len, values)), samples)
    spread = torch.cat(values).std(dim=0)
    scale = torch.cat(list(deviations.values())).cpu() / spread.clamp(min=1e-9)[:, None]
    return names, _typical(torch.cat(gradients).nan_to_num(0, 0, 0) * scale), spread


def _parts(
    generator: Generator, count: int, rng: torch.Generator, psi: float = 1.0, **kind: bool
) -> Iterator[Tensor]:
    """Sampled latents ws [N, L, w_dim], `count` in all, in parts that fit into the memory."""
    most = batch_size(generator, BATCH, **kind)
    for start in range(0, count, BATCH):
        with torch.no_grad():
            ws = sample_ws(generator, min(BATCH, count - start), rng, psi)
        yield from ws.split(most)


def _typical(slopes: Tensor) -> Tensor:
    """The mean [K, C] of gradients [N, K, C], each clipped to the median norm over faces.

    A reading that saturates, such as the smile, has a large gradient in a few faces only.
    """
    lengths = slopes.norm(dim=2, keepdim=True)
    median = lengths.where(lengths > 0, torch.nan).nanmedian(dim=0).values.nan_to_num(0)
    factors: Tensor = (median / lengths.clamp(min=1e-12)).clamp(max=1)
    return (slopes * factors).mean(dim=0)


def _few(slopes: Tensor, k: int, count: int) -> Tensor:
    """The move [C] of at most `count` channels that changes reading k by 1 and no other."""
    chosen = torch.arange(slopes.shape[1])
    while True:
        # The pseudo-inverse gives the minimum-norm solution.
        shortest: Tensor = torch.linalg.pinv(slopes[:, chosen].double())[:, k].float()
        if len(chosen) <= count:
            break
        largest = shortest.abs().topk(max(count, len(chosen) // 2)).indices
        chosen = chosen[largest]
    return torch.zeros(slopes.shape[1]).index_copy(0, chosen, shortest)


def _split(move: Tensor, deviations: dict[str, Tensor]) -> dict[str, Tensor]:
    """The style offsets of each layer for a move [C] in standard deviations."""
    parts = move.split([len(deviation) for deviation in deviations.values()])
    return {
        name: part.to(deviation) * deviation
        for part, (name, deviation) in zip(parts, deviations.items(), strict=True)
    }


@torch.no_grad()
def _moved(model: Model, move: dict[str, Tensor], name: str) -> float:
    """Half the difference of a reading between plus and minus the move, averaged over faces."""
    generator, rng = model.generator, torch.Generator().manual_seed(1)
    total = 0.0
    for ws in _parts(generator, SCALE_FACES, rng, PSI):
        for sign in (1, -1):
            offset = {layer: sign * part for layer, part in move.items()}
            images = generator.synthesis(ws, noise_mode="const", styles_offset=nest_styles(offset))
            total += sign * float(readings(images.clamp(-1, 1), model.template)[name].sum()) / 2
    return total / SCALE_FACES
