"""The benchmarks measure what they say: equal results, honest statistics, complete files."""

import io
import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
import torch
from models import tiny_model
from PIL import Image

from stylemix.config import DiscriminatorConfig
from stylemix.discriminator import Discriminator
from stylemix.ops import bias_act, downsample2d, filter2d, setup_filter, upsample2d
from tests.bench import collect, machine, subjects, table, textbook, timing, worker
from tests.bench import ops as bench_ops

ROOT = Path(__file__).parents[1]


def close(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def gradients(output, parameters):
    torch.manual_seed(3)
    found = torch.autograd.grad((output * torch.randn_like(output)).sum(), parameters)
    return [g / (g.abs().mean() + 1e-8) for g in found]  # so that one tolerance serves all


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
    wanted = [ws, *ours.synthesis.parameters()]
    got, expected = theirs(ws, "const"), ours.synthesis(ws, noise_mode="const")
    close(got, expected)
    for name, a, b in zip(
        ["ws", *names], gradients(got, wanted), gradients(expected, wanted), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


def test_textbook_noise_is_drawn_alike():
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
    wanted = [images, *ours.parameters()]
    for a, b in zip(gradients(got, wanted), gradients(expected, wanted), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("taps", [(1, 3, 3, 1), tuple(range(1, 13))])
def test_textbook_ops_are_ours(taps):
    f = setup_filter(taps)
    x = torch.randn([2, 3, 8, 6])
    close(textbook.upsample2d(x, f), upsample2d(x, f))
    close(textbook.downsample2d(x, f), downsample2d(x, f))
    close(textbook.filter2d(x, f), filter2d(x, f))
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

    found = timing.interleave(
        {"a": runs("a", 2.0), "b": runs("b", 4.0), "c": runs("c", None)}, timing.Effort(repeats=4)
    )
    assert calls == ["a", "b", "c", *["a", "b", "b", "a"] * 2]
    assert found["a"] == {"median": 2, "iqr": 0, "min": 2, "samples": 4}
    assert found["c"] == {"error": "no room"}


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


def test_nothing_begins_after_the_deadline_and_what_runs_is_cut_short():
    def run(count):
        time.sleep(0.05)
        return 0.001

    late = timing.interleave({"a": run}, timing.Effort(deadline=time.monotonic() - 1))
    assert late == {"a": {"error": "no time was left"}}
    effort = timing.Effort(repeats=1000, seconds=0.0001, deadline=time.monotonic() + 0.2)
    assert 1 <= timing.interleave({"a": run}, effort)["a"]["samples"] < 10


def test_a_compiler_that_does_not_end_is_one_missing_figure():
    found = timing.interleave(
        {"a": timing.bounded(lambda loops: time.sleep(60), 0.1)}, timing.Effort()
    )
    assert found == {"a": {"error": "given up after 0.1 s"}}
    assert timing.bounded(lambda loops: 2.0, 60)(1) == 2


def test_operations_of_convolutions():
    spec = {"resolution": 8, "channel_base": 32, "channel_max": 4, "batch": 2}
    # 4 px: 4 to 4 channels; 8 px: 4 to 4 on the smaller picture, then on the larger one
    assert subjects.conv_flops(spec) == 2 * 2 * 9 * 16 * (16 + 16 + 64)
    # 8 px: on the picture, then strided to 4 px; the last with the channel of the deviation
    d = 2 * 2 * 9 * (16 * 64 + 16 * 16 + 20 * 16)
    assert subjects.conv_flops(spec | {"network": "d"}) == d


def test_a_child_answers_and_tells_its_errors():
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


QUARTER = ROOT / "tests" / "bench" / "gpu_quarter.sh"


def quarter(folder, **more):  # the environment of a dry call, and its process
    environment = os.environ | {
        "DRY": "1", "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", "LIMIT": "3600", "VAL": "",
        "OUT": str(folder), "RUNS": str(folder.parent / "runs"), **more,
    }  # fmt: skip
    return subprocess.Popen(["bash", QUARTER], env=environment, text=True, stdout=subprocess.PIPE)


def test_the_gpu_script_runs_dry_from_end_to_end(tmp_path):
    out, logs = tmp_path / "out", tmp_path / "logs"
    steps = ["build", "ops", "bench", "tests", "sanitizer", "whole"]
    with quarter(out, PARTS=" ".join(steps)) as process:
        said = process.stdout.read()
        assert process.wait() == 0, said
    assert {path.name for path in out.iterdir()} == {"summary.txt", "logs.tar.gz"}
    assert (out / "summary.txt").read_text() == said
    with tarfile.open(out / "logs.tar.gz") as tar:
        tar.extractall(logs, filter="data")
    for step in ("build-cpu", "ops", "bench", "tests", "whole"):
        assert f"\n{step}: ok" in said
        assert (logs / f"{step}.txt").stat().st_size > 0
    assert "seconds per kimg" in said

    results = json.loads((logs / "bench.json").read_text())
    assert results["errors"] == {}
    assert {"commit", "torch", "python", "os", "device", "threads", "native", "backends"} <= set(
        results["machine"]
    )
    assert {r["what"] for r in results["ceilings"]} == {"copy", "matmul"}
    for record in results["synthesis"]:
        assert set(record["results"]) == {"textbook@default", "ours@kept", "convs@kept"}
        assert all(r["images_per_second"] > 0 for r in record["results"].values())
    for record in results["training"]:
        if record["kind"] == "training":
            lazy = {"g_reg", "d_reg"} if "regularisers" in record else set()
            assert set(record["phases"]) == set(subjects.PHASES) - lazy
            assert all(step["seconds_per_kimg"] > 0 for step in record["steps"].values())
        else:
            assert all(peak["bytes"] > 0 for peak in record["peak"].values())
    for record in results["ops"]:
        assert all({"median", "iqr", "share"} <= set(r) for r in record["results"].values()), record
    assert {r["op"].split("_")[0] for r in results["ops"]} == {"bias", "epilogue", "upfirdn2d"}
    whole = json.loads((logs / "whole.json").read_text())
    assert whole["alike"]
    assert whole["mix_most"] == 0


def test_the_gpu_script_trains_on_plain_ops_past_a_run_that_fails_and_goes_on_dry(tmp_path):
    pictures = tmp_path / "faces"
    pictures.mkdir()
    for colour in ("red", "green", "blue", "white"):
        Image.new("RGB", (16, 16), colour).save(pictures / f"{colour}.png")

    def call(name, **more):  # until both runs have got further; its summary
        stats = [tmp_path / "runs" / run / "stats.jsonl" for run in ("first", "last")]
        before = [len(path.read_text().splitlines()) if path.exists() else 0 for path in stats]
        with quarter(
            tmp_path / name, DATA=str(pictures), PART_BYTES="300000",
            TRAININGS="first\nbroken --no-such-option\nlast --mirror", **more,
        ) as process:  # fmt: skip
            while process.poll() is None:
                if all(
                    path.exists() and len(path.read_text().splitlines()) > lines
                    for path, lines in zip(stats, before, strict=True)
                ):
                    process.terminate()
                    break
                time.sleep(0.1)
            said = process.stdout.read()
            assert process.wait(300) == 1, said  # since something failed
        return said

    def kimg(said, run):
        pattern = rf"train {run}: from (\S+) to (\S+) kimg, \S+ s/kimg"
        return [float(number) for number in re.search(pattern, said).groups()]

    no_compiler = {"CXX": "/bin/false", "STYLEMIX_CACHE": str(tmp_path / "cache")}
    said = {"one": call("one", PARTS="build train", **no_compiler)}
    said["two"] = call("two", PARTS="train")
    for run in ("first", "last"):
        assert kimg(said["one"], run)[0] == 0
        assert kimg(said["two"], run)[1] > kimg(said["two"], run)[0] == kimg(said["one"], run)[1]
    for name, text in said.items():
        assert ("trainings use plain PyTorch ops" in text) == (name == "one")
        assert "train broken: FAILED (exit code 2, ops torch)" in text
        assert "No such option" in text
        assert "train broken: NO SNAPSHOT" in text
        files = list((tmp_path / name).iterdir())
        assert len(files) <= 8
        assert max(path.stat().st_size for path in files) <= 300000
        found = {}
        for tar in ("models.tar", "run.tar"):
            parts = sorted(path for path in files if path.name.startswith(tar))
            joined = b"".join(path.read_bytes() for path in parts)
            found[tar] = tarfile.open(fileobj=io.BytesIO(joined)).getnames()  # noqa: SIM115
        assert {n.split("-")[0] for n in found["models.tar"]} == {"first", "last"}
        assert len(found["models.tar"]) == 4
        assert {n.split("-")[0] for n in found["run.tar"]} == {
            "state", "stats.jsonl", "training_options.json",
        }  # fmt: skip


def test_the_gpu_script_ends_by_the_clock_although_a_step_does_not(tmp_path):
    deaf = tmp_path / "python"
    deaf.write_text(
        "#!/bin/sh\n"
        f"""case "$*" in *collect*) exec {shlex.quote(sys.executable)} "$@" ;; esac\n"""
        "trap '' TERM\nwhile :; do sleep 1; done\n"
    )
    deaf.chmod(0o755)
    started = time.monotonic()
    with quarter(
        tmp_path / "out", PYTHON=str(deaf), PARTS="ops train", TRAININGS="one", LIMIT="28",
        RESERVE="24",
    ) as process:  # fmt: skip
        said = process.stdout.read()
        assert process.wait() == 1
    assert time.monotonic() - started < 28
    assert "ops: FAILED" in said or "ops: ended" in said
    assert "train one: NO SNAPSHOT" in said
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"summary.txt", "logs.tar.gz"}


def test_what_does_not_fit_stays_and_the_run_to_keep_comes_first(tmp_path):
    def packed(name, **room):
        out = tmp_path / name
        out.mkdir()
        limits = {"files": 6, "size": 10**6, "part": 20000} | room
        lines = collect.pack(collect.Room(out, **limits), models, run, "b")
        found = []
        for tar in ("run.tar", "models.tar"):
            joined = b"".join(path.read_bytes() for path in sorted(out.glob(f"{tar}*")))
            if joined:
                found += tarfile.open(fileobj=io.BytesIO(joined)).getnames()  # noqa: SIM115
        paths = list(out.iterdir())
        assert len(paths) <= limits["files"]
        assert sum(path.stat().st_size for path in paths) <= limits["size"]
        assert all(path.stat().st_size <= limits["part"] for path in paths)
        return lines, found

    models, run = tmp_path / "models", tmp_path / "run"
    models.mkdir()
    run.mkdir()
    small = ["a-snapshot-000001.safetensors", "b-snapshot-000001.safetensors"]
    full = "b-with-discriminator.safetensors"
    for name in (*small, full, "half-written.tmp"):
        (models / name).write_bytes(bytes(15000 if name == full else 5000))
    (run / "state-000000000009.safetensors").write_bytes(b"old")
    state = "state-000000000010.safetensors"
    (run / state).write_bytes(bytes(50000))

    lines, found = packed("all")
    assert found == [state, *small[::-1]]
    assert lines[0] == "state of b: 0.1 MiB in 4 files"
    lines, found = packed("without the state", files=5)
    assert found == [full, small[0]]
    assert "LEFT OUT" in lines[0]
    assert packed("without the discriminator", files=1)[1] == [small[1]]
    lines, found = packed("only one", files=1)
    assert found == [small[1]]
    assert f"{small[0]}: LEFT OUT, 0.0 MiB" in lines


def test_progress_is_told_since_the_last_call(tmp_path):
    assert collect.progress(tmp_path, 0) == "0 kimg"
    lines = [{"Progress/kimg": k, "Timing/total_sec": 3 * k} for k in (1, 2, 4)]
    text = "\n".join(map(json.dumps, lines))
    (tmp_path / "stats.jsonl").write_text(text + '\n{"Progress/ki')
    assert collect.progress(tmp_path, 2) == "4 kimg, 3 s/kimg"
    assert collect.progress(tmp_path, 1e9) == "4 kimg"


def test_the_loop_is_measured_beside_the_bare_step():
    command = [sys.executable, "-m", "tests.bench.loop", "--resolution", "16"]
    result = subprocess.run(
        [*command, "--steps", "8", "--repeats", "1"], cwd=ROOT, capture_output=True, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=300, check=True,
    )  # fmt: skip
    found = json.loads(result.stdout)
    seconds = found["seconds per kimg"]
    assert seconds["loop"] > 0
    assert found["overhead"] == pytest.approx(seconds["loop"] / seconds["bare"] - 1, abs=1e-3)
    assert (found["batch"], found["steps"], found["resolution"]) == (32, 8, 16)
