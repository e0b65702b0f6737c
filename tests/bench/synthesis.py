"""Images a second of the synthesis network: ours, plain PyTorch, the textbook, and the limit."""

from __future__ import annotations

from tests.bench.subjects import conv_flops
from tests.bench.timing import Clock, Job, Record
from tests.bench.worker import USERS, Crew, peaks

# On a CPU each under an allocator: the first is what the textbook's user has, the last what ours
# has; the pairs of the same allocator tell what is due to the formulation alone.
ON_CPU = [
    "textbook@default", "ours@default", "textbook@kept", "torch@kept", "ours@kept", "convs@kept",
]  # fmt: skip
ON_QUICK = ["textbook@default", "ours@kept", "convs@kept"]
ON_GPU = ["ours", "torch", "textbook", "convs"]


def cases(job: Job) -> list[Record]:
    """Sizes of networks and batches, the most important first."""
    if job.quick:
        return [_case(16, 256, 16, 2)]
    bases = {256: 16384, 512: 32768, 1024: 32768}
    requested = [side for side in bases if job.on_gpu and side in job.resolutions]
    large = [_case(side, bases[side], 512, n) for n in (32, 1) for side in requested]
    return [*large, _case(64, 8192, 256, 16), _case(256, 16384, 512, 4)]


def _case(resolution: int, base: int, most: int, batch: int) -> Record:
    return {
        "kind": "synthesis", "resolution": resolution, "channel_base": base, "channel_max": most,
        "batch": batch,
    }  # fmt: skip


def run(job: Job, crew: Crew) -> list[Record]:
    """One record for each case and dtype."""
    labels = ON_GPU if job.on_gpu else ON_QUICK if job.quick else ON_CPU
    todo = [(case, dtype, labels) for case in cases(job) for dtype in job.dtypes]
    if not (job.on_gpu or job.quick):
        todo[0] = (*todo[0][:2], [*labels, "literal@default"])
    if "synthesis" in job.compiled:  # at the end, since compiling a network takes minutes
        one = "compiled" if job.on_gpu else "compiled@kept"
        dtype = "bf16" if "bf16" in job.dtypes else job.dtypes[0]
        todo.append((cases(job)[0], dtype, [*labels, one]))
    clock, records = Clock(job.budget), []
    for case, dtype, now in todo:
        if not clock.allows(f"synthesis {case['resolution']} px x {case['batch']}, {dtype}"):
            continue
        spec = case | {"dtype": dtype}
        results = crew.measure(spec, now, ["run"], job.effort)["run"]
        for result in results.values():
            if "median" in result:
                result["images_per_second"] = round(case["batch"] / result["median"], 3)
        records.append(spec | {"conv_flops": conv_flops(spec), "results": results})
        if job.on_gpu or (dtype == job.dtypes[0] and not job.quick):
            both = [label for label in USERS if label in labels]
            records[-1]["peak"] = peaks(job.device, spec, both, "run")
    return records + [{"kind": "left out", "case": case} for case in clock.left_out]
