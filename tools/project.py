"""`stylemix project`: photos to latents (GAN inversion)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from PIL import Image

from stylemix.errors import StylemixError
from stylemix.faces.alignment import Box
from stylemix.faces.regions import painted_mask
from stylemix.global_options import may_overwrite
from stylemix.images.read import load_image
from stylemix.images.sources import ImageSource, list_images, unique_names
from stylemix.images.write import check_folder
from stylemix.inversion.encoder import chosen_encoder
from stylemix.inversion.latent import NOT_RECORDED, Latent
from stylemix.inversion.portraits import read_portrait
from stylemix.inversion.store import PhotoToProject, own_share, project_missing
from stylemix.io.atomic import write_json
from stylemix.io.outputs import LATENT_SUFFIX
from stylemix.memory import releasing
from stylemix.messages import note, problem, result, wrote
from stylemix.models.model import Model
from stylemix.networks.labels import describe_label
from stylemix.tools.options import (
    ModelChoice,
    marks_option,
    photo_model_options,
    projection_options,
    projection_settings,
    subject_options,
)
from stylemix.tools.outputs import kept


def describe(latent: Latent) -> str:
    """The metrics of a projection, and the label of a conditional model, as text."""
    metrics = latent.metrics
    text = f"MSE {metrics['mse']:.4f}"
    if "identity" in metrics:
        text += f", identity {metrics['identity']:.3f}"
    if latent.label is not None:
        text += f", {describe_label(latent.label)}"
    return text


@click.command("project")
@click.argument("photos", nargs=-1, required=True, type=click.Path(path_type=Path))
@photo_model_options
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("out"), show_default=True,
    help="Folder for the results.",
)  # fmt: skip
@projection_options
@click.option(
    "--mask", type=click.Path(path_type=Path),
    help="Mask image: white where the photo shows what the model cannot generate (hands, hats).  "
    "[default: estimated]",
)  # fmt: skip
@click.option(
    "--paste-back", is_flag=True, help="Also write the whole photo with the reconstructed face."
)
@click.option("--again", is_flag=True, help="Project photos again whose latents exist.")
@click.option("--consent", default=NOT_RECORDED, show_default=True,
              help="Consent of the people on the photos, for the latent files.")  # fmt: skip
@click.option("--keep-names", is_flag=True,
              help="Name the photos in report.json, instead of numbering them.")  # fmt: skip
@marks_option
@subject_options
def project_command(
    photos: tuple[Path, ...],
    choice: ModelChoice,
    output: Path,
    mask: Path | None,
    encoder: Path | None,
    paste_back: bool,
    again: bool,
    consent: str,
    keep_names: bool,
    face: int | None,
    box: Box | None,
    **projection: Any,
) -> None:
    """Project photos into the latent space of a model: files, folders or zips.

    Writes NAME.latent.safetensors (for stylemix mix), NAME.recon.png and NAME.side-by-side.png
    for each photo. The same command resumes a run that was interrupted.

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
            f"got --method {settings.method} with a mask; expected --method hybrid; leave one out"
        )
    painted = None if mask is None else load_image(mask, mode="RGBA")
    sources = list_images(photos)
    network = choice.load(settings=settings)
    start = chosen_encoder(encoder, network)
    alone = len(photos) == 1 and sources == [ImageSource(photos[0].name, photos[0])]
    read = _Photos(sources, network, face, box, painted, paste_back, alone, consent)
    called = {name: name if keep_names else f"photo {i}" for i, name in enumerate(read.names, 1)}
    report: dict[str, dict[str, float]] = {}
    done = project_missing(read, network, settings, output, start, again, may_overwrite())
    latents = []
    for name, latent, path, is_new in releasing(done):
        report[called[name]] = latent.metrics
        latents.append({"path": path, "new": is_new, **latent.metrics})
        if is_new:
            other = kept(path, output / (name + LATENT_SUFFIX))
            about = "; ".join(filter(None, (describe(latent), other)))
            wrote(path, about, **latent.metrics)
        else:
            note(f"{path}: already there")
    result(latents=latents)
    if report:
        whole = len(read.share) == len(sources)
        write_json(output / ("report.json" if whole else f"report-{read.share[0]}.json"), report)
    if read.failed:
        raise StylemixError(
            f"got no latent from {read.failed} of {len(read.share)} photos; see the errors "
            "above; the others are written"
        )


@dataclass
class _Photos:
    """This process's share of the photos, read lazily; unusable photos are counted in `failed`."""

    sources: list[ImageSource]
    model: Model
    face: int | None
    box: Box | None
    painted: Image.Image | None
    paste_back: bool
    alone: bool
    consent: str = NOT_RECORDED
    failed: int = 0

    def __post_init__(self) -> None:
        self.share = own_share(self.sources)
        self.names = list(unique_names(source.stem for source in self.sources))

    def __iter__(self) -> Iterator[PhotoToProject]:
        for i in self.share:
            source, mask = self.sources[i], None
            try:
                portrait = read_portrait(source, self.model, self.face, self.box)
            except StylemixError as error:
                if self.alone:
                    raise
                self.failed += 1
                problem(f"Error: {error}")
                continue
            if self.painted is not None:
                config, matrix = self.model.generator.config, portrait.alignment.matrix
                size = config.width, config.height
                mask = painted_mask(self.painted, size, matrix, portrait.photo_size, "--mask")
            whole = source if self.paste_back else None
            yield PhotoToProject(self.names[i], portrait, mask, whole, self.consent)
