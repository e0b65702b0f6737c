"""The Python interface: arguments, results and errors of its functions."""

import doctest
import inspect
import os
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import stylemix
from stylemix import api
from stylemix import model as model_module
from stylemix.cli import main
from stylemix.faces.templates import NO_TEMPLATE
from stylemix.images.read import load_image
from stylemix.images.tensors import to_tensor
from stylemix.images.write import as_written
from stylemix.inversion.settings import ProjectionSettings
from stylemix.styles.style import save_style
from stylemix.training.adapt.adapt import AdaptSettings
from tests.support.models import saved, tiny_model, trained_on
from tests.support.shapes import shapes_model

PORTRAIT = Path(__file__).parents[1] / "data" / "portraits" / "obama.jpg"
FEW = ProjectionSettings(w_steps=2, plus_steps=2, refine_steps=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = saved(tiny_model(), tmp_path_factory.mktemp("api") / "base.safetensors")
    return stylemix.load_model(path)


@pytest.fixture(scope="module")
def style(model):
    shape = [model.generator.num_ws, model.generator.w_dim]
    return stylemix.Style(model.fingerprint, shift=torch.ones(shape))


def entry_of(path):
    """A path that is neither text nor a Path, nor is its text its name."""
    with os.scandir(path.parent) as entries:
        return next(entry for entry in entries if entry.name == path.name)


def pixels(image):
    return np.asarray(image).astype(int)


@pytest.mark.slow
@pytest.mark.parametrize("module", [api, model_module, stylemix])
def test_examples_run(module, few_steps):
    failures, count = doctest.testmod(module)
    assert count
    assert not failures


def test_every_public_function_is_typed_and_documented():
    for name in stylemix.__all__:
        value = getattr(stylemix, name)
        if inspect.isfunction(value):
            assert value.__doc__
            hints = inspect.signature(value)
            assert hints.return_annotation is not inspect.Signature.empty
            assert all(p.annotation is not p.empty for p in hints.parameters.values()), name


@pytest.mark.slow
def test_a_photo_in_any_form_gives_the_same_avatar(model, style):
    image = load_image(PORTRAIT)
    forms = [
        str(PORTRAIT), PORTRAIT, entry_of(PORTRAIT), image, np.asarray(image),
        to_tensor(image)[0], to_tensor(image),
        torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1),
    ]  # fmt: skip
    avatars = [model.mix(form, style, preset=FEW) for form in forms]
    assert all((pixels(one) == pixels(avatars[0])).all() for one in avatars)
    assert avatars[0].size == (256, 256)


def test_a_style_in_any_form_gives_the_same_avatar(model, style, tmp_path):
    style.save(tmp_path / "shift.pkl")
    name = str(tmp_path / "shift.pkl")
    half = [model.mix("seed:1", form) for form in (f"{name}:0.5", {name: 0.5}, [f"{name}:0.5"])]
    half.append(model.mix("seed:1", style, strength=0.5))
    assert all((pixels(one) == pixels(half[0])).all() for one in half)
    paths = tmp_path / "shift.pkl", entry_of(tmp_path / "shift.pkl")
    whole = [model.mix("seed:1", form) for form in (style, name, *paths, [style])]
    assert all((pixels(one) == pixels(whole[0])).all() for one in whole)
    assert np.abs(pixels(whole[0]) - pixels(half[0])).mean() > 1


