"""One real `project` and one real `mix` on a device, and the same again on the CPU.

The mixed images, of one and the same latent, have to be alike. A projection is a long search, in
which roundings grow, so that of it only the errors are compared.
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
MOST, MEAN = 3, 0.5  # of 255: how much a mixed image may differ, in a pixel and on average
WORSE = 0.1  # how much the errors of two projections may differ, relatively


def command(*words: object) -> float:
    """Seconds of a command, in this process; what fails raises."""
    started = time.monotonic()
    result = CliRunner().invoke(cli.main, [str(word) for word in words])
    if result.exit_code != 0:
        raise RuntimeError(f"stylemix {words[0]}: {result.output.strip()}") from result.exception
    return round(time.monotonic() - started, 2)


def run(device: str, quick: bool) -> Record:
    """Seconds by device, differences, and whether these are small enough."""
    steps = ["--w-steps", 3, "--steps", 3, "--refine-steps", 1] if quick else []
    seconds: Record = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        latent = folder / "first" / "portrait.latent.safetensors"
        # Twice on the device: the first time finds algorithms and loads libraries.
        turns = {"first": device, "again": device, "cpu": "cpu"}
        for turn, where in turns.items():
            given = ["--device", where, "--output"]
            project = command("project", ASSETS / "portrait.jpg", *steps, *given, folder / turn)
            mix = ["mix", "--source", latent, "--style", STYLE]
            seconds[turn] = {
                "device": where,
                "project": project,
                "mix": command(*mix, *given, folder / f"{turn}.png"),
            }
        pictures = [np.asarray(Image.open(folder / f"{turn}.png")).astype(int) for turn in turns]
        reports = [json.loads((folder / turn / "report.json").read_text()) for turn in turns]
    difference = np.abs(pictures[1] - pictures[2])
    errors = [report["portrait"]["mse"] for report in reports]
    found = {
        "mix_most": int(difference.max()),
        "mix_mean": round(float(difference.mean()), 4),
        "project_mse": dict(zip(turns, errors, strict=True)),
    }
    alike = found["mix_most"] <= MOST and found["mix_mean"] <= MEAN
    alike = alike and abs(errors[1] - errors[2]) <= WORSE * errors[2]
    return {"device": device, "quick": quick, "seconds": seconds, **found, "alike": alike}


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
        raise SystemExit("the images differ by more than they may")


if __name__ == "__main__":
    main()
