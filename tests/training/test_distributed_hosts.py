"""Two hosts, as two network namespaces with an address each: the same weights as one process.

Needs root and the `ip` command, so it is skipped elsewhere. A cable (veth pair) joins the two; the
hosts see nothing else of each other, and gloo talks over it.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stylemix.training.state_files import state_files

ROOT = Path(__file__).resolve().parents[2]
TRAIN = [
    "train", "--resolution", "16", "--batch", "8", "--z-dim", "8", "--w-dim", "8",
    "--channel-base", "128", "--channel-max", "16", "--device", "cpu", "--augment-p", ".3",
    "--ada-target", "0", "--ada-kimg", ".5", "--tick-kimg", ".064", "--state-minutes", "0",
    "--precision", "fp32",
    "--timeout", "20",
]  # fmt: skip
FIRST, SECOND = "10.77.0.1", "10.77.0.2"


def _ip(*words):
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture
def hosts():
    """Names of two namespaces with a link between them."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and the ip command for network namespaces")
    names = [f"stylemix-{os.getpid()}-{side}" for side in "ab"]
    cables = [f"smx{os.getpid() % 10**6}{side}" for side in "ab"]
    try:
        for name in names:
            _ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"needs the right to make network namespaces: {error.stderr.strip()}")
    try:
        _ip("link", "add", cables[0], "type", "veth", "peer", "name", cables[1])
        for name, cable, address in zip(names, cables, (FIRST, SECOND), strict=True):
            _ip("link", "set", cable, "netns", name)
            _ip("-n", name, "address", "add", f"{address}/24", "dev", cable)
            _ip("-n", name, "link", "set", cable, "up")
            _ip("-n", name, "link", "set", "lo", "up")
        yield list(zip(names, cables, strict=True))
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False)


def _environment(cable):
    clean = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    return clean | {
        "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "STYLEMIX_OPS": "torch",
        "GLOO_SOCKET_IFNAME": cable,
    }  # fmt: skip


def _start(host, cable, node, data, folder, kimg, log):
    """One node of torchrun in a namespace, which knows only the first host's address."""
    command = [
        "ip", "netns", "exec", host, sys.executable, "-m", "torch.distributed.run",
        "--nnodes=2", "--nproc-per-node=1", f"--node-rank={node}", f"--master-addr={FIRST}",
        "--master-port=29577", "-m", "stylemix", *TRAIN, "--kimg", kimg, data, "--output", folder,
    ]  # fmt: skip
    with log.open("w") as file:
        return subprocess.Popen(
            [str(argument) for argument in command],
            env=_environment(cable),
            stdout=file,
            stderr=file,
        )


@pytest.mark.slow
def test_two_hosts_are_one(hosts, pictures, tmp_path):
    alone = [sys.executable, "-m", "stylemix", *TRAIN, "--kimg", ".16", "--batch-gpu", "4"]
    subprocess.run(
        [*alone, str(pictures), "--output", str(tmp_path / "one")], env=_environment("lo"),
        check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    # Each host has a disk of its own: only the first one's run folder is written.
    logs = [tmp_path / f"log{node}" for node in (0, 1)]
    folders = [tmp_path / f"disk{node}" for node in (0, 1)]
    nodes = [
        _start(*hosts[node], node, pictures, folders[node], ".16", logs[node]) for node in (0, 1)
    ]
    codes = [node.wait(timeout=300) for node in nodes]
    output = "".join(log.read_text() for log in logs)
    assert codes == [0, 0], output
    one, two = (load_file(state_files(f)[0]) for f in (tmp_path / "one", folders[0]))
    assert state_files(folders[1]) == []
    names = [name for name in one if name.startswith(("G.", "D.", "G_ema."))]
    assert len(names) > 40
    for name in names:
        torch.testing.assert_close(two[name], one[name], rtol=0, atol=1e-5, msg=name)


@pytest.mark.slow
def test_a_cut_cable_ends_both_hosts_with_a_name(hosts, pictures, tmp_path):
    logs = [tmp_path / f"log{node}" for node in (0, 1)]
    folder = tmp_path / "run"
    nodes = [_start(*hosts[node], node, pictures, folder, "100", logs[node]) for node in (0, 1)]
    try:
        deadline = time.monotonic() + 120
        while len(state_files(folder)) < 2 and time.monotonic() < deadline:
            assert nodes[0].poll() is None, logs[0].read_text()
            time.sleep(0.1)
        _ip("-n", hosts[1][0], "link", "set", hosts[1][1], "down")
        codes = [node.wait(timeout=200) for node in nodes]
    finally:
        for node in nodes:
            node.kill()
    output = logs[0].read_text()
    assert codes[0] != 0
    assert "rank 1 (host " in output, output
    assert "last heartbeat" in output
