"""`stylemix convert`: foreign model files to ours, ours to .safetensors or .pkl."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import click

from stylemix.errors import StylemixError, printable
from stylemix.messages import result, say, wrote
from stylemix.models.checkpoint import save_model
from stylemix.models.loading import use_model
from stylemix.models.model import Model, count_parameters
from stylemix.tools.options import TEMPLATE_NAMES
from stylemix.tools.outputs import output_file

FOREIGN_LICENCE = (
    "The weights remain under the licence of their authors, which may forbid commercial use; "
    "the licence of stylemix does not cover them."
)


def convert(
    source: str,
    target: str | Path,
    dtype: Literal["float16", "float32"] = "float16",
    template: str | None = None,
    keep_discriminator: bool = True,
) -> Model:
    """Reads any supported model file, writes it to `target`, and returns the written model.

    Args:
        source: a file, or the name of a shipped model.
        target: a file name ending in .safetensors or .pkl.
        dtype: precision of the stored weights; the fingerprint is the same for both.
        template: alignment of photos by name or file; None keeps that of the file, or guesses it.
        keep_discriminator: False leaves it out, for a smaller file that cannot be trained further.
    """
    model = use_model(source, "cpu", template)
    if not keep_discriminator:
        model = replace(model, discriminator=None)
    save_model(target, model, dtype)
    return model


def tell_model(model: Model, target: Path) -> None:
    """Says what is in a model file that was written."""
    config, discriminator = model.generator.config, model.discriminator
    labels = f", {config.c_dim} labels" if config.c_dim else ""
    wrote(target, f"{target.stat().st_size / 1e6:.1f} MB", bytes=target.stat().st_size)
    lines = [
        f"size {config.size_text}, {config.colors}{labels}, architecture {config.architecture}",
        f"generator {count_parameters(model.generator):,} parameters",
    ]
    if discriminator is not None:
        lines.append(f"discriminator {count_parameters(discriminator):,} parameters")
    lines += [f"fingerprint {model.fingerprint}", f"template {model.template.name}"]
    if model.origin != "stylemix":
        lines.append(f"from {model.card.get('source', model.origin)}. {FOREIGN_LICENCE}")
    for line in lines:
        say(printable(line))
    result(
        width=config.width, height=config.height, channels=config.img_channels,
        classes=config.c_dim, architecture=config.architecture, fingerprint=model.fingerprint,
        template=model.template.name, origin=model.origin,
        generator_parameters=count_parameters(model.generator),
        discriminator_parameters=discriminator and count_parameters(discriminator),
        licence=model.card.get("licence"),
    )  # fmt: skip


@click.command("convert")
@click.argument("source", metavar="IN")
@click.argument("target", metavar="OUT", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--dtype",
    type=click.Choice(["float16", "float32"]),
    default="float16",
    show_default=True,
    help="Precision of the stored weights.",
)
@click.option(
    "--template",
    help=f"Alignment of photos for the model: {TEMPLATE_NAMES}.  [default: that of IN, or guessed "
    "from the resolution]",
)
@click.option("--no-discriminator", is_flag=True, help="Leave the discriminator out.")
def convert_command(
    source: str,
    target: Path,
    dtype: Literal["float16", "float32"],
    template: str | None,
    no_discriminator: bool,
) -> None:
    """Convert the model file IN to OUT, a .safetensors or .pkl file.

    IN is a model of stylemix, a network pickle of NVIDIA (stylegan2-ada, stylegan3 trained with
    --cfg=stylegan2, or the TensorFlow versions of StyleGAN2 and stylegan2-ada) or a rosinality .pt
    checkpoint. No code of the file is executed.

    \b
    Examples:
      stylemix convert ffhq.pkl ffhq.safetensors
      stylemix convert 550000.pt faces.safetensors --template ffhq --no-discriminator
    """
    if target.suffix.lower() == ".onnx":
        raise StylemixError(
            f"got the file name {target}; expected .safetensors or .pkl at its end; ONNX files are "
            "written by stylemix export"
        )
    target = output_file(target, [source])
    keep = not no_discriminator
    tell_model(convert(source, target, dtype, template, keep_discriminator=keep), target)
