"""`stylemix project`: photos to latents."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import torch

from stylemix.checkpoint import load_model
from stylemix.devices import find_device
from stylemix.errors import StylemixError
from stylemix.files import write_json
from stylemix.images import check_folder, save_image, to_pil
from stylemix.latent_files import Latent, save_latent
from stylemix.portraits import Portrait, project_portraits, read_portrait, unique_names
from stylemix.projection import Projection, ProjectionSettings
from stylemix.sheets import grid
from stylemix.sources import list_images


def save_projection(
    folder: Path, stem: str, portrait: Portrait, latent: Latent, images: tuple[torch.Tensor, ...]
) -> Path:
    """Writes latent, reconstruction and side-by-side picture of a photo; returns the latent's path.

    `images` are the W and the W+ reconstruction, [C, H, W] in [-1, 1].
    """
    path = folder / f"{stem}.latent.safetensors"
    before, after = (to_pil(image) for image in images)
    save_image(folder / f"{stem}.recon.png", after, generated="composite")
    sheet = grid(
        [portrait.alignment.crop, before, after],
        columns=3,
        column_labels=["photo", "one w", "w per layer"],
        cell=max(*after.size, 256),
    )
    save_image(folder / f"{stem}.side-by-side.png", sheet, generated="composite")
    save_latent(path, latent)  # last: who finds it finds the pictures too
    return path


def describe(metrics: dict[str, float]) -> str:
    """One line of the figures of a projection."""
    text = f"MSE {metrics['mse w+']:.4f} (one w {metrics['mse w']:.4f})"
    if "identity w+" in metrics:
        text += f", identity {metrics['identity w+']:.3f} (one w {metrics['identity w']:.3f})"
    return text


@click.command("project")
@click.argument("photos", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--model", default="faces-64", show_default=True, help="Model file or shipped name.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("out"), show_default=True,
    help="Folder for the results.",
)  # fmt: skip
@click.option("--face", type=click.IntRange(1), help="Which of several faces, largest first.")
@click.option("--w-steps", type=click.IntRange(0), help="Steps with one w.  [default: 100]")
@click.option("--steps", type=click.IntRange(1), help="Steps with a w per layer.  [default: 200]")
@click.option(
    "--batch", type=click.IntRange(1), default=8, show_default=True, help="Photos at once."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:N or auto.")
def project_command(
    photos: tuple[Path, ...],
    model: str,
    output: Path,
    face: int | None,
    w_steps: int | None,
    steps: int | None,
    batch: int,
    seed: int,
    device: str,
) -> None:
    """Find the latents of photos: files, folders or zips.

    Writes for each NAME.latent.safetensors (for stylemix mix), NAME.recon.png and
    NAME.side-by-side.png.

    \b
    Examples:
      stylemix project photo.jpg
      stylemix project photos/ --output latents --batch 4
    """
    check_folder(output)
    network = load_model(model, find_device(device))
    settings = ProjectionSettings(seed=seed)
    if w_steps is not None:
        settings = replace(settings, w_steps=w_steps)
    if steps is not None:
        settings = replace(settings, plus_steps=steps)
    portraits, failed = [], 0
    for source in list_images(photos):
        try:
            portraits.append((source.stem, read_portrait(source, network, face)))
        except StylemixError as error:
            if len(photos) == 1 and photos[0].is_file():
                raise
            failed += 1
            click.echo(f"Error: {error}", err=True)
    names = unique_names(stem for stem, _ in portraits)
    report: dict[str, dict[str, float]] = {}
    for start in range(0, len(portraits), batch):
        part = [portrait for _, portrait in portraits[start : start + batch]]
        projection, latents = project_portraits(part, network, settings)
        _write(output, names[start : start + batch], part, projection, latents, report)
    if report:
        write_json(output / "report.json", report)
    if failed:
        raise StylemixError(
            f"got no latent from {failed} of {failed + len(portraits)} photos; the lines above say "
            "why; the others are written"
        )


def _write(
    folder: Path,
    names: list[str],
    portraits: list[Portrait],
    projection: Projection,
    latents: list[Latent],
    report: dict[str, dict[str, float]],
) -> None:
    for i, (name, portrait, latent) in enumerate(zip(names, portraits, latents, strict=True)):
        images = (projection.image_w[i], projection.image[i])
        path = save_projection(folder, name, portrait, latent, images)
        report[name] = latent.metrics
        click.echo(f"{path}: {describe(latent.metrics)}")