def test_the_command_is_the_function(model, style, tmp_path):
    save_style(tmp_path / "shift.pkl", style)
    model.save(tmp_path / "model.safetensors")
    arguments = ["--model", tmp_path / "model.safetensors", "--output", tmp_path / "a.png"]
    arguments += ["--source", PORTRAIT, "--style", tmp_path / "shift.pkl", "--w-steps", 2]
    arguments += ["--steps", 2, "--refine-steps", 1, "--strength", 0.7]
    result = CliRunner().invoke(main, ["mix", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    ours = stylemix.mix(
        PORTRAIT, tmp_path / "shift.pkl", model=tmp_path / "model.safetensors", strength=0.7,
        preset=FEW,
    )  # fmt: skip
    assert (pixels(as_written(ours)) == pixels(Image.open(tmp_path / "a.png"))).all()
    assert not (pixels(ours) == pixels(as_written(ours))).all()  # the watermark


def test_latents_are_saved_loaded_and_rendered(model, tmp_path):
    steps = []
    latent = model.project(PORTRAIT, preset=FEW, progress=lambda *step: steps.append(step))
    assert steps[-1][0] == steps[-1][1] > 0
    latent.save(tmp_path / "me.latent.safetensors")
    again = stylemix.Latent.load(tmp_path / "me.latent.safetensors")
    assert (pixels(again.image(model)) == pixels(latent.image())).all()
    assert latent.image().size == (32, 32)
    same = [
        model.mix(form, []) for form in (latent, again, str(tmp_path / "me.latent.safetensors"))
    ]
    assert all((pixels(one) == pixels(same[0])).all() for one in same)
    with pytest.raises(stylemix.StylemixError, match="got a latent without its model"):
        again.__class__(latent.w).image()
    with pytest.raises(stylemix.StylemixError, match="got a latent of the model"):
        latent.image(trained_on(tiny_model()))


def test_a_known_latent_is_not_projected_again(model, style, monkeypatch):
    """`latent=` beside its photo: the same image, and the photo makes the edit."""
    latent = model.project(PORTRAIT, preset=FEW)
    wanted = model.mix(PORTRAIT, style, preset=FEW)

    def refused(*_args, **_options):
        raise AssertionError("projected")

    monkeypatch.setattr("stylemix.avatars.reader.project_portraits", refused)
    assert pixels(model.mix(PORTRAIT, style, latent=latent)).tolist() == pixels(wanted).tolist()
    whole = model.edit(PORTRAIT, latent=latent, directions={"sefa-0": 0})
    assert whole.size == load_image(PORTRAIT).size
    assert model.edit(latent, directions={"sefa-0": 0}).size == (256, 256)
    for function, extra in ((model.mix, {"styles": style}), (model.edit, {"smile": 1})):
        with pytest.raises(stylemix.StylemixError, match="expected a photo, whose latent it is"):
            function("seed:1", latent=latent, **extra)


def test_edits_need_something_to_change(model, style, tmp_path):
    style.save(tmp_path / "shift.pkl")
    plain = model.edit("seed:1", directions={str(tmp_path / "shift.pkl"): 0})
    moved = model.edit("seed:1", directions={str(tmp_path / "shift.pkl"): 1})
    assert (pixels(plain) == pixels(model.mix("seed:1", []))).all()
    assert np.abs(pixels(moved) - pixels(plain)).mean() > 1
    with pytest.raises(stylemix.StylemixError, match="got nothing to change"):
        model.edit("seed:1")


def test_images_of_seeds_do_not_depend_on_their_neighbours(model):
    several = model.generate(range(18), psi=0.5)
    assert len(several) == 18  # over more than one batch
    assert np.abs(pixels(several[17]) - pixels(model.generate([17], psi=0.5)[0])).max() <= 1
    assert several[0].size == (32, 32)


def test_crops_are_those_of_the_model(model):
    assert model.align(PORTRAIT).size == (32, 32)
    assert stylemix.align(PORTRAIT, size=64).size == (64, 64)
    with pytest.raises(stylemix.StylemixError, match="got template 'nose'"):
        stylemix.align(PORTRAIT, template="nose")


def test_an_animation_holds_its_keyframes(model, style):
    frames = list(model.animate("seed:1", styles=style, seconds=0.4, hold=0.2, fps=10))
    assert len(frames) == 2 * (4 + 2)
    assert (pixels(frames[0]) == pixels(frames[2])).all()  # held
    assert (pixels(frames[0]) == pixels(model.mix("seed:1", []))).all()
    assert (pixels(frames[6]) == pixels(model.mix("seed:1", style))).all()
    with pytest.raises(stylemix.StylemixError, match="nothing that changes"):
        model.animate("seed:1")  # raised by the call, not at the first frame
    with pytest.raises(stylemix.StylemixError, match="got easing"):
        model.animate("seed:1", styles=style, easing="bouncy")


def test_a_model_is_moved_and_saved_completely(tmp_path):
    model = stylemix.Model(tiny_model(template=NO_TEMPLATE).generator, template=NO_TEMPLATE)
    assert model.to("cpu") is model
    model.save(tmp_path / "m.pkl", dtype="float32")
    again = stylemix.Model.load(tmp_path / "m.pkl")
    assert again.template == NO_TEMPLATE
    assert again.fingerprint == model.fingerprint


@pytest.mark.parametrize(
    ("photo", "message"),
    [
        (np.zeros([64, 64, 3], np.float32), r"got an array of float32 \[64, 64, 3\]"),
        (np.zeros([64, 64, 2], np.uint8), r"got an array of uint8 \[64, 64, 2\]"),
        (torch.zeros([2, 3, 64, 64]), r"got a tensor of shape \[2, 3, 64, 64\]"),
        (7, "got int as an image"),
        (Image.new("RGB", (4, 4)), "at least 16 px"),
        (Image.new("RGB", (64, 64), "gray"), "got no face in image"),
        (Path(__file__).parent, "a folder or zip; expected a single source"),
        ("nosuch.jpg", "nosuch.jpg"),
    ],
)
def test_unusable_photos_are_refused(photo, message):
    faces = stylemix.Model(**vars(tiny_model()))
    with pytest.raises(stylemix.StylemixError, match=message):
        faces.project(photo, preset=FEW)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model, style: model.generate(3), r"got the seeds 3; expected several"),
        (lambda model, style: model.generate([1.5]), "got seed 1.5; expected 0 to 4294967295"),
        (lambda model, style: model.generate([1], psi=float("nan")), "got --truncation nan; ex"),
        (lambda model, style: model.generate([1], psi="0.7"), "got --truncation '0.7'"),
        (lambda model, style: stylemix.generate([1], model=None), "got NoneType as the model"),
        (lambda model, style: stylemix.generate([1], model=model.generator), "got Generator as th"),
        (lambda model, style: stylemix.load_model("faces-64", device=None), "got device None"),
        (lambda model, style: stylemix.load_model("faces-64", template=3), "got int as a templat"),
        (
            lambda model, style: model.save("m.pkl", dtype="bf16"),
            "got dtype 'bf16'; expected one",
        ),
        (lambda model, style: model.mix("seed:1", None), "got None as a style; expected a name"),
        (lambda model, style: model.mix("seed:1", ("toon", 0.5)), "got 0.5 as a style; expected"),
        (lambda model, style: model.mix("seed:1", {style: None}), "got strength None; expected"),
        (lambda model, style: model.mix("seed:1", style, layers=["fine"]), r"got layers \['fine'"),
        (lambda model, style: model.mix("seed:1", style, min_identity="1"), "got --min-identity '"),
        (lambda model, style: model.mix("seed:1", style, output_size=(9, 9)), "got an output size"),
        (lambda model, style: model.mix("seed:1", style, regions="fase"), "got the region 'fase'"),
        (lambda model, style: model.mix("", style), "got an empty source"),
        (
            lambda model, style: model.edit("seed:1", directions={"sefa-0": 1}, output_size=10**5),
            "got an output size",
        ),
        (lambda model, style: model.align(PORTRAIT, size=-1), "got a size of -1; expected px fro"),
        (lambda model, style: model.align(PORTRAIT, template="none", box=(1, 2, 3)), "got the box"),
        (
            lambda model, style: model.animate("seed:1", style, fps=0),
            "got --fps 0; expected 1 to 60",
        ),
        (lambda model, style: model.edit("seed:1", directions=["smile"]), "got the directions"),
        (lambda model, style: model.edit("seed:1", directions={style: 1}), "got the directions"),
        (lambda model, style: model.drag("seed:1", (9, 9, 9, 8)), r"got the points \(9, 9, 9, 8\)"),
        (lambda model, style: model.drag("seed:1", ["9,9:9,8"]), "got the points"),
        (lambda model, style: model.drag("seed:1", [((9, 9), (9, 8, 1))]), "got the points"),
        (lambda model, style: model.drag("seed:1", None), "got the points None; expected pairs"),
        (lambda model, style: AdaptSettings(steps=-1), "got steps -1; expected a number from 1"),
        (lambda model, style: AdaptSettings(sparse=3), "got sparse 3; expected 1e-06 to 1"),
        (lambda model, style: model.project(PORTRAIT, budget=-1), "got a budget of -1; expected s"),
        (lambda model, style: model.project(PORTRAIT, seed="1"), "got seed '1'; expected 0 to 4"),
        (lambda model, style: model.project(PORTRAIT, encoder=3), "got int as a file; expected"),
        (lambda model, style: model.project(PORTRAIT, face="1"), "got --face '1' for "),
        (lambda model, style: model.align(PORTRAIT, template="none", box=3), "got the box 3; exp"),
        (lambda model, style: model.project(PORTRAIT, progress=3), "got 3 as the progress; expec"),
        (lambda model, style: model.mix("x" * 300, style), "got .File name too long"),
        (lambda model, style: model.mix("seed:1", "x" * 300), "got the style xxx"),
        (lambda model, style: model.animate([], style), "got no source; expected one or more"),
        (lambda model, style: model.generate(np.array(3)), "got the seeds array"),
        (lambda model, style: model.generate([1], psi=10**30), "got --truncation .* -100 to 100"),
        (lambda model, style: model.drag("seed:1", [((9, 9), (9, 8))], steps=1.5), "a whole numb"),
        (lambda model, style: stylemix.blend([model] * 2, weights=["1", "2"]), "got the weights"),
        (lambda model, style: stylemix.blend(None), "got None; expected two or more to blend"),
        (lambda model, style: stylemix.average_snapshots(".", last=2.5), "got --last 2.5; expec"),
        (lambda model, style: stylemix.load_generator("faces-64", "gpu"), "got device 'gpu'; exp"),
        (lambda model, style: model.animate("seed:1", style, loop="no"), "got loop 'no'; expect"),
        (lambda model, style: model.mix(PORTRAIT, [], latent=PORTRAIT), r"got \w+ as the latent"),
        (lambda model, style: model.edit(PORTRAIT, smile=1, latent=3), "got int as the latent"),
        (lambda model, style: stylemix.Latent(torch.ones(8, 16)).image("base"), "got str as the"),
        (lambda model, style: style.check(None), "got NoneType as the model; expected"),
    ],
)
def test_wrong_arguments_are_errors_of_one_line(model, style, call, message):
    with pytest.raises(stylemix.StylemixError, match=message):
        call(model, style)


