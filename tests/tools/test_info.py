"""`stylemix info`: the lines that a bug report needs."""

import platform

import numpy as np
import torch
from click.testing import CliRunner

from stylemix import __version__
from stylemix.checkpoint import shipped_models
from stylemix.tools import info


def test_names_versions_ops_and_devices():
    lines = dict(info.describe())
    assert lines["stylemix"] == __version__
    assert lines["python"].startswith(platform.python_version())
    assert lines["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert lines["numpy"] == np.__version__
    assert lines["op bias_act"].split(", ")[-1] == "torch"
    assert torch.cuda.is_available() == ("GiB" in lines["cuda"])


def test_lists_shipped_models_with_their_resolution():
    lines = dict(info.describe())
    for name in shipped_models():
        assert " px, generator" in lines[f"model {name}"]
    assert "faces-64" in shipped_models()
    assert lines["model faces-64"].startswith("64 px, generator and discriminator, ")


def test_lists_shipped_styles():
    styles = [label for label, _ in info.describe() if label.startswith("style ")]
    assert len(styles) >= 3


def test_command_prints_one_line_each():
    result = CliRunner().invoke(info.info_command)
    assert result.exit_code == 0
    assert len(result.output.splitlines()) == len(info.describe())
