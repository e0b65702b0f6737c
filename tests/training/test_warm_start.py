"""Initialization from a model: by name, into wider networks, and with part of D frozen."""

from dataclasses import replace

import pytest
import torch

from stylemix.models.checkpoint import load_model
from stylemix.networks.config import DiscriminatorConfig, GeneratorConfig
from stylemix.networks.discriminator import Discriminator
from stylemix.networks.generator import Generator, SynthesisLayer
from stylemix.training.loop import train
from stylemix.training.session import TrainingData
from stylemix.training.warm_start import finest_layers, silence, transfer
from tests.support.models import saved, tiny_model
from tests.support.toy_runs import run

CPU = torch.device("cpu")
NARROW = {"img_resolution": 16, "channel_base": 128, "channel_max": 16}


@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
def test_a_wider_network_computes_the_same(architecture):
    torch.manual_seed(0)
    common = {"z_dim": 8, "w_dim": 8, "mapping_layers": 2, "architecture": architecture}
    narrow = Generator(GeneratorConfig(**NARROW, **common))
    wide = Generator(GeneratorConfig(16, channel_base=512, channel_max=24, **common))
    narrow.mapping.w_avg.normal_()
    done = transfer(narrow.state_dict(), wide)
    assert done.fresh == []
    assert "synthesis.b16.conv1.weight" in done.widened
    assert "mapping.fc0.weight" in done.copied
    z = torch.randn([4, 8])
    torch.testing.assert_close(
        wide(z, noise_mode="const"), narrow(z, noise_mode="const"), rtol=1e-4, atol=1e-5
    )
    # There is room to learn: new weights read from new features.
    weight = wide.synthesis.b16.conv1.weight
    old = narrow.synthesis.b16.conv1.weight.shape[0]
    assert weight[old:].std() > 0.5


@pytest.mark.parametrize("architecture", ["resnet", "skip", "orig"])
def test_a_wider_discriminator_scores_the_same(architecture):
    """As long as the width of its coarsest block is equal: minibatch stddev uses all features."""
    torch.manual_seed(0)
    narrow = Discriminator(DiscriminatorConfig(**NARROW, architecture=architecture))
    wide = Discriminator(
        DiscriminatorConfig(16, channel_base=512, channel_max=16, architecture=architecture)
    )
    assert transfer(narrow.state_dict(), wide).fresh == []
    images = torch.randn([8, 3, 16, 16])
    torch.testing.assert_close(wide(images), narrow(images), rtol=1e-4, atol=1e-5)


def test_wider_networks_with_labels_compute_the_same():
    torch.manual_seed(0)
    sizes = {"img_resolution": 16, "channel_base": 128, "mapping_layers": 2, "c_dim": 3}
    labels = torch.eye(3)[[0, 1, 2, 2]]
    narrow, wide = (Generator(GeneratorConfig(**sizes, z_dim=8, w_dim=width)) for width in (8, 20))
    narrow.mapping.embed.bias.data.normal_()
    assert transfer(narrow.state_dict(), wide).fresh == ["mapping.w_avg"]
    z = torch.randn([4, 8])
    images = [G(z, labels, noise_mode="const") for G in (wide, narrow)]
    torch.testing.assert_close(*images, rtol=1e-4, atol=1e-5)
    small, large = (
        Discriminator(DiscriminatorConfig(**sizes, channel_max=width, mbstd_group_size=1))
        for width in (16, 28)
    )
    small.b4.out.bias.data.normal_()
    assert transfer(small.state_dict(), large).fresh == []
    scores = [D(images[1].detach(), labels) for D in (large, small)]
    torch.testing.assert_close(*scores, rtol=1e-4, atol=1e-5)
    # There is room to learn: what contributes nothing has a gradient.
    scores[0].sum().backward()
    assert large.b4.out.weight.grad[16:].std() > 0


