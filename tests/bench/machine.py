"""The machine of a benchmark: versions, device, backends, and peak rates."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

import torch

from stylemix import memory, ops
from stylemix.ops import jit
from tests.bench.timing import Contestant, Job, Record, interleave, timed

ROOT = Path(__file__).resolve().parents[2]
OPS = ("bias_act", "upfirdn2d", "epilogue")
# "fp32" is full float32, "tf32" with the rounding of tensor cores.
DTYPES = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
MIB = 2**20


def default_dtypes(device: torch.device) -> list[str]:
    return ["fp32", "bf16"] if device.type == "cpu" else ["tf32", "fp16", "bf16", "fp32"]


@contextmanager
def precision(name: str) -> Iterator[torch.dtype]:
    """Yields the dtype of a name, with TF32 enabled or disabled inside the block."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = name != "fp32"
    try:
        yield DTYPES[name]
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def describe(device: torch.device) -> Record:
    """Returns everything that is needed to reproduce a measurement."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD") or os.environ.get("COMMIT", "unknown"),
        "changed": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "device": device_name(device),
        "device_type": device.type,
        "cpu": _cpu(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "load": [round(load, 2) for load in os.getloadavg()],
        "os": platform.platform(),
        "libc": " ".join(platform.libc_ver()),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if device.type == "cuda" else None,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "backends": {op: ops.backends(op, device.type) for op in OPS},
        "native": {kind: _state(kind) for kind in jit.KINDS},
        "environment": {k: _no_folders(os.environ[k]) for k in sorted(os.environ) if _matters(k)},
    }


def _state(kind: str) -> str:
    state, _, why = jit.status(kind)
    return _no_folders(f"{state} ({why})" if why else state)


def _no_folders(text: str) -> str:
    """Reduces paths to their last component, since results are published."""
    return re.sub(r"(?<![\w.])/(\S+/)?", "", text)


def _matters(name: str) -> bool:
    starts = ("MALLOC_", "OMP_", "MKL_", "GOMP_", "KMP_", "STYLEMIX_", "CUDA_", "PYTORCH_")
    return name.startswith(starts) or name == "LD_PRELOAD"


def _git(*words: str) -> str:
    try:
        command = ["git", "-C", str(ROOT), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""  # a copy without history


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} x {names[0] if names else platform.processor() or platform.machine()}"


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu()


def keep_memory(device: torch.device) -> bool:
    """Configures the allocator as the commands do, so that freed memory is not returned."""
    return device.type == "cpu" and memory.keep_memory()


def copying(size: int, device: torch.device) -> Contestant:
    """Copies `size` bytes into allocated memory: `size` read and `size` written."""
    source = torch.rand(max(size // 4, 1), device=device)
    target = torch.zeros_like(source)
    return lambda loops: timed(lambda: target.copy_(source), device, loops)


def multiplying(side: int, dtype: str, device: torch.device) -> Contestant:
    """Multiplies two square matrices into a third."""
    a, b = (torch.randn([side, side], device=device).to(DTYPES[dtype]) for _ in range(2))
    out = torch.empty_like(a)

    def run(loops: int) -> float:
        with precision(dtype):
            return timed(lambda: torch.mm(a, b, out=out), device, loops)

    return run


def ceilings(job: Job) -> list[Record]:
    """Copy bandwidth by size of the copy, and matrix products by dtype.

    The rate of convolutions is measured with the networks, on their own shapes.
    """
    device, quick = job.device, job.quick
    largest = 4 if quick else 4096 if job.on_gpu else 128
    sizes = [MIB * 4**i for i in range(7) if 4**i <= largest]
    side = 128 if quick else 8192 if job.on_gpu else 2048
    records = []
    for size in sizes:
        summary = interleave({"copy": copying(size, device)}, job.effort)["copy"]
        rate = {"bytes_per_second": 2 * size / summary["median"]} if "median" in summary else {}
        records.append({"what": "copy", "bytes": size, **summary, **rate})
    for dtype in job.dtypes:
        summary = interleave({"matmul": multiplying(side, dtype, device)}, job.effort)["matmul"]
        rate = {"flops_per_second": 2 * side**3 / summary["median"]} if "median" in summary else {}
        records.append({"what": "matmul", "dtype": dtype, "side": side, **summary, **rate})
    return records
