"""State files: valid or rejected, the last two are kept, and a full disk loses no data."""

import json
import random
import shutil
import sys
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open

from stylemix.errors import StylemixError
from stylemix.io.tensor_files import Damaged
from stylemix.training.session import last_state
from stylemix.training.state import TrainState
from stylemix.training.state_files import Run, read_state, save_state, state_files

CPU = torch.device("cpu")


def worked(config, nimg=1234):
    """A state as after a step, with something in every tensor."""
    state = TrainState.create(config, 0, CPU)
    state.set_rates(config)
    torch.manual_seed(1)
    for network, adam in (
        (state.generator, state.g_optimizer), (state.discriminator, state.d_optimizer),
    ):  # fmt: skip
        for parameter in network.parameters():
            parameter.grad = torch.randn_like(parameter)
        adam.step()
    for tensor in (state.path_length_mean, state.sign_sum, state.sign_count, state.diversity):
        tensor.fill_(float(torch.rand([])))
    state.generator.mapping.w_avg.normal_()
    counters = state.counters
    counters.cur_nimg, counters.augment_p, counters.seconds = nimg, 0.1 + 0.2, 7.5
    counters.lr_scale, counters.rollbacks, counters.best, counters.stale = 0.25, 2, 3.5, 1
    return state


@pytest.fixture
def run(tiny):
    return Run(tiny, tiny.resolve(), "images")


@pytest.fixture
def saved(run, tmp_path):
    return save_state(tmp_path, worked(run.config), run)


def test_saved_and_read(run, saved):
    before, after = worked(run.config), TrainState.create(run.config, 0, CPU)
    tensors, header = read_state(saved, run.asked, "images")
    after.fill(tensors, header["counters"])
    assert after.counters == before.counters
    assert header["config"] == json.loads(json.dumps(vars(run.config)))
    assert set(before.tensors()) == set(after.tensors())
    for name, value in before.tensors().items():
        assert torch.equal(value, after.tensors()[name]), name
        assert value.dtype == after.tensors()[name].dtype, name
    after.set_rates(run.config)
    for a, b in ((before.g_optimizer, after.g_optimizer), (before.d_optimizer, after.d_optimizer)):
        assert a.param_groups[0]["betas"] == b.param_groups[0]["betas"]
    with safe_open(saved, framework="pt") as file:
        assert file.metadata()["format"] == "stylemix-train-state"
        assert file.metadata()["version"] == "2"


def test_the_last_two_are_kept(run, tmp_path):
    for nimg in (4, 8, 100_000, 1_000_000_000):
        save_state(tmp_path, worked(run.config, nimg), run)
    assert [path.name for path in state_files(tmp_path)] == [
        "state-001000000000.safetensors", "state-000000100000.safetensors",
    ]  # fmt: skip


def test_one_flipped_bit_is_refused_wherever_it_is(run, saved):
    whole = bytearray(saved.read_bytes())
    header = 8 + int.from_bytes(whole[:8], "little")
    rng = random.Random(0)
    places = [*range(8), *rng.sample(range(8, header), 60)]
    places += [header, len(whole) - 1, *rng.sample(range(header, len(whole)), 20)]
    for place in places:
        broken = bytearray(whole)
        broken[place] ^= 1 << rng.randrange(8)
        saved.write_bytes(broken)
        with pytest.raises(Damaged, match=str(saved)):
            read_state(saved, run.asked, "images")
    saved.write_bytes(whole)
    read_state(saved, run.asked, "images")


@pytest.mark.parametrize("size", [0, 7, 8, 300, 5000, -1])
def test_a_file_cut_short_is_refused(run, saved, size):
    whole = saved.read_bytes()
    saved.write_bytes(whole[:size])
    with pytest.raises(Damaged, match=f"got a damaged training state {saved}"):
        read_state(saved, run.asked, "images")


def test_the_previous_state_is_used(run, tmp_path, capsys):
    old = save_state(tmp_path, worked(run.config, 100), run)
    new = save_state(tmp_path, worked(run.config, 200), run)
    new.write_bytes(new.read_bytes()[:-1])
    _, header = last_state(tmp_path, run.asked, "images")
    assert header["counters"]["cur_nimg"] == 100
    said = capsys.readouterr().err
    assert f"Skipped: got a damaged training state {new}" in said
    assert f"Resuming from {old}" in said
    old.write_bytes(b"")
    with pytest.raises(StylemixError, match="there is no other state; delete it to start over"):
        last_state(tmp_path, run.asked, "images")


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of file sizes")
def test_a_full_disk_loses_nothing(run, saved, tmp_path):
    """A limit on the size of files stands for the end of the disk: the system's own error."""
    import resource

    former = saved.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(former) // 2, limits[1]))
    try:
        with pytest.raises(StylemixError, match=r"cannot write .*: got 'File too large'; expected"):
            save_state(tmp_path, worked(run.config, 5000), run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == [saved.name]
    assert saved.read_bytes() == former


def test_another_runs_state_is_refused(run, saved):
    for name, value, was in (("beta2", 0.9, 0.99), ("seed", 3, 0), ("loss", "minimax", None)):
        with pytest.raises(StylemixError, match=f"got --{name} {value}; expected {was}, as the"):
            read_state(saved, replace(run.asked, **{name: value}), "images")
    with pytest.raises(StylemixError, match="got other images than the run"):
        read_state(saved, run.asked, "others")
    for name, value in (
        ("kimg", 9),
        ("lr", 0.1),
        ("tick_kimg", 1),
        ("batch_gpu", 2),
        ("metrics", "kid"),
    ):
        read_state(saved, replace(run.asked, **{name: value}), "images")


def test_an_older_format_is_an_error(run, saved, tmp_path):
    shutil.move(saved, tmp_path / "state.safetensors")
    with pytest.raises(StylemixError, match="of an older stylemix; expected none"):
        last_state(tmp_path, run.asked, "images")
