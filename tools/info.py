"""`stylemix info`: versions, devices, op backends, and the shipped models and styles."""

from __future__ import annotations

import os
import platform
import time
import warnings
from importlib import metadata
from pathlib import Path
from subprocess import CalledProcessError

import click
import torch

from stylemix import __version__
from stylemix.errors import StylemixError
from stylemix.models.checkpoint import find_model, shipped_models
from stylemix.models.container import MODEL, read
from stylemix.models.header import parse_header
from stylemix.ops import jit, toolchain
from stylemix.styles.style import (
    find_style,
    load_style,
    shipped_directions,
    shipped_starts,
    shipped_styles,
)

PACKAGES = ("torch", "numpy", "scipy", "pillow", "safetensors")
OPS = ("bias_act", "upfirdn2d", "epilogue", "conv2d_resample", "grid_sample")
GIB = 2**30


def describe() -> list[tuple[str, str]]:
    """Return (label, text) lines about the software, the devices and the shipped files."""
    lines = [("stylemix", __version__)]
    lines.append(("python", f"{platform.python_version()} on {platform.platform(terse=True)}"))
    lines += [(name, metadata.version(name)) for name in PACKAGES]
    lines.append(("cpu", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads in use"))
    lines.append(("cuda", _cuda()))
    statuses = {kind: _compiled(kind) for kind in jit.KINDS}
    lines += [(f"op {name}", _op(name, statuses)) for name in OPS]
    lines += [(f"{kind} ops", _explain(status)) for kind, status in statuses.items()]
    lines += [("c++", _tool("cpu")), ("nvcc", _tool("cuda")), ("ninja", _ninja())]
    lines += [(f"model {name}", _model(find_model(name))) for name in shipped_models()]
    lines += [(f"style {name}", _style(name)) for name in shipped_styles()]
    lines += [(f"direction {name}", _style(name)) for name in shipped_directions()]
    lines += [(f"start {name}", _style(name)) for name in shipped_starts()]
    return lines


def build_ops() -> list[tuple[str, str]]:
    """Compile the ops for the devices here, or as requested; return (label, text) lines.

    Raises StylemixError if this fails; ops compiled before the failure are kept.
    """
    lines = []
    for kind in jit.KINDS:
        requested = "STYLEMIX_CUDA_ARCHS" in os.environ
        if kind == "cuda" and not requested and not torch.cuda.is_available():
            continue
        exists, start = jit.status(kind).where is not None, time.monotonic()
        try:
            path = jit.library(kind)
        except jit.NativeUnavailable as error:
            raise StylemixError(f"cannot compile the {kind} ops: {error}") from error
        result = "already compiled" if exists else f"compiled in {time.monotonic() - start:.1f} s"
        lines.append((f"{kind} ops", f"{result}: {path}"))
        status = _compiled(kind)
        if status.state == "failed":
            raise StylemixError(f"cannot use the {kind} ops: {status.reason}")
    return lines


def _compiled(kind: str) -> jit.Status:
    """The status of the ops for a kind of device; loads them if they are compiled."""
    if jit.status(kind).state == "built" and (kind == "cpu" or torch.cuda.is_available()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the reason is printed with the status
            jit.load(kind)
    return jit.status(kind)


def _op(name: str, statuses: dict[str, jit.Status]) -> str:
    if not hasattr(torch.ops.stylemix, name):
        return "torch"
    return ", ".join(
        f"{kind}: {_backend(status)}"
        for kind, status in statuses.items()
        if kind == "cpu" or torch.cuda.is_available()
    )


def _backend(status: jit.Status) -> str:
    if status.state == "not built" and not status.reason:
        return "native, once it is compiled"
    return "native" if status.state in ("loaded", "built") else "torch"


def _explain(status: jit.Status) -> str:
    note = f" ({status.reason})" if status.reason else ""
    if status.where is not None:
        return f"{status.state}: {status.where}{note}"
    if status.state == "not built" and (not note or status.reason.startswith("ignores")):
        return f"compiled at first use, or now by stylemix info --build{note}"
    return f"none: {status.reason}"


def _tool(kind: str) -> str:
    try:
        command, version = toolchain.compiler(kind)
    except jit.NativeUnavailable as error:
        return f"none: {error}"
    lines = version.splitlines() or ["?"]
    line = next((line for line in lines if "release" in line), lines[0])
    return f"{line} ({' '.join(command)})"


def _ninja() -> str:
    try:
        command = toolchain.ninja()
        return f"{toolchain.version_of(tuple(command))} ({' '.join(command)})"
    except (jit.NativeUnavailable, OSError, CalledProcessError) as error:
        return f"none: {error}"


def _style(name: str) -> str:
    style = load_style(name)
    method = style.info.get("method", "?")
    base = "for every model of faces" if style.is_student else f"for the base {style.base}"
    return f"{method}, {_size(find_style(name))}, {base}"


def _cuda() -> str:
    if not torch.cuda.is_available():
        built = torch.version.cuda
        return "no device" if built else "none: this PyTorch is a build without CUDA"
    names = []
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        names.append(f"{device.name}, {device.total_memory / GIB:.0f} GiB")
    return f"{torch.version.cuda}: {'; '.join(names)}"


def _model(file: Path) -> str:
    header = parse_header(read(file).expect(MODEL).header, str(file))
    networks = "generator and discriminator" if header.discriminator else "generator"
    sizes = header.generator
    colours = "" if sizes.colours == "RGB" else f", {sizes.colours}"
    return f"{sizes.size_text}{colours}, {networks}, {_size(file)}, {header.fingerprint}"


def _size(file: Path) -> str:
    size = file.stat().st_size
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


@click.command()
@click.option("--build", is_flag=True, help="Compile the ops now, and print the time it took.")
def info_command(build: bool) -> None:
    """Show versions, devices, op backends and the shipped models and styles.

    Please include this in a bug report. With --build the ops are compiled for this machine now,
    instead of at their first use.

    \b
    Examples:
      stylemix info
      stylemix info --build
    """
    if build:
        for label, text in build_ops():
            click.echo(f"{label}  {text}")
    lines = describe()
    width = max(len(label) for label, _ in lines)
    for label, text in lines:
        click.echo(f"{label:<{width}}  {text}")
