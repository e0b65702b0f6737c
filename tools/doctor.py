"""`stylemix doctor`: versions, devices, op backends, extras, and whether the core works."""

from __future__ import annotations

import os
import platform
import re
import time
import warnings
from importlib import metadata
from subprocess import SubprocessError

import click
import torch
from PIL import features

from stylemix import __version__
from stylemix.errors import StylemixError
from stylemix.faces.detector import load_detector
from stylemix.messages import result, say, say_table
from stylemix.models.checkpoint import load_model
from stylemix.models.loading import DEFAULT_MODEL
from stylemix.networks.sampling import sample_images
from stylemix.ops import jit, toolchain
from stylemix.ops.errors import NativeUnavailable
from stylemix.options_file import find_options_file

PACKAGES = ("torch", "numpy", "scipy", "pillow", "safetensors")
OPS = ("bias_act", "upfirdn2d", "epilogue", "conv2d_resample", "grid_sample")
GIB = 2**30
# What the extras are for that are not only for development.
PURPOSES = {
    "app": "the app in the browser",
    "c2pa": "Content Credentials, the signed marks of generated images",
    "encryption": "encrypting kept latents",
    "fid": "FID with the published features",
    "heic": "HEIC photos, as iPhones make them",
    "hub": "models of the Hugging Face Hub",
    "onnx": "ONNX files",
    "shards": "training data in shards",
    "sweep": "choosing training options",
    "tensorboard": "watching a training run",
    "video": "videos as MP4",
}


def describe() -> list[tuple[str, str]]:
    """Returns (label, text) lines about the software, the devices and what is missing."""
    lines = [("stylemix", __version__)]
    lines.append(("python", f"{platform.python_version()} on {platform.platform(terse=True)}"))
    lines += [(name, metadata.version(name)) for name in PACKAGES]
    lines.append(("cpu", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads in use"))
    lines.append(("cuda", _cuda()))
    statuses = {kind: _compiled(kind) for kind in jit.KINDS}
    lines += [(f"op {name}", _op(name, statuses)) for name in OPS]
    lines += [(f"{kind} ops", _explain(status)) for kind, status in statuses.items()]
    lines += [("c++", _tool("cpu")), ("nvcc", _tool("cuda")), ("ninja", _ninja())]
    known = "avif" in features.get_supported_modules()  # not even a name in older ones
    avif = "read" if known else "missing: pip install --upgrade pillow"
    lines.append(("avif images", avif))
    lines.append(("defaults", str(find_options_file() or "no stylemix.toml")))
    lines += [(f"extra {name}", _extra(name, packages)) for name, packages in extras().items()]
    return lines


def extras() -> dict[str, list[str]]:
    """The extras of the installed package that users choose, each with the packages it brings."""
    brought: dict[str, list[str]] = {}
    try:
        requirements = metadata.requires("stylemix") or []
    except metadata.PackageNotFoundError:  # a checkout that is run in place
        requirements = []
    for requirement in requirements:
        match = re.match(r"([\w.-]+).*extra *== *['\"]([\w-]+)['\"]", requirement)
        if match is not None and match[2] in PURPOSES:
            brought.setdefault(match[2], []).append(match[1])
    return brought


def _extra(name: str, packages: list[str]) -> str:
    """The versions of the packages of an extra, or how to get those that are missing."""
    missing = []
    versions = []
    for package in packages:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            missing.append(package)
    if not missing:
        return ", ".join(versions)
    return f"missing {', '.join(missing)}, for {PURPOSES[name]}: pip install 'stylemix[{name}]'"


def check_core() -> str:
    """Generates an image on the CPU; StylemixError if the installation cannot do so."""
    start = time.monotonic()
    try:
        generator = load_model(DEFAULT_MODEL).generator
        sample_images(generator, [0], 0.7)
        load_detector("cpu")
    except Exception as error:  # whatever is broken in PyTorch or in the shipped files
        raise StylemixError(
            f"got {type(error).__name__} when generating an image ({error}); expected a complete "
            "installation; install stylemix again"
        ) from error
    return f"an image of {DEFAULT_MODEL} was generated in {time.monotonic() - start:.1f} s"


def build_ops() -> list[tuple[str, str]]:
    """Compiles the ops for the devices here, or as requested; returns (label, text) lines.

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
        except NativeUnavailable as error:
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
        return f"compiled at first use, or now by stylemix doctor --build{note}"
    return f"none: {status.reason}"


def _tool(kind: str) -> str:
    try:
        command, version = toolchain.compiler(kind)
    except NativeUnavailable as error:
        return f"none: {error}"
    lines = version.splitlines() or ["?"]
    line = next((line for line in lines if "release" in line), lines[0])
    return f"{line} ({' '.join(command)})"


def _ninja() -> str:
    try:
        command = toolchain.ninja()
        return f"{toolchain.version_of(tuple(command))} ({' '.join(command)})"
    except (NativeUnavailable, OSError, SubprocessError) as error:
        return f"none: {error}"


def _cuda() -> str:
    if not torch.cuda.is_available():
        built = torch.version.cuda
        return "no device" if built else "none: this PyTorch is a build without CUDA"
    names = []
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        names.append(f"{device.name}, {device.total_memory / GIB:.0f} GiB")
    return f"{torch.version.cuda}: {'; '.join(names)}"


@click.command("doctor")
@click.option("--build", is_flag=True, help="Compile the ops now, and print the time it took.")
def doctor_command(build: bool) -> None:
    """Check the installation: versions, devices, compiled ops, and what is missing.

    Each line that begins with "missing" ends with the command that gets it; everything else works
    without it. The exit code is 0 unless no image can be generated.

    Please include this in a bug report. With --build the ops are compiled for this machine now,
    instead of at their first use.

    \b
    Examples:
      stylemix doctor
      stylemix doctor --build
    """
    if build:
        for label, text in build_ops():
            say(f"{label}  {text}")
    lines = describe()
    say_table(lines)
    result(**dict(lines))
    say_table([("works", check_core())])
