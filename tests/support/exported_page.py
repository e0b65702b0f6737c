"""The page that `stylemix export --page` writes, and what Chromium shows of it."""

import base64
import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from stylemix.export.browser import write_page
from stylemix.io.assets import ASSETS
from tests.support.camera_page import write_camera
from tests.support.exports import share_exports

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = Path(os.environ.get("ONNXRUNTIME_WEB", ROOT / "node_modules" / "onnxruntime-web"))
STATUS = "document.getElementById('status').textContent"
READY = f"{STATUS}.startsWith('Ready')"
FRAMES = "Number(document.getElementById('rate').dataset.frames)"
needs_runtime = pytest.mark.skipif(
    not RUNTIME.is_dir(), reason="npm install onnxruntime-web, or ONNXRUNTIME_WEB names its folder"
)


def export_page(tmp_path_factory) -> Path:
    """The folder of a page with one style; beside it, a camera that shows a portrait."""
    pytest.importorskip("onnxscript")
    page = tmp_path_factory.mktemp("browser") / "a page"
    with pytest.MonkeyPatch.context() as patch:
        share_exports(tmp_path_factory, patch)
        write_page(page, RUNTIME, ["comic"])
    write_camera(page.parent / "camera.y4m", scene())
    return page


def scene() -> Image.Image:
    """What the camera shows."""
    portrait = Image.open(ASSETS / "portraits" / "collins.jpg").convert("RGB").resize((480, 480))
    image = Image.new("RGB", (640, 480), (90, 100, 110))
    image.paste(portrait, (80, 0))
    return image


def numbers(page, expression) -> torch.Tensor:
    """The values of a JavaScript array, or of the promise of one."""
    return torch.tensor(page.evaluate(f"(async () => Array.from(await {expression}))()"))


def planes(images: torch.Tensor) -> str:
    """A JavaScript image of a tensor [1, 3, H, W]."""
    data = base64.b64encode(images.float().contiguous().numpy().tobytes()).decode()
    _, _, height, width = images.shape
    values = f"new Float32Array(stylemix.bytes('{data}').buffer)"
    return f"{{data: {values}, width: {width}, height: {height}}}"
