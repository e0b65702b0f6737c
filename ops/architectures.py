"""Target architectures of CPU and CUDA builds, and whether a library runs here."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
from pathlib import Path

import torch

from stylemix.ops.errors import NativeUnavailable

# CPU features that a microarchitecture level requires, by the names of /proc/cpuinfo.
_V3 = {"avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"}
_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
BF16 = {"avx512_bf16", "amx_bf16", "bf16"}  # any of them; the last one is Arm's
NEEDS = {"x86-64-v3": _V3, "x86-64-v4": _V4}


def cuda_archs() -> list[str]:
    """Returns compute capabilities ("90") to compile for: requested, else of the devices here."""
    asked = os.environ.get("STYLEMIX_CUDA_ARCHS", "")
    if not asked and torch.cuda.is_available():
        return cuda_archs_of_devices()
    asked = asked or os.environ.get("TORCH_CUDA_ARCH_LIST", "")
    names = [name.removesuffix("+PTX") for name in re.split(r"[;,\s]+", asked) if name]
    wrong = [name for name in names if not re.fullmatch(r"\d+\.\d[a-f]?|\d{2,3}[a-f]?", name)]
    if wrong:
        raise NativeUnavailable(
            f"got CUDA architecture {wrong[0]!r}; set STYLEMIX_CUDA_ARCHS like '8.0;9.0'"
        )
    return sorted({name.replace(".", "") for name in names}, key=_arch_order)


def cuda_archs_of_devices() -> list[str]:
    """Returns the compute capabilities of the devices here."""
    devices = range(torch.cuda.device_count())
    found = {torch.cuda.get_device_capability(index) for index in devices}
    return [f"{major}{minor}" for major, minor in sorted(found)]


def _arch_order(name: str) -> tuple[int, str]:
    return int(re.sub(r"\D", "", name)), name


def gencode(nvcc: str, archs: list[str]) -> list[str]:
    """Returns nvcc options: machine code for each architecture, and PTX of the last one.

    A device that is newer than nvcc gets PTX of the newest architecture that nvcc supports.
    """
    if not archs:
        cure = "set STYLEMIX_CUDA_ARCHS to what to compile for, like '8.0;9.0'"
        raise NativeUnavailable(f"no CUDA device; {cure}")
    done = subprocess.run([nvcc, "--list-gpu-arch"], capture_output=True, text=True, check=False)
    known = re.findall(r"compute_(\d+)$", done.stdout, re.M) or archs
    newest = max(known, key=_arch_order)
    options = []
    for arch in archs:
        number = re.sub(r"\D", "", arch)
        if number in known:
            options.append(f"-gencode=arch=compute_{arch},code=sm_{arch}")
        elif int(number) < int(newest):
            cure = "use the CUDA toolkit that fits the device, or STYLEMIX_OPS=torch"
            raise NativeUnavailable(f"{nvcc} does not know sm_{arch}; {cure}")
    last = archs[-1] if re.sub(r"\D", "", archs[-1]) in known else newest
    return [*options, f"-gencode=arch=compute_{last},code=compute_{last}"]


def cpu_march() -> str:
    """Returns the -march value: STYLEMIX_MARCH, else the processor here."""
    return os.environ.get("STYLEMIX_MARCH", "native" if platform.system() == "Linux" else "")


def portable_march() -> str:
    """Returns the -march value for libraries that other machines run."""
    common = "x86-64-v3" if platform.machine() in ("x86_64", "AMD64") else ""
    return os.environ.get("STYLEMIX_MARCH", common)


def cpu_features() -> set[str]:
    """Returns the features of the processor by their Linux names; empty on other systems."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return set()
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.M)
    return set(found[1].split()) if found else set()


def processor() -> str:
    """Returns a hash of the processor's features."""
    return hashlib.sha256(" ".join(sorted(cpu_features())).encode()).hexdigest()[:16]


def cpu_misfit(march: str, built_on: str) -> str:
    """Returns why code for `march` from a processor with this hash does not run here, or ""."""
    if march == "native" and built_on != processor():
        return "it is for another processor"
    have = cpu_features()
    lacks = sorted(NEEDS.get(march, set()) - have) if have else []
    return f"the processor has no {lacks[0]}, which {march} needs" if lacks else ""


def cuda_misfit(archs: list[str]) -> str:
    """Returns why code for `archs`, with PTX of the last one, does not run here, or ""."""
    if not torch.cuda.is_available():
        return ""
    numbers = [_arch_order(arch)[0] for arch in archs]
    for device in map(int, cuda_archs_of_devices()):
        # Machine code runs on later devices of the same generation, PTX on all later ones.
        same = any(number // 10 == device // 10 and number <= device for number in numbers)
        if not same and device < max(numbers, default=device + 1):
            return f"it is for {' '.join(f'sm_{arch}' for arch in archs)} and not for sm_{device}"
    return ""
