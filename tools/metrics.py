"""`stylemix metrics`: metrics of a model against images that it was not trained on."""

from __future__ import annotations

from pathlib import Path

import click

from stylemix.devices import find_device
from stylemix.errors import StylemixError
from stylemix.io.atomic import Json, write_json
from stylemix.io.cache import cache_folder
from stylemix.messages import result, say, wrote
from stylemix.metrics.extractors import load_extractor
from stylemix.metrics.generator import METRICS, Report, measure, parse_metrics
from stylemix.models.checkpoint import load_model
from stylemix.networks.latents import check_psi
from stylemix.tools.options import batch_option, device_option
from stylemix.tools.outputs import output_file
from stylemix.training.data.dataset import open_for

MAX_COUNT = 1_000_000
ADVICE = (
    "Compare only metrics of the same numbers of images, data and features: a Frechet distance of "
    "fewer images is larger."
)


def table(report: Report) -> str:
    """The report as text: metrics, then seconds."""
    width = max(map(len, [*report.scores, *report.seconds]))
    scores = [f"{name:<{width}}  {_digits(value):>10}" for name, value in report.scores.items()]
    times = [f"{step:<{width}}  {seconds:>10.1f} s" for step, seconds in report.seconds.items()]
    return "\n".join([*scores, "", *times])


def _digits(value: float) -> str:
    """Formats with two decimals, or five for values below 10."""
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.5f}"


@click.command("metrics")
@click.argument("model")
@click.argument("images", metavar="[DATA]", required=False)
@click.option("--data", help="Real images: folder, zip or shards; as DATA.")
@click.option(
    "--metrics", "names", default="fd", show_default=True,
    help=f"Metrics, separated by commas: {', '.join(METRICS)}.",
)  # fmt: skip
@click.option(
    "--count", type=click.IntRange(2, MAX_COUNT),
    help="Number of generated images.  [default: as many as real images]",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**31), default=0, show_default=True,
              help="Seed of the first generated image.")  # fmt: skip
@click.option(
    "--truncation", "psi", type=float, default=1, show_default=True,
    help="Truncation psi; values below 1 are not comparable. PPL always uses 1.",
)  # fmt: skip
@click.option(
    "--features", default="mobilenet", show_default=True,
    help="Feature extractor: mobilenet, inception, or module:name of a Python function.",
)  # fmt: skip
@click.option(
    "--weights", type=click.Path(path_type=Path), help="File with the weights of Inception."
)
@click.option(
    "--interval", is_flag=True, help="Also report a 95 % interval of the Frechet distance."
)
@click.option("--no-cache", is_flag=True, help="Do not cache the features of the real images.")
@batch_option
@click.option(
    "--output", type=click.Path(path_type=Path), help="JSON file to write the metrics to."
)
@device_option
def metrics_command(
    model: str,
    images: str | None,
    data: str | None,
    names: str,
    count: int | None,
    seed: int,
    psi: float,
    features: str,
    weights: Path | None,
    interval: bool,
    no_cache: bool,
    output: Path | None,
    device: str,
) -> None:
    """Compare the images of a model with real images, by Frechet distance and other metrics.

    \b
    Examples:
      stylemix metrics faces-64 held-out.zip
      stylemix metrics model.pkl held-out.zip --metrics fd,kid,pr,dc,ppl --output scores.json
    """
    chosen = parse_metrics(names)
    if interval and "fd" not in chosen:
        raise StylemixError("got --interval without fd; expected both; add fd to --metrics")
    if weights is not None and features != "inception":
        raise StylemixError(
            f"got --weights for {features}; expected inception; leave --weights out"
        )
    check_psi(psi)
    if (data is None) == (images is None):
        raise StylemixError("got DATA and --data, or neither; expected real images once; name them")
    data = data or str(images)
    output = output and output_file(output, [data, model])
    where = find_device(device)
    extractor = load_extractor(features, where, weights)
    loaded = load_model(model, where)
    config = loaded.generator.config
    reals = open_for(data, config)
    seeds = range(seed, seed + (count or len(reals)))
    folder = None if no_cache else cache_folder("features")
    report = measure(
        loaded.generator, reals, chosen, seeds, extractor, folder, psi=psi, interval=interval
    )
    say(table(report))
    say(
        f"{len(seeds):,} generated against {len(reals):,} real images, {config.size_text}. {ADVICE}"
    )
    about: dict[str, Json] = {
        "model": loaded.fingerprint, "data": reals.fingerprint(), "generated": len(seeds),
        "real": len(reals), "features": extractor.name, "truncation": psi, "seed": seed,
        "scores": report.scores, "seconds": report.seconds,
    }  # fmt: skip
    result(**about)
    if output is not None:
        write_json(output, about)
        wrote(output)
