"""`stylemix project`: photos to latents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import torch
from PIL import Image
from torch import Tensor

from stylemix.devices import find_device
from stylemix.errors import StylemixError
from stylemix.faces.regions import painted_mask
from stylemix.images.read import load_image
from stylemix.images.sources import ImageSource, list_images, unique_names
from stylemix.images.write import check_folder
from stylemix.inversion.encoder import Encoder, load_encoder
from stylemix.inversion.latent import Latent
from stylemix.inversion.portraits import AlignedPhoto, project_portraits, read_portrait
from stylemix.inversion.settings import ProjectionSettings
from stylemix.inversion.store import (
    SUFFIX,
    find_done,
    mark_of,
    own_share,
    save_pasted,
    save_projection,
)
from stylemix.io.atomic import write_json
from stylemix.models.checkpoint import load_model
from stylemix.models.model import Model
from stylemix.tools.options import (
    device_option,
    face_option,
    model_option,
    projection_options,
    projection_settings,
)


def describe(metrics: dict[str, float]) -> str:
    """One line of the figures of a projection."""
    text = f"MSE {metrics['mse']:.4f}"
    if "identity" in metrics:
        text += f", identity {metrics['identity']:.3f}"
    return text


@click.command("project")
@click.argument("photos", nargs=-1, required=True, type=click.Path(path_type=Path))
@model_option
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("out"), show_default=True,
    help="Folder for the results.",
)  # fmt: skip
@projection_options
@click.option(
    "--mask", type=click.Path(path_type=Path),
    help="Picture that is white where the photo is to stay as it is.  [default: found out]",
)  # fmt: skip
@click.option("--paste-back", is_flag=True, help="Write the whole photo with the new face, too.")
@click.option("--again", is_flag=True, help="Project also what was done before.")
@face_option
@click.option(
    "--batch", type=click.IntRange(1), default=8, show_default=True, help="Photos at once."
)
@device_option
def project_command(
    photos: tuple[Path, ...],
    model: str,
    output: Path,
    mask: Path | None,
    encoder: Path | None,
    paste_back: bool,
    again: bool,
    face: int | None,
    batch: int,
    device: str,
    **projection: Any,
) -> None:
    """Find the latents of photos: files, folders or zips.

    Writes for each NAME.latent.safetensors (for stylemix mix), NAME.recon.png and
    NAME.side-by-side.png. The same command again goes on with what is missing.

    \b
    Examples:
      stylemix project photo.jpg
      stylemix project photos/ --output latents --preset fast
      torchrun --nproc-per-node 4 -m stylemix project photos/ --output latents
    """
    check_folder(output)
    settings = projection_settings(**projection)
    if mask is not None and settings.method != "hybrid":
        raise StylemixError(
            f"got --method {settings.method} with a mask; expected it with hybrid only; leave one "
            "out"
        )
    network = load_model(model, find_device(device))
    job = _Job(network, settings, output, face, mask, paste_back, again)
    job.encoder = None if encoder is None else load_encoder(encoder, network)
    job.run(list_images(photos), batch, alone=len(photos) == 1 and photos[0].is_file())


class _Job:
    """One call: photos are read, projected in batches and written."""

    encoder: Encoder | None

    def __init__(
        self,
        model: Model,
        settings: ProjectionSettings,
        folder: Path,
        face: int | None,
        mask: Path | None,
        paste_back: bool,
        again: bool,
    ) -> None:
        self.model, self.settings, self.folder, self.face = model, settings, folder, face
        self.paste_back, self.again = paste_back, again
        self.painted = None if mask is None else load_image(mask, mode="RGBA")
        self.report: dict[str, dict[str, float]] = {}

    def run(self, sources: list[ImageSource], batch: int, alone: bool) -> None:
        """Projects what this process has to do."""
        share = own_share(sources)
        names = unique_names(source.stem for source in sources)
        waiting: list[tuple[str, ImageSource, AlignedPhoto, Tensor | None]] = []
        failed = 0
        for i in share:
            try:
                portrait = read_portrait(sources[i], self.model, self.face)
            except StylemixError as error:
                if alone:
                    raise
                failed += 1
                click.echo(f"Error: {error}", err=True)
                continue
            mask = self._mask(portrait, sources[i])
            done = self._done(names[i], portrait, mask)
            if done is not None:
                self._tell(names[i], done, "already there")
                continue
            waiting.append((names[i], sources[i], portrait, mask))
        for start in range(0, len(waiting), batch):
            self._project(waiting[start : start + batch])
        if self.report:
            whole = len(share) == len(sources)
            write_json(self.folder / self._report_name(whole, share), self.report)
        if failed:
            raise StylemixError(
                f"got no latent from {failed} of {len(share)} photos; the lines above say why; "
                "the others are written"
            )

    def _report_name(self, whole: bool, share: list[int]) -> str:
        return "report.json" if whole else f"report-{share[0]}.json"

    def _mask(self, portrait: AlignedPhoto, source: ImageSource) -> Tensor | None:
        if self.painted is None:
            return None
        config, photo = self.model.generator.config, source.open().size
        size, matrix = (config.width, config.height), portrait.alignment.matrix
        return painted_mask(self.painted, size, matrix, photo, "--mask")

    def _done(self, name: str, portrait: AlignedPhoto, mask: Tensor | None) -> Latent | None:
        if self.again:
            return None
        path = self.folder / f"{name}{SUFFIX}"
        return find_done(path, portrait, self.model, self.settings, mask)

    def _project(self, items: list[tuple[str, ImageSource, AlignedPhoto, Tensor | None]]) -> None:
        portraits = [portrait for _, _, portrait, _ in items]
        masks = [mask for *_, mask in items if mask is not None]
        mask = torch.cat(masks) if masks else None
        projection, latents = project_portraits(
            portraits, self.model, self.settings, mask=mask, encoder=self.encoder
        )
        for i, (name, source, portrait, own) in enumerate(items):
            latents[i].photo = mark_of(portrait, self.model, self.settings, own)
            if self.paste_back:
                self._paste(name, source.open(), latents[i], projection.image[i])
            images = (projection.image_start[i], projection.image[i])
            save_projection(self.folder, name, portrait, latents[i], images)
            self._tell(name, latents[i], describe(latents[i].metrics))

    def _paste(self, name: str, photo: Image.Image, latent: Latent, image: Tensor) -> None:
        save_pasted(self.folder / f"{name}.pasted.png", photo, latent, image)

    def _tell(self, name: str, latent: Latent, what: str) -> None:
        self.report[name] = latent.metrics
        click.echo(f"{self.folder / (name + SUFFIX)}: {what}")
