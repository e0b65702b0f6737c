"""Seconds and memory of a training step: each phase, the step with its lazy regularisers, kimg."""

from __future__ import annotations

from tests.bench.subjects import PHASES, conv_flops, train_config
from tests.bench.timing import Clock, Effort, Job, Record
from tests.bench.worker import USERS, Crew, peaks

ON_CPU = ["textbook@default", "ours@default", "textbook@kept", "torch@kept", "ours@kept"]
ON_QUICK = ["textbook@default", "ours@kept"]
ON_GPU = ["ours", "torch", "textbook"]  # what is cut short at the deadline is the last
AUGMENT_P = 0.2  # for seconds per kimg: the augmentations cost the same at any p above 0


def cases(job: Job) -> list[Record]:
    """On a GPU the automatic settings of each size, the most telling first; a small step."""
    if job.quick:
        return [_case(16, batch=2, channel_base=128, channel_max=8)]
    sides = (256, 128, 1024, 512) if job.on_gpu else ()
    found = [_case(side, augment_p=AUGMENT_P) for side in sides]
    return [*found, _case(64, batch=16, channel_base=8192, channel_max=256)]


def memory_case(job: Job) -> Record:
    """The step whose peak memory has a goal."""
    if job.quick:
        return cases(job)[0]
    return _case(256, batch=4, channel_base=16384, channel_max=512)


def _case(resolution: int, **given: float) -> Record:
    spec = {"kind": "training", "resolution": resolution, "dtype": "fp32"} | given
    config = train_config(spec)
    sizes = {k: getattr(config, k) for k in ("batch", "channel_base", "channel_max")}
    return {k: v for k, v in (spec | sizes).items() if k != "dtype"}


def whole_step(spec: Record, phases: dict[str, float]) -> float:
    """Seconds of a step, with the regularisers' share by how often they run."""
    config = train_config(spec)
    lazy = phases["g_reg"] / config.g_reg_interval + phases["d_reg"] / config.d_reg_interval
    return phases["g_main"] + phases["d_main"] + phases["ema"] + lazy


def conv_limit(crew: Crew, spec: Record, effort: Effort) -> Record:
    """Seconds of the convolutions alone, were a backward pass as fast as a forward pass.

    A generator's step: forward, gradients of inputs and of weights through G; forward and gradients
    of inputs through D. The discriminator's: G forward, D three times, for reals and for fakes.
    """
    label = "convs@kept" if crew.device.type == "cpu" else "convs"
    seconds, flops = {}, {}
    for network in ("g", "d"):
        one = spec | {"network": network}
        summary = crew.measure(one, [label], ["run"], effort)["run"][label]
        if "median" not in summary:
            return summary
        seconds[network], flops[network] = summary["median"], conv_flops(one)
    count = {"g_main": {"g": 3, "d": 2}, "d_main": {"g": 1, "d": 6}}
    return {
        phase: {
            "seconds": sum(times[k] * seconds[k] for k in times),
            "conv_flops": sum(times[k] * flops[k] for k in times),
        }
        for phase, times in count.items()
    }


def run(job: Job, crew: Crew) -> list[Record]:
    """One record for each case and dtype, and those of the peak memory."""
    labels = ON_GPU if job.on_gpu else ON_QUICK if job.quick else ON_CPU
    # The loop knows float32 and bfloat16; on a GPU float32 is rounded to TF32, as PyTorch does.
    dtypes = [name for name in job.dtypes if name in ("tf32" if job.on_gpu else "fp32", "bf16")]
    clock, records = Clock(job.budget), []
    memory = [("memory", memory_case(job), name) for name in dtypes[: 1 if job.quick else 2]]
    todo = [("time", case, dtype) for case in cases(job) for dtype in dtypes]
    first = len(dtypes)
    if job.on_gpu:  # all sizes in the first dtype come before any in the second
        todo.sort(key=lambda one: dtypes.index(one[2]))
        first = 3
    lazy: dict[int, dict[str, Record]] = {}  # phases of the first dtype, by resolution
    for what, case, dtype in [*todo[:first], *memory, *todo[first:]]:
        spec, side = case | {"dtype": dtype}, case["resolution"]
        if not clock.allows(f"training {what} {side} px, {dtype}"):
            continue
        if what == "memory":
            both = [label for label in labels if not label.startswith("torch")]
            memory_peaks = peaks(job.device, spec, both, "both")
            records.append(spec | {"kind": "training memory", "peak": memory_peaks})
            continue
        phases = crew.measure(spec, labels, ["g_main", "d_main", "ema"], job.effort)
        if side not in lazy:
            selected = labels if job.on_gpu else [label for label in USERS if label in labels]
            lazy[side] = crew.measure(spec, selected, ["g_reg", "d_reg"], job.effort)
            records.append(spec | {"phases": phases | lazy[side]})
        else:  # they run in float32 whatever the dtype of the rest
            records.append(spec | {"phases": phases, "regularisers": "as above"})
        records[-1]["steps"] = _steps(spec, phases | lazy[side])
        records[-1]["limit"] = conv_limit(crew, spec, job.effort)
    return records + [{"kind": "left out", "case": case} for case in clock.left_out]


def _steps(spec: Record, phases: dict[str, dict[str, Record]]) -> Record:
    """The amortised step by label, where all phases were measured."""
    steps = {}
    for label in phases["g_reg"]:
        seconds = {phase: phases[phase][label].get("median") for phase in PHASES}
        if None not in seconds.values():
            step = whole_step(spec, seconds)
            steps[label] = {"seconds": step, "seconds_per_kimg": step * 1000 / spec["batch"]}
    return steps
