"""Exact resume: after a stop, a crash, SIGKILL, a full disk, a run ends with the same bits."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stylemix.errors import StylemixError
from stylemix.training import recorder
from stylemix.training.phases import Step
from stylemix.training.state_files import state_files
from tests.support.toy_runs import last_state, lines, run

CPU = torch.device("cpu")


def _assert_same(folder, other):
    a, b = last_state(folder), last_state(other)
    assert set(a) == set(b)
    assert [name for name in a if not torch.equal(a[name], b[name])] == []
    last = [sorted(run.glob("fakes-*.png"))[-1] for run in (folder, other)]
    assert last[0].read_bytes() == last[1].read_bytes()


@pytest.mark.slow
def test_two_runs_are_bitwise_equal(tiny, dataset, straight, tmp_path):
    run(tiny, dataset, tmp_path)
    _assert_same(straight, tmp_path)


@pytest.mark.slow
def test_a_resumed_run_is_bitwise_equal(tiny, dataset, straight, tmp_path):
    for kimg in (0.02, 0.04, 0.064):  # stops between adjustments of p and between penalties
        run(replace(tiny, kimg=kimg), dataset, tmp_path)
    _assert_same(straight, tmp_path)
    assert [line["Progress/kimg"] for line in lines(straight)] == [0.016, 0.032, 0.048, 0.064]
    kimgs = [line["Progress/kimg"] for line in lines(tmp_path)]
    assert kimgs == [0.016, 0.02, 0.032, 0.04, 0.048, 0.064]
    assert 0 < lines(tmp_path)[-1]["Progress/augment"] <= 1


@pytest.mark.slow
def test_a_crash_costs_no_more_than_the_steps_since_the_state(
    tiny, dataset, straight, tmp_path, monkeypatch
):
    calls, whole = [], Step.__call__

    def crash(self, *args):
        calls.append(None)
        if len(calls) == 12:
            raise KeyboardInterrupt
        whole(self, *args)

    monkeypatch.setattr(Step, "__call__", crash)
    with pytest.raises(KeyboardInterrupt):
        run(tiny, dataset, tmp_path)
    with (tmp_path / "stats.jsonl").open("a") as file:  # an incomplete line
        file.write('{"Progress/kimg": 0.048, "Loss')
    run(tiny, dataset, tmp_path)
    assert len(calls) == 12 + 8  # the state was of step 8 of 16
    _assert_same(straight, tmp_path)
    assert [line["Progress/kimg"] for line in lines(tmp_path)] == [0.016, 0.032, 0.048, 0.064]


@pytest.mark.slow
def test_a_run_may_end_with_falling_rates(tiny, dataset, tmp_path, capsys):
    """Another schedule takes effect where a run resumes, and is said."""
    half = replace(tiny, kimg=0.032)
    for folder in ("constant", "falling", "half"):
        run(half, dataset, tmp_path / folder)
    run(tiny, dataset, tmp_path / "constant")
    run(replace(tiny, lr="0.032:0.0025,0.064:0"), dataset, tmp_path / "falling")
    said = capsys.readouterr().err
    assert "Note: --lr is 0.032:0.0025,0.064:0 from here on; it was 0.0025\n" in said
    rates = [line["Progress/lr"] for line in lines(tmp_path / "falling")]
    assert rates[:2] == [0.0025, 0.0025]
    assert 0 <= rates[3] < rates[2] < 0.0025
    a, b, c = (last_state(tmp_path / name) for name in ("constant", "falling", "half"))
    weight = next(name for name in a if name.startswith("G.") and name.endswith("weight"))
    moved = [(state[weight] - c[weight]).abs().mean() for state in (a, b)]
    assert 0 < moved[1] < moved[0]
    run(tiny, dataset, tmp_path / "falling")
    assert "Note: --lr is 0.0025 from here on; it was 0.032:" in capsys.readouterr().err


COMMAND = [
    sys.executable, "-m", "stylemix", "train", "--resolution", "8", "--batch", "4",
    "--z-dim", "8", "--w-dim", "8", "--channel-base", "64", "--channel-max", "16",
    "--device", "cpu", "--precision", "fp32",
    "--tick-kimg", ".032", "--state-minutes", "0", "--kimg", ".6", "--ada-kimg", ".5",
]  # fmt: skip


def _environment():
    root = Path(__file__).resolve().parents[2]
    return os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "STYLEMIX_OPS": "torch"}


@pytest.mark.slow
def test_killed_three_times_it_ends_with_the_same_bits(pictures, tmp_path):
    """SIGKILL at random moments, writing a state included; each time the same command again."""
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    command = [*COMMAND, str(pictures), "--output"]
    subprocess.run(
        [*command, str(straight)], env=_environment(), check=True, capture_output=True, timeout=300
    )
    draw, kills = random.Random(4), 0
    while kills < 3:
        with subprocess.Popen(
            [*command, str(broken)], env=_environment(), stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            reached = len(state_files(broken)) and state_files(broken)[0].name
            # From a new state on, a random while longer.
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline:
                now = len(state_files(broken)) and state_files(broken)[0].name
                if now != reached:
                    break
                time.sleep(0.01)
            time.sleep(draw.random() * 0.4)
            assert process.poll() is None, "the run ended before it could be killed"
            process.kill()
        kills += 1
    subprocess.run(
        [*command, str(broken)], env=_environment(), check=True, capture_output=True, timeout=300
    )
    _assert_same(straight, broken)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGHUP", 15)])
def test_a_signal_ends_the_step_and_keeps_the_state(number, pictures, tmp_path):
    command = [*COMMAND, "--kimg", "1000", "--state-minutes", "60", str(pictures)]
    with subprocess.Popen(
        [*command, "--output", str(tmp_path / "run")], env=_environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        while "s/kimg" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert "Stopping after this step; the state is saved." in err
    assert "Stopped at" in out
    assert process.returncode == 130
    assert int(state_files(tmp_path / "run")[0].stem.split("-")[1]) >= 32


@pytest.mark.slow
def test_a_full_disk_ends_the_run_and_keeps_the_last_state(
    tiny, dataset, straight, tmp_path, monkeypatch
):
    save, calls = recorder.save_state, []

    def full(*arguments):
        calls.append(None)
        if len(calls) == 3:
            raise StylemixError("cannot write state: got 'No space left on device'")
        return save(*arguments)

    monkeypatch.setattr(recorder, "save_state", full)
    with pytest.raises(StylemixError, match="No space left"):
        run(tiny, dataset, tmp_path)
    assert state_files(tmp_path)[0].name == "state-000000000016.safetensors"
    run(tiny, dataset, tmp_path)
    _assert_same(straight, tmp_path)
