"""`stylemix pack`: a dataset for training from photos, with a report of excluded images."""

from __future__ import annotations

from pathlib import Path

import click

from stylemix.devices import find_device
from stylemix.io.atomic import check_writable
from stylemix.messages import problem, result, say, wrote
from stylemix.tools.options import device_option
from stylemix.tools.outputs import output_file
from stylemix.training.curation.archive import is_zip_name
from stylemix.training.curation.crop import (
    CROPS,
    FACES,
    FILTERS,
    FORMATS,
    MODES,
    CropSettings,
    parse_size,
)
from stylemix.training.curation.pack import pack
from stylemix.training.curation.report import Report
from stylemix.training.curation.select import KeepSettings

MAX_LISTED = 10  # broken files printed by name; the report lists all


def _show(report: Report) -> None:
    broken = [item for item in report.left_out if item.reason == "broken"]
    for item in broken[:MAX_LISTED]:
        problem(f"Left out: {report.names[item.file]}: {item.detail}")
    if len(broken) > MAX_LISTED:
        problem(f"Left out: {len(broken) - MAX_LISTED} more that cannot be read")
    say(report.table())
    result(photos=report.photos, kept=len(report.kept), left_out=report.counts)


@click.command()
@click.argument("photos", nargs=-1, required=True, metavar="PHOTOS...")
@click.option(
    "--output", required=True, metavar="ZIP|DIR", help="Dataset to write: a .zip, or a new folder."
)
@click.option(
    "--crop",
    type=click.Choice(CROPS),
    default="faces",
    show_default=True,
    help="faces: crop and align each face; centre: centre crop to the aspect ratio of --size; "
    "none: only images that have this aspect ratio.",
)
@click.option(
    "--size",
    default="256",
    show_default=True,
    metavar="SIDE|WxH",
    help="Size of the images in px: a side, or width and height such as 128x96.",
)
@click.option(
    "--template",
    default="faces128",
    show_default=True,
    help="Alignment of faces: faces128 (close-up), ffhq (with hair and shoulders) or a file.",
)
@click.option(
    "--faces",
    type=click.Choice(FACES),
    default="all",
    show_default=True,
    help="Use every clear face of a photo, or only the largest.",
)
@click.option(
    "--filter",
    type=click.Choice(FILTERS),
    default="lanczos",
    show_default=True,
    help="Resampling filter (of Pillow).",
)
@click.option(
    "--channels",
    type=click.Choice(list(MODES)),
    default="rgb",
    show_default=True,
    help="Channels: greyscale, RGB, or RGB with transparency.",
)
@click.option(
    "--format",
    type=click.Choice(FORMATS),
    default="png",
    show_default=True,
    help="File format of the images.",
)
@click.option(
    "--quality",
    type=click.IntRange(1, 100),
    default=95,
    show_default=True,
    help="Quality of jpeg and webp files.",
)
@click.option(
    "--min-face",
    type=click.FloatRange(0),
    default=0,
    show_default=True,
    help="Exclude faces narrower than this in the photo, in px; 0: no limit.",
)
@click.option(
    "--max-upscale",
    type=click.FloatRange(0),
    default=KeepSettings.max_upscale,
    show_default=True,
    help="Exclude images that would be upsampled by more than this factor; 0: no limit.",
)
@click.option(
    "--min-sharpness",
    type=click.FloatRange(0),
    default=KeepSettings.min_sharpness,
    show_default=True,
    help="Exclude images with a smaller variance of the Laplacian; 0: no limit.",
)
@click.option(
    "--duplicates",
    type=click.IntRange(-1, 16),
    default=KeepSettings.duplicates,
    show_default=True,
    help="Exclude images whose 64-bit hash differs in at most this many bits from that of a better "
    "image; -1: no limit.",
)
@click.option(
    "--max-per-person",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Maximum number of images per person, sharpest first; 0: no limit. With --crop faces.",
)
@click.option(
    "--same-person",
    type=click.FloatRange(0, 2),
    default=KeepSettings.same_person,
    show_default=True,
    help="Distance of dlib descriptors below which two faces are the same person.",
)
@click.option(
    "--labels",
    metavar="folders|FILE",
    help="Class labels: by top-level folder, or from a JSON or CSV file of names and labels.",
)
@click.option(
    "--keep-names", is_flag=True,
    help="Name the photos in pack.json and NAME.pack.json, instead of numbering them.",
)  # fmt: skip
@click.option("--workers", type=click.IntRange(0), default=0, show_default=True,
              help="Number of processes; 0: one per core.")  # fmt: skip
@device_option
@click.option("--dry-run", is_flag=True, help="Write only the report.")
def pack_command(
    photos: tuple[str, ...],
    output: str,
    size: str,
    labels: str | None,
    workers: int,
    device: str,
    dry_run: bool,
    keep_names: bool,
    **settings: str | float,
) -> None:
    """Turn PHOTOS (files, folders, zips) into a dataset for training.

    Files that cannot be read, photos without a face, and images that are too small, blurred or
    duplicates are excluded; NAME.pack.json beside the output lists them with the reasons, by number
    or with --keep-names by name.

    The same command resumes a run that was interrupted.

    \b
    Examples:
      stylemix pack photos/ --output faces.zip
      stylemix pack photos/ --size 1024 --template ffhq --output ffhq.zip
      stylemix pack pets.zip --crop centre --size 128x96 --labels folders --output pets-128.zip
      stylemix pack photos/ --dry-run --output faces.zip
    """
    target = Path(output)
    check_writable(target)
    target = output_file(target, photos) if is_zip_name(target) else target
    crops = {name: settings.pop(name) for name in CropSettings.__annotations__ if name in settings}
    report = pack(
        photos,
        target,
        CropSettings(size=parse_size(size), **crops),  # type: ignore[arg-type]
        KeepSettings(**settings),  # type: ignore[arg-type]
        labels=labels,
        workers=workers,
        device=str(find_device(device)),
        dry_run=dry_run,
        show=True,
        keep_names=keep_names,
    )
    _show(report)
    if dry_run:
        say(f"Nothing packed; the same command without --dry-run resumes from {target}.work")
    else:
        wrote(target)
