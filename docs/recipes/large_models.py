"""Time, memory and quality of projections into large models whose truth is known.

    python docs/recipes/large_models.py --resolution 1024 --preset balanced

Run it in a checkout: the models are those of tests/support/enlarged.py, faces-64 with the sizes of
config F. It projects shipped portraits, one by one, and prints means.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import click
import torch
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from stylemix.inversion import forecast, projection
from stylemix.inversion.portraits import read_portrait
from stylemix.inversion.settings import PRESETS
from stylemix.io.assets import ASSETS
from stylemix.metrics.identity_judge import judged_embedding
from tests.support.enlarged import FULL, enlarged

JUDGED = 64  # px


@click.command()
@click.option("--resolution", default=64, show_default=True)
@click.option("--narrow", is_flag=True, help="Keep the channels of faces-64.")
@click.option("--discriminator", is_flag=True, help="With one, whose features up to 256 px count.")
@click.option("--preset", default="balanced", show_default=True)
@click.option("--photos", default=1, show_default=True)
@click.option("--threads", default=2, show_default=True)
def main(
    resolution: int, narrow: bool, discriminator: bool, preset: str, photos: int, threads: int
) -> None:
    """Project portraits into an enlarged faces-64."""
    torch.set_num_threads(threads)
    model = enlarged(resolution, discriminator, **({} if narrow else FULL))
    projection.shipped_encoder = forecast.shipped_encoder = lambda model: None
    files = sorted((ASSETS / "portraits").glob("*.jpg"))[:photos]
    losses, errors, identities, seconds = list[float](), [], [], []
    for file in files:
        target = read_portrait(file, model).image[None]
        started = time.process_time()
        result = projection.project(
            model, target, PRESETS[preset], lambda _done, _steps, loss: losses.append(loss)
        )
        seconds.append(time.process_time() - started)
        small = [functional.adaptive_avg_pool2d(x, JUDGED) for x in (result.image, target)]
        errors.append(float((small[0] - small[1]).square().mean()))
        ours, theirs = (judged_embedding(x, model.template) for x in small)
        identities.append(float((ours * theirs).sum()))
    count, kib = len(files), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    click.echo(
        f"MSE {sum(errors) / count:.5f}, identity {sum(identities) / count:.4f}, "
        f"{sum(seconds) / count:.0f} processor seconds a photo, {kib / 2**20:.2f} GiB, "
        f"{len(losses) // count} steps, foretold: "
        f"{forecast.forecast_projection(model, PRESETS[preset])}"
    )


if __name__ == "__main__":
    main()
