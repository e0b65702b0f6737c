"""The notebook, from top to bottom, as somebody runs it who has just cloned."""

import base64
import io
import json
import os
import sys
from pathlib import Path

import pytest
from PIL import Image

PATH = Path(__file__).resolve().parents[2] / "docs" / "notebook.ipynb"
MOST_SECONDS = 900  # of a cell, on a slow and busy machine


def test_it_is_stored_without_outputs():
    cells = json.loads(PATH.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) > 10
    assert [cell for cell in code if cell["outputs"] or cell["execution_count"]] == []


def shown(cell) -> list[tuple[int, int]]:
    """The sizes of the images that a cell shows."""
    found = [output.get("data", {}).get("image/png") for output in cell["outputs"]]
    return [Image.open(io.BytesIO(base64.b64decode(data))).size for data in found if data]


@pytest.mark.slow
def test_it_runs(tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat", reason="the extra notebook is not installed")
    nbclient = pytest.importorskip("nbclient", reason="the extra notebook is not installed")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    book = nbformat.read(PATH, 4)
    options = {"resources": {"metadata": {"path": str(tmp_path)}}, "timeout": MOST_SECONDS}
    nbclient.NotebookClient(book, **options).execute()  # raises for an error in any cell
    code = [cell for cell in book.cells if cell["cell_type"] == "code"]
    sizes = [size for cell in code for size in shown(cell)]
    assert len(sizes) >= 7
    assert (384, 384) in sizes  # the avatar
    assert (512, 256) in sizes  # before and after the learned style
    tables = [output["data"].get("text/html", "") for cell in code for output in cell["outputs"]
              if "data" in output]  # fmt: skip
    assert sum("<table>" in table for table in tables) >= 4  # two models, a latent, a style
    assert (tmp_path / "learned.pkl").exists()
    assert list((tmp_path / "toy").glob("snapshot-*.safetensors"))
