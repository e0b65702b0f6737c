"""Blocks added to a trained model: outputs are equal at first, and old blocks can be frozen."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn import functional

from stylemix.errors import StylemixError
from stylemix.models.checkpoint import load_model
from stylemix.networks.config import DiscriminatorConfig, GeneratorConfig
from stylemix.networks.discriminator import Discriminator
from stylemix.networks.generator import Generator
from stylemix.networks.layers import inverse_haar
from stylemix.ops import downsample2d, upsample2d
from stylemix.training.config import TrainConfig
from stylemix.training.data.dataset import ImageDataset
from stylemix.training.state_files import checksum, state_files
from stylemix.training.warm_start import transfer
from tests.support.toy_runs import last_state, run

SIZES = {"z_dim": 8, "w_dim": 8, "channel_base": 128, "channel_max": 16, "mapping_layers": 2}


def generators(large, source=8, **more):
    torch.manual_seed(0)
    old = Generator(GeneratorConfig(source, **SIZES))
    for layer in (old.synthesis.b4.torgb, old.synthesis.b8.torgb):
        layer.bias.data.normal_()
    new = Generator(GeneratorConfig(large, **SIZES, **more))
    transfer(old.state_dict(), new)
    return old, new


@pytest.mark.parametrize(
    ("large", "head", "side"), [(16, "rgb", 16), (32, "rgb", 32), (16, "haar", 32)]
)
def test_added_blocks_upsample_the_old_image(large, head, side):
    old, new = generators(large, head=head)
    z = torch.randn([3, 8])
    expected = old(z, noise_mode="const")
    while expected.shape[2] < side:
        expected = upsample2d(expected, old.synthesis.b4.resample_filter)
    got = new(z, noise_mode="const")
    assert got.shape == (3, 3, side, side)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    got.square().sum().backward()  # and they can learn
    assert new.synthesis.b16.torgb.weight.grad.abs().min() > 0


def test_colors_become_the_means_of_subbands():
    old, new = generators(8, head="haar")
    assert "synthesis.b8.torgb.weight" in transfer(old.state_dict(), new).copied
    x, style = torch.randn([2, 16, 8, 8]), torch.randn([2, 16])
    colors = old.synthesis.b8.torgb(x, style)
    upsampled = functional.interpolate(colors, scale_factor=2, mode="nearest")
    got = inverse_haar(new.synthesis.b8.torgb(x, style))
    torch.testing.assert_close(got, upsampled, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", ["resnet", "orig"])
def test_a_discriminator_of_subbands_uses_their_means(architecture):
    torch.manual_seed(0)
    common = {"channel_base": 64, "channel_max": 8, "architecture": architecture}
    old = Discriminator(DiscriminatorConfig(8, **common))
    new = Discriminator(DiscriminatorConfig(8, **common, head="haar"))
    transfer(old.state_dict(), new)
    images = torch.randn([4, 3, 16, 16])
    expected = old(functional.avg_pool2d(images, 2))
    torch.testing.assert_close(new(images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", ["rgb", "haar"])
@pytest.mark.parametrize("architecture", ["resnet", "orig"])
def test_a_discriminator_with_added_blocks_has_the_same_scores(architecture, head):
    torch.manual_seed(0)
    common = {"channel_base": 256, "channel_max": 8, "architecture": architecture}
    old = Discriminator(DiscriminatorConfig(8, **common))
    side = 32 if head == "rgb" else 16
    new = Discriminator(DiscriminatorConfig(side, **common, head=head, fromrgb_at=(8,)))
    done = transfer(old.state_dict(), new)
    assert "b8.fromrgb.weight" in done.copied
    images = torch.randn([4, 3, 32, 32])
    small = images
    for _ in range(2):
        small = downsample2d(small, new.b8.resample_filter)
    got = new(images)
    torch.testing.assert_close(got, old(small), rtol=1e-4, atol=1e-5)
    got.square().sum().backward()  # and the added blocks can learn
    assert new.b16.conv1.weight.grad.abs().max() > 0
    assert (architecture == "orig") or new.b16.skip.weight.grad.abs().max() > 0


@pytest.mark.parametrize("sizes", [(32,), (4,), (64,)])
def test_only_inner_blocks_take_a_reduced_image(sizes):
    with pytest.raises(StylemixError, match="expected coarser blocks, some of 8, 16"):
        DiscriminatorConfig(32, fromrgb_at=sizes)


@pytest.fixture(scope="module")
def source(tiny, dataset, tmp_path_factory):
    """A model of 8 px."""
    return run(replace(tiny, kimg=0.016), dataset, tmp_path_factory.mktemp("source")).snapshot


@pytest.fixture(scope="module")
def growing(tiny, source) -> TrainConfig:
    """A run of 16 px from it: two steps with the old layers frozen, then more."""
    return replace(
        tiny, resolution=16, transfer=str(source), transfer_lr="0:0,.008:0,.016:.5",
        kimg=0.032, augment="none", tick_kimg=0.008,
    )  # fmt: skip


@pytest.fixture(scope="module")
def large(pictures):
    return ImageDataset(pictures, 16)


@pytest.fixture(scope="module")
def larger(pictures):
    return ImageDataset(pictures, 32)


@pytest.mark.slow
def test_transferred_layers_are_held_and_then_learn(growing, large, source, tmp_path):
    first = load_model(source)
    run(replace(growing, kimg=0.008), large, tmp_path)
    held = last_state(tmp_path)
    for prefix, network in (("G.", first.generator), ("D.", first.discriminator)):
        for name, value in network.named_parameters():
            if prefix + name in held and not name.endswith("noise_strength"):
                assert torch.equal(held[prefix + name], value), prefix + name
    for name in ("G.synthesis.b16.torgb.weight", "D.b16.conv0.weight"):
        assert held[name].std() > 0
    assert held["G.synthesis.b16.torgb.weight"].abs().max() > 0.001
    run(growing, large, tmp_path)
    moved = last_state(tmp_path)
    for name in ("G.synthesis.b8.conv1.weight", "G.mapping.fc0.weight", "D.b8.conv0.weight"):
        assert not torch.equal(moved[name], held[name]), name


@pytest.mark.slow
def test_a_growing_run_resumes_bitwise(growing, larger, tmp_path):
    config = replace(growing, head="haar", d_head="haar", feature_weight=0.5, resolution=32)
    config = replace(config, kimg=0.024, channel_min=12)
    run(config, larger, tmp_path / "straight")
    for kimg in (0.004, 0.012, 0.024):
        run(replace(config, kimg=kimg), larger, tmp_path / "stops")
    a, b = last_state(tmp_path / "straight"), last_state(tmp_path / "stops")
    assert set(a) == set(b)
    assert "D.b8.fromrgb.weight" in a
    assert any(name.startswith("features.heads.") for name in a)
    assert [name for name in a if not torch.equal(a[name], b[name])] == []
    assert load_model(next(tmp_path.glob("stops/snapshot*"))).generator.config.height == 32


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"transfer_lr": 1}, {"d_fromrgb_at": "none"}])
def test_options_of_growing_affect_training(change, growing, large, tmp_path):
    config = replace(growing, kimg=0.008, transfer_lr=0.5)
    run(config, large, tmp_path / "plain")
    run(replace(config, **change), large, tmp_path / "other")
    a, b = last_state(tmp_path / "plain"), last_state(tmp_path / "other")
    name = "D.b8.conv0.weight"
    assert not torch.equal(a[name], b[name])


def test_the_rate_of_transferred_layers_is_its_part(growing, large, tmp_path):
    """Adam's first step moves every weight by its rate, where the gradient is not tiny."""
    config = replace(growing, kimg=0.004, transfer_lr=0.25, lr=0.01, path_length_weight=0)
    config = replace(config, d_reg_interval=0)
    run(replace(config, lr=0), large, tmp_path / "still")
    run(config, large, tmp_path / "moved")
    a, b = last_state(tmp_path / "still"), last_state(tmp_path / "moved")
    steps = {name: (a[name] - b[name]).abs().median() for name in a if name.endswith("weight")}
    assert steps["D.b8.conv1.weight"] == pytest.approx(0.0025, rel=1e-3)
    assert steps["D.b16.conv1.weight"] == pytest.approx(0.01, rel=1e-3)


