"""Blends: values by hand in float64, the first model's images and latents, cards and refusals."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import stylemix
from stylemix.errors import StylemixError
from stylemix.faces.templates import FFHQ, NO_TEMPLATE
from stylemix.inversion.latent import Latent, load_latent, save_latent
from stylemix.models.blend import blend, unrelated
from stylemix.models.checkpoint import load_model, save_model
from stylemix.models.model import Model
from stylemix.styles.style import Style
from tests.support.models import saved, tiny_model, trained_on, ws_of

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture(scope="module")
def first() -> Model:
    return tiny_model()


@pytest.fixture(scope="module")
def second(first) -> Model:
    """A model trained on from the first, with another mapping network and other noise."""
    other, rng = trained_on(first), torch.Generator().manual_seed(2)
    for name, value in other.generator.state_dict().items():
        if name.startswith("mapping") or name.endswith("noise_const"):
            value += 0.1 * torch.randn(value.shape, generator=rng)
    return other


def values(model: Model) -> dict[str, np.ndarray]:
    state = model.generator.state_dict()
    return {name: value.double().numpy() for name, value in state.items()}


def shares_of_second(blended: Model, first: Model, second: Model) -> dict[str, float]:
    """The share of the second model in each convolution, by least squares in float64."""
    a, b, c = values(first), values(second), values(blended)
    out = {}
    for name in a:
        if name.endswith(("conv0.weight", "conv1.weight", "torgb.weight", "b4.const")):
            step = b[name] - a[name]
            out[name.removeprefix("synthesis.")] = float(
                ((c[name] - a[name]) * step).sum() / (step**2).sum()
            )
    return out


def test_a_swap_takes_whole_layers(first, second):
    blended, a, b = blend([first, second], swap="16px"), values(first), values(second)
    for name, value in values(blended).items():
        px = int(name.split(".")[1][1:]) if name.startswith("synthesis") else 0
        expected = b if px >= 16 else a
        assert np.array_equal(value, expected[name]), name
    assert not np.array_equal(a["mapping.w_avg"], b["mapping.w_avg"])


def test_the_reverse_has_the_first_models_fine_layers(first, second):
    blended, a, b = blend([first, second], swap="16px", reverse=True), values(first), values(second)
    for name, value in values(blended).items():
        px = int(name.split(".")[1][1:]) if name.startswith("synthesis") else 99
        assert np.array_equal(value, (a if px >= 16 else b)[name]), name


def test_a_ramp_is_linear_over_layers(first, second):
    found = shares_of_second(blend([first, second], swap="16px", ramp=4), first, second)
    expected = {
        "b4.const": 0, "b4.conv1.weight": 0, "b4.torgb.weight": 0,
        "b8.conv0.weight": 0.125, "b8.conv1.weight": 0.375, "b8.torgb.weight": 0.375,
        "b16.conv0.weight": 0.625, "b16.conv1.weight": 0.875, "b16.torgb.weight": 0.875,
        "b32.conv0.weight": 1, "b32.conv1.weight": 1, "b32.torgb.weight": 1,
    }  # fmt: skip
    assert found == pytest.approx(expected, abs=1e-6)


def test_an_average_is_that_of_float64(first, second):
    third = trained_on(first, seed=5)
    blended = blend([first, second, third], weights=[1, 2, 5], mapping="average")
    states = [values(model) for model in (first, second, third)]
    for name, value in values(blended).items():
        if name.endswith("noise_const"):
            expected = states[2][name]
        elif name.endswith("noise_strength"):
            magnitude = sum(w * abs(s[name]) for w, s in zip((1, 2, 5), states, strict=True)) / 8
            expected = np.copysign(magnitude, states[2][name])
        else:
            expected = sum(w * s[name] for w, s in zip((1, 2, 5), states, strict=True)) / 8
        assert np.array_equal(value.astype(np.float32), expected.astype(np.float32)), name


def test_three_models_have_two_swaps(first, second):
    third = trained_on(first, seed=5)
    blended = values(blend([first, second, third], swap="8px, 32px"))
    states = [values(model) for model in (first, second, third)]
    for px, number in ((4, 0), (8, 1), (16, 1), (32, 2)):
        name = f"synthesis.b{px}.conv1.weight"
        assert np.array_equal(blended[name], states[number][name])


def test_images_are_the_first_models_with_weight_1(first, second):
    ws = ws_of(first)
    expected = first.generator.synthesis(ws, noise_mode="const")
    for options in ({"weights": [1, 0]}, {"weights": [0.4, 0.6]}):
        image = blend([first, second], **options).generator.synthesis(ws, noise_mode="const")
        assert torch.equal(image, expected) == (options["weights"][1] == 0)


def test_features_below_the_swap_are_the_first_models(first, second):
    ws = ws_of(first)
    runs = []
    for model in (first, blend([first, second], swap="16px", ramp=1)):
        network = model.generator.synthesis
        styles = network.styles(ws)
        runs.append([network.run(styles, "const", stop=stop) for stop in (1, 2, 3)])
    for step, same in enumerate((True, True, False)):
        for ours, theirs in zip(runs[0][step], runs[1][step], strict=True):
            assert torch.equal(ours, theirs) == same


def test_models_are_not_changed(first, second):
    before = first.fingerprint, second.fingerprint
    blend([first, second], swap="16px")
    assert (first.fingerprint, second.fingerprint) == before


def test_the_card_has_the_licences_of_all_ancestors(first, second, tmp_path):
    a = replace(first, card={"licence": "CC0", "data": "faces"})
    b = replace(second, card={"licence": "CC BY 4.0", "credit": "a painter"})
    path = saved(blend([a, b], swap="16px", ramp=2), tmp_path / "ab.safetensors")
    card = load_model(path).card
    assert card["licence"] == "(CC0) AND (CC BY 4.0)"
    assert [parent["card"] for parent in card["parents"]] == [a.card, b.card]
    assert [parent["fingerprint"] for parent in card["parents"]] == [a.fingerprint, b.fingerprint]
    recipe = {key: card["blend"][key] for key in ("models", "mapping", "swap", "ramp", "reverse")}
    assert recipe == {
        "models": [a.fingerprint, b.fingerprint], "mapping": "first", "swap": [16], "ramp": 2,
        "reverse": False,
    }  # fmt: skip
    assert 0 < card["blend"]["distances"][1] < 0.2
    again = blend([path, a], weights=[3, 1]).card
    assert again["licence"] == "((CC0) AND (CC BY 4.0)) AND (CC0)"
    assert again["blend"]["weights"] == [0.75, 0.25]
    names = [parent["name"] for parent in again["parents"]]
    assert names == ["ab.safetensors", a.fingerprint, b.fingerprint]
    assert "parents" not in again["parents"][0]["card"]
    assert blend([a, a]).card["licence"] == "CC0"


def test_template_discriminator_and_origin(first, second):
    other = replace(second, template=FFHQ, origin="nvidia", discriminator=None)
    blended = blend([first, other])
    assert (blended.template, blended.origin) == (first.template, "nvidia")
    assert blended.discriminator is first.discriminator
    assert blend([other, first]).discriminator is None
    assert blend([first, first]).origin == "stylemix"


def test_foreign_files_are_blended(tmp_path):
    path = GOLDEN / "uncond_32_skip_resnet.pkl"
    a = load_model(path)
    b = trained_on(a)
    blended = blend([path, b], weights=[0.25, 0.75])
    name = "synthesis.b32.conv1.weight"
    mean = 0.25 * values(a)[name] + 0.75 * values(b)[name]
    assert np.array_equal(values(blended)[name], mean.astype(np.float32))
    assert (blended.origin, blended.template) == ("nvidia", NO_TEMPLATE)
    assert "licence of stylemix" in blended.card["licence"]
    assert blended.card["source"] == "blend of NVIDIA PyTorch network pickle"
    blended.save(tmp_path / "blend.pkl")
    assert load_model(tmp_path / "blend.pkl").fingerprint == blended.fingerprint


def test_latents_and_styles_of_the_first_model_fit(first, second, tmp_path):
    save_latent(tmp_path / "me.latent.safetensors", Latent(ws_of(first)[0], first.fingerprint))
    for suffix in (".safetensors", ".pkl"):
        path = tmp_path / f"blend{suffix}"
        save_model(path, blend([first, second], swap="16px"))
        blended = load_model(path)
        assert blended.latents_of == (first.fingerprint,)
        latent = load_latent(tmp_path / "me.latent.safetensors", blended)
        expected = blended.generator.synthesis(ws_of(first)[:1], noise_mode="const")
        image = blended.generator.synthesis(latent.w[None], noise_mode="const")
        assert torch.equal(image, expected)
    again = blend([blended, second], weights=[1, 1])
    assert again.latents_of == (blended.fingerprint, first.fingerprint)
    for model in (blended, again):
        style = Style(first.fingerprint, offsets={"b8.conv0": torch.zeros([32])})
        assert style.check(model) is style


def test_no_other_latents_fit(first, second):
    blended = blend([first, second], swap="16px")
    for wrong, model in (
        (second.fingerprint, blended), (blended.fingerprint, first),
        (first.fingerprint, blend([first, second], mapping="average")),
    ):  # fmt: skip
        with pytest.raises(StylemixError, match=f"got a latent of the model {wrong}"):
            Latent(ws_of(first)[0], wrong).image(model)
        with pytest.raises(StylemixError, match=f"got a style of the base {wrong}"):
            Style(wrong).check(model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resolution": 16}, "img_resolution 16; expected 32, as A"),
        ({"channels": 1}, "img_channels 1; expected 3, as A"),
        ({"architecture": "orig"}, "architecture orig; expected skip, as A"),
        ({"base": (4, 3)}, "base (4, 3); expected (4, 4), as A"),
        ({"head": "haar"}, "head haar; expected rgb, as A"),
    ],
)
def test_a_size_that_differs_is_named(first, changes, message):
    template = NO_TEMPLATE if "base" in changes else first.template
    other = replace(tiny_model(template=template, **changes), card={"name": "B"})
    with pytest.raises(StylemixError) as caught:
        blend([replace(first, card={"name": "A"}), other])
    assert str(caught.value).startswith(f"B: got a generator with {message} has it; ")


def test_widths_and_mapping_sizes_that_differ_are_named(first, monkeypatch):
    labelled = tiny_model(classes=3)
    assert blend([first, labelled]).generator.c_dim == 0
    with pytest.raises(StylemixError, match="with c_dim 3; expected 0"):
        blend([first, labelled], mapping="average")
    wide = tiny_model()
    wide.generator.config = replace(wide.generator.config, channel_base=512)
    with pytest.raises(StylemixError, match="with channels at 16 px 32; expected 16"):
        blend([first, wide])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"swap": "20px"}, "got the swap '20px'; expected 8px, 16px, 32px in a model of 32 px"),
        ({"swap": "4px"}, "got the swap '4px'"),
        ({"swap": "many"}, "got the swap 'many'"),
        ({"swap": "8px,16px"}, "for 2 models; expected 1 in ascending order"),
        ({"swap": "16px", "ramp": -1}, "got a ramp in layers of -1; expected 0 to 8"),
        ({"swap": "16px", "ramp": float("nan")}, "got a ramp in layers of nan"),
        ({"swap": "16px", "ramp": None}, "got a ramp in layers of None"),
        ({"swap": 3}, "got the swap '3'"),
        ({"swap": "16px", "reverse": "no"}, "got reverse 'no'; expected one of True, False"),
        ({"ramp": 2}, "got a ramp or reverse without a swap"),
        ({"reverse": True}, "got a ramp or reverse without a swap"),
        ({"swap": "16px", "weights": [1, 1]}, "got a swap together with weights"),
        ({"swap": "16px", "mapping": "average"}, "got a swap together with weights or an average"),
        ({"mapping": "last"}, "got mapping 'last'; expected one of first, average"),
        ({"weights": [1]}, "got the weights 1 for 2 models; expected 2 numbers"),
        ({"weights": [0, 0]}, "not all 0"),
        ({"weights": [2, -1]}, "got the weights 2, -1 for 2 models"),
        ({"weights": [1, float("inf")]}, "got the weights 1, inf"),
    ],
)
def test_odd_options_are_refused(first, second, options, message):
    with pytest.raises(StylemixError, match=message.replace("(", r"\(")):
        blend([first, second], **options)


def test_one_model_is_no_blend(first):
    for models in ([first], "faces-64", first):
        with pytest.raises(StylemixError, match="got a single model; expected two or more"):
            blend(models)


def test_unrelated_models_are_known_by_their_distance(first, second):
    assert not unrelated(blend([first, second]))
    assert unrelated(blend([first, tiny_model(seed=3)]))


def test_the_public_function_reports_its_progress(first, second):
    steps = []
    blended = stylemix.blend([first, second], progress=lambda done, total: steps.append(done))
    assert isinstance(blended, stylemix.Model)
    assert len(blended.generate([1])) == 1
    assert steps == [1, 2]
    assert [image.size for image in stylemix.generate([1], model=blended)] == [(32, 32)]
