"""`stylemix audit`: what a model or style gives away of the images that it learned from."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import click

from stylemix.devices import find_device
from stylemix.errors import StylemixError
from stylemix.images.write import check_image_path, save_image
from stylemix.io.atomic import write_json
from stylemix.io.cache import cache_folder
from stylemix.messages import note, result, say, say_table, wrote
from stylemix.metrics.memorization import Estimate
from stylemix.models.checkpoint import load_model
from stylemix.models.model import Model
from stylemix.networks.latents import check_psi
from stylemix.privacy.audit import COPYING, Audit, AuditSettings, audit
from stylemix.privacy.sheet import pairs_sheet
from stylemix.styles.style import load_style
from stylemix.tools.options import batch_option, device_option
from stylemix.tools.outputs import output_file
from stylemix.training.adapt.base_style import with_style
from stylemix.training.data.base import PixelDataset
from stylemix.training.data.dataset import open_for


@click.command("audit")
@click.argument("model")
@click.option("--data", required=True, help="Images that it learned from: folder, zip or shards.")
@click.option(
    "--held-out", help="Images of the same kind that it did not learn from, to compare with."
)
@click.option("--style", help="Audit this style of MODEL instead, which learned from --data.")
@click.option(
    "--count", type=click.IntRange(2, 1_000_000),
    help="Number of generated images.  [default: as many as held-out images]",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**31), default=0, show_default=True,
              help="Seed of the first generated image.")  # fmt: skip
@click.option(
    "--truncation", "psi", type=float, help="Truncation psi.  [default: 1, or the style's]"
)
@click.option("--projected", type=click.IntRange(0), default=64, show_default=True,
              help="Images of each set to project, to compare the errors.")  # fmt: skip
@click.option("--sheet", type=click.Path(path_type=Path),
              help="Image file for the nearest pairs; it shows images of --data.")  # fmt: skip
@click.option("--no-cache", is_flag=True, help="Do not cache the features of the real images.")
@batch_option
@click.option("--output", type=click.Path(path_type=Path), help="JSON file to write the audit to.")
@device_option
def audit_command(
    model: str,
    data: str,
    held_out: str | None,
    style: str | None,
    count: int | None,
    seed: int,
    psi: float | None,
    projected: int,
    sheet: Path | None,
    no_cache: bool,
    output: Path | None,
    device: str,
) -> None:
    """Test whether MODEL has memorised images that it learned from.

    Its images are compared with these, and held-out images are for scale: copies, faces of the
    same person, and whether one can tell what the model was trained on. Nothing leaves the
    machine, and only --sheet writes images.

    \b
    Examples:
      stylemix audit faces-64 --data faces.zip --held-out val.zip
      stylemix audit faces-64 --style toon.pkl --data drawings.zip --held-out others.zip
    """
    if psi is not None:
        check_psi(psi)
    inputs = [data, *filter(None, [model, held_out, style])]
    if sheet is not None:
        check_image_path(sheet)
        sheet = output_file(sheet, inputs)
    if sheet is not None and output == sheet:
        raise StylemixError(f"got {sheet} for --output and --sheet; expected two; change one")
    output = output and output_file(output, inputs)
    audited, usual = _subject(model, style, device)
    psi = usual if psi is None else psi
    images = open_for(data, audited.generator.config)
    others = _open_others(held_out, audited, images)
    settings = AuditSettings(count, seed, psi, projected)
    folder = None if no_cache else cache_folder("features")
    done = audit(audited, images, others, settings, folder, show=True)
    say_table(table(done))
    for finding in done.findings:
        say(f"Found: {finding}")
    about = {
        "model": audited.fingerprint, "style": style and Path(style).stem,
        "data": images.fingerprint(), "held_out": others.fingerprint() if others else None,
        "seed": seed, "truncation": psi, **asdict(done), "findings": done.findings,
    }  # fmt: skip
    result(**about)
    if output is not None:
        write_json(output, about)
        wrote(output)
    if sheet is not None:
        save_image(sheet, pairs_sheet(audited, images, done, psi), generated="composite")
        wrote(sheet, "nearest pairs; it shows images of --data")


def _subject(model: str, style: str | None, device: str) -> tuple[Model, float]:
    """The model whose images are audited, and the truncation that it is used with."""
    loaded = load_model(model, find_device(device))
    if style is None:
        return loaded, 1.0
    learned = load_style(style, loaded)
    if learned.shift is not None or learned.student is not None:
        kind = "redraws photos" if learned.student is not None else "shows its person on purpose"
        raise StylemixError(
            f"got the style {Path(style).name}, which {kind}; expected one that changes the "
            "model's images, of the method look or transfer; choose another"
        )
    # The discriminator is the base's: it has not seen the images of the style.
    return replace(with_style(loaded, learned), discriminator=None), learned.psi


def _open_others(held_out: str | None, model: Model, images: PixelDataset) -> PixelDataset | None:
    """The held-out images, if there are any; StylemixError if they are all among `images`."""
    if held_out is None:
        note("Note: without --held-out neither recovery nor membership can be tested")
        return None
    others = open_for(held_out, model.generator.config)
    if images.covers(others):
        raise StylemixError(
            f"got --held-out {held_out}, whose images are all among those of --data, by their "
            "content; expected images that the model did not learn from; choose others"
        )
    return others


def table(done: Audit) -> list[tuple[str, str]]:
    """(label, text) rows of an audit."""
    counts = f"{done.generated:,} generated, {done.train:,} learned from"
    rows = [("images", f"{counts}, {done.held_out:,} held out")]
    for name, space in done.spaces.items():
        known = "too few images" if space.c_t is None else f"{space.c_t:.2f}"
        rows.append((f"C_T, {name}", f"{known}; below {COPYING:g}: copies"))
        rates = f"{_percent(space.copies.generated)}, held-out {_percent(space.copies.held_out)}"
        rows.append((f"copy rate, {name}", rates))
        if space.identity is not None:
            known = f"{_percent(space.identity.generated)}, held-out "
            rows.append((f"same person, {name}", known + _percent(space.identity.held_out)))
    if done.recovery is not None:
        gap = f"{_percent(done.recovery)} lower than that of held-out images"
        rows.append(("error of projection", gap))
    if done.membership is not None:
        auc = done.membership
        text = f"AUC {auc.value:.3f} [{auc.low:.3f}, {auc.high:.3f}]; .5: by chance"
        rows.append((f"membership, by {done.by}", text))
    rows.append(("found", "nothing" if not done.findings else f"{len(done.findings)}, see below"))
    return rows


def _percent(share: Estimate) -> str:
    return f"{100 * share.value:.2f} % [{100 * share.low:.2f}, {100 * share.high:.2f}]"
