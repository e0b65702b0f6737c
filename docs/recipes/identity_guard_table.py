"""How closely the identity guard meets the requested identity: the table of docs/mix.md.

    python docs/recipes/identity_guard_table.py latents/*.latent.safetensors

For each style and requested identity: how many people reach it at full strength, and for the others
the largest difference from the request, and the range of strengths.
"""

from __future__ import annotations

import click

from stylemix.avatars.avatar import AvatarOptions, draw_avatar
from stylemix.avatars.render import AppliedStyle
from stylemix.inversion.latent import load_latent
from stylemix.models.checkpoint import load_model
from stylemix.styles.style import load_style, shipped_styles

REQUESTED = (0.3, 0.5, 0.7, 0.9)


@click.command()
@click.argument("latents", nargs=-1, required=True)
@click.option("--style", "styles", multiple=True, help="Again for more.  [default: those shipped]")
@click.option("--model", default="faces-64", show_default=True)
def main(latents: tuple[str, ...], styles: tuple[str, ...], model: str) -> None:
    """Print the table."""
    network = load_model(model)
    people = [load_latent(path, network) for path in latents]
    click.echo("| style | requested | at full strength | largest error of others | strengths |")
    click.echo("| --- | --- | --- | --- | --- |")
    for name in styles or shipped_styles():
        applied = [AppliedStyle(load_style(name, network))]
        for requested in REQUESTED:
            options = AvatarOptions(min_identity=requested)
            avatars = [draw_avatar(network, person, applied, options) for person in people]
            lowered = [(a.share, a.identity or 0.0) for a in avatars if a.share < 1]
            error = f"{max(abs(got - requested) for _, got in lowered):.3f}" if lowered else ""
            strengths = f"{min(lowered)[0]:.2f} to {max(lowered)[0]:.2f}" if lowered else ""
            full = f"{len(avatars) - len(lowered)} of {len(avatars)}"
            click.echo(f"| {name} | {requested:g} | {full} | {error} | {strengths} |")


if __name__ == "__main__":
    main()
