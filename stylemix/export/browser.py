"""A folder with a page that draws faces and mixes seeds in a browser, without a server.

Everything that the page needs is a script beside it: networks and the runtime are base64 text in
scripts, since a page that is opened as a file may not fetch anything else.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from stylemix.avatars.finisher import TIMES, Finisher, enlarge
from stylemix.errors import StylemixError
from stylemix.export.export import describe
from stylemix.export.files import Deviation, check_packages, onnx_bytes
from stylemix.export.graphs import Graph, Tensors, model_graph, offset_layers, student_graph
from stylemix.faces.detector import Stage, load_detector
from stylemix.faces.templates import FACES128
from stylemix.io.assets import frozen_network
from stylemix.io.atomic import Json, write_bytes, write_text
from stylemix.io.files import StrPath
from stylemix.models.loading import DEFAULT_MODEL, AnyModel, use_model
from stylemix.models.model import Model
from stylemix.networks.latents import bands
from stylemix.networks.student import BRIGHTEST, DARKEST, EXPONENTS, FACE, MIDDLE
from stylemix.progress import Progress
from stylemix.styles.style import Style, load_style

SOURCE = Path(__file__).parent / "page"
PAGE = ("index.html", "page.css", "page.js", "runtime.js", "faces.js", "drawing.js", "latents.js")
# The scripts of onnxruntime-web for each kind of processor, and the binary that they load.
RUNTIMES = {"wasm": "ort-wasm-simd-threaded", "webgpu": "ort-wasm-simd-threaded.asyncify"}
PRECISION = "fp16"


class Enlarged(nn.Module):
    """A synthesis network, and the finisher after it."""

    def __init__(self, synthesis: nn.Module) -> None:
        super().__init__()
        self.synthesis, self.finisher = synthesis, frozen_network("finisher", "cpu", Finisher)

    def forward(self, ws: Tensor, offsets: Tensor) -> Tensor:
        """Returns images [N, 3, 256, 256]."""
        images: Tensor = self.finisher(self.synthesis(ws, offsets).clamp(-1, 1))
        return images


@torch.random.fork_rng(devices=[])  # preserves the caller's random state
def write_page(
    folder: StrPath,
    runtime: StrPath,
    styles: Sequence[str] = ("comic",),
    *,
    model: AnyModel = DEFAULT_MODEL,
    progress: Progress | None = None,
) -> dict[str, Deviation]:
    """Writes the page into a folder; returns the deviation of each of its networks.

    Args:
        folder: is made if it is missing.
        runtime: folder of the npm package onnxruntime-web.
        styles: drawn styles (students) to choose from, by name or file.
        model: whose faces are mixed: square, without classes.
        progress: a function of (done, total).

    Raises StylemixError for a missing runtime, a style without a student, two styles of one name,
    and a model that is not square or has classes.
    """
    check_packages()
    scripts = _runtime_scripts(Path(runtime))
    drawn = _drawn_styles(styles)
    network = use_model(model, "cpu")
    _check_model(network)
    graphs = page_graphs(drawn, network)
    page, written = Path(folder), {}
    for number, (name, graph) in enumerate(graphs.items()):
        data, written[name] = onnx_bytes(graph, {"name": name}, PRECISION)
        write_text(page / "models" / f"{name}.js", _script({name: data}))
        if progress is not None:
            progress(number + 1, len(graphs))
    for name, text in scripts.items():
        write_text(page / "runtime" / name, text)
    name = "model" if isinstance(model, Model) else Path(model).stem
    settings = json.dumps(page_settings(drawn, network, name), ensure_ascii=False, indent=1)
    write_text(
        page / "models" / "page.js", f"globalThis.stylemix = {{ page: {settings}, files: {{}} }};\n"
    )
    for file in PAGE:
        write_bytes(page / file, (SOURCE / file).read_bytes())
    return written


def _drawn_styles(styles: Sequence[str]) -> dict[str, Style]:
    """The styles by the names of their files, which the page shows."""
    drawn: dict[str, Style] = {}
    for name in dict.fromkeys(styles):
        if Path(name).stem in drawn:
            raise StylemixError(
                f"got two styles with the name {Path(name).stem}; expected different ones, since "
                "the page tells them apart by it; rename a file"
            )
        drawn[Path(name).stem] = load_style(name)
    if not drawn:
        raise StylemixError("got no style; expected a drawn one, such as comic; name it")
    return drawn


def page_graphs(styles: Mapping[str, Style], model: Model) -> dict[str, Graph]:
    """The networks of the page by the names of their files."""
    detector = load_detector()
    graphs = {
        "propose": _stage_graph(detector.propose, 24, ("score", "box"), step=1),
        "refine": _stage_graph(detector.refine, 24, ("score", "box")),
        "locate": _stage_graph(detector.output, 48, ("score", "box", "points")),
        "mapping": model_graph(model, "mapping"),
        "synthesis": model_graph(model, "synthesis"),
    }
    if _is_enlarged(model):
        graph = graphs["synthesis"]
        graphs["synthesis"] = replace(graph, network=Enlarged(graph.network).eval())
    return graphs | {
        f"style-{number}": student_graph(style) for number, style in enumerate(styles.values())
    }


def page_settings(styles: Mapping[str, Style], model: Model, name: str) -> dict[str, Json]:
    """What the scripts of the page have to know, as JSON values."""
    config, generator = model.generator.config, model.generator
    return {
        "styles": [
            {"file": f"style-{number}", **describe(name, style)}
            for number, (name, style) in enumerate(styles.items())
        ],
        "model": {
            **describe(name, model),
            "z_dim": generator.z_dim,
            "num_ws": generator.num_ws,
            "offsets": sum(offset_layers(generator).values()),
            "bands": {key: list(layers) for key, layers in bands(config.img_resolution).items()},
            "side": config.height * (TIMES if _is_enlarged(model) else 1),
            "channels": config.img_channels,
        },
        "template": [list(point) for point in FACES128.points or ()],
        "tone": {
            "face": list(FACE),
            "power": math.log((MIDDLE - DARKEST) / (BRIGHTEST - DARKEST)),
            "exponents": list(EXPONENTS),
        },
    }


def _is_enlarged(model: Model) -> bool:
    """Whether the finisher knows the images of a model."""
    config = model.generator.config
    like = torch.zeros([1, config.img_channels, config.height, config.width])
    return enlarge(like, model.template).shape != like.shape


def _stage_graph(stage: Stage, side: int, outputs: tuple[str, ...], step: int = 0) -> Graph:
    def images(count: int) -> Tensors:
        return {"x": torch.rand([count, 3, side, side]) * 2 - 1}

    return Graph(stage, images, outputs, step=step)


def _check_model(model: Model) -> None:
    config = model.generator.config
    if config.height != config.width or model.generator.needs_label:
        raise StylemixError(
            f"got a model of {config.size_text} with {config.c_dim} classes; expected a square one "
            "without classes for the page; use another --model"
        )


def _runtime_scripts(package: Path) -> dict[str, str]:
    """The scripts of onnxruntime-web, and its binaries as scripts, by name."""
    scripts = {}
    for kind, stem in RUNTIMES.items():
        parts = {name: package / "dist" / f"{stem}.{name}" for name in ("mjs", "wasm")}
        main = package / "dist" / f"ort.{kind}.min.js"
        for file in (main, *parts.values()):
            if not file.is_file():
                raise StylemixError(
                    f"got no {file.name} in {package / 'dist'}; expected the npm package "
                    "onnxruntime-web; npm install onnxruntime-web, then --runtime "
                    "node_modules/onnxruntime-web"
                )
        scripts[main.name] = main.read_text(encoding="utf-8")
        data = {"module": parts["mjs"].read_bytes(), "binary": parts["wasm"].read_bytes()}
        scripts[f"{kind}.js"] = _script(data)
    return scripts


def _script(contents: Mapping[str, bytes]) -> str:
    """A script that gives the page some files, by name."""
    lines = [
        f'globalThis.stylemix.files["{name}"] = "{base64.b64encode(data).decode()}";\n'
        for name, data in contents.items()
    ]
    return "".join(lines)
