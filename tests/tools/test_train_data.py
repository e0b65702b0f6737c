"""`stylemix train` and its data: checked in a dry run, aligned as packed, and enough of it."""

import json
import shutil

import pytest
from click.testing import CliRunner

from stylemix.cli import main
from stylemix.models.checkpoint import load_model

TINY = {
    "resolution": 8, "kimg": 0.016, "batch": 4, "z_dim": 8, "w_dim": 8, "channel_base": 64,
    "channel_max": 16, "precision": "fp32", "augment": "none", "path_length_weight": 0,
    "tick_kimg": 0.004, "device": "cpu",
}  # fmt: skip


def invoke(*arguments):
    return CliRunner().invoke(main, ["train", *map(str, arguments)], prog_name="stylemix")


def train(data, folder, **settings):
    options = [f"--{name.replace('_', '-')}={value}" for name, value in (TINY | settings).items()]
    result = invoke(data, *options, "--output", folder)
    assert result.exit_code == 0, result.output
    return result


def test_dry_run_checks_the_data(pictures, tmp_path):
    """Missing images, missing images to compare with, and broken labels."""
    folder = shutil.copytree(pictures, tmp_path / "labelled")
    (folder / "dataset.json").write_text('{"labels": [["1.png", "cat"]]}')
    for words, expected in (
        (["nosuch.zip"], "nosuch.zip: got no such file or folder"),
        ([pictures, "--metrics", "fd", "--metrics-data", "noval"], "noval: got no such file"),
        ([folder, "--conditional"], "got no label for 9 of 10 images"),
    ):
        result = invoke(*words, "--dry-run")
        assert result.exit_code == 2
        assert expected in result.output
        assert result.output.count("\n") == 1


@pytest.mark.slow
def test_a_finished_run_says_that_nothing_is_trained(pictures, tmp_path):
    first = train(pictures, tmp_path).output
    assert "Wrote " in first
    for kimg in (0.016, 0.008):
        output = train(pictures, tmp_path, kimg=kimg).output
        expected = f"Nothing to train: the run in {tmp_path} has 0.016 kimg already; a higher"
        assert expected in output
        assert f"Last snapshot: {tmp_path / 'snapshot-'}" in output
        assert "Wrote" not in output


@pytest.mark.slow
def test_the_template_of_packed_faces_is_kept(pictures, tmp_path):
    """That of pack.json, unless another one is given."""
    data = shutil.copytree(pictures, tmp_path / "packed")
    settings = {"crop": "faces", "template": "ffhq"}
    (data / "pack.json").write_text(json.dumps({"settings": settings}))
    for template, expected in ((None, "ffhq"), ("faces128", "faces128"), ("none", "none")):
        more = {} if template is None else {"template": template}
        folder = tmp_path / f"run-{expected}"
        output = train(data, folder, kimg=0.004, **more).output
        assert load_model(next(folder.glob("snapshot-*"))).template.name == expected
        assert (f"faces aligned by {expected}" in output) == (expected != "none")
