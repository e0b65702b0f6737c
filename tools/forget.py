"""`stylemix forget`: removes what commands have kept of photos."""

from __future__ import annotations

import click

from stylemix.errors import StylemixError
from stylemix.images.sources import list_images
from stylemix.inversion.cache import forget, forget_all
from stylemix.messages import result, say


@click.command("forget")
@click.argument("photos", nargs=-1)
@click.option(
    "--all", "everything", is_flag=True,
    help="Remove all kept latents, and all that is kept about images of trainings and metrics.",
)  # fmt: skip
def forget_command(photos: tuple[str, ...], everything: bool) -> None:
    """Remove what commands have kept of photos: files, folders or zips.

    A photo is recognised by its content, so that its name and place do not matter. Files that
    you asked for, such as avatars and latents of project, are yours to delete.

    \b
    Examples:
      stylemix forget me.jpg
      stylemix forget --all
    """
    if bool(photos) == everything:
        raise StylemixError("got neither photos nor --all, or both; expected one; name the photos")
    count = forget_all() if everything else forget(list_images(list(photos)))
    say(f"Removed {count} file{'' if count == 1 else 's'}")
    result(removed=count)
