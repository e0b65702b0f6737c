"""Several processes: the same weights as one, any number of them, and errors that name a rank."""

import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed import HashStore

from stylemix.training.distributed import Ranks, meet, torchrun_command, without_gpus
from stylemix.training.state_files import state_files

ROOT = Path(__file__).resolve().parents[2]
TRAIN = [
    "train", "--resolution", "16", "--batch", "8", "--z-dim", "8", "--w-dim", "8",
    "--channel-base", "128", "--channel-max", "16", "--device", "cpu", "--augment-p", ".3",
    "--ada-target", "0", "--ada-kimg", ".5", "--tick-kimg", ".064", "--state-minutes", "0",
    "--precision", "fp32",
]  # fmt: skip


def _environment():
    clean = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    return clean | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "STYLEMIX_OPS": "torch"}


def _torchrun(processes, *options):
    return [
        sys.executable, "-m", "torch.distributed.run", "--standalone",
        f"--nproc-per-node={processes}", *options, "-m", "stylemix",
    ]  # fmt: skip


def _run(command, **rest):
    return subprocess.run(
        [str(argument) for argument in command], env=_environment(), text=True, capture_output=True,
        timeout=300, **rest,
    )  # fmt: skip


def _weights(folder):
    state = load_file(state_files(folder)[0])
    return {k: v for k, v in state.items() if k.startswith(("G.", "D.", "G_ema."))}


@pytest.fixture(scope="module")
def accumulated(pictures, tmp_path_factory):
    """20 steps of one process that splits each batch in two."""
    folder = tmp_path_factory.mktemp("one") / "run"
    command = [sys.executable, "-m", "stylemix", *TRAIN, "--kimg", ".16", "--batch-gpu", "4"]
    result = _run([*command, pictures, "--output", folder])
    assert result.returncode == 0, result.stderr
    return folder


@pytest.mark.slow
def test_two_processes_are_one(accumulated, pictures, tmp_path):
    folder = tmp_path / "run"
    result = _run([*_torchrun(2), *TRAIN, "--kimg", ".16", pictures, "--output", folder])
    assert result.returncode == 0, result.stderr
    assert "10 images" in result.stdout
    assert "2 processes" in result.stdout
    assert result.stdout.count("Wrote") == 1  # one rank speaks
    one, two = _weights(accumulated), _weights(folder)
    assert set(one) == set(two)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=1e-5, msg=name)


@pytest.mark.slow
def test_gpus_starts_ranks_and_any_number_resumes(pictures, tmp_path):
    """Three processes begin, two resume; --gpus starts them, and the batch is unchanged."""
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "stylemix", *TRAIN, "--batch", "12", pictures]
    for processes, kimg in ((3, 0.048), (2, 0.096)):
        result = _run([*command, "--output", folder, "--gpus", processes, "--kimg", kimg])
        assert result.returncode == 0, result.stderr
        assert f"{processes} processes" in result.stdout
        assert int(state_files(folder)[0].stem.split("-")[1]) == round(kimg * 1000)


@pytest.mark.slow
def test_an_indivisible_batch_is_an_error_before_the_launch(pictures, tmp_path):
    command = [sys.executable, "-m", "stylemix", *TRAIN, pictures, "--batch-gpu", "4"]
    result = _run([*command, "--gpus", "3", "--output", tmp_path])
    assert result.returncode == 2
    assert result.stderr == (
        "Error: got 3 processes for a batch of 8 in microbatches of 4; expected one for each; use "
        "--batch 12 or fewer processes\n"
    )


@contextmanager
def _two_ranks(pictures, folder, log, kimg):
    """A run of two ranks that has written states: torchrun, and the numbers of its ranks."""
    command = [*_torchrun(2, "--max-restarts=1"), *TRAIN, "--kimg", kimg, pictures]
    with (
        log.open("w") as file,
        subprocess.Popen(
            [*map(str, command), "--output", str(folder)], env=_environment(), stderr=file,
            stdout=file, start_new_session=True,
        ) as process,
    ):  # fmt: skip
        deadline = time.monotonic() + 200
        while len(state_files(folder)) < 2 and time.monotonic() < deadline:
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        ranks = subprocess.run(
            ["ps", "-o", "pid=,args=", "--ppid", str(process.pid)], capture_output=True, text=True
        ).stdout
        yield process, [int(row.split()[0]) for row in ranks.splitlines() if "stylemix" in row]


