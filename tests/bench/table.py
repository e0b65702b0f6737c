"""Tables of results, with missed goals marked: `python -m tests.bench.table FILE...`.

Prints Markdown; with `--update PAGE` it rewrites the text between the two marks of that page.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.bench.machine import ROOT
from tests.bench.timing import Record

SPEED = "images_per_second"
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
FOLDER = ROOT / "docs" / "benchmarks"
# Goals as multiples of the textbook's images per second in float32, on a CPU.
SYNTHESIS = {(64, "fp32"): 3.0, (64, "bf16"): 6.0, (256, "fp32"): 2.2, (256, "bf16"): 4.0}
STEP = {(64, "fp32"): 2.5, (64, "bf16"): 4.0}  # the same for the generator's step
SHARE = {"cpu": 0.6, "cuda": 0.85}  # of the copy bandwidth
# Seconds per kimg on a GPU by resolution: published for one A100, and the goal on an H100.
KIMG = {128: (6.79, 1.7), 256: (12.53, 4.0), 512: (41.06, 12.0), 1024: (90.39, 25.0)}
NAMES = {
    "textbook": "textbook", "literal": "textbook, zero insertion", "torch": "plain PyTorch",
    "ours": "ours", "compiled": "torch.compile", "convs": "limit",
}  # fmt: skip


def name_of(label: str) -> str:
    variant, _, allocator = label.partition("@")
    text = NAMES[variant]
    return text if allocator in ("", "kept") and variant == "convs" else _join(text, allocator)


def _join(text: str, allocator: str) -> str:
    return f"{text} ({allocator})" if allocator else text


def grid(head: list[str], rows: Iterable[list[str]]) -> Iterator[str]:
    """Yields a Markdown table, or nothing without rows."""
    rows = list(rows)
    if rows:
        yield f"| {' | '.join(head)} |"
        yield f"| {' | '.join(['---'] * len(head))} |"
        yield from (f"| {' | '.join(row)} |" for row in rows)
        yield ""


def number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def verdict(value: float, goal: float | None, unit: str, less: bool = False) -> str:
    """Returns a value with its goal, in bold where it misses the goal."""
    text = f"{number(value)}{unit}"
    if goal is None:
        return text
    good = value <= goal if less else value >= goal
    return f"{text}, goal {goal:g}{unit}" if good else f"**{text}, misses {goal:g}{unit}**"


def value(result: Record | None, key: str = "median") -> float | None:
    return None if result is None or key not in result else float(result[key])


def cell(result: Record | None, key: str = "median", scale: float = 1) -> str:
    amount = value(result, key)
    if amount is not None:
        return number(amount * scale)
    return "-" if result is None else "failed"


def times(above: float | None, below: float | None, goal: float | None = None) -> str:
    return verdict(above / below, goal, "x") if above and below else "-"


def users(results: Record) -> tuple[str, str]:
    """Returns the labels in normal use: the textbook with the default allocator, and ours."""
    return ("textbook@default", "ours@kept") if "ours@kept" in results else ("textbook", "ours")


def picture(record: Record) -> str:
    return f"{record['resolution']} px x {record['batch']}"


def in_float32(records: list[Record], results_of: str, key: str) -> dict[str, float | None]:
    """Returns the textbook's results in float32 by size, which goals on a CPU are multiples of."""
    baseline = {}
    for r in records:
        results = r[results_of] if results_of == "results" else r[results_of]["g_main"]
        if r["dtype"] == "fp32":
            baseline[picture(r)] = value(results.get(users(results)[0]), key)
    return baseline


