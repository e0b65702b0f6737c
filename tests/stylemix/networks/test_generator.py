"""The networks: golden values, names, sizes and errors."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from stylemix.errors import StylemixError
from stylemix.networks.config import DiscriminatorConfig, GeneratorConfig
from stylemix.networks.discriminator import Discriminator, DiscriminatorTrunk
from stylemix.networks.generator import Generator, SynthesisLayer
from stylemix.networks.latents import flatten_styles, nest_styles
from stylemix.training.losses import path_lengths, r1_penalty

GOLDEN = Path(__file__).parents[2] / "golden"
CONFIGS = json.loads((GOLDEN / "configs.json").read_text())
COMMON = ("img_resolution", "channel_base", "channel_max", "c_dim", "conv_clamp")
SIZES = [4, 8, 16, 32, 64, 128, 256, 512, 1024]


class Golden:
    """Networks with the weights of a golden file, and its inputs and results."""

    def __init__(self, name):
        c = CONFIGS[name]
        with np.load(GOLDEN / f"{name}.npz") as file:
            self.file = dict(file)
        common = {key: c[key] for key in COMMON}
        own = {key: c[key] for key in ("z_dim", "w_dim", "mapping_layers")}
        architecture = c["generator_architecture"]
        self.G = Generator(GeneratorConfig(**common, **own, architecture=architecture))
        self.D = Discriminator(
            DiscriminatorConfig(**common, architecture=c["discriminator_architecture"])
        )
        for network, prefix in ((self.G, "G."), (self.D, "D.")):
            keys = [key for key in self.file if key.startswith(prefix)]
            network.load_state_dict({key[2:]: self[key] for key in keys})
        self.z, self.c = self["in.z"], self["in.c"]

    def __getitem__(self, key):
        return torch.from_numpy(self.file[key]).clone()

    def check(self, key, value):
        expected = self[key]
        assert value.shape == expected.shape
        assert (value - expected).abs().max() <= 1e-4 * expected.abs().max(), key


@pytest.fixture(scope="module", params=list(CONFIGS))
def golden(request):
    return Golden(request.param)


@pytest.fixture(scope="module")
def small():
    return Golden("uncond_32_skip_resnet")


def test_golden_latents(golden):
    golden.check("out.w", golden.G.mapping(golden.z, golden.c))
    truncated = golden.G.mapping(golden.z, golden.c, truncation_psi=0.7, truncation_cutoff=4)
    golden.check("out.w_truncated_psi0.7_cutoff4", truncated)


@torch.no_grad()
def test_golden_images(golden):
    G, ws = golden.G, golden["out.w"]
    golden.check("out.image_noise_const", G.synthesis(ws, noise_mode="const"))
    golden.check("out.image_noise_none", G.synthesis(ws, noise_mode="none"))
    truncated = golden["out.w_truncated_psi0.7_cutoff4"]
    golden.check("out.image_truncated", G.synthesis(truncated, noise_mode="const"))
    golden.check("out.image_mixed", G.synthesis(golden["in.w_mixed"], noise_mode="const"))
    whole = G(golden.z, golden.c, 0.7, 4, noise_mode="const")
    golden.check("out.image_truncated", whole)


def test_golden_logits_and_r1(golden):
    images = golden["out.image_noise_const"].requires_grad_()
    logits = golden.D(images, golden.c)
    golden.check("out.logits", logits)
    (grad,) = torch.autograd.grad(logits.sum(), images, retain_graph=True)
    golden.check("out.r1_grad", grad)
    penalty = r1_penalty(logits, images)
    golden.check("out.r1_penalty", penalty)
    penalty.mean().backward()  # second derivatives reach the weights
    gradients = [p.grad for name, p in golden.D.named_parameters() if name.endswith("weight")]
    assert all(g is not None and bool(g.isfinite().all()) for g in gradients)
    golden.D.zero_grad(set_to_none=True)


def test_golden_path_lengths(golden):
    ws = golden["out.w"].requires_grad_()
    images = golden.G.synthesis(ws, noise_mode="const")
    golden.check("out.pl_lengths", path_lengths(images, ws, golden["in.pl_noise"]))


def test_initial_values():
    G = Generator(GeneratorConfig(8, z_dim=64, w_dim=64, channel_max=64))
    state = G.state_dict()
    assert state["mapping.fc0.weight"].std().item() == pytest.approx(100, rel=0.1)
    assert state["synthesis.b8.conv0.weight"].std().item() == pytest.approx(1, rel=0.05)
    assert state["synthesis.b8.conv0.affine.bias"].eq(1).all()
    for name in ("conv0.bias", "conv0.noise_strength", "torgb.bias", "conv1.bias"):
        assert not state[f"synthesis.b8.{name}"].any()
    assert not state["mapping.w_avg"].any()
    assert state["synthesis.b8.conv0.noise_const"].std().item() == pytest.approx(1, rel=0.4)


def test_psi(small):
    mapping, z = small.G.mapping, small.z
    assert torch.equal(mapping(z, truncation_psi=1.0), mapping(z))
    zero = mapping(z, truncation_psi=0.0)
    assert torch.equal(zero, mapping.w_avg.expand_as(zero))
    part = mapping(z, truncation_psi=0.0, truncation_cutoff=3)
    assert torch.equal(part[:, :3], zero[:, :3])
    assert torch.equal(part[:, 3:], mapping(z)[:, 3:])
    half = mapping(z, truncation_psi=0.5)
    torch.testing.assert_close(half, (mapping(z) + mapping.w_avg) / 2)


def test_z_is_normalised(small):
    torch.testing.assert_close(small.G.mapping(3 * small.z), small.G.mapping(small.z))


@torch.no_grad()
def test_mixing(small):
    G, (a, b) = small.G, small["out.w"][:2].split(1)
    images = [G.synthesis(ws, noise_mode="const") for ws in (a, b)]
    whole = torch.cat([a[:, :0], b], dim=1)
    assert torch.equal(G.synthesis(whole, noise_mode="const"), images[1])
    distances = []
    for layer in range(1, G.num_ws):
        mixed = G.synthesis(torch.cat([a[:, :layer], b[:, layer:]], dim=1), noise_mode="const")
        distances.append((mixed - images[0]).square().mean().item())
    assert all(distance > 0 for distance in distances)
    assert distances[0] > distances[-1]  # the later it starts, the more of a is preserved


def test_w_indices(small):
    G = Generator(GeneratorConfig(16, z_dim=8, w_dim=8, channel_max=8))
    ws = torch.randn([1, G.num_ws, 8])
    before = flatten_styles(G.synthesis.styles(ws))
    read = []
    for index in range(G.num_ws):
        moved = ws.clone()
        moved[:, index] += 1
        after = flatten_styles(G.synthesis.styles(moved))
        read.append([name for name in before if not torch.equal(before[name], after[name])])
    assert read == [
        ["b4.conv1"], ["b4.torgb", "b8.conv0"], ["b8.conv1"], ["b8.torgb", "b16.conv0"],
        ["b16.conv1"], ["b16.torgb"],
    ]  # fmt: skip


@torch.no_grad()
def test_style_space(golden):
    G, ws = golden.G.synthesis, golden["out.w"][:2]
    image = G(ws, noise_mode="const")
    styles = flatten_styles(G.styles(ws))
    assert torch.equal(G.run(nest_styles(styles), noise_mode="const")[1], image)
    zero = nest_styles({name: torch.zeros(style.shape[1]) for name, style in styles.items()})
    assert torch.equal(G(ws, noise_mode="const", styles_offset=zero), image)
    for name, style in list(styles.items())[::4]:
        offset = torch.linspace(-1, 1, style.shape[1])
        moved = nest_styles({**styles, name: style + offset})
        expected = G.run(moved, noise_mode="const")[1]
        nested = nest_styles({name: offset})
        assert torch.equal(G(ws, noise_mode="const", styles_offset=nested), expected)
        assert not torch.equal(expected, image)
        per_image = torch.stack([offset, torch.zeros_like(offset)])
        one = G(ws, noise_mode="const", styles_offset=nest_styles({name: per_image}))
        assert torch.allclose(one[0], expected[0], atol=1e-5)
        assert torch.allclose(one[1], image[1], atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_blocks_run_separately_as_together(golden, dtype):
    G, ws = golden.G.synthesis, golden["out.w"][:2]
    styles, blocks = G.styles(ws), len(G.blocks())
    image = G(ws, noise_mode="const", dtype=dtype)
    for cut in range(blocks + 1):
        state = G.run(styles, "const", dtype, stop=cut)
        assert torch.equal(G.run(styles, "const", dtype, start=cut, state=state)[1], image)
    state = None
    for number, name in enumerate(G.blocks()):
        state = G.run({name: styles[name]}, "const", dtype, None, number, number + 1, state)
    assert torch.equal(state[1], image)


@torch.no_grad()
def test_noise_modes(small):
    G, ws = small.G.synthesis, small["out.w"][:1]
    assert not torch.equal(G(ws, noise_mode="random"), G(ws, noise_mode="random"))
    assert torch.equal(G(ws, noise_mode="const"), G(ws, noise_mode="const"))
    torch.manual_seed(3)
    first = G(ws)
    torch.manual_seed(3)
    assert torch.equal(first, G(ws, noise_mode="random"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_low_precision_is_close(golden, dtype):
    ws, limit = golden["out.w"], 0.1 if dtype == torch.bfloat16 else 0.02
    image = golden.G.synthesis(ws, noise_mode="const", dtype=dtype)
    expected = golden["out.image_noise_const"]
    assert image.dtype == torch.float32
    assert (image - expected).abs().max() <= limit * expected.abs().max()
    logits = golden.D(expected, golden.c, dtype=dtype)
    assert logits.dtype == torch.float32
    assert (logits - golden["out.logits"]).abs().max() <= limit * golden["out.logits"].abs().max()


@pytest.mark.parametrize("size", [4, 8])
@pytest.mark.parametrize("architecture", ["skip", "resnet", "orig"])
@pytest.mark.parametrize("channels", [1, 3])
def test_smallest_networks(size, architecture, channels):
    common = {"img_channels": channels, "channel_max": 8, "architecture": architecture}
    G = Generator(GeneratorConfig(size, z_dim=4, w_dim=4, mapping_layers=1, **common))
    D = Discriminator(DiscriminatorConfig(size, **common))
    for batch in (0, 1, 3, 5):
        images = G(torch.randn([batch, 4]))
        logits = D(images)
        assert images.shape == (batch, channels, size, size)
        assert logits.shape == (batch, 1)
        assert logits.isfinite().all()
    logits.sum().backward()
    for name, parameter in [*G.named_parameters(), *D.named_parameters()]:
        assert parameter.grad is not None, name


def test_features(small):
    images = small["out.image_noise_const"][:2]
    maps = small.D.features(images)
    assert [tuple(m.shape) for m in maps] == [(2, 32, 16, 16), (2, 32, 8, 8), (2, 32, 4, 4)]
    one = small.D.features(images[1:])
    assert all(torch.allclose(a[1:], b, atol=1e-4) for a, b in zip(maps, one, strict=True))


def test_a_trunk_is_a_discriminator_without_its_last_block(small):
    trunk, images = DiscriminatorTrunk(small.D.config), small["out.image_noise_const"][:2]
    weights = {k: v for k, v in small.D.state_dict().items() if not k.startswith("b4.")}
    trunk.load_state_dict(weights)
    for ours, expected in zip(trunk.features(images), small.D.features(images), strict=True):
        assert torch.equal(ours, expected)


def test_device_and_dtype_are_those_of_the_weights(small):
    assert (small.G.device, small.G.dtype) == (torch.device("cpu"), torch.float32)
    assert Generator(small.G.config).double().dtype == torch.float64


@pytest.mark.parametrize(
    ("dtype", "limit"), [(torch.float64, 1e-4), (torch.float16, 0.02), (torch.bfloat16, 0.1)]
)
def test_weights_of_any_dtype(golden, dtype, limit):
    expected = golden["out.image_noise_const"]
    generator = copy.deepcopy(golden.G).to(dtype)
    images = generator(golden.z.to(dtype), golden.c, noise_mode="const")
    assert (images - expected).abs().max() < limit * expected.abs().max()


def test_the_clamp_scales_with_the_gain():
    layer = SynthesisLayer(4, 4, 8, 1, GeneratorConfig(8, channel_base=32, w_dim=4, conv_clamp=0.5))
    m = layer.modulation(torch.ones([1, 4]), torch.float32)
    features = layer(100 * torch.randn([1, 4, 8, 8]), m, "none", gain=0.25)
    assert features.abs().max() == 0.125


def test_labels_have_an_effect():
    golden = Golden("cond_32_skip_resnet_clamp")
    images, c = golden["out.image_noise_const"], golden.c
    other = c.roll(1, dims=1)
    assert not torch.equal(golden.D(images, c), golden.D(images, other))
    assert not torch.equal(golden.G.mapping(golden.z, c), golden.G.mapping(golden.z, other))


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda g: g.G.mapping(g.z[:, :5], g.c), "expected [N, 32]"),
        (lambda g: g.G.mapping(g.z[0], g.c), "got z of shape (32,)"),
        (lambda g: g.G.mapping(None, g.c), "got z of shape None"),
        (lambda g: g.G.mapping(g.z), "got no label for a model of 3 classes"),
        (lambda g: g.G.mapping(g.z, g.c[:, :2]), "got label of shape (4, 2)"),
        (lambda g: g.G.synthesis(g["out.w"][:, :7]), "expected [N, 8, 32]"),
        (lambda g: g.G.synthesis(g["out.w"][:, 0]), "got ws of shape (4, 32)"),
        (lambda g: g.G.synthesis(g["out.w"], noise_mode="cons"), "got noise mode 'cons'"),
        (
            lambda g: g.G.synthesis(g["out.w"], styles_offset={"b3": {"conv0": g.z}}),
            "got an offset for",
        ),
        (lambda g: g.D(torch.zeros([1, 3, 16, 16]), g.c), "expected [N, 3, 32, 32]"),
        (lambda g: g.D(torch.zeros([1, 1, 32, 32]), g.c), "got images of shape (1, 1, 32, 32)"),
        (lambda g: g.D(torch.zeros([3, 32, 32]), g.c), "got images of shape (3, 32, 32)"),
        (lambda g: g.D.features(torch.zeros([1, 3, 64, 64])), "expected [N, 3, 32, 32]"),
        (lambda g: g.D(g["out.image_mixed"]), "got no label for a model of 3 classes"),
    ],
)
def test_wrong_shapes(call, expected):
    with pytest.raises(StylemixError) as caught:
        call(Golden("cond_32_skip_resnet_clamp"))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"img_resolution": 48}, "got resolution 48; expected a power of two from 4 to 1024"),
        ({"img_resolution": 2}, "got resolution 2"),
        ({"img_resolution": 2048}, "got resolution 2048"),
        ({"img_resolution": 64, "architecture": "vit"}, "got architecture 'vit'"),
        ({"img_resolution": 64, "channel_base": 63}, "got channel base 63"),
    ],
)
def test_wrong_sizes(options, expected):
    for config in (GeneratorConfig, DiscriminatorConfig):
        with pytest.raises(StylemixError, match=expected):
            config(**options)
