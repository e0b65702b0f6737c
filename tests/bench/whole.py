"""Runs `project` and `mix` on a device and on the CPU, and compares the results.

The mixed images of the same latent have to be equal within a tolerance. In a projection rounding
errors grow over many steps, so only its reconstruction errors are compared.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from click.testing import CliRunner
from PIL import Image

from stylemix import cli
from stylemix.io.assets import ASSETS
from stylemix.io.atomic import write_text
from tests.bench.timing import Record

STYLE = "noir"
MAX_DIFFERENCE, MEAN_DIFFERENCE = 3, 0.5  # of 255, tolerance of a pixel and on average
ERROR_TOLERANCE = 0.1  # relative difference of the errors of two projections


def command(*arguments: object) -> float:
    """Returns the seconds of a command in this process; raises on failure."""
    started = time.monotonic()
    result = CliRunner().invoke(cli.main, [str(argument) for argument in arguments])
    if result.exit_code != 0:
        message = f"stylemix {arguments[0]}: {result.output.strip()}"
        raise RuntimeError(message) from result.exception
    return round(time.monotonic() - started, 2)


def run(device: str, quick: bool) -> Record:
    """Returns seconds by device, differences, and whether these are within the tolerance."""
    steps = ["--w-steps", 3, "--steps", 3, "--refine-steps", 1] if quick else []
    seconds: Record = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        latent = folder / "first" / "collins.latent.safetensors"
        # Twice on the device: the first time selects algorithms and loads libraries.
        turns = {"first": device, "again": device, "cpu": "cpu"}
        for turn, where in turns.items():
            given = ["--device", where, "--output"]
            project = command(
                "project", ASSETS / "portraits" / "collins.jpg", *steps, *given, folder / turn
            )
            mix = ["mix", "--source", latent, "--style", STYLE]
            seconds[turn] = {
                "device": where,
                "project": project,
                "mix": command(*mix, *given, folder / f"{turn}.png"),
            }
        pictures = [np.asarray(Image.open(folder / f"{turn}.png")).astype(int) for turn in turns]
        reports = [json.loads((folder / turn / "report.json").read_text()) for turn in turns]
    difference = np.abs(pictures[1] - pictures[2])
    errors = [next(iter(report.values()))["mse"] for report in reports]
    differences = {
        "mix_most": int(difference.max()),
        "mix_mean": round(float(difference.mean()), 4),
        "project_mse": dict(zip(turns, errors, strict=True)),
    }
    alike = differences["mix_most"] <= MAX_DIFFERENCE and differences["mix_mean"] <= MEAN_DIFFERENCE
    alike = alike and abs(errors[1] - errors[2]) <= ERROR_TOLERANCE * errors[2]
    return {"device": device, "quick": quick, "seconds": seconds, **differences, "alike": alike}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.whole", description=__doc__)
    parser.add_argument("--device", default="cuda", help="cpu, cuda or cuda:N")
    parser.add_argument("--quick", action="store_true", help="few steps, to see that it runs")
    parser.add_argument("--output", type=Path, help="file of JSON, for the results")
    options = parser.parse_args()
    results = run(options.device, options.quick)
    if options.output:
        write_text(options.output, json.dumps(results, indent=1) + "\n")
    for turn, times in results["seconds"].items():
        print(f"{turn}, {times['device']}: project {times['project']} s, mix {times['mix']} s")
    print(f"mix differs by {results['mix_mean']} of 255 on average, {results['mix_most']} at most")
    if not results["alike"]:
        raise SystemExit("the images differ by more than the tolerance")


if __name__ == "__main__":
    main()
