"""Runs the corpus and prints a tally: `python -m tests.hostile [KIND]`."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.hostile.check import check
from tests.hostile.corpus import KINDS, files


def main() -> int:
    total, wrong = Counter[str](), []
    print(f"{'kind':26} {'files':>5} {'reads':>5} {'most s':>7} {'most MB':>8}")
    for kind in KINDS:
        if len(sys.argv) > 1 and sys.argv[1] not in kind.name:
            continue
        seconds = megabytes = 0.0
        with tempfile.TemporaryDirectory() as folder:
            for name, path in files(kind, Path(folder)):
                total["files"] += 1
                for read in kind.readers:
                    result = check(read, path, kind.intact)
                    total["reads"] += 1
                    seconds = max(seconds, result.seconds)
                    megabytes = max(megabytes, result.megabytes)
                    if result.fault:
                        wrong.append(f"{kind.name}, {name}, {read.__name__}: {result.fault}")
                    if not path.exists():  # a reader of a folder renames it
                        path.parent.joinpath("dataset.json").rename(path)
        count = len(list(kind.make()))
        costs = f"{seconds:7.2f} {megabytes:8.0f}"
        print(f"{kind.name:26} {count:5} {count * len(kind.readers):5} {costs}", flush=True)
    print(f"{total['files']} files, {total['reads']} reads, {len(wrong)} faults")
    print("\n".join(wrong))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
