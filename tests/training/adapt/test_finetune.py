"""Transfer: adversarial fine-tuning on images of two colours, and its state on disk."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from stylemix.avatars.render import AppliedStyle, render
from stylemix.errors import StylemixError
from stylemix.faces.templates import NO_TEMPLATE
from stylemix.models.model import Model
from stylemix.styles.style import Style
from stylemix.training.adapt.finetune import Transfer, TransferSettings, learn_transfer
from stylemix.training.adapt.regularizers import distance_difference, tapped
from stylemix.training.data.dataset import ImageDataset
from tests.support.models import tiny_model, ws_of

SETTINGS = TransferSettings(
    batch=8, kimg=0.024, lr=0.01, tie_weight=0, distance_weight=0, identity_weight=0,
    attribute_weight=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model(template=NO_TEMPLATE, resolution=16)


def write_pictures(folder: Path, colors: list[tuple[int, int, int]], count: int = 12) -> Path:
    """Images of one colour each, with a little noise."""
    folder.mkdir()
    rng = np.random.RandomState(0)
    for i in range(count):
        noise = rng.randint(-8, 9, [16, 16, 3])
        pixels = np.clip(np.array(colors[i % len(colors)]) + noise, 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:02d}.png")
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> ImageDataset:
    folder = tmp_path_factory.mktemp("data") / "two"
    return ImageDataset(write_pictures(folder, [(230, 30, 30), (240, 200, 40)]), 16)


def images_of(model: Model, style: Style | None = None) -> Tensor:
    parts = [] if style is None else [AppliedStyle(style)]
    return render(model.generator, ws_of(model, 16), parts)


def equal(one: Style, other: Style) -> bool:
    return all(torch.equal(v, other.weights[k]) for k, v in one.weights.items())


def test_a_model_of_one_block(dataset):
    model = tiny_model(template=NO_TEMPLATE, resolution=4)
    small = ImageDataset([source.path for source in dataset.sources], 4)
    settings = replace(SETTINGS, kimg=0.008, distance_weight=1.0)
    assert learn_transfer(model, small, settings).weights


@pytest.mark.slow
def test_faces_take_on_the_colors(model, dataset):
    settings = replace(SETTINGS, kimg=0.4, ema=0.9, augment_p=0.0)
    style = learn_transfer(model, dataset, settings)
    target = torch.tensor([235.0, 115.0, 35.0]) / 127.5 - 1
    before, after = (
        (images_of(model, s).mean(dim=(0, 2, 3)) - target).norm() for s in (None, style)
    )
    assert after < 0.5 * before


@pytest.mark.slow
def test_the_regularizer_preserves_the_pooled_colors(model, dataset):
    def moved(tie_weight: float) -> float:
        style = learn_transfer(model, dataset, replace(SETTINGS, kimg=0.1, tie_weight=tie_weight))
        cells = [torch.nn.functional.avg_pool2d(images_of(model, s), 2) for s in (None, style)]
        return float((cells[0] - cells[1]).square().mean())

    assert moved(300.0) < 0.5 * moved(0.0)


def test_stopped_and_continued_equals_a_straight_run(model, dataset, tmp_path):
    straight = learn_transfer(model, dataset, SETTINGS)
    state = tmp_path / "toon.pkl.state"
    learn_transfer(model, dataset, replace(SETTINGS, kimg=0.008, state_kimg=0.008), state)
    assert state.exists()
    seen = []
    continued = learn_transfer(model, dataset, SETTINGS, state, lambda *call: seen.append(call[:2]))
    assert seen == [(16, 24), (24, 24)]
    assert equal(continued, straight)
    finished = learn_transfer(model, dataset, SETTINGS, state, lambda *call: seen.append(call))
    assert len(seen) == 2  # nothing was left to do
    assert equal(finished, straight)


def test_a_seed_decides_everything(model, dataset, monkeypatch):
    before = torch.random.get_rng_state()
    with monkeypatch.context() as patched:
        patched.setattr(torch, "manual_seed", None)  # seeds every GPU as well
        one = learn_transfer(model, dataset, SETTINGS)
    assert torch.equal(torch.random.get_rng_state(), before)  # the caller's
    assert not equal(one, learn_transfer(model, dataset, replace(SETTINGS, seed=1)))
    torch.manual_seed(99)
    assert equal(one, learn_transfer(model, dataset, SETTINGS))


def test_a_style_is_the_difference_of_weights(model, dataset):
    mark = model.fingerprint
    transfer = Transfer(model, SETTINGS)
    pixels = dataset.batch(range(8))[0].float() / 127.5 - 1
    torch.manual_seed(0)
    transfer.step(0, pixels)
    style = transfer.style()
    original = dict(model.generator.synthesis.named_parameters())
    moved = dict(transfer.average.named_parameters())
    # Noise strengths are not trained: constant noise would be learned as a pattern on every image.
    assert set(original) - set(style.weights) == {n for n in original if "noise_strength" in n}
    for name, value in style.weights.items():
        assert torch.equal(value, moved[name] - original[name])
        assert not value.requires_grad
    assert (style.shift, style.offsets, style.base) == (None, {}, mark)
    assert model.fingerprint == mark
    assert style.check(model) is style
    with torch.no_grad():
        theirs = transfer.average(ws_of(model, 16), noise_mode="const")
    assert torch.allclose(images_of(model, style), theirs, atol=1e-4)


def test_the_average_follows_slowly(model, dataset):
    transfer = Transfer(model, replace(SETTINGS, ema=0.9))
    original = {k: v.clone() for k, v in transfer.average.named_parameters()}
    torch.manual_seed(0)
    transfer.step(1, dataset.batch(range(8))[0].float() / 127.5 - 1)
    for name, current in transfer.synthesis.named_parameters():
        expected = 0.9 * original[name] + 0.1 * current
        assert torch.allclose(transfer.average.get_parameter(name), expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change", [{"precision": "bf16"}, {"augment_p": 1.0}, {"r1_gamma": 50.0}, {"psi": 0.5},
               {"tie_weight": 9.0}, {"tie_cells": 2, "tie_weight": 9.0}, {"distance_weight": 500.0},
               {"part": "affine"}],
)  # fmt: skip
def test_settings_have_an_effect(model, dataset, change):
    short = replace(SETTINGS, kimg=0.016, tie_weight=1.0)
    one, other = (learn_transfer(model, dataset, s) for s in (short, replace(short, **change)))
    assert set(one.weights) != set(other.weights) or not equal(one, other)
    assert all(torch.isfinite(value).all() for value in other.weights.values())


def test_affine_layers_leave_convolutions_alone(model, dataset):
    style = learn_transfer(model, dataset, replace(SETTINGS, kimg=0.016, part="affine"))
    assert "b8.conv0.affine.weight" in style.weights
    assert "b8.conv0.weight" not in style.weights


@pytest.mark.slow
def test_distances_between_people_are_preserved(model, dataset):
    ws = ws_of(model, 16)

    def moved(weight: float) -> float:
        settings = replace(SETTINGS, kimg=0.1, distance_weight=weight)
        transfer = Transfer(model, settings)
        learned = learn_transfer(model, dataset, settings)
        with torch.no_grad():
            for name, value in learned.weights.items():
                transfer.synthesis.get_parameter(name).add_(value)
            with tapped(model.generator.synthesis, "b8") as before:
                model.generator.synthesis(ws, noise_mode="const")
            with tapped(transfer.synthesis, "b8") as after:
                transfer.synthesis(ws, noise_mode="const")
        return float(distance_difference(after[0], before[0]))

    assert moved(3000.0) < 0.7 * moved(0.0)


@pytest.mark.parametrize("name", ["identity_weight", "attribute_weight"])
def test_ties_of_faces_have_an_effect(dataset, name):
    faces = tiny_model(resolution=16)
    short = replace(SETTINGS, kimg=0.016)
    one, other = (learn_transfer(faces, dataset, replace(short, **{name: w})) for w in (0, 50))
    assert not equal(one, other)


def test_a_state_of_something_else_is_refused(model, dataset, tmp_path):
    state = tmp_path / "toon.pkl.state"
    learn_transfer(model, dataset, replace(SETTINGS, kimg=0.008), state)
    (tmp_path / "more").mkdir()
    others = ImageDataset(write_pictures(tmp_path / "more" / "x", [(0, 0, 0)], count=9), 16)
    faces = ImageDataset([source.path for source in dataset.sources], 16, prepare=lambda p: p)
    for where, what, settings in [
        (model, others, SETTINGS),
        (model, faces, SETTINGS),
        (model, dataset, replace(SETTINGS, lr=0.02)),
        (tiny_model(seed=5, template=NO_TEMPLATE, resolution=16), dataset, SETTINGS),
    ]:
        before = state.read_bytes()
        with pytest.raises(StylemixError, match=r"got a state .* of other images, settings or"):
            learn_transfer(where, what, settings, state)
        assert state.read_bytes() == before
    state.write_bytes(before[:-100])
    with pytest.raises(StylemixError, match="got a damaged state"):
        learn_transfer(model, dataset, SETTINGS, state)
    state.write_text("no state at all, but long enough to have a header")
    with pytest.raises(StylemixError, match="got a damaged state"):
        learn_transfer(model, dataset, SETTINGS, state)


def test_a_model_without_discriminator_is_refused(dataset):
    with pytest.raises(StylemixError, match="got a model without a discriminator"):
        learn_transfer(tiny_model(resolution=16, discriminator=False), dataset, SETTINGS)


def test_a_conditional_model_works(dataset):
    model = tiny_model(resolution=16, classes=3)
    style = learn_transfer(model, dataset, replace(SETTINGS, kimg=0.008))
    assert style.check(model) is style
