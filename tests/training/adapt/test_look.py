"""Looks: their statistics, and that generated faces adopt them."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from stylemix.avatars.render import AppliedStyle, render
from stylemix.errors import StylemixError
from stylemix.faces.templates import NO_TEMPLATE
from stylemix.metrics.style_distance import StyleMeter, style_distance
from stylemix.models.model import Model
from stylemix.styles.style import Style, save_style
from stylemix.training.adapt import look
from stylemix.training.adapt.look import learn_look
from stylemix.training.adapt.look_loss import LookLoss, LookSettings, gather, statistics
from tests.support.models import tiny_model, ws_of

SETTINGS = LookSettings(steps=20, lr=0.05, batch=4)


@pytest.fixture(scope="module", autouse=True)
def few():
    """Fewer faces for speed: the tests do not depend on their number."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(look, "REFERENCE_COUNT", 64)
        patch.setattr(look, "SCORED_FACES", 2)
        patch.setattr(look, "EVALUATIONS", 3)
        patch.setattr(look, "StyleMeter", partial(StyleMeter, count=32))
        yield


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model(template=NO_TEMPLATE)


@pytest.fixture(scope="module")
def faces(model) -> Tensor:
    return model.generator.synthesis(ws_of(model, 16, seed=9), noise_mode="const")


def chroma(images: Tensor) -> float:
    return float((images - images.mean(dim=1, keepdim=True)).square().mean().sqrt())


def before_and_after(model: Model, style: Style) -> tuple[Tensor, Tensor]:
    ws = ws_of(model, 8)
    return render(model.generator, ws), render(model.generator, ws, [AppliedStyle(style)])


@pytest.mark.slow
def test_grey_images_give_grey_faces(model, faces):
    grey = learn_look(model, faces.mean(dim=1, keepdim=True).repeat(1, 3, 1, 1), SETTINGS)
    before, after = before_and_after(model, grey)
    assert chroma(after) < 1e-4 < chroma(before)  # exactly grey, not only greyer
    luma = [images.mean(dim=1).flatten(1) for images in (before, after)]
    for plain, styled in zip(*luma, strict=True):  # the faces are preserved
        assert float(torch.corrcoef(torch.stack([plain, styled]))[0, 1]) > 0.8


@pytest.mark.slow
def test_dark_images_give_dark_faces(model, faces):
    style = learn_look(model, faces * 0.5 - 0.5, replace(SETTINGS, steps=40))
    before, after = before_and_after(model, style)
    target = float((before * 0.5 - 0.5).mean())
    assert abs(float(after.mean()) - target) < 0.35 * abs(float(before.mean()) - target)


def test_a_look_is_small_and_leaves_coarse_layers_alone(model, faces, tmp_path):
    look = learn_look(model, faces, LookSettings(steps=2, batch=2))
    names = [f"b{px}.{kind}" for px in (16, 32) for kind in ("conv0", "conv1", "torgb")]
    assert list(look.offsets) == names
    assert sorted(look.weights) == sorted(
        f"b{px}.torgb.{kind}" for px in (4, 8, 16, 32) for kind in ("weight", "bias")
    )
    assert (look.shift, look.base) == (None, model.fingerprint)
    assert look.check(model) is look
    save_style(tmp_path / "look.pkl", look)
    assert (tmp_path / "look.pkl").stat().st_size < 5000


@pytest.mark.slow
def test_a_seed_decides_everything_and_the_base_stays(model, faces):
    settings = LookSettings(steps=2, batch=2)
    mark = model.fingerprint
    one, again = (learn_look(model, faces, settings) for _ in range(2))
    other = learn_look(model, faces, LookSettings(steps=2, batch=2, seed=1))
    for name, value in one.tensors().items():
        assert torch.equal(value, again.tensors()[name])
        assert not value.requires_grad
    assert any(not torch.equal(v, other.tensors()[k]) for k, v in one.tensors().items())
    assert model.fingerprint == mark


def test_progress_and_a_model_of_faces(faces):
    calls: list[tuple[int, int, float]] = []
    settings = LookSettings(steps=2, batch=2, held_out=False)
    with_faces = learn_look(tiny_model(), faces, settings, lambda *call: calls.append(call))
    assert [call[:2] for call in calls] == [(1, 2), (2, 2)]
    alike = replace(settings, identity_weight=0)
    without = learn_look(tiny_model(), faces, alike)
    assert not torch.equal(with_faces.offsets["b32.conv1"], without.offsets["b32.conv1"])