def test_another_resolution_copies_matching_tensors():
    small = Generator(GeneratorConfig(8, z_dim=8, w_dim=8, channel_base=128, channel_max=16))
    large = Generator(GeneratorConfig(16, z_dim=8, w_dim=8, channel_base=256, channel_max=16))
    done = transfer(small.state_dict(), large)
    assert set(done.fresh) == {n for n in large.state_dict() if n.startswith("synthesis.b16.")}
    weight = "synthesis.b8.conv0.weight"
    assert torch.equal(large.state_dict()[weight], small.state_dict()[weight])


def test_the_finest_layers():
    D = Discriminator(DiscriminatorConfig(**NARROW))
    assert finest_layers(D, 0) == frozenset()
    assert finest_layers(D, 2) == {
        "b16.fromrgb.weight", "b16.fromrgb.bias", "b16.conv0.weight", "b16.conv0.bias",
    }  # fmt: skip
    assert finest_layers(D, 99) == {name for name, _ in D.named_parameters()}


@pytest.mark.slow
def test_a_run_from_a_model(tiny, dataset, tmp_path, capsys):
    first = train(tiny, TrainingData(dataset), tmp_path / "first", CPU, progress=False).snapshot
    config = replace(tiny, kimg=0.004, lr=0, transfer=str(first))
    second = train(config, TrainingData(dataset), tmp_path / "second", CPU, progress=False).snapshot
    said = capsys.readouterr().err
    assert f"From {first}: generator " in said
    assert "0 widened, 0 fresh; discriminator" in said
    before, after = load_model(first), load_model(second)
    for name, value in before.generator.named_parameters():
        assert torch.equal(after.generator.state_dict()[name], value), name
    assert before.discriminator is not None
    for name, value in before.discriminator.named_parameters():
        assert torch.equal(after.discriminator.state_dict()[name], value), name


def test_grey_is_the_first_of_more_channels():
    """Four channels are not the subbands of one."""
    grey, rgba = tiny_model(resolution=8, channels=1), tiny_model(1, resolution=8, channels=4)
    transfer(grey.generator.state_dict(), rgba.generator)
    transfer(grey.discriminator.state_dict(), rgba.discriminator)
    z = torch.randn([2, 16])
    images = [model.generator(z, noise_mode="const") for model in (grey, rgba)]
    torch.testing.assert_close(images[1][:, :1], images[0])
    shown = torch.cat([images[0], torch.zeros(2, 3, 8, 8)], dim=1)
    torch.testing.assert_close(rgba.discriminator(shown), grey.discriminator(images[0]))


def test_the_licence_of_the_model_goes_on(tiny, dataset, tmp_path):
    card = {"source": "a network pickle", "licence": "that of its authors", "data": "theirs"}
    source = replace(tiny_model(resolution=8), card=card, origin="nvidia")
    config = replace(tiny, kimg=0.004, transfer=saved(source, tmp_path / "source.safetensors"))
    for kimg in (0.004, 0.008):  # and in a resumed run
        model = load_model(run(replace(config, kimg=kimg), dataset, tmp_path / "run").snapshot)
        assert (model.origin, model.card["transfer"]) == ("nvidia", source.fingerprint)
        assert (model.card["source"], model.card["licence"]) == (card["source"], card["licence"])
        assert model.card["data"] != "theirs"


@pytest.mark.parametrize(("noise", "kept"), [("random", 5), ("fine", 2), ("none", 0)])
def test_layers_that_get_no_noise_forget_its_strength(noise, kept):
    synthesis = Generator(GeneratorConfig(16, z_dim=8, w_dim=8, channel_base=128)).synthesis
    layers = [layer for layer in synthesis.modules() if isinstance(layer, SynthesisLayer)]
    for layer in layers:
        layer.noise_strength.data.fill_(0.5)
    silence(synthesis, noise)
    assert [layer.noise_strength.item() for layer in layers] == [0] * (5 - kept) + [0.5] * kept
