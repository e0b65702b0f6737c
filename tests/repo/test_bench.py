"""The benchmarks: equal results, correct statistics, complete files."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from stylemix.networks.config import DiscriminatorConfig
from stylemix.networks.discriminator import Discriminator
from stylemix.ops import bias_act, downsample2d, setup_filter, upsample2d
from tests.bench import machine, subjects, table, textbook, timing, worker
from tests.bench import ops as bench_ops
from tests.support.models import tiny_model

ROOT = Path(__file__).resolve().parents[2]


def close(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def gradients(output, parameters):
    torch.manual_seed(3)
    grads = torch.autograd.grad((output * torch.randn_like(output)).sum(), parameters)
    return [g / (g.abs().mean() + 1e-8) for g in grads]  # so that one tolerance serves all


@pytest.mark.parametrize("clamp", [None, 0.6])
@pytest.mark.parametrize("literal", [False, True])
def test_textbook_synthesis_is_ours(literal, clamp):
    ours = tiny_model(discriminator=False).generator.requires_grad_(True)
    for module in ours.modules():
        if hasattr(module, "conv_clamp"):
            module.conv_clamp = clamp
    object.__setattr__(ours.synthesis.config, "conv_clamp", clamp)
    theirs = textbook.TextbookGenerator(ours, literal).synthesis
    ws = torch.randn([3, ours.num_ws, ours.w_dim], requires_grad=True)
    names = [name for name, _ in ours.synthesis.named_parameters()]
    tensors = [ws, *ours.synthesis.parameters()]
    got, expected = theirs(ws, "const"), ours.synthesis(ws, noise_mode="const")
    close(got, expected)
    for name, a, b in zip(
        ["ws", *names], gradients(got, tensors), gradients(expected, tensors), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


def test_textbook_noise_is_the_same():
    ours = tiny_model(discriminator=False).generator
    theirs = textbook.TextbookGenerator(ours).synthesis
    ws = torch.randn([2, ours.num_ws, ours.w_dim])
    images = []
    for network in (ours.synthesis, theirs):
        torch.manual_seed(0)
        images.append(network(ws, noise_mode="random"))
    close(*images)


@pytest.mark.parametrize("clamp", [None, 0.6])
def test_textbook_discriminator_is_ours(clamp):
    torch.manual_seed(0)
    config = DiscriminatorConfig(32, channel_base=256, channel_max=32, conv_clamp=clamp)
    ours = Discriminator(config)
    theirs = textbook.TextbookDiscriminator(ours)
    images = torch.randn([6, 3, 32, 32], requires_grad=True)
    got, expected = theirs(images), ours(images)
    close(got, expected)
    tensors = [images, *ours.parameters()]
    for a, b in zip(gradients(got, tensors), gradients(expected, tensors), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("taps", [(1, 3, 3, 1), tuple(range(1, 13))])
def test_textbook_ops_are_ours(taps):
    f = setup_filter(taps)
    x = torch.randn([2, 3, 8, 6])
    close(textbook.upsample2d(x, f), upsample2d(x, f))
    close(textbook.downsample2d(x, f), downsample2d(x, f))
    close(textbook.filter2d(x, f), bench_ops._filter(x, f))
    b = torch.randn([3])
    close(textbook.bias_act(x, b, clamp=0.5), bias_act(x, b, act="lrelu", clamp=0.5))


def test_textbook_epilogue_is_ours():
    x, f = torch.randn([2, 3, 9, 9]), setup_filter([1, 3, 3, 1])
    rest = (torch.rand([2, 3]), torch.randn([2, 1, 8, 8]), torch.tensor(0.3), torch.randn([3]))
    close(textbook.epilogue(x, f, *rest), bench_ops._epilogue(x, f, *rest))
    close(
        textbook.epilogue(x[..., 1:, 1:], None, *rest),
        bench_ops._epilogue(x[..., 1:, 1:], None, *rest),
    )


def test_competitors_take_turns_and_failures_drop_out():
    calls = []

    def runs(name, seconds):
        def run(loops):
            calls.append(name)
            if seconds is None:
                raise RuntimeError("no room\nbut a long story")
            return seconds

        return run

    results = timing.interleave(
        {"a": runs("a", 2.0), "b": runs("b", 4.0), "c": runs("c", None)}, timing.Effort(repeats=4)
    )
    assert calls == ["a", "b", "c", *["a", "b", "b", "a"] * 2]
    assert results["a"] == {"median": 2, "iqr": 0, "min": 2, "samples": 4}
    assert results["c"] == {"error": "no room"}


def test_summary_is_median_and_interquartile_range():
    assert timing.summary([5.0, 1.0, 2.0, 4.0, 3.0]) == {
        "median": 3, "iqr": 2, "min": 1, "samples": 5,
    }  # fmt: skip


def test_short_runs_are_repeated_within_a_sample():
    loops = []

    def run(count):
        loops.append(count)
        return 0.001

    timing.interleave({"a": run}, timing.Effort(repeats=2, seconds=0.05))
    assert loops == [1, 1, 50, 50]


def test_nothing_starts_after_the_deadline_and_running_work_is_stopped():
    def run(count):
        time.sleep(0.05)
        return 0.001

    late = timing.interleave({"a": run}, timing.Effort(deadline=time.monotonic() - 1))
    assert late == {"a": {"error": "no time was left"}}
    effort = timing.Effort(repeats=1000, seconds=0.0001, deadline=time.monotonic() + 0.2)
    assert 1 <= timing.interleave({"a": run}, effort)["a"]["samples"] < 10


def test_a_compiler_that_hangs_is_one_missing_result():
    results = timing.interleave(
        {"a": timing.bounded(lambda loops: time.sleep(60), 0.1)}, timing.Effort()
    )
    assert results == {"a": {"error": "given up after 0.1 s"}}
    assert timing.bounded(lambda loops: 2.0, 60)(1) == 2


def test_operations_of_convolutions():
    spec = {"resolution": 8, "channel_base": 32, "channel_max": 4, "batch": 2}
    # 4 px: 4 to 4 channels; 8 px: 4 to 4 on the smaller image, then on the larger one
    assert subjects.conv_flops(spec) == 2 * 2 * 9 * 16 * (16 + 16 + 64)
    # 8 px: on the image, then strided to 4 px; the last with the channel of the deviation
    d = 2 * 2 * 9 * (16 * 64 + 16 * 16 + 20 * 16)
    assert subjects.conv_flops(spec | {"network": "d"}) == d


@pytest.mark.slow
def test_a_child_answers_and_reports_its_errors():
    spec = {"kind": "training", "resolution": 16, "batch": 2, "channel_base": 64, "channel_max": 4}
    with worker.Crew(torch.device("cpu")) as crew:
        player = crew.player("textbook@kept")
        player.make("one", spec | {"dtype": "fp32", "variant": "textbook"})
        assert player.run("one", "both", 1) > 0
        with pytest.raises(RuntimeError, match="KeyError: 'two'"):
            player.run("two", "both", 1)
        assert player.peak("one", "both") >= 0
        player.child.kill()
        with pytest.raises(RuntimeError, match="the child ended"):
            player.run("one", "both", 1)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["textbook", "torch", "ours", "convs"])
def test_subjects_on_the_device(device, variant):
    local = worker.Local(device)
    sizes = {"resolution": 16, "channel_base": 64, "channel_max": 4, "batch": 2, "dtype": "fp32"}
    for kind in ("synthesis", "training"):
        local.make(kind, sizes | {"kind": kind, "variant": variant})
        for call in local.subjects[kind]:
            assert local.run(kind, call, 1) > 0
            assert local.peak(kind, call) >= 0
        local.drop(kind)


def test_paths_stay_at_home():
    assert machine._no_folders("failed (a, /x/y/lib.so is gone)") == "failed (a, lib.so is gone)"


RESULTS = {
    "machine": {
        "date": "2026-01-02T00:00:00", "device": "a device", "device_type": "cpu", "commit": "abc",
        "changed": False, "torch": "2", "python": "3", "threads": 2, "native": {"cpu": "loaded"},
    },
    "options": {"quick": False, "repeats": 5, "dtypes": ["fp32"]},
    "errors": {"ops": "it broke"},
    "synthesis": [{
        "kind": "synthesis", "resolution": 64, "batch": 16, "dtype": "fp32", "conv_flops": 10**9,
        "results": {
            "textbook@default": {"median": 1.0, "images_per_second": 16.0},
            "ours@kept": {"median": 0.4, "images_per_second": 40.0},
            "torch@kept": {"error": "no room"},
            "convs@kept": {"median": 0.2, "images_per_second": 80.0},
        },
        "peak": {"textbook@default": {"bytes": 2**20}, "ours@kept": {"bytes": 2**21}},
    }],
}  # fmt: skip


def test_tables_show_misses_and_failures(tmp_path):
    file = tmp_path / "results.json"
    file.write_text(json.dumps(RESULTS))
    text = table.tables([file])
    assert (
        "| 64 px x 16 | fp32 | 16 | 40 | failed | 80 | 0.5x | 2.5x | **2.5x, misses 3x** |" in text
    )
    assert "textbook (default) 1; ours (kept) 2" in text
    assert "ops failed: it broke" in text


def test_the_page_shows_the_results_that_are_there():
    page = ROOT / "docs" / "benchmarks.md"
    text = page.read_text(encoding="utf-8")
    cure = "python -m tests.bench.table --update docs/benchmarks.md"
    assert table.updated(text, sorted(table.FOLDER.glob("*.json"))) == text, cure


@pytest.mark.slow
def test_the_loop_is_measured_beside_the_bare_step():
    command = [sys.executable, "-m", "tests.bench.loop", "--resolution", "16", "--steps", "3"]
    result = subprocess.run(
        [*command, "--channel-base", "64", "--repeats", "1"], cwd=ROOT, text=True,
        capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=300, check=True,
    )  # fmt: skip
    report = json.loads(result.stdout)
    seconds = report["seconds per kimg"]
    assert seconds["loop"] > 0
    assert report["overhead"] == pytest.approx(seconds["loop"] / seconds["bare"] - 1, abs=1e-3)
    assert (report["batch"], report["steps"], report["resolution"]) == (32, 3, 16)
