"""The state of a run: what it starts as, and its file."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from stylemix.errors import StylemixError
from stylemix.training import state as module
from stylemix.training.state import TrainState

CPU = torch.device("cpu")


def _worked(config, c_dim=0):
    """A state as after a step, with something in every tensor."""
    state = TrainState.create(config, c_dim, CPU)
    torch.manual_seed(1)
    for network, adam in (
        (state.generator, state.g_optimizer), (state.discriminator, state.d_optimizer),
    ):  # fmt: skip
        for parameter in network.parameters():
            parameter.grad = torch.randn_like(parameter)
        adam.step()
    for tensor in (state.path_length_mean, state.sign_sum, state.sign_count):
        tensor.fill_(float(torch.rand([])))
    state.generator.mapping.w_avg.normal_()
    state.cur_nimg, state.augment_p, state.seconds = 1234, 0.1 + 0.2, 7.5
    return state


@pytest.fixture
def saved(tiny, tmp_path):
    path = tmp_path / "state.safetensors"
    _worked(tiny).save(path, tiny, "images")
    return path


def _load(path, config, data="images", c_dim=0):
    state = TrainState.create(replace(config, seed=config.seed), c_dim, CPU)
    state.load(path, config, data)
    return state


def test_start(tiny):
    state = TrainState.create(tiny, 0, CPU)
    again = TrainState.create(tiny, 0, CPU)
    other = TrainState.create(replace(tiny, seed=1), 0, CPU)
    for name, value in state.tensors().items():
        assert torch.equal(value, again.tensors()[name]), name
    weight = state.generator.synthesis.b8.conv0.weight
    assert not torch.equal(weight, other.generator.synthesis.b8.conv0.weight)
    averaged = state.generator_ema.state_dict()
    for name, value in state.generator.state_dict().items():
        assert torch.equal(value, averaged[name])
        assert value.data_ptr() != averaged[name].data_ptr()
    assert not any(parameter.requires_grad for parameter in state.generator_ema.parameters())
    assert all(parameter.requires_grad for parameter in state.generator.parameters())
    assert (state.cur_nimg, state.augment_p) == (0, 0)
    assert state.generator.config == tiny.generator()


def test_augmentation_at_the_start(tiny):
    for augment, p in (("ada", 0.3), ("fixed", 0.3), ("none", 0.0)):
        config = replace(tiny, augment=augment, augment_p=0.3)
        assert TrainState.create(config, 0, CPU).augment_p == p


@pytest.mark.parametrize(
    ("changes", "g_ratio", "d_ratio"),
    [
        ({"g_reg_interval": 4, "d_reg_interval": 16}, 4 / 5, 16 / 17),
        ({"g_reg_interval": 1, "d_reg_interval": 1}, 1 / 2, 1 / 2),
        ({"path_length_weight": 0, "d_reg_interval": 0}, 1, 1),
    ],
)
def test_adam_makes_up_for_the_lazy_steps(tiny, changes, g_ratio, d_ratio):
    state = TrainState.create(replace(tiny, lr=0.002, **changes), 0, CPU)
    for optimizer, ratio in ((state.g_optimizer, g_ratio), (state.d_optimizer, d_ratio)):
        (group,) = optimizer.param_groups
        assert group["lr"] == pytest.approx(0.002 * ratio)
        assert group["betas"] == (0, pytest.approx(0.99**ratio))
        assert group["eps"] == 1e-8
    assert len(state.g_optimizer.param_groups[0]["params"]) == len(
        list(state.generator.parameters())
    )


def test_saved_and_loaded(tiny, saved):
    before, after = _worked(tiny), _load(saved, tiny)
    assert set(before.tensors()) == set(after.tensors())
    for name, value in before.tensors().items():
        assert torch.equal(value, after.tensors()[name]), name
        assert value.dtype == after.tensors()[name].dtype, name
    for key in ("cur_nimg", "augment_p", "seconds"):
        assert getattr(before, key) == getattr(after, key)
    for a, b in ((before.g_optimizer, after.g_optimizer), (before.d_optimizer, after.d_optimizer)):
        assert a.state_dict()["param_groups"] == b.state_dict()["param_groups"]


def test_a_write_that_is_stopped_leaves_the_former_state(tiny, saved, monkeypatch):
    former = saved.read_bytes()

    def half(tensors, path, metadata):
        save_file(tensors, path, metadata=metadata)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "save_file", half)
    later = _worked(tiny)
    later.cur_nimg = 9999
    with pytest.raises(KeyboardInterrupt):
        later.save(saved, tiny, "images")
    assert saved.read_bytes() == former
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]
    # A machine that lost its power leaves the half behind; that is no state and does no harm.
    (saved.parent / ".state.0123456789ab.tmp.safetensors").write_bytes(former[:1000])
    assert _load(saved, tiny).cur_nimg == 1234


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        ({"batch": 8}, "--batch 8; expected 4"),
        ({"lr": 0.1}, "--lr 0.1; expected 0.0025"),
        ({"seed": 5}, "--seed 5; expected 0"),
        ({"mirror": True}, "--mirror True; expected False"),
        ({"style_mixing": 0.5}, "--style-mixing 0.5; expected 0.9"),
        ({"augment": "none"}, "--augment none; expected ada"),
        ({"precision": "bf16"}, "--precision bf16; expected fp32"),
        ({"resolution": 16}, "--resolution 16; expected 8"),
        ({"channel_max": 8}, "--channel-max 8; expected 16"),
    ],
)
def test_changed_options_are_named(tiny, saved, changes, option):
    with pytest.raises(StylemixError) as caught:
        _load(saved, replace(tiny, **changes))
    assert f"got {option}, as the run in" in str(caught.value)
    assert str(caught.value).endswith("was started with; use another --output")
    assert "\n" not in str(caught.value)


def test_some_options_may_change(tiny, saved):
    assert _load(saved, replace(tiny, kimg=9, snapshot_kimg=3, state_kimg=2)).cur_nimg == 1234


def test_other_images_are_refused(tiny, saved):
    with pytest.raises(StylemixError, match="got other images than the run in"):
        _load(saved, tiny, data="others")


def _rewrite(path, change):
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    tensors = load_file(path)
    change(tensors, header)
    save_file(tensors, path, metadata=header)


def _without(name):
    return lambda path: _rewrite(path, lambda tensors, _: tensors.pop(name))


def _empty(path):
    path.write_bytes(b"")


def _garbage(path):
    path.write_bytes(b"not a state " * 100)


def _cut(keep):
    return lambda path: path.write_bytes(path.read_bytes()[:keep])


def _folder(path):
    path.unlink()
    path.mkdir()


def _reshaped(path):
    _rewrite(path, lambda tensors, _: tensors.update({"G.mapping.w_avg": torch.zeros([9])}))


def _no_counters(path):
    _rewrite(path, lambda _, header: header.pop("counters"))


def _bad_counters(path):
    _rewrite(path, lambda _, header: header.update(counters="{"))


@pytest.mark.parametrize(
    "damage",
    [
        _empty, _garbage, _cut(7), _cut(500), _cut(-1), _cut(-5000), _folder, _reshaped,
        _no_counters, _bad_counters, _without("D.b4.fc.bias"), _without("sign_sum"),
    ],
)  # fmt: skip
def test_damaged_files(tiny, saved, damage):
    damage(saved)
    with pytest.raises(StylemixError, match="got a damaged training state") as caught:
        _load(saved, tiny)
    assert str(caught.value).endswith("delete it to start anew")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_another_kind_of_file(tiny, saved):
    save_file({"x": torch.zeros([1])}, saved)
    with pytest.raises(StylemixError, match=r"expected a training state; use another --output"):
        _load(saved, tiny)


def test_the_header_holds_what_decides(tiny, saved):
    with safe_open(saved, framework="pt") as file:
        header = file.metadata()
    assert json.loads(header["config"]) == vars(tiny)
    assert header["data"] == "images"
    copy = saved.with_name("copy.safetensors")
    shutil.copy(saved, copy)
    assert _load(copy, tiny).seconds == 7.5


def test_with_labels(tiny, tmp_path):
    path = tmp_path / "state.safetensors"
    state = _worked(tiny, c_dim=3)
    state.save(path, tiny, "images")
    after = _load(path, tiny, c_dim=3).tensors()
    assert torch.equal(state.tensors()["D.mapping.embed.weight"], after["D.mapping.embed.weight"])