def synthesis(records: list[Record]) -> Iterator[str]:
    """Yields images per second, and the rate of the convolutions alone."""
    records = [r for r in records if "results" in r]
    labels = list(dict.fromkeys(label for r in records for label in r["results"]))
    base = in_float32(records, "results", SPEED)
    rows, rates = [], []
    for r in records:
        results, where = r["results"], [picture(r), r["dtype"]]
        cells = [cell(results.get(label), SPEED) for label in labels]
        theirs, ours = (value(results.get(label), SPEED) for label in users(results))
        limit = results.get("convs@kept", results.get("convs"))
        goal = SYNTHESIS.get((r["resolution"], r["dtype"])) if "ours@kept" in results else None
        rows.append([
            *where, *cells,
            times(ours, value(limit, SPEED)), times(ours, theirs),
            times(ours, base.get(picture(r)), goal),
        ])  # fmt: skip
        if seconds := value(limit):
            rate = number(r["conv_flops"] / seconds / 1e9)
            rates.append([*where, number(r["conv_flops"] / 1e9), rate])
    head = ["image", "dtype", *map(name_of, labels), "ours : limit", "ours : textbook"]
    yield from grid([*head, "ours : textbook in fp32"], rows)
    yield from grid(["convolutions of", "dtype", "GFLOP", "GFLOP/s"], rates)


def steps(records: list[Record]) -> Iterator[str]:
    """Yields milliseconds of the phases of a step, and seconds per kimg."""
    records = [r for r in records if "phases" in r]
    labels = list(dict.fromkeys(label for r in records for label in r["phases"]["g_main"]))
    base = in_float32(records, "phases", "median")
    rows, kimg = [], []
    for r in records:
        for phase, results in r["phases"].items():
            cells = [cell(results.get(label), scale=1000) for label in labels]
            theirs, ours = (value(results.get(label)) for label in users(results))
            limit = cell(r["limit"].get(phase), "seconds", 1000)
            last = "-"
            if phase == "g_main":
                goal = STEP.get((r["resolution"], r["dtype"])) if "ours@kept" in results else None
                last = times(base.get(picture(r)), ours, goal)
            rows.append([picture(r), r["dtype"], phase, *cells, limit, times(theirs, ours), last])
        for label, step in r["steps"].items():
            theirs, goal = (
                KIMG.get(r["resolution"], (None, None)) if "@" not in label else (0, None)
            )
            goal = goal if label == "ours" else None
            shown = verdict(step["seconds_per_kimg"], goal, " s", less=True)
            published = f"{theirs:g} s" if theirs else "-"
            kimg.append([picture(r), r["dtype"], name_of(label), shown, published])
    head = ["image", "dtype", "phase, ms", *map(name_of, labels), "limit", "textbook : ours"]
    yield from grid([*head, "textbook in fp32 : ours"], rows)
    yield from grid(["image", "dtype", "step of", "seconds per kimg", "one A100, published"], kimg)


def memory(records: list[Record]) -> Iterator[str]:
    """Yields the peak MiB of a run; the goal is no more than the textbook."""
    rows = []
    for r in (r for r in records if "peak" in r):
        kind = "step" if r["kind"] == "training memory" else "synthesis"
        peaks = r["peak"]
        theirs, ours = (value(peaks.get(k), "bytes") for k in users(peaks))
        shown = "-"
        if theirs and ours:
            goal = 1.0 if kind == "step" else None
            shown = verdict(ours / theirs, goal, "x", less=True)
        parts = [f"{name_of(k)} {cell(v, 'bytes', 2**-20)}" for k, v in peaks.items()]
        rows.append(
            [f"{kind} {r['resolution']} px x {r['batch']}", r["dtype"], "; ".join(parts), shown]
        )
    yield from grid(["peak memory of", "dtype", "MiB", "ours : textbook"], rows)


