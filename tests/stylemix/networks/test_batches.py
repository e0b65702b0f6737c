"""How many images are generated at once."""

import pytest
import torch
from click.testing import CliRunner

from stylemix.networks import batches
from stylemix.networks.batches import batch_size, image_bytes, use_batch
from stylemix.networks.config import GeneratorConfig
from stylemix.networks.generator import Generator
from stylemix.networks.sampling import sample_images
from stylemix.ops import backends, use
from stylemix.tools.generate import generate_command
from tests.support.models import tiny_model

GIB = 2**30


def generator_of(resolution: int) -> Generator:
    """Config F without its memory, and so with the plain ops."""
    with torch.device("meta"):
        return Generator(GeneratorConfig(resolution))


@pytest.fixture
def free(monkeypatch):
    """Sets the free memory in GiB; None for unknown."""

    def put(gib):
        amount = None if gib is None else int(gib * GIB)
        monkeypatch.setattr(batches, "free_memory", lambda device: amount)

    put(16)
    return put


@pytest.mark.parametrize(
    ("resolution", "most", "gradients", "expected"),
    [(64, 16, False, 16), (256, 16, False, 5), (1024, 16, False, 1), (64, 8, True, 6),
     (1024, 8, True, 1)],
)  # fmt: skip
def test_a_large_model_gets_small_batches(free, resolution, most, gradients, expected):
    assert batch_size(generator_of(resolution), most, gradients) == expected


def test_little_memory_gives_small_batches(free):
    small = generator_of(256)
    sizes = []
    for gib in (8, 1, 0.1, 0.001):
        free(gib)
        sizes.append(batch_size(small, 16))
    assert sizes == [5, 1, 1, 1]
    free(None)
    assert batch_size(small, 16) == 5


def test_bytes_of_an_image():
    """4 px with 8 channels and 8 px with 8: 128 and 512 numbers of four bytes."""
    generator = Generator(GeneratorConfig(8, channel_base=64, channel_max=8, z_dim=8, w_dim=8))
    assert image_bytes(generator) == 4 * batches.LIVE * 512
    with use("torch"):
        kept = image_bytes(generator, gradients=True)
    assert kept == 4 * (batches.LIVE * 512 + batches.SAVED_PLAIN * 640)


@pytest.mark.parametrize("backend", ["torch", "native"])
@pytest.mark.parametrize("resolution", [32, 64])
def test_what_gradients_keep(resolution, backend):
    """The promise is no less than what autograd keeps, and less than twice as much."""
    if backend not in backends("bias_act"):
        pytest.skip("no compiled ops here")
    generator = tiny_model(resolution=resolution).generator
    weights = {p.untyped_storage().data_ptr() for p in generator.parameters()}
    kept: dict[int, int] = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    ws = torch.randn([1, generator.num_ws, generator.w_dim], requires_grad=True)
    with use(backend):
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            image = generator.synthesis(ws, noise_mode="const")
        promised = image_bytes(generator, gradients=True) - image_bytes(generator)
    assert image.requires_grad
    # Modulated weights are kept, too, once an image; the forecast counts weights apart.
    modulated = sum(p.nbytes for p in generator.synthesis.parameters())
    assert sum(kept.values()) - modulated < promised < 2 * sum(kept.values())


def test_a_batch_that_is_asked_for(free, monkeypatch):
    model, sizes = tiny_model(), []
    forward = model.generator.synthesis.forward

    def spy(ws, **options):
        sizes.append(len(ws))
        return forward(ws, **options)

    monkeypatch.setattr(model.generator.synthesis, "forward", spy)
    images = sample_images(model.generator, range(5))
    with use_batch(2):
        assert torch.allclose(sample_images(model.generator, range(5)), images, atol=1e-5)
        with use_batch(None):
            assert batch_size(model.generator, 7) == 7
    assert sizes == [5, 2, 2, 1]
    assert batch_size(model.generator, 7) == 7


def test_the_option(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "stylemix.tools.generate.sample_images",
        lambda generator, seeds, *args, **options: (
            seen.append(batch_size(generator, 16)) or torch.zeros([len(seeds), 3, 8, 8])
        ),
    )
    for arguments in (["--batch", "3"], []):
        result = CliRunner().invoke(
            generate_command, ["--seeds", "1-2", "--output", str(tmp_path / "o"), *arguments]
        )
        assert result.exit_code == 0, result.output
    assert seen == [3, 16]
