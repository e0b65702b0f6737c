"""How near the identity guard comes to what it is asked for: the table on the page about mixing.

    python docs/recipes/guard_figures.py latents/*.latent.safetensors

For each style and asked identity: how many people the full strength keeps anyway, and for the
others the largest distance of the identity from the asked one, and the strengths.
"""

from __future__ import annotations

import click

from stylemix.avatars.avatar import AvatarOptions, draw_avatar
from stylemix.avatars.render import AppliedStyle
from stylemix.inversion.latent import load_latent
from stylemix.models.checkpoint import load_model
from stylemix.styles.style import load_style, shipped_styles

ASKED = (0.3, 0.5, 0.7, 0.9)


@click.command()
@click.argument("latents", nargs=-1, required=True)
@click.option("--style", "styles", multiple=True, help="Again for more.  [default: those shipped]")
@click.option("--model", default="faces-64", show_default=True)
def main(latents: tuple[str, ...], styles: tuple[str, ...], model: str) -> None:
    """Print the table."""
    network = load_model(model)
    people = [load_latent(path, network) for path in latents]
    click.echo("| style | asked | kept at full strength | others: most off | strengths |")
    click.echo("| --- | --- | --- | --- | --- |")
    for name in styles or shipped_styles():
        parts = [AppliedStyle(load_style(name, network))]
        for asked in ASKED:
            finish = AvatarOptions(min_identity=asked)
            found = [draw_avatar(network, person, parts, finish) for person in people]
            held = [(a.share, a.identity or 0.0) for a in found if a.share < 1]
            off = f"{max(abs(kept - asked) for _, kept in held):.3f}" if held else ""
            span = f"{min(held)[0]:.2f} to {max(held)[0]:.2f}" if held else ""
            whole = f"{len(found) - len(held)} of {len(found)}"
            click.echo(f"| {name} | {asked:g} | {whole} | {off} | {span} |")


if __name__ == "__main__":
    main()
