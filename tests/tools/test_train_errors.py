"""`stylemix train`: invalid options are one-line errors before anything runs."""

import pytest
from click.testing import CliRunner

from stylemix.cli import main

TINY = [
    "--resolution", "8", "--batch", "4", "--z-dim", "8", "--w-dim", "8", "--channel-base", "64",
    "--channel-max", "16", "--precision", "fp32", "--device", "cpu", "--kimg", ".004",
]  # fmt: skip


def _invoke(*arguments):
    return CliRunner().invoke(main, ["train", *map(str, arguments)], prog_name="stylemix")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nosuch.zip"], "nosuch.zip: got no such file or folder"),
        (["DATA", "--resolution", "99"], "got "),
        (["DATA", "--resolution", "big"], "got resolution 'big'; expected a side such as 64"),
        (["DATA", "--batch", "1"], "got batch 1; expected a number from 2 to"),
        (
            ["DATA", "--batch", "8", "--batch-gpu", "3", "--mbstd-group", "4"],
            "expected multiples of the group; use --batch-gpu 4, or in a new run --mbstd-group 1",
        ),
        (
            ["DATA", "--batch", "4", "--mbstd-group", "3", "--dry-run"],
            "got a batch of 4 in microbatches of",
        ),
        (
            ["DATA", "--resolution", "8x16", "--template", "ffhq", "--dry-run"],
            "got the face template ffhq for a model of 8x16 px (width x height)",
        ),
        (["DATA", "--d-fromrgb-at", "64", "--dry-run"], "got fromrgb_at (64,); expected coarser"),
        (["DATA", "--batch", "8", "--batch-gpu", "9"], "got batch_gpu 9; expected no more than"),
        (["DATA", "--tick-kimg", "0"], "got tick_kimg 0.0; expected a number from 0.001"),
        (["DATA", "--lr", "fast"], "got lr 'fast'; expected a number, or rising points"),
        (["DATA", "--augment-p", "0:0,5:2"], "got augment_p 2.0; expected a number from 0 to 1"),
        (["DATA", "--early-stop", "3"], "got early_stop without metrics"),
        (["DATA", "--metrics", "speed"], "got metrics speed"),
        (["DATA", "--metrics", "speed", "--dry-run"], "got metrics speed"),
        (["DATA", "--metrics", "pr,fd", "--dry-run"], "got pr as the first metric"),
        (["DATA", "--g-reg-interval", "0"], "got g_reg_interval 0; expected a number from 1"),
        (["DATA", "--seed", "-1"], "got seed -1; expected a number from 0"),
        (["DATA", "--transfer", "nosuch"], "nosuch"),
        (
            ["DATA", "--resolution", "8x16", "--template", "ffhq"],
            "got the face template ffhq for a model of 8x16 px (width x height)",
        ),
        (["DATA", "--conditional"], "got no dataset.json; expected one"),
        (["DATA", "--device", "tpu"], "got device 'tpu'; expected cpu, cuda, cuda:N or auto"),
        (["DATA", "--precision", "fp8"], "Invalid value for '--precision'"),
        (["DATA", "--kimg", "many"], "Invalid value for '--kimg'"),
        ([], "Missing argument 'DATA...'"),
    ],
)
def test_errors_are_one_line(arguments, expected, pictures, tmp_path):
    arguments = [pictures if argument == "DATA" else argument for argument in arguments]
    # Where an option is given twice the last one counts, and nothing can run for long.
    result = _invoke(*TINY, *arguments, "--output", tmp_path / "run")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert expected in result.stderr
    assert result.stderr.count("\n") == 1
