"""Directions in w along which a face changes in one respect: without labels, or with readings.

Without labels: SeFa (arXiv 2007.06600), what the style layers react to most, and principal
components of mapped latents (GANSpace, arXiv 2004.02546). With labels: what the networks of
`faces.attributes` see in generated faces, each reading's direction leaving the others as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stylemix.errors import StylemixError
from stylemix.faces.attributes import readings
from stylemix.io.atomic import Json
from stylemix.models.model import Model
from stylemix.networks.generator import Generator
from stylemix.networks.latents import layer_resolutions, sample_ws
from stylemix.progress import Progress
from stylemix.styles.style import Style

SAMPLES = 4000  # generated faces that the readings are learned from
COMPONENT_SAMPLES = 10_000  # latents of the principal components
BATCH = 32  # images generated at once
CHUNK = 1000  # latents mapped at once
RIDGE = 0.1  # of the regression, times the mean variance of w
MIN_SHARE = 0.1  # of a resolution in a direction, below which it is left out


@dataclass
class Direction:
    """A direction in W+.

    Attributes:
        name: what changes.
        shift: the move [L, w_dim] of strength 1.
        explained: for readings, the part of their variance that w tells linearly, on faces set
            aside; for principal components, their part of the variance of w; for SeFa, the part of
            the reaction of the layers.
    """

    name: str
    shift: Tensor
    explained: float

    def style(self, model: Model) -> Style:
        """The direction as a style, so that it can be saved and mixed."""
        info: dict[str, Json] = {"name": self.name, "method": "direction"}
        info["explained"] = round(self.explained, 4)
        return Style(model.fingerprint, shift=self.shift.cpu(), info=info)


@torch.no_grad()
def semantic_directions(
    generator: Generator, layers: Sequence[int] | None = None, count: int = 10
) -> list[Direction]:
    """SeFa: the directions in w to which the style layers react most, strongest first.

    Eigenvectors of the affine layers' weights, each row brought to the same length. The sign of a
    direction is arbitrary; strength 1 is one standard deviation of mapped w along it.

    Args:
        generator: its affine layers are looked at, colours included.
        layers: numbers of the w that are to react; None for all.
        count: how many.
    """
    indices = generator.synthesis.w_indices()
    rows: list[Tensor] = [
        layer.affine.weight
        for name, block in generator.synthesis.blocks().items()
        for kind, layer in block.layers.items()
        if layers is None or indices[name][kind] in layers
    ]
    if not rows:
        raise StylemixError(
            f"got layers {list(layers or [])}; expected some of 0 to {generator.num_ws - 1}"
        )
    weight = torch.nn.functional.normalize(torch.cat(rows).double().cpu(), dim=1)
    values, vectors = torch.linalg.eigh(weight.t() @ weight)
    values, vectors = values.flip(0), vectors.flip(1)[:, :count]
    deviations = (_mapped(generator, SAMPLES).double().cpu() @ vectors).std(dim=0)
    chosen = torch.zeros([generator.num_ws, 1])
    chosen[list(range(generator.num_ws) if layers is None else layers)] = 1
    return [
        Direction(f"sefa-{i}", chosen * (vector * deviation).float(), float(value / values.sum()))
        for i, (vector, deviation, value) in enumerate(
            zip(vectors.t(), deviations, values, strict=False)
        )
    ]


@torch.no_grad()
def principal_directions(generator: Generator, count: int = 10) -> list[Direction]:
    """GANSpace: principal components of mapped latents; strength 1 is one standard deviation."""
    w = _mapped(generator, COMPONENT_SAMPLES).double().cpu()
    values, vectors = torch.linalg.eigh(torch.cov(w.t()))
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)[:, :count]
    everywhere = torch.ones([generator.num_ws, 1])
    return [
        Direction(
            f"pca-{i}", everywhere * (vector * value.sqrt()).float(), float(value / values.sum())
        )
        for i, (vector, value) in enumerate(zip(vectors.t(), values, strict=False))
    ]


def read_directions(
    model: Model, samples: int = SAMPLES, seed: int = 0, progress: Progress | None = None
) -> list[Direction]:
    """Directions of all `readings`, each in the resolutions that decide it.

    Faces are generated from latents that are new at each resolution, so that a linear regression B
    of the readings on all of them separates the resolutions. The direction of reading k is
    the most likely d (shortest after whitening) with B d = e_k: it moves that reading, and not what
    the data merely have together with it. Resolutions with a small part in it are then left out,
    and it is solved again. Strength 1 is one standard deviation of the latents along it.

    Args:
        model: with a face template.
        samples: generated faces to read; a tenth is set aside.
        seed: of their latents.
        progress: called with (done, samples).
    """
    names, w, y = _sample_readings(model, samples, seed, progress)
    fitted = len(w) - max(len(w) // 10, 1)
    centred = (w - w[:fitted].mean(dim=0)).flatten(1)
    y = (y - y[:fitted].mean(dim=0)) / y[:fitted].std(dim=0)
    spread = torch.cov(centred[:fitted].t())
    ridge = RIDGE * spread.diagonal().mean() * torch.eye(len(spread)).double()
    across = centred[:fitted].t() @ y[:fitted] / (fitted - 1)
    slopes = torch.linalg.solve(spread + ridge, across).t()  # B [K, G * w_dim]
    error = (y[fitted:] - centred[fitted:] @ slopes.t()).square().mean(dim=0)
    explained = 1 - error / y[fitted:].square().mean(dim=0)
    groups = _groups(model.generator)
    out = []
    for k, name in enumerate(names):
        everything = list(range(len(groups)))
        _, shares = _likeliest(spread, slopes, k, everything, w.shape[2])
        parts = [g for g in everything if shares[g] >= MIN_SHARE]
        d, _ = _likeliest(spread, slopes, k, parts, w.shape[2])
        shift = torch.zeros([model.generator.num_ws, w.shape[2]])
        for g, row in zip(parts, d, strict=True):
            shift[groups[g]] = row.float()
        out.append(Direction(name, shift, float(explained[k])))
    return out


def _likeliest(
    spread: Tensor, slopes: Tensor, k: int, parts: list[int], width: int
) -> tuple[Tensor, Tensor]:
    """The d [P, w_dim] in some parts of the latents along which reading k alone moves.

    Its whitened length is 1; also how much each part has of that, [P].
    """
    some = torch.cat([torch.arange(width) + g * width for g in parts])
    spread, slopes = spread[some][:, some], slopes[:, some]
    likely = spread @ slopes.t()
    d = (likely @ torch.linalg.inv(slopes @ likely))[:, k]
    tiny = 1e-6 * spread.diagonal().mean() * torch.eye(len(spread)).double()
    shares = (d * torch.linalg.solve(spread + tiny, d)).view(len(parts), -1).sum(dim=1)
    return (d / shares.sum().sqrt()).view(len(parts), -1), shares / shares.sum()


@torch.no_grad()
def _sample_readings(
    model: Model, samples: int, seed: int, progress: Progress | None
) -> tuple[list[str], Tensor, Tensor]:
    """Names; latents [N, G, w_dim], one for each resolution; readings [N, K]; in float64."""
    generator = model.generator
    groups = _groups(generator)
    rng = torch.Generator().manual_seed(seed)
    latents, values, names = [], [], []
    for start in range(0, samples, BATCH):
        count = min(BATCH, samples - start)
        w = sample_ws(generator, count * len(groups), rng)[:, 0].unflatten(0, (count, -1))
        ws = torch.cat([w[:, [g] * len(rows)] for g, rows in enumerate(groups)], dim=1)
        images = generator.synthesis(ws, noise_mode="const").clamp(-1, 1)
        found = readings(images, model.template)
        names = list(found)
        latents.append(w.double().cpu())
        values.append(torch.stack(list(found.values()), dim=1).double().cpu())
        if progress is not None:
            progress(start + count, samples)
    return names, torch.cat(latents), torch.cat(values)


def _groups(generator: Generator) -> list[list[int]]:
    """The numbers of the w of each resolution, coarsest first."""
    pixels = layer_resolutions(generator.img_resolution)
    return [[i for i, px in enumerate(pixels) if px == size] for size in sorted(set(pixels))]


def _mapped(generator: Generator, count: int) -> Tensor:
    """Mapped latents w [count, w_dim] of a fixed seed, for a multiple of `CHUNK`."""
    rng = torch.Generator().manual_seed(0)
    return torch.cat([sample_ws(generator, CHUNK, rng)[:, 0] for _ in range(0, count, CHUNK)])
