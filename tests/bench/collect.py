"""Collects results of a rented machine: a run's progress in a line, and few files of limited size.

    python -m tests.bench.collect progress RUN --since 12.8
    python -m tests.bench.collect pack OUT --models FOLDER --runs RUNS --keep NAME

No slow imports here, since machine time is limited.
"""

from __future__ import annotations

import argparse
import json
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path

FULL = "with-discriminator"  # in the name of a model of the run to keep


def progress(run: Path, since: float) -> str:
    """Returns the kimg of a run, and its seconds per kimg since `since` kimg."""
    path, pairs = run / "stats.jsonl", [(0.0, 0.0)]
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):  # an incomplete last line
                stats = json.loads(line)
                pairs.append((stats["Progress/kimg"], stats["Timing/total_sec"]))
    before = max(pair for pair in pairs if pair[0] <= since)
    kimg, seconds = pairs[-1][0] - before[0], pairs[-1][1] - before[1]
    return f"{pairs[-1][0]:g} kimg" + (f", {seconds / kimg:.4g} s/kimg" if kimg > 0 else "")


class Room:
    """The remaining number of files and bytes."""

    def __init__(self, out: Path, files: int, size: int, part: int) -> None:
        self.out, self.files, self.bytes, self.part = out, files, size, part

    def takes(self, *sizes: int) -> bool:
        """Returns whether files of these sizes fit together."""
        return sum(sizes) <= self.bytes and sum(map(self._parts, sizes)) <= self.files

    def _parts(self, size: int) -> int:
        return -(-size // self.part)

    def put(self, name: str, paths: list[Path]) -> str:
        """Writes a tar of files, split into NAME.01-of-03 if too large; returns its size."""
        with tempfile.TemporaryDirectory() as scratch:  # so that no partial file is visible
            whole = Path(scratch) / name
            with tarfile.open(whole, "w") as tar:
                for path in paths:
                    tar.add(path, path.name)
            size = whole.stat().st_size
            count = self._parts(size)
            self.files, self.bytes = self.files - count, self.bytes - size
            with whole.open("rb") as file:
                for i in range(1, count + 1):
                    part = name if count == 1 else f"{name}.{i:02d}-of-{count:02d}"
                    (self.out / part).write_bytes(file.read(self.part))
        return f"{size / 2**20:.1f} MiB in {count} files"


def size_of(paths: list[Path]) -> int:
    """Returns an upper bound of the bytes of a tar of these files."""
    return sum(path.stat().st_size + 2048 for path in paths) + 10240 if paths else 0


def state_of(run: Path) -> list[Path]:
    """Returns the files that a run resumes from, if it has a state."""
    states = sorted(run.glob("state-*.safetensors"))
    more = [run / name for name in ("stats.jsonl", "training_options.json")]
    return [*states[-1:], *filter(Path.is_file, more)] if states else []


def pack(room: Room, models: Path, run: Path, keep: str) -> list[str]:
    """Packs models and images, and the state of the run to keep or else its discriminator.

    Files that do not fit are left out and reported, those of the run to keep last. Returns lines
    for a summary.
    """
    files = [path for path in models.iterdir() if path.suffix in (".safetensors", ".png")]
    files.sort(key=lambda path: (not path.name.startswith(f"{keep}-"), path))
    full = [path for path in files if FULL in path.name]
    small = [path for path in files if path not in full]
    state = state_of(run)
    lines = []
    if state and room.takes(size_of(small), size_of(state)):
        lines.append(f"state of {keep}: {room.put('run.tar', state)}")
    elif state:
        lines.append(
            f"state of {keep}: LEFT OUT, {size_of(state) / 2**20:.1f} MiB; it is in the run folder"
        )
        name = f"{keep}-snapshot"
        others = [path for path in small if not path.name.startswith(name)]
        if full and room.takes(size_of(full + others)):
            small = [*full, *others]
    chosen: list[Path] = []
    for path in small:
        if room.takes(size_of([*chosen, path])):
            chosen.append(path)
        else:
            lines.append(f"{path.name}: LEFT OUT, {path.stat().st_size / 2**20:.1f} MiB")
    if chosen:
        names = ", ".join(path.name for path in chosen if path.suffix == ".safetensors")
        lines.append(f"models: {room.put('models.tar', chosen)}; {names}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.collect", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("progress")
    one.add_argument("run", type=Path)
    one.add_argument("--since", type=float, default=0, help="kimg")
    one = commands.add_parser("pack")
    one.add_argument("out", type=Path)
    one.add_argument("--models", type=Path, required=True)
    one.add_argument("--runs", type=Path, required=True)
    one.add_argument("--keep", required=True, help="name of the run whose state matters")
    one.add_argument("--files", type=int, default=6)
    one.add_argument("--bytes", type=int, default=60 << 20, help="together")
    one.add_argument("--part", type=int, default=15 << 20, help="bytes of a file at most")
    options = parser.parse_args()
    if options.command == "progress":
        print(progress(options.run, options.since))
        return
    room = Room(options.out, options.files, options.bytes, options.part)
    print(*pack(room, options.models, options.runs / options.keep, options.keep), sep="\n")


if __name__ == "__main__":
    main()
