"""Runs the benchmarks into one file of JSON: `python -m tests.bench.all --quick`.

The file is written after every part, so that a later failure does not lose results.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from stylemix.devices import find_device
from stylemix.io.atomic import write_text
from tests.bench import machine, ops, synthesis, training
from tests.bench.timing import Effort, Job, Record
from tests.bench.worker import Crew

# Shares of the budget, most important first; time that a part leaves goes to the next part.
SHARES = {"ceilings": 0.05, "training": 0.35, "ops": 0.4, "synthesis": 0.2}
PARTS = tuple(SHARES)
COMPILED = ("ops", "synthesis")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.all", description=__doc__)
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:N or auto")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--dtypes", nargs="+", choices=list(machine.DTYPES))
    parser.add_argument("--repeats", type=int, default=5, help="samples of each measurement")
    parser.add_argument(
        "--budget", type=float, default=math.inf, help="seconds; cases that do not fit are left out"
    )
    parser.add_argument(
        "--resolutions",
        nargs="+",
        type=int,
        default=[256],
        help="of generators: for ops, and for synthesis on a GPU",
    )
    parser.add_argument("--threads", type=int, help="of the CPU")
    parser.add_argument(
        "--quick", action="store_true", help="toy sizes, to see that all of it runs"
    )
    parser.add_argument(
        "--compile",
        nargs="*",
        choices=COMPILED,
        help="torch.compile of plain PyTorch, too, in some parts; of a network it takes minutes",
    )
    parser.add_argument("--output", type=Path, help="file; DATE-DEVICE.json in docs/benchmarks")
    return parser.parse_args()


def main() -> None:
    options = parse()
    device = find_device(options.device)
    if options.threads:
        torch.set_num_threads(options.threads)
    compiled = () if options.compile is None else tuple(options.compile or COMPILED)
    dtypes = options.dtypes or machine.default_dtypes(device)
    on_gpu = device.type == "cuda"
    job = Job(
        device,
        dtypes[:2] if options.quick else dtypes,
        options.quick,
        compiled,
        tuple(options.resolutions),
        Effort(options.repeats, 0.001 if options.quick else 0.01 if on_gpu else 0.05),
    )
    results: Record = {"machine": machine.describe(device)}
    results["machine"]["keeps_memory"] = machine.keep_memory(device)  # in this process
    results["options"] = {"quick": job.quick, "repeats": options.repeats, "dtypes": job.dtypes}
    results["seconds"], results["errors"] = {}, {}
    path = options.output or default_path(results["machine"])
    path.parent.mkdir(parents=True, exist_ok=True)
    started, share = time.monotonic(), 0.0
    with Crew(device) as crew:
        for part in options.parts:
            share += SHARES[part] / sum(SHARES[name] for name in options.parts)
            left = share * options.budget - (time.monotonic() - started)
            # No case begins after its part's time, and one that has begun is cut short then.
            effort = replace(job.effort, deadline=time.monotonic() + left)
            run_part(part, replace(job, budget=left, effort=effort), crew, results)
            write_text(path, dumps(results))
    print(f"wrote {path} in {time.monotonic() - started:.0f} s")
    if results["errors"]:
        raise SystemExit(f"failed: {', '.join(results['errors'])}")


def run_part(part: str, job: Job, crew: Crew, results: Record) -> None:
    """Adds the records of a part, or its error, and its seconds."""
    functions: dict[str, Callable[[], list[Record]]] = {
        "ceilings": lambda: machine.ceilings(job),
        "ops": lambda: ops.run(job),
        "synthesis": lambda: synthesis.run(job, crew),
        "training": lambda: training.run(job, crew),
    }
    started = time.monotonic()
    print(f"{part} ...", flush=True)
    try:
        results[part] = functions[part]()
    except Exception as error:  # the other parts still run
        traceback.print_exc()
        results[part], results["errors"][part] = [], f"{type(error).__name__}: {error}"
    results["seconds"][part] = round(time.monotonic() - started, 1)
    print(f"{part}: {len(results[part])} records, {results['seconds'][part]} s", flush=True)


def default_path(about: Record) -> Path:
    name = re.sub(r"[^a-z0-9]+", "-", about["device"].lower()).strip("-")
    return machine.ROOT / "docs" / "benchmarks" / f"{about['date'][:10]}-{name}.json"


def dumps(results: Record) -> str:
    """Returns JSON with one record per line, for readable diffs."""
    parts = []
    for key, value in results.items():
        if isinstance(value, list):
            text = "[\n" + ",\n".join(json.dumps(record) for record in value) + "\n]"
        else:
            text = json.dumps(value, indent=1)
        parts.append(f"{json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    main()
