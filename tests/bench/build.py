"""Compiles the ops, or loads them, and prints the duration: `python -m tests.bench.build`.

Standard error has the output of the compilers, such as registers and spills of CUDA kernels.
"""

from __future__ import annotations

import sys
import time

from stylemix.ops import jit


def main(kinds: list[str]) -> None:
    failed = []
    for kind in kinds:
        before, started = jit.status(kind), time.monotonic()
        try:
            path = jit.library(kind, verbose=True)
        except jit.NativeUnavailable as error:
            failed.append(kind)
            print(f"{kind}: {error}", flush=True)
            continue
        seconds = time.monotonic() - started
        loaded = jit.load(kind)
        size = path.stat().st_size / 1024
        print(
            f"{kind}: was {before.state}; {seconds:.1f} s, {size:.0f} KiB, loads: {loaded}",
            flush=True,
        )
        if not loaded:
            failed.append(kind)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main(sys.argv[1:] or ["cpu"])