def test_a_wrong_size_is_an_error_before_the_photo_is_projected(model, style, monkeypatch):
    monkeypatch.setattr(api, "Mixer", None)  # nothing is read
    with pytest.raises(stylemix.StylemixError, match="got an output size of 'big'"):
        model.mix(PORTRAIT, style, output_size="big")


def test_damaged_images_in_memory_are_refused(model):
    half = Image.open(BytesIO(PORTRAIT.read_bytes()[:5000]))
    closed = Image.open(PORTRAIT)
    closed.close()
    for photo in (half, closed):
        with pytest.raises(stylemix.StylemixError, match="got an image that cannot be read"):
            model.align(photo)


def test_unknown_presets_are_refused(model):
    for preset in ("quick", ["fast"]):
        with pytest.raises(stylemix.StylemixError, match=r"got the preset .*; expected one of"):
            model.project(PORTRAIT, preset=preset)


@pytest.mark.slow
def test_a_look_is_the_whole_photo():
    photo = load_image(PORTRAIT)
    faces = stylemix.load_model("faces-64")
    latent_only = ProjectionSettings(w_steps=10, plus_steps=0, refine_steps=0)
    assert faces.mix(photo, "noir", preset=latent_only).size == photo.size
    assert faces.mix(photo, "noir", preset=latent_only, output_size=100).size == (100, 100)


