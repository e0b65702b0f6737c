"""`stylemix pack`: photos become a dataset for training, with a report of what was left out."""

from __future__ import annotations

import click

from stylemix.devices import find_device
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

LISTED = 10  # broken files that are named on the screen; the report names all


def _show(report: Report) -> None:
    broken = [item for item in report.left_out if item.reason == "broken"]
    for item in broken[:LISTED]:
        click.echo(f"Left out: {item.file}: {item.detail}", err=True)
    if len(broken) > LISTED:
        click.echo(f"Left out: {len(broken) - LISTED} more that cannot be read", err=True)
    click.echo(report.table())


@click.command()
@click.argument("photos", nargs=-1, required=True, metavar="PHOTOS...")
@click.option("--output", required=True, metavar="ZIP|DIR", help="A .zip, or a new folder.")
@click.option(
    "--crop",
    type=click.Choice(CROPS),
    default="faces",
    show_default=True,
    help="faces: cut out and align each face; centre: the middle, in the proportions of --size; "
    "none: only images that have these proportions.",
)
@click.option(
    "--size",
    default="256",
    show_default=True,
    metavar="SIDE|WxH",
    help="Pixels of the images: a side, or width and height such as 128x96.",
)
@click.option(
    "--template",
    type=click.Choice(["faces128", "ffhq"]),
    default="faces128",
    show_default=True,
    help="Where a face goes: close, or with hair and shoulders.",
)
@click.option(
    "--faces",
    type=click.Choice(FACES),
    default="all",
    show_default=True,
    help="Every clear face of a photo, or the largest only.",
)
@click.option(
    "--filter",
    type=click.Choice(FILTERS),
    default="lanczos",
    show_default=True,
    help="How images are resized, by Pillow's names.",
)
@click.option(
    "--channels",
    type=click.Choice(list(MODES)),
    default="rgb",
    show_default=True,
    help="Grey, colours, or colours with transparency.",
)
@click.option(
    "--format",
    type=click.Choice(FORMATS),
    default="png",
    show_default=True,
    help="How images are stored.",
)
@click.option(
    "--quality",
    type=click.IntRange(1, 100),
    default=95,
    show_default=True,
    help="Of jpeg and webp.",
)
@click.option(
    "--min-face",
    type=click.FloatRange(0),
    default=0,
    show_default=True,
    help="Leave out faces that are fewer pixels of the photo wide; 0: no limit.",
)
@click.option(
    "--max-upscale",
    type=click.FloatRange(0),
    default=KeepSettings.max_upscale,
    show_default=True,
    help="Leave out what must be enlarged more than this many times; 0: no limit.",
)
@click.option(
    "--min-sharpness",
    type=click.FloatRange(0),
    default=KeepSettings.min_sharpness,
    show_default=True,
    help="Leave out images whose Laplacian varies less; 0: no limit.",
)
@click.option(
    "--duplicates",
    type=click.IntRange(-1, 16),
    default=KeepSettings.duplicates,
    show_default=True,
    help="Leave out images whose 64-bit hash differs in at most this many bits from a better "
    "one's; -1: keep them all.",
)
@click.option(
    "--max-per-person",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Keep the sharpest images of each person, this many; 0: no limit. With --crop faces.",
)
@click.option(
    "--same-person",
    type=click.FloatRange(0, 2),
    default=KeepSettings.same_person,
    show_default=True,
    help="Distance of dlib descriptors below which two faces are one person.",
)
@click.option(
    "--labels",
    metavar="folders|FILE",
    help="Classes: the top folders, or a JSON or CSV file of names and labels.",
)
@click.option("--workers", type=click.IntRange(0), default=0, show_default=True,
              help="Processes; 0: one for each core.")  # fmt: skip
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--dry-run", is_flag=True, help="Write the report only.")
def pack_command(
    photos: tuple[str, ...],
    output: str,
    size: str,
    labels: str | None,
    workers: int,
    device: str,
    dry_run: bool,
    **settings: str | float,
) -> None:
    """Turn PHOTOS (files, folders, zips) into a dataset for training.

    Files that cannot be read, photos without a face, and images that are too small, blurred or
    duplicates are left out; NAME.pack.json beside the output says which and why.

    A command that was stopped continues: give it again as it was.

    \b
    Examples:
      stylemix pack photos/ --output faces.zip
      stylemix pack photos/ --size 1024 --template ffhq --output ffhq.zip
      stylemix pack pets.zip --crop centre --size 128x96 --labels folders --output pets-128.zip
      stylemix pack photos/ --dry-run --output faces.zip
    """
    crops = {name: settings.pop(name) for name in CropSettings.__annotations__ if name in settings}
    report = pack(
        photos,
        output,
        CropSettings(size=parse_size(size), **crops),  # type: ignore[arg-type]
        KeepSettings(**settings),  # type: ignore[arg-type]
        labels=labels,
        workers=workers,
        device=str(find_device(device)),
        dry_run=dry_run,
        show=True,
    )
    _show(report)
    if dry_run:
        click.echo(f"Nothing packed; the same without --dry-run goes on from {output}.work")
    else:
        click.echo(f"Wrote {output}")
