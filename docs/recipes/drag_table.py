"""Where the handles of drags land, as other networks see it: the tables of docs/drag.md.

    python docs/recipes/drag_table.py

Handles are landmarks of generated faces. Where their content is after a drag is searched in the
enlarged images, in features of MobileNetV2, which neither the generator nor the drag knows. Rows
"warped" show what this measures where the truth is known: images warped by the same distances.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import chain
from statistics import median

import click
import torch
from torch import Tensor
from torch.nn import functional

from stylemix.avatars.drag import drag
from stylemix.avatars.finisher import enlarge
from stylemix.avatars.point_tracking import disc, sample
from stylemix.faces.landmarks import landmarks
from stylemix.faces.regions import region_mask
from stylemix.inversion.latent import Latent
from stylemix.metrics.identity_judge import judged_embedding
from stylemix.metrics.mobilenet import feature_maps
from stylemix.models.checkpoint import load_model
from stylemix.models.model import Model
from stylemix.networks.latents import map_latents, z_from_seed

# Landmarks (iBUG 300-W) and how far they are dragged, in px of 64.
DRAGS = {
    "corners of the mouth out and up": ((48, 54), ((-3, -3), (3, -3))),
    "lower lip down": ((57,), ((0, 4),)),
    "eyes up": ((39, 42), ((0, -4), (0, -4))),
    "brows up": ((19, 24), ((0, -4), (0, -4))),
    "nose to the right": ((30,), ((6, 0),)),
    "nose to the left": ((30,), ((-6, 0),)),
    "chin up": ((8,), ((0, -5),)),
    "jaw wider": ((4, 12), ((-4, 0), (4, 0))),
}
STAGES = (3, 6)  # of MobileNetV2: a quarter and an eighth of the side
PATCH, RADIUS = 4.0, 11.0  # px of 64: what is compared, and how far it is searched
WARP = 6.0  # px of 64, deviation of the Gaussian of a warp


def find(before: Tensor, after: Tensor, points: Tensor) -> Tensor:
    """Where the content at points [K, 2] of an image [1, 3, H, H] is in another; in px of 64."""
    maps = [
        [
            functional.normalize(one - one.mean(dim=(2, 3), keepdim=True))[0]
            for one in feature_maps(image, STAGES)
        ]
        for image in (before, after)
    ]
    patch = disc(PATCH, 1.0, points)
    weight = torch.exp(-patch.square().sum(dim=1) / (2 * (PATCH / 1.5) ** 2))
    moves = disc(RADIUS, 0.5, points)

    def describe(features: Sequence[Tensor], at: Tensor) -> Tensor:
        read = [sample(one, at * one.shape[1] / 64) for one in features]
        rows = torch.cat(read, dim=-1) * weight[:, None].sqrt()
        return functional.normalize(rows.flatten(-2), dim=-1)

    found = []
    for point in points:
        wanted = describe(maps[0], point + patch)
        places = point + moves
        found.append(places[(describe(maps[1], places[:, None] + patch) @ wanted).argmax()])
    return torch.stack(found)


def warped(image: Tensor, points: Tensor, moves: Tensor) -> Tensor:
    """An image [1, 3, H, H] whose content at points [K, 2] moved by `moves`, smoothly."""
    side = image.shape[3]
    line = (torch.arange(side) + 0.5) * 64 / side
    place = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1)
    ends = points + moves
    near = torch.exp(-torch.cdist(ends, ends).square() / (2 * WARP**2))
    share = torch.exp(-torch.cdist(place.view(-1, 2), ends).square() / (2 * WARP**2))
    source = place - (share @ torch.linalg.solve(near, moves)).view(side, side, 2)
    return functional.grid_sample(image, source[None] / 32 - 1, align_corners=False)


@torch.no_grad()
def distances(
    model: Model, before: Tensor, after: Tensor, ids: Sequence[int], moves: Tensor
) -> list[tuple[float, float]]:
    """Distances of the handles from their targets in px of 64: as found, and as landmarks."""
    old, new = (landmarks(image, model.template)[0, list(ids)] * 64 for image in (before, after))
    errors = [where - (old + moves) for where in (find(before, after, old), new)]
    lengths = [torch.linalg.vector_norm(error, dim=1).tolist() for error in errors]
    return list(zip(*lengths, strict=True))


@click.command()
@click.option("--seeds", default=20, show_default=True, help="Number of faces, from seed 100 on.")
@click.option("--mask", help="As for `stylemix drag`.")
@click.option("--warp", is_flag=True, help="Warp images instead of dragging.")
def main(seeds: int, mask: str | None, warp: bool) -> None:
    """Print the table."""
    model = load_model("faces-64")
    handles: dict[str, list[tuple[float, float]]] = {name: [] for name in DRAGS}
    drags: dict[str, list[list[float]]] = {name: [] for name in DRAGS}
    for seed in range(100, 100 + seeds):
        ws = map_latents(model.generator, z_from_seed(seed, model.generator.z_dim), 0.7)
        image = model.generator.synthesis(ws, noise_mode="const").detach()
        large = enlarge(image, model.template).clone()
        rest = 1 - region_mask(["face"], image, model.template)
        for name in list(DRAGS)[seed % 4 :: 4]:  # two drags of each face, in turn
            ids, moves = DRAGS[name]
            points = landmarks(large, model.template)[0, list(ids)].detach() * 64
            move = torch.tensor(moves, dtype=torch.float32)
            if warp:
                handles[name] += distances(model, large, warped(large, points, move), ids, move)
                drags[name].append([0.0])
                continue
            pairs = list(zip(points.tolist(), (points + move).tolist(), strict=True))
            start = time.monotonic()
            done = drag(Latent(ws[0].detach()), pairs, model=model, mask=mask)
            seconds = time.monotonic() - start
            after = model.generator.synthesis(done.latent.w[None], noise_mode="const")
            change = float(((after - image).abs() * rest).sum() / rest.sum() / image.shape[1]) / 2
            first, last = (judged_embedding(one, model.template) for one in (image, after))
            landed = enlarge(after, model.template).clone()
            handles[name] += distances(model, large, landed, ids, move)
            same = float((first * last).sum())
            drags[name].append([max(done.distances), done.step, seconds, same, change])
    handles["all"] = list(chain.from_iterable(handles.values()))
    drags["all"] = list(chain.from_iterable(drags.values()))
    click.echo(
        "| drag | distance | within 2 px | landmarks | tracked | steps | s | identity | rest |"
    )
    click.echo("| --- " * 9 + "|")
    for name, cells in handles.items():
        within = 100 * sum(found <= 2 for found, _ in cells) / len(cells)
        found, marks = (median(column) for column in zip(*cells, strict=True))
        others = " | ".join(f"{median(column):.2f}" for column in zip(*drags[name], strict=True))
        click.echo(f"| {name} | {found:.2f} | {within:.0f} % | {marks:.2f} | {others} |")
    if not warp:
        fast = sum(row[2] < 10 for row in drags["all"])
        click.echo(f"{fast} of {len(drags['all'])} drags took less than 10 s")


if __name__ == "__main__":
    main()
