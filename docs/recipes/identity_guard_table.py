"""How closely the identity guard meets the requested identity: the table of docs/mix.md.

    python docs/recipes/identity_guard_table.py portraits/*.jpg

For each style and requested identity: how many people reach it at full strength, and for the others
the largest difference from the request, and the range of strengths.
"""

from __future__ import annotations

import click

from stylemix.avatars.avatar import AvatarOptions
from stylemix.avatars.inputs import StyleArgument
from stylemix.avatars.mixer import Mixer
from stylemix.models.checkpoint import load_model
from stylemix.styles.style import shipped_styles

REQUESTED = (0.3, 0.5, 0.7, 0.9)


@click.command()
@click.argument("photos", nargs=-1, required=True)
@click.option("--style", "styles", multiple=True, help="Again for more.  [default: those shipped]")
@click.option("--model", default="faces-64", show_default=True)
def main(photos: tuple[str, ...], styles: tuple[str, ...], model: str) -> None:
    """Print the table."""
    mixer = Mixer(load_model(model), face=1, cache=True)
    arguments = [StyleArgument(name) for name in styles or shipped_styles()]
    people, inputs = mixer.read(photos, arguments)
    click.echo("| style | requested | at full strength | largest error of others | strengths |")
    click.echo("| --- | --- | --- | --- | --- |")
    for style in inputs:
        for requested in REQUESTED:
            options = AvatarOptions(min_identity=requested)
            avatars = [mixer.avatar(who, [mixer.apply(style, who)], options) for who in people]
            lowered = [(a.share, a.identity or 0.0) for a in avatars if a.share < 1]
            error = f"{max(abs(got - requested) for _, got in lowered):.3f}" if lowered else ""
            strengths = f"{min(lowered)[0]:.2f} to {max(lowered)[0]:.2f}" if lowered else ""
            full = f"{len(avatars) - len(lowered)} of {len(avatars)}"
            click.echo(f"| {style.name} | {requested:g} | {full} | {error} | {strengths} |")


if __name__ == "__main__":
    main()
