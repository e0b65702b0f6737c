"""Fuzzes readers with atheris: `python -m tests.fuzz READER --seconds 600`, or --all for each.

A finding is any exception but StylemixError, more than 10 seconds or more than 1 GiB; its input is
written to the folder of --findings. Exit code 1 with findings. Needs `pip install '.[fuzz]'`.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from pathlib import Path

NAMES = (
    "pickle", "torch", "safetensors", "header", "latent",
    "tensorflow", "image", "archive", "labels", "options",
)  # fmt: skip
MODULES = ["stylemix", "zipfile", "tarfile", "tomllib", "numpy.lib", "csv", "PIL"]
SECONDS, MEGABYTES = 10, 1024


def fuzz(name: str, seconds: int, findings: Path) -> None:
    """Fuzzes one reader in this process, which ends with it."""
    import atheris

    from stylemix.errors import StylemixError
    from tests.fuzz import readers

    os.dup2(os.open(findings / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    place = Path(tempfile.mkdtemp(prefix=f"stylemix-fuzz-{name}-"))
    os.environ["STYLEMIX_CACHE"] = str(place / "cache")
    readers.PLACE = place
    reader, seeds = readers.READERS[name], place / "seeds"
    seeds.mkdir()
    for number, data in enumerate(reader.seeds()):
        (seeds / str(number)).write_bytes(data)

    def once(data: bytes) -> None:
        try:
            reader.read(data)
        except StylemixError as error:
            if not str(error).isprintable():
                raise ValueError("an error of more than a line") from error

    options = [
        f"-max_total_time={seconds}", f"-timeout={SECONDS}", f"-rss_limit_mb={MEGABYTES}",
        f"-malloc_limit_mb={MEGABYTES}", f"-artifact_prefix={findings}/{name}-",
        "-print_final_stats=1", f"-max_len={readers.MAX_SEED}", "-detect_leaks=0",
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, str(seeds)], once)
    atheris.Fuzz()


def report(name: str, code: int, findings: Path) -> bool:
    """Prints a row about a reader; returns whether it is clean."""
    log = findings / f"{name}.log"
    text = log.read_text(errors="replace")

    def last(pattern: str) -> str:
        return (re.findall(pattern, text) or ["?"])[-1]

    units, edges = last(r"number_of_executed_units:\s+(\d+)"), last(r"cov: (\d+)")
    peak, clean = last(r"peak_rss_mb:\s+(\d+)"), code == 0 and "Uncaught" not in text
    end = "no finding" if clean else f"see {log}"
    print(f"{name:12} {units:>9} inputs, {edges:>5} edges, {peak:>5} MB, {end}", flush=True)
    return clean


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("reader", nargs="*", help=", ".join(NAMES))
    parser.add_argument("--all", action="store_true", help="every reader")
    parser.add_argument("--seconds", type=int, default=600, help="for each reader (600)")
    parser.add_argument("--jobs", type=int, default=2, help="readers at a time (2)")
    parser.add_argument("--findings", type=Path, default=Path(tempfile.gettempdir()) / "findings")
    given = parser.parse_args()
    names = list(NAMES if given.all else given.reader)
    if not names or not set(names) <= set(NAMES):
        parser.error(f"expected --all or some of {', '.join(NAMES)}")
    given.findings.mkdir(parents=True, exist_ok=True)
    os.environ["STYLEMIX_OPS"] = "torch"
    import atheris
    import torch  # before the others, so that its modules are not instrumented

    torch.set_num_threads(1)
    with atheris.instrument_imports(include=MODULES):
        from tests.fuzz import readers  # noqa: F401
    running: dict[int, str] = {}
    clean = True
    while names or running:
        while names and len(running) < given.jobs:
            name = names.pop(0)
            child = os.fork()
            if not child:
                fuzz(name, given.seconds, given.findings)
                os._exit(1)
            running[child] = name
        child, status = os.wait()
        clean &= report(running.pop(child), os.waitstatus_to_exitcode(status), given.findings)
    return int(not clean)


if __name__ == "__main__":
    sys.exit(main())
