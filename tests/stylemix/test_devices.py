"""Devices and their fast precision, and what networks are built from."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from stylemix import devices
from stylemix.devices import (
    cpu_has_bf16,
    find_device,
    free_memory,
    launched_rank,
    no_random_weights,
    search_dtype,
    slow_precision,
)
from stylemix.errors import StylemixError
from stylemix.faces.landmarks import landmarks
from stylemix.faces.templates import FACES128
from stylemix.io import assets
from stylemix.models.checkpoint import load_model
from stylemix.networks.config import DiscriminatorConfig
from stylemix.networks.discriminator import Discriminator
from stylemix.networks.student import Student
from stylemix.ops import architectures
from stylemix.styles.style import load_style

CPU = torch.device("cpu")


def test_cpu_and_auto():
    assert find_device("cpu") == torch.device("cpu")
    there = "cuda" if torch.cuda.is_available() else "cpu"
    assert find_device("auto").type == there


@pytest.mark.parametrize(
    ("most", "free"), [("4194304", 4194304 - 3000000 + 2500000), ("1000", 0), ("max", None)]
)
def test_the_memory_of_a_container_counts_without_cached_files(tmp_path, monkeypatch, most, free):
    everything = free_memory(CPU)
    if everything is None:
        pytest.skip("this system does not say how much memory is free")
    stat = "anon 400000\nfile 2600000\ninactive_file 2500000\nactive_file 100000\n"
    for name, text in (("max", most), ("current", "3000000"), ("stat", stat)):
        (tmp_path / f"memory.{name}").write_text(text)
    monkeypatch.setattr(devices, "CGROUP", tmp_path)
    if free is None:
        assert free_memory(CPU) > 4194304
    else:
        assert free_memory(CPU) == free


@pytest.mark.parametrize("name", ["", "tpu", "mps", "meta", "cuda:x", "cpu cpu"])
def test_unknown_names(name):
    with pytest.raises(StylemixError, match="expected cpu, cuda, cuda:N or auto") as caught:
        find_device(name)
    assert f"got device {name!r}" in str(caught.value)


def test_a_missing_device():
    with pytest.raises(StylemixError, match=r"CUDA devices here; use --device cpu"):
        find_device("cuda:99")


@pytest.mark.parametrize(
    ("count", "name", "fine"), [(0, "cuda", 0), (2, "cuda:1", 1), (2, "cuda:2", 0)]
)
def test_counting_cuda_devices(monkeypatch, count, name, fine):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    if fine:
        assert find_device(name) == torch.device(name)
    else:
        with pytest.raises(StylemixError, match=f"with {count} CUDA devices here"):
            find_device(name)


@pytest.mark.parametrize(
    ("features", "fast"),
    [
        ({"avx2", "fma"}, False), ({"avx512f", "avx512bw", "avx512vl", "avx512dq"}, False),
        ({"avx512f", "avx512_bf16"}, True), ({"amx_tile", "amx_bf16"}, True),
        ({"asimd", "bf16"}, True), ({"asimd", "asimdhp"}, False), (set(), False),
    ],
)  # fmt: skip
def test_processors_with_bf16(monkeypatch, features, fast):
    monkeypatch.setattr(architectures, "cpu_features", lambda: features)
    assert cpu_has_bf16() == fast
    assert search_dtype(CPU) == (torch.bfloat16 if fast else torch.float32)
    assert bool(slow_precision("bf16", CPU)) == (not fast)
    assert slow_precision("fp32", CPU) == slow_precision("auto", CPU) == ""
    assert slow_precision("bf16", torch.device("cuda")) == ""


def test_networks_without_random_weights_draw_nothing():
    state, rng = torch.get_rng_state(), torch.Generator().manual_seed(0)
    with no_random_weights():
        network, student = Discriminator(DiscriminatorConfig(16)), Student()
        own = torch.randn([3], generator=rng)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(own, torch.randn([3], generator=rng.manual_seed(0)))
    assert {name: value.shape for name, value in network.state_dict().items()} == {
        name: value.shape
        for name, value in Discriminator(DiscriminatorConfig(16)).state_dict().items()
    }
    assert not torch.equal(torch.get_rng_state(), state)
    assert sum(value.numel() for value in student.parameters()) > 100_000


def test_random_numbers_of_other_threads_go_on():
    torch.manual_seed(3)
    expected = torch.randn(4)
    torch.manual_seed(3)
    with ThreadPoolExecutor(1) as pool, no_random_weights():
        drawn = pool.submit(torch.randn, 4).result()
    assert torch.equal(drawn, expected)


def test_what_is_loaded_neither_draws_nor_rewinds_random_numbers(monkeypatch):
    def refuse(*_args, **_options):
        raise AssertionError("the random numbers are those of all threads")

    monkeypatch.setattr(assets, "_FROZEN", {})
    monkeypatch.setattr(torch.random, "fork_rng", refuse)
    state = torch.get_rng_state()
    model = load_model("faces-64")
    load_style("comic")
    landmarks(torch.zeros(1, 3, 64, 64), FACES128)
    assert model.discriminator is not None
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("rank", "world", "expected"),
    [(None, None, (0, 1)), ("3", None, (0, 1)), ("0", "1", (0, 1)), ("1", "2", (1, 2))],
)
def test_the_rank_of_a_process(rank, world, expected, monkeypatch):
    _set_ranks(monkeypatch, rank, world)
    assert launched_rank() == expected


@pytest.mark.parametrize(
    ("rank", "world"), [("x", "2"), ("0", "x"), ("2", "2"), ("-1", "2"), (None, "2"), ("0", "0")]
)
def test_ranks_that_would_leave_work_out(rank, world, monkeypatch):
    _set_ranks(monkeypatch, rank, world)
    with pytest.raises(StylemixError, match="in the environment; expected those of torchrun"):
        launched_rank()


def _set_ranks(monkeypatch, rank, world):
    for name, value in (("RANK", rank), ("WORLD_SIZE", world)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
