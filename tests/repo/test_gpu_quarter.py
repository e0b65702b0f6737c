"""The script for a rented GPU saves its results despite failures; at toy sizes, on the CPU."""

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
from PIL import Image

from tests.bench import collect, subjects
from tests.support.archives import unpack

ROOT = Path(__file__).resolve().parents[2]
QUARTER = ROOT / "tests" / "bench" / "gpu_quarter.sh"


def quarter(folder, **more):  # the environment of a dry call, and its process
    environment = os.environ | {
        "DRY": "1", "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", "LIMIT": "3600",
        "TRAIN": "3600", "VAL": "", "OUT": str(folder), "RUNS": str(folder.parent / "runs"), **more,
    }  # fmt: skip
    return subprocess.Popen(["bash", QUARTER], env=environment, text=True, stdout=subprocess.PIPE)


@pytest.mark.slow
def test_the_gpu_script_runs_dry_from_end_to_end(tmp_path):
    out, logs = tmp_path / "out", tmp_path / "logs"
    steps = ["build", "ops", "bench", "tests", "sanitizer", "whole"]
    with quarter(out, PARTS=" ".join(steps)) as process:
        output = process.stdout.read()
        assert process.wait() == 0, output
    assert {path.name for path in out.iterdir()} == {"summary.txt", "logs.tar.gz"}
    assert (out / "summary.txt").read_text() == output
    with tarfile.open(out / "logs.tar.gz") as tar:
        unpack(tar, logs)
    for step in ("build-cpu", "ops", "bench", "tests", "whole"):
        assert f"\n{step}: ok" in output
        assert (logs / f"{step}.txt").stat().st_size > 0
    assert "seconds per kimg" in output

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


@pytest.mark.slow
def test_the_gpu_script_trains_on_plain_ops_past_a_run_that_fails_and_goes_on_dry(tmp_path):
    pictures = tmp_path / "faces"
    pictures.mkdir()
    for color in ("red", "green", "blue", "white"):
        Image.new("RGB", (16, 16), color).save(pictures / f"{color}.png")

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
            output = process.stdout.read()
            assert process.wait(300) == 1, output  # since something failed
        return output

    def kimg(output, run):
        pattern = rf"train {run}: from (\S+) to (\S+) kimg, \S+ s/kimg"
        return [float(number) for number in re.search(pattern, output).groups()]

    # Neither the usual cache nor that of the temporary folder may have the ops from before.
    places = {"STYLEMIX_CACHE": str(tmp_path / "cache"), "TMPDIR": str(tmp_path)}
    no_compiler = {"CXX": "/bin/false", **places}
    output = {"one": call("one", PARTS="build train", **no_compiler)}
    output["two"] = call("two", PARTS="train")
    for run in ("first", "last"):
        assert kimg(output["one"], run)[0] == 0
        assert (
            kimg(output["two"], run)[1] > kimg(output["two"], run)[0] == kimg(output["one"], run)[1]
        )
    for name, text in output.items():
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


@pytest.mark.slow
def test_the_gpu_script_ends_by_the_clock_although_a_step_does_not(tmp_path):
    deaf = tmp_path / "python"
    deaf.write_text(
        "#!/bin/sh\n"
        f"""case "$*" in *collect*) exec {shlex.quote(sys.executable)} "$@" ;; esac\n"""
        "trap '' TERM INT\nwhile :; do sleep 1; done\n"
    )
    deaf.chmod(0o755)
    started = time.monotonic()
    with quarter(
        tmp_path / "out", PYTHON=str(deaf), PARTS="train", TRAININGS="one", LIMIT="45",
        RESERVE="40",
    ) as process:  # fmt: skip
        output = process.stdout.read()
        assert process.wait() == 1
    # The deadline is 5 s, and it is killed 15 s after it was asked to stop; bash counts whole
    # seconds, so a part of one can be missing at either end.
    assert 18 <= time.monotonic() - started < 60
    assert "train one: FAILED (exit code 137)" in output
    assert "train one: NO SNAPSHOT" in output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"summary.txt", "logs.tar.gz"}


def test_files_that_do_not_fit_stay_and_the_run_to_keep_has_priority(tmp_path):
    def packed(name, **room):
        out = tmp_path / name
        out.mkdir()
        limits = {"files": 6, "size": 10**6, "part": 20000} | room
        lines = collect.pack(collect.Room(out, **limits), models, run, "b")
        members = []
        for tar in ("run.tar", "models.tar"):
            joined = b"".join(path.read_bytes() for path in sorted(out.glob(f"{tar}*")))
            if joined:
                members += tarfile.open(fileobj=io.BytesIO(joined)).getnames()  # noqa: SIM115
        paths = list(out.iterdir())
        assert len(paths) <= limits["files"]
        assert sum(path.stat().st_size for path in paths) <= limits["size"]
        assert all(path.stat().st_size <= limits["part"] for path in paths)
        return lines, members

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

    lines, members = packed("all")
    assert members == [state, *small[::-1]]
    assert lines[0] == "state of b: 0.1 MiB in 4 files"
    lines, members = packed("without the state", files=5)
    assert members == [full, small[0]]
    assert "LEFT OUT" in lines[0]
    assert packed("without the discriminator", files=1)[1] == [small[1]]
    lines, members = packed("only one", files=1)
    assert members == [small[1]]
    assert f"{small[0]}: LEFT OUT, 0.0 MiB" in lines


def test_progress_is_reported_since_the_last_call(tmp_path):
    assert collect.progress(tmp_path, 0) == "0 kimg"
    lines = [{"Progress/kimg": k, "Timing/total_sec": 3 * k} for k in (1, 2, 4)]
    text = "\n".join(map(json.dumps, lines))
    (tmp_path / "stats.jsonl").write_text(text + '\n{"Progress/ki')
    assert collect.progress(tmp_path, 2) == "4 kimg, 3 s/kimg"
    assert collect.progress(tmp_path, 1e9) == "4 kimg"
