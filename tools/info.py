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
from stylemix.devices import find_device
from stylemix.errors import StylemixError
from stylemix.inversion.forecast import duration, forecast_image, forecast_projection
from stylemix.inversion.settings import PRESETS
from stylemix.models.checkpoint import find_model, load_model, shipped_models
from stylemix.models.container import MODEL, read
from stylemix.models.header import parse_header
from stylemix.networks.batches import image_bytes
from stylemix.ops import jit, toolchain
from stylemix.styles.directions import face_count
from stylemix.styles.style import (
    find_style,
    load_style,
    shipped_directions,
    shipped_starts,
    shipped_styles,
)
from stylemix.tools.options import device_option
from stylemix.training.adapt.look_loss import LookSettings

PACKAGES = ("torch", "numpy", "scipy", "pillow", "safetensors")
OPS = ("bias_act", "upfirdn2d", "epilogue", "conv2d_resample", "grid_sample")
GIB = 2**30
LOOK_COST = 5  # images' time of a face in a step of `adapt`: with and without style, gradients


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


def describe_model(name: str, device: str) -> list[tuple[str, str]]:
    """Return (label, text) lines about a model: its sizes, and what its tasks take here."""
    model = load_model(name, find_device(device))
    sizes, generator = model.generator.config, model.generator
    millions = sum(value.numel() for value in generator.parameters()) / 1e6
    networks = "generator and discriminator" if model.discriminator else "generator"
    licence = model.card.get("licence", "not recorded")
    image = forecast_image(model)
    lines = [
        ("model", f"{sizes.size_text}, {sizes.colours}, {networks}, {millions:.1f} M weights"),
        ("origin", f"{model.origin}, licence: {licence}, fingerprint {model.fingerprint}"),
        ("template", model.template.name),
        ("classes", str(sizes.c_dim or "none")),
        ("generate", f"{image} an image"),
    ]
    for preset, settings in PRESETS.items():
        text = f"{forecast_projection(model, settings)} a photo"
        lines.append((f"project {preset}", text))
    lines.append(("mix, edit", f"about {duration(image.seconds)} an image after a projection"))
    if model.template.eyes is not None:
        count = face_count(generator)
        text = f"about {duration(count * image.seconds)}, once, for directions such as smile"
        lines.append(("edit", f"{text} (kept in the cache)"))
    look = LookSettings()
    seconds = look.steps * look.batch * LOOK_COST * image.seconds
    batch = look.batch * image_bytes(generator, gradients=True) / GIB
    lines.append(("adapt", f"about {duration(seconds)}, {batch + 1:.1f} GiB for a look"))
    return lines


@click.command()
@click.argument("model", required=False)
@device_option
@click.option("--build", is_flag=True, help="Compile the ops now, and print the time it took.")
def info_command(model: str | None, device: str, build: bool) -> None:
    """Show versions, devices, op backends and the shipped models and styles.

    With MODEL, a shipped name or a file, show its sizes, and the time and the memory that its
    tasks are expected to take on this machine.

    Please include this in a bug report. With --build the ops are compiled for this machine now,
    instead of at their first use.

    \b
    Examples:
      stylemix info
      stylemix info --build
      stylemix info network.pkl
    """
    if build:
        for label, text in build_ops():
            click.echo(f"{label}  {text}")
    lines = describe() if model is None else describe_model(model, device)
    width = max(len(label) for label, _ in lines)
    for label, text in lines:
        click.echo(f"{label:<{width}}  {text}")