def test_labels_of_a_conditional_model():
    model = shapes_model()
    discs, by_values = model_images(model, 0), model_images(model, [1, 0, 0])
    assert (discs == by_values).all()
    assert np.abs(discs - model_images(model, 2)).mean() > 5
    across = stylemix.mix("seed:1@0", "seed:1@2", model=model, layers="all")
    other = stylemix.mix("seed:1", [], model=model, label=2)
    assert np.abs(pixels(across) - pixels(other)).max() <= 2
    frames = stylemix.animate(["seed:1@0", "seed:1@2"], model=model, seconds=0.2, hold=0, fps=10)
    assert (pixels(next(frames)) == pixels(stylemix.mix("seed:1@0", [], model=model))).all()
    with pytest.raises(stylemix.StylemixError, match="got seed:1 for a model of 3 classes"):
        stylemix.edit("seed:1", directions={"sefa-0": 1}, model=model)
    with pytest.raises(stylemix.StylemixError, match="got a label of 2 values; expected 3"):
        stylemix.generate([1], model=model, label=[0, 1])
    with pytest.raises(stylemix.StylemixError, match="got --truncation nan; expected -100"):
        stylemix.generate([1], model=model, label=1, psi=float("nan"))


def model_images(model, label):
    return pixels(stylemix.generate([1], model=model, label=label)[0])


def test_identity_of_what_has_no_face_is_a_warning(model, style):
    with pytest.warns(UserWarning, match="min_identity has no effect"):
        avatar = stylemix.mix("seed:1", style, model=model, template="none", min_identity=0.9)
    assert (pixels(avatar) == pixels(model.mix("seed:1", style, template="none"))).all()


def test_a_box_is_the_subject(model):
    image = load_image(PORTRAIT)
    inside = image.crop((10, 20, 74, 84))
    crop = stylemix.align(image, template="none", size=64, box=(10, 20, 64, 64))
    assert (pixels(crop) == pixels(inside)).all()
    small = stylemix.align(image, model=model, template="none", box=(10, 20, 64, 64))
    assert small.size == (32, 32)
    latent = model.project(image, template="none", box=(10, 20, 64, 64), preset=FEW)
    assert "identity" not in latent.metrics
    assert np.allclose(latent.matrix, [[0.5, 0, -5], [0, 0.5, -10], [0, 0, 1]])
