"""Models with methods, and what they leave as it is in the program around them."""

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch

import stylemix
from stylemix.export import export
from stylemix.inversion.residual import Residual
from stylemix.inversion.settings import ProjectionSettings
from stylemix.io import assets
from stylemix.networks.generator import SynthesisNetwork
from tests.support.models import saved, tiny_model

PORTRAIT = Path(__file__).parents[1] / "data" / "portraits" / "obama.jpg"
FEW = ProjectionSettings(w_steps=2, plus_steps=2, refine_steps=1)


@pytest.fixture(scope="module")
def model():
    return stylemix.Model.of(tiny_model())


@pytest.fixture(scope="module")
def style(model):
    shape = [model.generator.num_ws, model.generator.w_dim]
    return stylemix.Style(model.fingerprint, shift=torch.ones(shape))


def pixels(image):
    return np.asarray(image).astype(int)


def test_a_blend_of_files_has_the_methods_of_a_model(model, tmp_path):
    paths = [saved(model, tmp_path / "a.safetensors"), saved(model, tmp_path / "b.safetensors")]
    blended = stylemix.blend(paths, swap="16px")
    assert isinstance(blended, stylemix.Model)
    assert (pixels(blended.generate([1])[0]) == pixels(model.generate([1])[0])).all()
    assert list(inspect.signature(stylemix.blend).parameters)[:2] == ["models", "swap"]


def test_models_latents_and_styles_are_keys_and_short_texts(model, style):
    latent = stylemix.Latent(torch.zeros(4, 8), "0123", metrics={"mse": 0.5})
    for item in (model, latent, style):
        assert item in {item}
        assert len(repr(item)) < 500
    assert latent != stylemix.Latent(torch.zeros(4, 8), "0123")
    assert repr(latent) == "Latent(w=[4, 8], base='0123', metrics={'mse': 0.5})"
    weighted = pixels(model.mix("seed:1", {style: 0.5}))
    assert (weighted == pixels(model.mix("seed:1", style, strength=0.5))).all()


def test_latents_of_other_models_are_refused(model, style):
    other = stylemix.Model.of(tiny_model(seed=3))  # of the same sizes: it would draw another person
    latent = stylemix.Latent(torch.zeros(other.generator.num_ws, 16), model.fingerprint)
    points = [((16, 16), (17, 16))]
    calls = [
        lambda: other.mix(latent, []),
        lambda: other.mix("seed:1", latent),
        lambda: other.edit(latent, directions={"pca-0": 1}),
        lambda: other.drag(latent, points),
        lambda: other.animate([latent, latent]),
    ]
    for call in calls:
        with pytest.raises(stylemix.StylemixError, match="got a latent of the model"):
            call()
    assert model.mix(latent, []).size == (256, 256)
    assert latent.model is None


@pytest.mark.parametrize(
    ("w", "message"),
    [
        (torch.zeros(16), r"got w of shape \[16\]; expected \[8, 16\]"),
        (torch.zeros(1, 8, 16), r"got w of shape \[1, 8, 16\]"),
        (torch.full([8, 16], torch.nan), "NaN values"),
        (np.zeros([8, 16], np.float32), "no tensor"),
    ],
)
def test_other_values_of_w_are_refused(model, w, message):
    with pytest.raises(stylemix.StylemixError, match=message):
        model.mix(stylemix.Latent(w), [])
    one = stylemix.Latent(torch.ones(1, 16))
    repeated = stylemix.Latent(torch.ones(8, 16))
    assert (pixels(model.mix(one, [])) == pixels(model.mix(repeated, []))).all()


MODES = {
    "no_grad": torch.no_grad,
    "inference": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "device": lambda: torch.device("meta"),  # as a GPU beside a model on the CPU
}


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_the_modes_of_the_caller_do_not_matter(model, mode, tmp_path, monkeypatch):
    path = saved(model, tmp_path / "m.safetensors")
    monkeypatch.setattr(assets, "_FROZEN", {})
    points = [((16, 16), (18, 16))]
    with mode():
        loaded = stylemix.load_model(path)
        latent = loaded.project(PORTRAIT, preset=FEW)
        loaded.mix("seed:1", PORTRAIT, preset=FEW)
        steps = [step.positions for step in stylemix.drag_steps("seed:1", points, model=loaded)]
        latent.save(tmp_path / "me.latent.safetensors")
        again = stylemix.Latent.load(tmp_path / "me.latent.safetensors", loaded)
        shown = [latent.image(), loaded.align(PORTRAIT), *loaded.generate([1])]
        shown += [loaded.edit("seed:1", directions={"sefa-0": 2}), loaded.mix("seed:1", "comic")]
        shown += loaded.animate("seed:1", "seed:2", seconds=0.1, hold=0, fps=20)
        assert torch.is_autocast_enabled("cpu") == (mode is MODES["autocast"])
    others = [latent.image(), model.align(PORTRAIT), *model.generate([1])]
    others += [model.edit("seed:1", directions={"sefa-0": 2}), model.mix("seed:1", "comic")]
    others += model.animate("seed:1", "seed:2", seconds=0.1, hold=0, fps=20)
    assert [image.tobytes() for image in shown] == [image.tobytes() for image in others]
    assert len(steps) > 1
    assert torch.equal(loaded.project(PORTRAIT, preset=FEW).w, latent.w)
    assert len(loaded.drag(again, points, steps=1).positions) == 1
    assert [s.positions for s in stylemix.drag_steps("seed:1", points, model=model)] == steps


DOORS = {
    "project": lambda model: model.project(PORTRAIT),
    "drag": lambda model: model.drag("seed:1", [((16, 16), (18, 16))]),
    "adapt": lambda model: stylemix.adapt([PORTRAIT], model=model),
    "export": lambda model: stylemix.export_model(model, "m.pt2"),
}


@pytest.mark.parametrize("call", DOORS.values(), ids=DOORS)
def test_another_default_precision_is_refused(model, call):
    torch.set_default_dtype(torch.float64)
    try:
        with pytest.raises(stylemix.StylemixError, match=r"got torch\.float64 as PyTorch's def"):
            call(model)
    finally:
        torch.set_default_dtype(torch.float32)


def test_random_numbers_of_the_caller_stay_the_same(model, monkeypatch):
    monkeypatch.setattr(assets, "_FROZEN", {})
    monkeypatch.setattr(export, "write_program", lambda *arguments: torch.rand(1))
    before = torch.get_rng_state()
    model.mix("seed:1", "comic")
    model.mix("seed:1", "seed:2", min_identity=0.5, regions="hair")
    model.generate([1], noise_mode="random")
    stylemix.export_model(model, "m.pt2")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_rendering_leaves_the_weights_as_other_threads_see_them(model, monkeypatch):
    network, run, seen = model.generator.synthesis, SynthesisNetwork.run, []
    name = "b8.conv1.weight"
    weight = network.get_parameter(name)
    changed = stylemix.Style(model.fingerprint, weights={name: torch.ones_like(weight)})
    latent = stylemix.Latent(torch.zeros(network.num_ws, 16), detail=Residual(changed.weights))

    def watched(*arguments, **options):
        seen.append(network.get_parameter(name) is weight)
        return run(*arguments, **options)

    monkeypatch.setattr(SynthesisNetwork, "run", watched)
    plain, styled = latent.image(model), model.mix(latent, changed)
    assert seen
    assert all(seen)
    monkeypatch.undo()
    latent.detail = None
    assert np.abs(pixels(plain) - pixels(latent.image(model))).max() > 5
    assert np.abs(pixels(styled) - pixels(model.mix(latent, []))).max() > 5