def test_color_statistics_by_hand():
    images = torch.full([2, 3, 32, 32], -0.5)
    images[0, 0, :16] = 0.5  # the upper half of one image is reddish
    result = statistics(images, 2)
    assert result.color.tolist() == pytest.approx([-0.25, -0.5, -0.5])
    expected = torch.zeros([3, 3])
    expected[0, 0] = 0.25 * 0.75  # variance of a value that is 1 higher in a quarter of all places
    assert torch.allclose(result.covariance, expected, atol=1e-6)
    assert result.face_map[0].flatten().tolist() == pytest.approx([0, 0, -0.5, -0.5], abs=1e-6)
    assert [len(feature) for feature in result.features] == [16, 24, 32, 16, 24, 32]


def test_gathered_statistics_are_those_of_all_images(faces):
    whole, parts = statistics(faces, 4), gather(faces.split(6), 4)
    assert torch.allclose(parts.color, whole.color, atol=1e-6)
    assert torch.allclose(parts.covariance, whole.covariance, atol=1e-6)
    assert torch.allclose(parts.face_map, whole.face_map, atol=1e-6)
    for one, other in zip(parts.features, whole.features, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_loss_is_zero_for_no_change_or_the_target_change(faces):
    loss_of = LookLoss(faces, faces.split(4), SETTINGS)
    assert float(loss_of(faces, faces)) == pytest.approx(0, abs=1e-5)
    assert float(loss_of(faces + 0.2, faces)) > 0.3
    brighter = LookLoss(faces + 0.2, [faces], SETTINGS)
    assert float(brighter(faces + 0.2, faces)) == pytest.approx(0, abs=1e-5)
    stronger = LookLoss(1.5 * faces, [faces], SETTINGS)  # the covariance changes, too
    assert float(stronger(1.5 * faces, faces)) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(("count", "cells"), [(3, 2), (12, 4), (48, 8)])
def test_more_images_give_a_finer_grid(faces, count, cells):
    assert LookLoss(faces.repeat(3, 1, 1, 1)[:count], [faces], SETTINGS).cells == cells


def test_large_images_are_downsampled():
    images = torch.rand([1, 3, 512, 512], generator=torch.Generator().manual_seed(0)) * 2 - 1
    small = torch.nn.functional.interpolate(images, 256, mode="bilinear", antialias=True)
    for one, other in zip(
        statistics(images, 2).features, statistics(small, 2).features, strict=True
    ):
        assert torch.equal(one, other)


def test_a_grey_model_is_refused(faces):
    with pytest.raises(StylemixError, match="got a model of 1 channels; expected one of colour"):
        learn_look(tiny_model(channels=1), faces)


@pytest.mark.slow
def test_every_face_gets_closer_to_the_look(model, faces):
    meter, looks = StyleMeter(model, 32), []
    pictures = faces * 0.5 - 0.5
    for weight in (0.0, 3.0):
        settings = replace(SETTINGS, critic_weight=weight)
        _, after = before_and_after(model, learn_look(model, pictures, settings))
        looks.append(style_distance(meter.describe(after), meter.look(pictures)).mean())
    assert float(looks[1]) < float(looks[0])


@pytest.mark.parametrize("part", ["affine", "all"])
def test_more_of_the_generator_may_change(model, faces, part):
    settings = LookSettings(steps=3, batch=2, part=part)
    style = learn_look(model, faces[:3] * 0.5, settings)
    moved = {name for name, value in style.weights.items() if value.abs().max() > 0}
    assert ("b8.conv0.affine.weight" in moved) is True
    assert ("b8.conv0.weight" in moved) is (part == "all")
    assert ("b32.conv0.weight" in moved) is True


def test_sparse_offsets_learn_on_after_the_cut(model, faces):
    settings = LookSettings(steps=10, batch=2, sparse=0.25)
    style = learn_look(model, faces * 0.5, settings)
    for value in style.offsets.values():
        assert int(value.count_nonzero()) == max(round(len(value) / 4), 1)


def test_the_best_step_on_held_out_images_is_used(model, faces, monkeypatch):
    seen, values = [], iter([0.1, 0.5, 0.9, 0.4, 0.3, 0.2])

    def score(_model, style, pictures, _count):
        seen.append((style, pictures))
        return {"style accuracy": next(values)}

    monkeypatch.setattr(look, "score_style", score)
    monkeypatch.setattr(look, "EVALUATIONS", 5)  # of ten steps, and the last
    style = learn_look(model, faces[:9], LookSettings(steps=10, batch=2))
    assert len(seen) == 6
    assert style is seen[2][0]
    assert torch.equal(seen[0][1], faces[[3, 7]])  # one in four


def test_few_images_are_all_used_for_training(model, faces, monkeypatch):
    monkeypatch.setattr(look, "score_style", None)  # would fail if it were called
    settings = LookSettings(steps=2, batch=2)
    assert learn_look(model, faces[:3], settings).offsets
    assert learn_look(model, faces, LookSettings(steps=2, batch=2, held_out=False)).offsets
