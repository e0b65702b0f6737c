"""The notebook, from top to bottom, as somebody runs it who has just cloned."""

import atexit
import json
import os
import sys
from pathlib import Path

import pytest

from stylemix.io.assets import ASSETS

PATH = Path(__file__).resolve().parents[2] / "docs" / "notebook.ipynb"
LESS = {
    "stylemix demo": f"stylemix demo {ASSETS / 'portraits' / 'collins.jpg'}",
    "steps=25": "steps=4",
    "range(200)": "range(48)",
    "--kimg 1 ": "--kimg .25 ",
}


def code_cells() -> list[dict]:
    cells = json.loads(PATH.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_it_is_stored_without_outputs():
    everything = "".join("".join(cell["source"]) for cell in code_cells())
    assert [text for text in LESS if text not in everything] == []
    assert len(code_cells()) > 10
    assert [cell for cell in code_cells() if cell["outputs"] or cell["execution_count"]] == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:IPython")
def test_it_runs(tmp_path, monkeypatch, few_steps, few_faces):
    """In IPython itself: a kernel's client waited for messages that did not come, now and then.

    With fewer steps, faces and portraits than a reader's.
    """
    interactive = pytest.importorskip("IPython.core.interactiveshell", reason="no extra notebook")
    capture = pytest.importorskip("IPython.core.displayhook")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    shell = interactive.InteractiveShell(user_ns={})
    shell.history_manager.enabled = False
    shown: list[dict] = []
    shell.display_trap.hook = capture.CapturingDisplayHook(shell, shown)
    for cell in code_cells():
        source = "".join(cell["source"])
        for text, less in LESS.items():
            source = source.replace(text, less)
        result = shell.run_cell(source)
        assert result.success, result.error_in_exec or result.error_before_exec
    atexit.unregister(shell.atexit_operations)  # its folder is gone by then
    data = [output["data"] for output in shown]
    assert sum("image/png" in kinds for kinds in data) >= 7
    tables = [kinds["text/html"] for kinds in data if "<table>" in kinds.get("text/html", "")]
    assert len(tables) == 4  # two models, a latent, a style
    assert shell.user_ns["avatar"].size[0] >= 512
    assert (tmp_path / "demo.png").exists()
    assert (tmp_path / "learned.pkl").exists()
    assert list((tmp_path / "toy").glob("snapshot-*.safetensors"))
