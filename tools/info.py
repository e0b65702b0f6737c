"""What runs here: versions, devices, op backends, and the models and styles that are shipped."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

import click
import torch
from safetensors import safe_open

from stylemix import __version__, ops
from stylemix.checkpoint import find_model, shipped_models
from stylemix.model_header import Header, parse_header, parse_json
from stylemix.style import find_style, load_style, shipped_styles

PACKAGES = ("torch", "numpy", "scipy", "pillow", "safetensors")
OPS = ("bias_act", "upfirdn2d", "conv2d_resample", "grid_sample")
GIB = 2**30


def describe() -> list[tuple[str, str]]:
    """Return (label, text) lines about the software, the devices and the shipped files."""
    lines = [("stylemix", __version__)]
    lines.append(("python", f"{platform.python_version()} on {platform.platform(terse=True)}"))
    lines += [(name, metadata.version(name)) for name in PACKAGES]
    lines.append(("cpu", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads in use"))
    lines.append(("cuda", _cuda()))
    lines += [(f"op {name}", ", ".join(ops.backends(name))) for name in OPS]
    lines += [(f"model {name}", _model(find_model(name))) for name in shipped_models()]
    lines += [(f"style {name}", _style(name)) for name in shipped_styles()]
    return lines


def _style(name: str) -> str:
    style = load_style(name)
    method = style.info.get("method", "?")
    return f"{method}, {_size(find_style(name))}, for the base {style.base}"


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
    header = _header(file)
    kept = "generator and discriminator" if header.discriminator else "generator"
    return f"{header.generator.img_resolution} px, {kept}, {_size(file)}, {header.fingerprint}"


def _header(file: Path) -> Header:
    with safe_open(file, framework="pt") as handle:
        data = handle.metadata() or {}
    return parse_header(parse_json(data.get("config"), str(file)), str(file))


def _size(file: Path) -> str:
    size = file.stat().st_size
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


@click.command()
def info_command() -> None:
    """Show versions, devices, op backends and the shipped models and styles.

    Please put this into a bug report.

    \b
    Example:
      stylemix info
    """
    lines = describe()
    width = max(len(label) for label, _ in lines)
    for label, text in lines:
        click.echo(f"{label:<{width}}  {text}")