def ops(records: list[Record], device: str) -> Iterator[str]:
    """Yields GB/s of ours and its share of a copy, by size; a table for each dtype and layout."""
    records = [r for r in records if "results" in r]
    for dtype, layout in dict.fromkeys((r["dtype"], r["layout"]) for r in records):
        selected = [r for r in records if (r["dtype"], r["layout"]) == (dtype, layout)]
        sides = sorted({r["side"] for r in selected})
        rows = []
        for op, direction in dict.fromkeys((r["op"], r["pass"]) for r in selected):
            own = {
                r["side"]: r["results"] for r in selected if (r["op"], r["pass"]) == (op, direction)
            }
            ours = {side: found.get("native", found["torch"]) for side, found in own.items()}
            cells = [_share(ours.get(side), SHARE[device]) for side in sides]
            last = own[max(own)]
            best = value(ours[max(own)])
            rest = [times(value(last.get(k)), best) for k in ("textbook", "torch", "compiled")]
            rows.append([op, direction, *cells, *rest])
        yield f"{dtype}, {layout}: GB/s, share of a copy (goal {SHARE[device]:.0%})"
        yield ""
        head = ["op", "pass", *(f"{side} px" for side in sides)]
        yield from grid([*head, ": textbook", ": plain", ": compiled"], rows)


def _share(result: Record | None, goal: float) -> str:
    share = value(result, "share")
    if result is None or share is None:
        return "-" if result is None else "failed"
    text = f"{number(result['bytes_per_second'] / 1e9)}, {share:.0%}"
    return text if share >= goal else f"**{text}**"


def ceilings(records: list[Record]) -> Iterator[str]:
    copies = [r for r in records if r["what"] == "copy" and "bytes_per_second" in r]
    products = [r for r in records if r["what"] == "matmul" and "flops_per_second" in r]
    head = [f"copy {r['bytes'] / 2**20:.0f} MiB" for r in copies]
    head += [f"matmul {r['dtype']}" for r in products]
    cells = [f"{number(r['bytes_per_second'] / 1e9)} GB/s" for r in copies]
    cells += [f"{number(r['flops_per_second'] / 1e9)} GFLOP/s" for r in products]
    yield from grid(head, [cells] if cells else [])


def page(results: Record) -> Iterator[str]:
    """Yields all tables of one file."""
    about = results["machine"]
    quick = " (toy sizes, no measurement)" if results["options"]["quick"] else ""
    yield f"### {about['device']}, {about['date'][:10]}{quick}"
    yield ""
    native = ", ".join(f"{kind} {state.split(' (')[0]}" for kind, state in about["native"].items())
    yield (
        f"Commit {about['commit'][:10]}{' with changes' if about['changed'] else ''}, "
        f"PyTorch {about['torch']}, Python {about['python']}, {about['threads']} threads, "
        f"compiled ops: {native}; medians of {results['options']['repeats']}."
    )
    yield ""
    yield from ceilings(results.get("ceilings", []))
    yield from synthesis(results.get("synthesis", []))
    yield from steps(results.get("training", []))
    yield from memory(results.get("synthesis", []) + results.get("training", []))
    yield from ops(results.get("ops", []), about["device_type"])
    missing = [r["case"] for part in results.values() if isinstance(part, list) for r in part
               if "case" in r]  # fmt: skip
    if missing:
        more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
        yield f"Left out for want of time: {'; '.join(missing[:8])}{more}."
        yield ""
    for part, error in results["errors"].items():
        yield f"{part} failed: {error}"
        yield ""


def tables(files: list[Path]) -> str:
    """Returns the tables of files, newest first."""
    all_results = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    all_results.sort(key=lambda results: results["machine"]["date"], reverse=True)
    lines = [line for results in all_results for line in page(results)]
    return "\n".join(lines).strip() or "No results yet."


def updated(text: str, files: list[Path]) -> str:
    """Returns a page with new tables between its marks."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{tables(files)}\n\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.table", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, help="results; all in docs/benchmarks")
    parser.add_argument("--update", type=Path, metavar="PAGE", help="rewrite the tables of a page")
    options = parser.parse_args()
    files = options.files or sorted(FOLDER.glob("*.json"))
    if options.update:
        text = options.update.read_text(encoding="utf-8")
        options.update.write_text(updated(text, files), encoding="utf-8")
    else:
        print(tables(files))


if __name__ == "__main__":
    main()