def test_the_generator_is_held_while_the_discriminator_goes_on(growing, large, tmp_path):
    config = replace(growing, kimg=0.004, transfer_lr=0, transfer_d_lr=0.5, lr=0.01)
    config = replace(config, path_length_weight=0, d_reg_interval=0)
    run(replace(config, lr=0), large, tmp_path / "still")
    run(config, large, tmp_path / "moved")
    a, b = last_state(tmp_path / "still"), last_state(tmp_path / "moved")
    assert torch.equal(a["G.synthesis.b8.conv1.weight"], b["G.synthesis.b8.conv1.weight"])
    assert not torch.equal(a["G.synthesis.b16.torgb.weight"], b["G.synthesis.b16.torgb.weight"])
    step = (a["D.b8.conv1.weight"] - b["D.b8.conv1.weight"]).abs().median()
    assert step == pytest.approx(0.005, rel=1e-3)


def test_states_of_before_an_option_go_on(tiny, dataset, tmp_path):
    """Settings that a state lacks have their defaults."""
    run(replace(tiny, kimg=0.032), dataset, tmp_path)
    path = state_files(tmp_path)[0]
    with safe_open(path, "pt") as file:
        header = dict(file.metadata())
    for key in ("asked", "config"):
        settings = json.loads(header[key])
        for name in ("head", "feature_weight", "transfer_lr", "d_fromrgb_at", "channel_min"):
            del settings[name]
        header[key] = json.dumps(settings)
    counters = json.loads(header["counters"])
    del counters["transferred"]
    header["counters"] = json.dumps(counters)
    tensors = load_file(path)
    header["sha256"] = checksum(header, tensors)
    save_file(tensors, path, metadata=header)
    assert run(tiny, dataset, tmp_path).kimg == 0.064


def test_a_run_with_all_layers_frozen_does_not_change(tiny, dataset, source, tmp_path):
    run(replace(tiny, transfer=str(source), transfer_lr=0, kimg=0.008), dataset, tmp_path)
    first, now = load_model(source), last_state(tmp_path)
    for name, value in first.generator.named_parameters():
        if not name.endswith("noise_strength"):
            assert torch.equal(now[f"G.{name}"], value), name
