"""`stylemix mix`: a person in a style."""

from __future__ import annotations

from pathlib import Path

import click

from stylemix.checkpoint import load_model
from stylemix.devices import find_device
from stylemix.images import check_folder, check_image_path, save_image
from stylemix.mixer import SMALLEST_CELL, Mixer, Wanted, enlarge
from stylemix.portraits import unique_names
from stylemix.sheets import grid
from stylemix.style import check_strength


@click.command("mix")
@click.option(
    "--source", "sources", multiple=True, required=True,
    help="Photo, latent file or seed:N; again for several people.",
)  # fmt: skip
@click.option(
    "--style", "styles", multiple=True, required=True,
    help="Style file or shipped style, photo, folder of photos, latent file, generator file or "
    "seed:N, with :WEIGHT behind it if wanted; again to add styles.",
)  # fmt: skip
@click.option("--model", default="faces-64", show_default=True, help="Model file or shipped name.")
@click.option(
    "--strength", type=float,
    help="Strength of all styles, times the WEIGHT of each.  [default: each style's own]",
)  # fmt: skip
@click.option(
    "--layers",
    help="Where styles act: coarse, middle, fine, all, pixels such as 16-64px, numbers such as "
    "0-3.  [default: each style's own]",
)
@click.option(
    "--output", type=click.Path(path_type=Path),
    help="Picture; with several sources and no --grid a folder.  [default: out.png, out]",
)  # fmt: skip
@click.option("--grid", "as_grid", is_flag=True, help="One picture of sources by styles.")
@click.option("--size", type=click.IntRange(16, 4096), help="Longer side of the output in px.")
@click.option("--face", type=click.IntRange(1), help="Which of several faces, largest first.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:N or auto.")
def mix_command(
    sources: tuple[str, ...],
    styles: tuple[str, ...],
    model: str,
    strength: float | None,
    layers: str | None,
    output: Path | None,
    as_grid: bool,
    size: int | None,
    face: int | None,
    device: str,
) -> None:
    """Give a person the look of one or more styles: a personalised avatar.

    \b
    Examples:
      stylemix mix --source me.jpg --style influencer.pkl --output avatar.png
      stylemix mix --source me.jpg --style toon --style golden-hour:0.5
      stylemix mix --source me.jpg --source you.jpg --style toon --style noir --grid
    """
    single = as_grid or len(sources) == 1
    output = output or Path("out.png" if single else "out")
    if single:
        check_image_path(output)
    else:
        check_folder(output)
    if strength is not None:
        check_strength(strength)
    wanted = [Wanted.parse(text) for text in styles]
    mixer = Mixer(load_model(model, find_device(device)), layers, face)
    mixer.read(sources, [item.what for item in wanted])
    if as_grid:
        _save_grid(mixer, sources, wanted, strength, output, size)
        click.echo(f"Wrote {output}")
        return
    names = unique_names(Wanted(source).name for source in sources)
    for source, name in zip(sources, names, strict=True):
        picture = mixer.render(mixer.people[source], wanted, strength)
        path = output if single else output / f"{name}.png"
        save_image(path, enlarge(picture, size), generated="composite")
        click.echo(f"Wrote {path}")


def _save_grid(
    mixer: Mixer,
    sources: tuple[str, ...],
    wanted: list[Wanted],
    strength: float | None,
    output: Path,
    size: int | None,
) -> None:
    """Rows are people, columns their reconstruction and each style by itself."""
    config = mixer.generator.config
    columns: list[list[Wanted]] = [[], *([item] for item in wanted)]
    sheet = grid(
        [mixer.render(mixer.people[who], parts, strength) for who in sources for parts in columns],
        columns=len(columns),
        column_labels=["reconstruction", *(item.label for item in wanted)],
        row_labels=[Wanted(source).name for source in sources],
        cell=size or max(config.height, config.width, SMALLEST_CELL),
    )
    save_image(output, sheet, generated="composite")
