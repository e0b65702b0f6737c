"""The batch script and the manifest of docs/cluster: what they start, at toy size on one machine.

SLURM's commands are stand-ins: srun starts one task here, scontrol notes what it was asked for.
The launcher and its two processes are real.
"""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
import yaml

from stylemix.training.state_files import state_files
from tests.support.images import write_pictures
from tests.support.toy_launcher import ROOT, run_launcher, start_launcher, wait_for

FILES = ROOT / "docs" / "cluster"
TOY = [
    "--resolution", "8", "--batch", "4", "--z-dim", "8", "--w-dim", "8", "--channel-base", "64",
    "--channel-max", "16", "--device", "cpu", "--tick-kimg", ".016", "--timeout", "20",
]  # fmt: skip
STAND_INS = {
    "torchrun": f'exec "{sys.executable}" -m torch.distributed.run "$@"',
    "stylemix": 'echo "stylemix $*" >> calls',
    "srun": 'while [[ "$1" = -* ]]; do shift; done\nexec "$@"',
    "scontrol": 'if [ "$1" = show ]; then echo 127.0.0.1; else echo "scontrol $*" >> calls; fi',
}


@pytest.fixture
def here(tmp_path):
    """A folder with images and the stand-ins."""
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    write_pictures(tmp_path / "pictures", count=8, side=16)
    (tmp_path / "bin").mkdir()
    for name, text in STAND_INS.items():
        path = tmp_path / "bin" / name
        path.write_text(f"#!/usr/bin/env bash\n{text}\n")
        path.chmod(0o755)
    return tmp_path


def _environment(folder):
    return {
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "STYLEMIX_CACHE": str(folder / "cache"),
    }


def _free_port(low, high):
    """A free port of a range."""
    rng = random.Random()
    while True:
        port = rng.randint(low, high)
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)):
                return port


def _images_seen(run):
    return int(state_files(run)[0].stem.split("-")[1]) if state_files(run) else 0


def test_the_batch_script_is_bash():
    script = FILES / "slurm.sbatch"
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    subprocess.run(["bash", "-n", script], check=True)
    lines = script.read_text().splitlines()
    assert lines[0] == "#!/bin/bash"
    options = [line for line in lines if line.startswith("#SBATCH")]
    first_command = next(i for i, line in enumerate(lines) if line and line[0] != "#")
    assert all(lines.index(line) < first_command for line in options)  # later ones are not read


def test_the_processes_of_a_node_have_all_its_cores(here):
    """From SLURM 22.05 on srun takes their number from a variable of its own, else one."""
    srun = here / "bin" / "srun"
    srun.write_text('#!/usr/bin/env bash\necho "${SRUN_CPUS_PER_TASK:-1} cores" >> calls\n')
    variables = {
        "USER": "toy", "SLURM_JOB_ID": "1", "SLURM_JOB_NODELIST": "node[1-1]",
        "SLURM_JOB_NUM_NODES": "1", "SLURM_GPUS_ON_NODE": "4", "SLURM_CPUS_PER_TASK": "32",
    }  # fmt: skip
    command = ["bash", FILES / "slurm.sbatch", "pictures"]
    subprocess.run(command, cwd=here, env=_environment(here) | variables, check=True)
    assert (here / "calls").read_text().splitlines() == ["32 cores", "32 cores"]


@pytest.mark.slow
def test_a_slurm_job_resumes_after_a_requeue(here):
    """SIGTERM to the batch shell: the state is written, and the job is requeued."""
    run, job = here / "run", _free_port(20000, 29999) - 20000
    command = ["bash", str(FILES / "slurm.sbatch"), "pictures", *TOY, "--output", "run"]
    variables = _environment(here) | {
        "USER": "toy", "SLURM_JOB_ID": str(job), "SLURM_JOB_NODELIST": "node[1-1]",
        "SLURM_JOB_NUM_NODES": "1", "SLURM_GPUS_ON_NODE": "2", "SLURM_CPUS_PER_TASK": "2",
    }  # fmt: skip
    job_process = start_launcher(
        [*command, "--kimg", "1000", "--state-minutes", "60"], here, variables
    )
    deadline = time.monotonic() + 200
    while not (run / "stats.jsonl").exists() and time.monotonic() < deadline:
        assert job_process.poll() is None, job_process.communicate()[0]
        time.sleep(0.1)
    job_process.send_signal(signal.SIGTERM)
    output = wait_for(job_process)
    assert "stopped by a signal" in output
    assert "2 processes" in output
    calls = (here / "calls").read_text().splitlines()
    assert calls == ["stylemix doctor --build", f"scontrol requeue {job}"]
    seen = _images_seen(run)
    assert seen > 0

    kimg = (seen + 16) / 1000
    output = run_launcher([*command, "--kimg", str(kimg)], here, variables)
    assert "Wrote run/snapshot" in output
    assert _images_seen(run) >= seen + 16
    assert (here / "calls").read_text().splitlines()[2:] == ["stylemix doctor --build"]


@pytest.fixture(scope="module")
def manifest():
    service, job = yaml.safe_load_all((FILES / "kubernetes.yaml").read_text())
    assert (service["kind"], job["kind"]) == ("Service", "Job")
    return service, job


def _container(job):
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return container, {item["name"]: item["value"] for item in container["env"]}


def test_the_manifest_agrees_with_itself(manifest):
    service, job = manifest
    spec, template = job["spec"], job["spec"]["template"]
    container, variables = _container(job)
    name, port = service["metadata"]["name"], service["spec"]["ports"][0]["port"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == template["metadata"]["labels"]
    assert template["spec"]["subdomain"] == name
    assert variables["RENDEZVOUS"] == f"{job['metadata']['name']}-0.{name}:{port}"
    assert int(variables["NODES"]) == spec["completions"] == spec["parallelism"]
    assert int(variables["PROCESSES"]) == container["resources"]["limits"]["nvidia.com/gpu"]
    assert spec["completionMode"] == "Indexed"
    assert template["spec"]["restartPolicy"] == "Never"  # podFailurePolicy asks for that
    stop = int(variables["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"])
    assert stop < template["spec"]["terminationGracePeriodSeconds"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in template["spec"]["volumes"]}
    assert variables["STYLEMIX_CACHE"] == mounts["cache"]
    paths = [argument.split("=")[-1] for argument in container["args"] if "/" in argument]
    assert all(path.startswith(mounts["shared"] + "/") for path in paths)


@pytest.mark.slow
def test_the_pods_command_trains(manifest, here):
    container, variables = _container(manifest[1])
    variables |= _environment(here) | {
        "JOB_COMPLETION_INDEX": "0", "NODES": "1", "PROCESSES": "2",
        "RENDEZVOUS": f"127.0.0.1:{_free_port(20000, 29999)}",
    }  # fmt: skip
    toy = ["pictures", *TOY, "--kimg", ".032", "--output", "run"]
    output = run_launcher([*container["command"], *toy], here, variables)
    assert "2 processes" in output
    assert _images_seen(here / "run") == 32
    assert (here / "calls").read_text() == "stylemix doctor --build\n"
    lines = (here / "run" / "stats.jsonl").read_text().splitlines()
    assert [json.loads(line)["Progress/kimg"] for line in lines] == [0.016, 0.032]