def _runs(pid):
    """Whether a process is there, and not only its exit code."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say when a parent ends")
def test_ranks_end_with_a_killed_torchrun(pictures, tmp_path):
    folder = tmp_path / "run"
    with _two_ranks(pictures, folder, tmp_path / "log", 600) as (process, ranks):
        process.kill()
    assert len(ranks) == 2
    deadline = time.monotonic() + 60
    while any(map(_runs, ranks)) and time.monotonic() < deadline:
        time.sleep(0.1)
    alive = [pid for pid in ranks if _runs(pid)]
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
    assert alive == []


@pytest.mark.slow
def test_a_killed_rank_is_named_and_started_again(pictures, tmp_path):
    folder, log = tmp_path / "run", tmp_path / "log"
    with _two_ranks(pictures, folder, log, 0.6) as (process, pids):
        victim = next(pid for pid in pids if _rank(pid) == 1)
        os.kill(victim, signal.SIGKILL)
        process.wait(timeout=200)
    output = log.read_text()
    assert process.returncode == 0, output
    assert re.search(rf"rank 1 \(host [^ ]+, process {victim}\)", output), output
    assert output.count("Wrote") == 1
    assert int(state_files(folder)[0].stem.split("-")[1]) == 600


def _rank(pid):
    variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return int(next(variable for variable in variables if variable.startswith(b"RANK="))[5:])


@pytest.mark.slow
def test_a_rank_that_cannot_join_reports_it(pictures, tmp_path):
    lonely = _environment() | {
        "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29871",
    }  # fmt: skip
    command = [sys.executable, "-m", "stylemix", *TRAIN, "--timeout", "3", str(pictures)]
    result = subprocess.run(
        [*command, "--output", str(tmp_path / "run")], env=lonely, text=True, capture_output=True,
        timeout=120,
    )  # fmt: skip
    assert result.returncode == 2
    assert "could not join a run of 2 ranks at 127.0.0.1:29871" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_restarted_ranks_do_not_meet_dead_ranks():
    store = HashStore()
    first = _meet_all(store, [0, 0, 0])
    second = _meet_all(store, [0, 0.2, 0.4])  # rank 0 reads hellos of dead ranks
    third = _meet_all(store, [0.2, 0])  # one fewer
    assert all(len(set(names)) == 1 for names in (first, second, third))
    assert len({first[0], second[0], third[0]}) == 3


@pytest.mark.slow
def test_a_missing_rank_is_named():
    store = HashStore()
    _meet_all(store, [0, 0, 0])
    with ThreadPoolExecutor() as pool:
        others = [pool.submit(meet, store, rank, 3, 4) for rank in (0, 2)]
        messages = [str(other.exception()) for other in others]
    assert messages == ["nothing heard of rank 1 in 4 s"] * 2


def _meet_all(store, delays):
    """Names that ranks agree on which start after these seconds."""

    def one(rank):
        time.sleep(delays[rank])
        return meet(store, rank, len(delays), timeout=30)

    with ThreadPoolExecutor(len(delays)) as pool:
        return list(pool.map(one, range(len(delays))))


def test_one_process_needs_no_others():
    ranks, tensor = Ranks(), torch.arange(3.0)
    ranks.all_reduce_([tensor])
    ranks.broadcast_([tensor])
    assert tensor.tolist() == [0, 1, 2]
    assert ranks.broadcast_text("word") == "word"
    assert ranks.all_equal([tensor])
    assert ranks.lead


def test_the_command_of_torchrun():
    arguments = ["train", "faces.zip", "--gpus", "4", "--kimg", "3", "--gpus=2"]
    assert without_gpus(arguments) == ["train", "faces.zip", "--kimg", "3"]
    command = torchrun_command(4, arguments)
    assert command[1:3] == ["-m", "torch.distributed.run"]
    assert "--nproc-per-node=4" in command
    assert command[-5:] == ["stylemix", "train", "faces.zip", "--kimg", "3"]
