"""Directions in w that change one attribute of a face, unsupervised or from attribute readings.

Unsupervised: SeFa (arXiv 2007.06600), from the weights of the affine layers, and principal
components of mapped latents (GANSpace, arXiv 2004.02546). Supervised: from what the networks of
`faces.attributes` read in generated faces; each direction leaves the other readings unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stylemix.faces.attributes import readings
from stylemix.io.atomic import Json
from stylemix.models.model import Model
from stylemix.networks.batches import batch_size
from stylemix.networks.generator import Generator
from stylemix.networks.latents import layer_resolutions, sample_ws
from stylemix.progress import Progress
from stylemix.styles.style import Style

SAMPLES = 4000  # generated faces that the directions are learned from
FULL_SAMPLES_PX = 128  # resolution up to which all of them are generated
COMPONENT_SAMPLES = 10_000  # latents for the principal components
BATCH = 32  # images generated at most at once
CHUNK = 1000  # latents mapped at once
RIDGE = 0.1  # ridge penalty of the regression, times the mean variance of w
MIN_SHARE = 0.1  # resolutions with a smaller share of a direction are left out


@dataclass
class Direction:
    """A direction in W+.

    Attributes:
        name: the attribute that changes.
        shift: the offset [L, w_dim] at strength 1.
        explained: for readings, R^2 of the linear regression on held-out faces; for principal
            components, their share of the variance of w; for SeFa, their share of the sum of
            eigenvalues.
    """

    name: str
    shift: Tensor
    explained: float

    def style(self, model: Model) -> Style:
        """The direction as a style, which can be saved and mixed."""
        info: dict[str, Json] = {"name": self.name, "method": "direction"}
        info["explained"] = round(self.explained, 4)
        return Style(model.fingerprint, shift=self.shift.cpu(), info=info)


@torch.no_grad()
def semantic_directions(generator: Generator, count: int = 10) -> list[Direction]:
    """SeFa: the directions in w that change the styles most, largest eigenvalue first.

    Eigenvectors of A^T A, where A holds the weights of all affine layers, those for ToRGB too, with
    rows of unit length. The sign of a direction is arbitrary; strength 1 is one standard deviation
    of mapped w along it.
    """
    rows: list[Tensor] = [
        layer.affine.weight
        for block in generator.synthesis.blocks().values()
        for layer in block.layers.values()
    ]
    weight = torch.nn.functional.normalize(torch.cat(rows).double().cpu(), dim=1)
    values, vectors = torch.linalg.eigh(weight.t() @ weight)
    values, vectors = values.flip(0), vectors.flip(1)[:, :count]
    deviations = (_mapped(generator, SAMPLES).double().cpu() @ vectors).std(dim=0)
    everywhere = torch.ones([generator.num_ws, 1])
    return [
        Direction(
            f"sefa-{i}", everywhere * (vector * deviation).float(), float(value / values.sum())
        )
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


def face_count(generator: Generator) -> int:
    """The number of faces that directions are learned from: fewer where an image takes long."""
    return min(SAMPLES, SAMPLES * FULL_SAMPLES_PX // generator.img_resolution)


def read_directions(
    model: Model, samples: int | None = None, progress: Progress | None = None
) -> list[Direction]:
    """Directions of all `readings`, each in the resolutions that control it.

    Faces are generated from independent latents for each resolution, so that a linear regression B
    of the readings on all latents separates the resolutions. The direction of reading k is the
    most likely d (shortest after whitening) with B d = e_k: it changes this reading, but not the
    attributes that are only correlated with it. Resolutions with a small share of d are then left
    out and d is solved again. Strength 1 is one standard deviation of the latents along d.

    Args:
        model: a model with a face template.
        samples: number of generated faces, of which a tenth is held out; None for `face_count`.
        progress: called with (done, samples).
    """
    samples = face_count(model.generator) if samples is None else samples
    names, w, y = _sample_readings(model, samples, progress)
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
        all_groups = list(range(len(groups)))
        _, shares = _likeliest(spread, slopes, k, all_groups, w.shape[2])
        selected = [g for g in all_groups if shares[g] >= MIN_SHARE]
        d, _ = _likeliest(spread, slopes, k, selected, w.shape[2])
        shift = torch.zeros([model.generator.num_ws, w.shape[2]])
        for g, row in zip(selected, d, strict=True):
            shift[groups[g]] = row.float()
        out.append(Direction(name, shift, float(explained[k])))
    return out


def _likeliest(
    spread: Tensor, slopes: Tensor, k: int, groups: list[int], width: int
) -> tuple[Tensor, Tensor]:
    """The direction d [G, w_dim] in some resolutions' latents that changes reading k alone.

    Its whitened length is 1; also returns the share of each resolution in it, [G].
    """
    columns = torch.cat([torch.arange(width) + g * width for g in groups])
    spread, slopes = spread[columns][:, columns], slopes[:, columns]
    likely = spread @ slopes.t()
    d = (likely @ torch.linalg.inv(slopes @ likely))[:, k]
    tiny = 1e-6 * spread.diagonal().mean() * torch.eye(len(spread)).double()
    shares = (d * torch.linalg.solve(spread + tiny, d)).view(len(groups), -1).sum(dim=1)
    return (d / shares.sum().sqrt()).view(len(groups), -1), shares / shares.sum()


@torch.no_grad()
def _sample_readings(
    model: Model, samples: int, progress: Progress | None
) -> tuple[list[str], Tensor, Tensor]:
    """Names; latents [N, G, w_dim], one for each resolution; readings [N, K]; in float64."""
    generator = model.generator
    groups = _groups(generator)
    rng = torch.Generator().manual_seed(0)
    latents, values, names = [], [], []
    for start in range(0, samples, BATCH):
        count = min(BATCH, samples - start)
        w = sample_ws(generator, count * len(groups), rng)[:, 0].unflatten(0, (count, -1))
        ws = torch.cat([w[:, [g] * len(rows)] for g, rows in enumerate(groups)], dim=1)
        latents.append(w.double().cpu())
        for part in ws.split(batch_size(generator, BATCH)):
            images = generator.synthesis(part, noise_mode="const").clamp(-1, 1)
            read = readings(images, model.template)
            names = list(read)
            values.append(torch.stack(list(read.values()), dim=1).double().cpu())
        if progress is not None:
            progress(start + count, samples)
    return names, torch.cat(latents), torch.cat(values)


def _groups(generator: Generator) -> list[list[int]]:
    """The indices of w of each resolution, coarsest first."""
    pixels = layer_resolutions(generator.img_resolution)
    return [[i for i, px in enumerate(pixels) if px == size] for size in sorted(set(pixels))]


def _mapped(generator: Generator, count: int) -> Tensor:
    """Mapped latents w [count, w_dim] of a fixed seed; `count` is a multiple of `CHUNK`."""
    rng = torch.Generator().manual_seed(0)
    return torch.cat([sample_ws(generator, CHUNK, rng)[:, 0] for _ in range(0, count, CHUNK)])
