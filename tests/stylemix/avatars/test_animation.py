"""Keyframes, the timing of a video, interpolation, and the images."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

import stylemix
from stylemix.avatars import motion
from stylemix.avatars.animation import (
    EASINGS,
    Keyframe,
    Moment,
    Timing,
    between,
    draw,
    moments,
    plan,
    read_animation,
)
from stylemix.avatars.drawing import crop_photo
from stylemix.avatars.finish import model_image
from stylemix.avatars.inputs import StyleArgument
from stylemix.avatars.mixer import Mixer, Person, StyleInput
from stylemix.avatars.render import AppliedStyle, render
from stylemix.errors import StylemixError
from stylemix.faces.attributes import readings
from stylemix.images.tensors import to_tensor
from stylemix.inversion.latent import Latent
from stylemix.inversion.residual import Residual
from stylemix.inversion.settings import ProjectionSettings
from stylemix.styles.style import Style, save_style
from tests.support.models import tiny_model, trained_on, ws_of

PORTRAIT = Path(__file__).parents[2] / "data" / "portraits" / "obama.jpg"
FEW = ProjectionSettings(w_steps=20, plus_steps=10, refine_steps=0)


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def network(model):
    return model.generator.synthesis


@pytest.fixture
def read(model, tmp_path):
    """A mixer that has read three people, a shift, a style with weights and another image."""
    shift = torch.linspace(-1, 1, model.generator.num_ws * model.generator.w_dim)
    shift = Style(model.fingerprint, shift=shift.view(model.generator.num_ws, -1), strength=0.8)
    other = dict(trained_on(model).generator.synthesis.named_parameters())
    own = model.generator.synthesis.named_parameters()
    weights = {name: other[name] - value for name, value in own}
    save_style(tmp_path / "shift.pkl", shift)
    save_style(tmp_path / "drawn.pkl", Style(model.fingerprint, weights=weights, psi=0.7))
    mixer = Mixer(model)
    files = [str(tmp_path / name) for name in ("shift.pkl", "drawn.pkl")]
    styles = [StyleArgument(what) for what in (*files, "seed:5")]
    people, inputs = mixer.read(["seed:1", "seed:2", "seed:3"], styles)
    return Read(mixer, people, dict(zip(("shift", "drawn", "seed:5"), inputs, strict=True)))


@dataclass
class Read:
    """The people and styles read by a mixer, and plans of keyframes by name."""

    mixer: Mixer
    people: list[Person]
    styles: dict[str, StyleInput]

    def plan(self, count, styles=(), directions=None, **options):
        """Keyframes of the first people in styles by name."""
        return plan(
            self.mixer, self.people[:count], [self.style(s) for s in styles], directions, **options
        )

    def style(self, text):
        """A style by name, or by name and weight."""
        name, _, weight = text.partition("=")
        style = self.styles[name]
        if weight:
            self.styles[name] = style = replace(style, weight=float(weight))
        return style


def strengths(keys):
    return [{style.name: value for style, value in key.strengths.items()} for key in keys]


def who(read, keys):
    names = {id(person.latent): person.name[-1] for person in read.people}
    return "".join(names[id(key.person)] for key in keys)


def test_easing_values():
    values = [0, 0.25, 0.5, 0.75, 1]
    assert [EASINGS["linear"](t) for t in values] == values
    assert [EASINGS["smooth"](t) for t in values] == [0, 0.15625, 0.5, 0.84375, 1]


def test_a_loop_shows_no_moment_twice():
    timeline = moments(2, Timing(fps=4, seconds=1, hold=0, easing="linear"))
    there = [Moment(0, 1, t) for t in (0, 0.25, 0.5, 0.75)]
    back = [Moment(1, 0, t) for t in (0, 0.25, 0.5, 0.75)]
    assert timeline == [*there, *back]


def test_without_a_loop_the_last_keyframe_ends_it():
    timeline = moments(3, Timing(fps=4, seconds=0.5, hold=0, loop=False))
    steps = [(0, 1, 0.0), (0, 1, 0.5), (1, 2, 0.0), (1, 2, 0.5), (2, 2, 0.0)]
    assert timeline == [Moment(*step) for step in steps]


def test_a_hold_is_a_single_image_of_several_frames():
    plain, held = (moments(2, Timing(fps=10, seconds=1, hold=hold)) for hold in (0, 0.5))
    assert len(held) == len(plain) == 20
    assert [m.frames for m in held] == [6, *[1] * 9] * 2
    assert sum(m.frames for m in held) == 30  # 2 x (1 s + 0.5 s)
    assert [m.frames for m in moments(2, Timing(1, 0.5, 10, loop=False))] == [6, *[1] * 9, 6]
    assert len(moments(3, Timing(seconds=0, hold=0))) == 3  # jumps


@pytest.mark.parametrize("wrong", [-1, 601, float("nan"), float("inf")])
def test_times_out_of_range_are_errors(wrong):
    with pytest.raises(StylemixError, match=r"got --seconds .*; expected 0 to 600"):
        Timing(seconds=wrong)
    with pytest.raises(StylemixError, match=r"got --hold .*; expected 0 to 600"):
        Timing(hold=wrong)


@pytest.mark.parametrize("wrong", [-10, 0, 61])
def test_frames_per_second_out_of_range_are_errors(wrong):
    with pytest.raises(StylemixError, match=f"got --fps {wrong}; expected 1 to 60"):
        Timing(fps=wrong)


def test_a_single_style_goes_from_zero_to_full_strength(read):
    keys = read.plan(1, ["shift"])
    assert strengths(keys) == [{"shift": 0}, {"shift": 0.8}]
    assert who(read, keys) == "11"
    assert strengths(read.plan(1, ["shift"], strength=2))[1] == {"shift": 2}
    assert strengths(read.plan(1, ["shift=0.5"]))[1] == {"shift": 0.5}
    assert strengths(read.plan(1, ["shift=0.5"], strength=2))[1] == {"shift": 1}


def test_a_single_person_or_style_is_constant(read):
    keys = read.plan(2, ["shift"])
    assert (who(read, keys), strengths(keys)) == ("12", [{"shift": 0.8}] * 2)
    keys = read.plan(1, ["shift", "seed:5"])
    assert (who(read, keys), strengths(keys)) == ("11", [{"shift": 0.8}, {"seed5": 1}])


def test_the_kth_person_is_in_the_kth_style(read):
    keys = read.plan(3, ["shift", "seed:5"])
    assert who(read, keys) == "123"
    assert strengths(keys) == [{"shift": 0.8}, {"seed5": 1}, {"shift": 0.8}]
    assert strengths(read.plan(2)) == [{}, {}]


def test_directions_alternate_and_the_style_is_constant(read):
    shift = read.styles["shift"]
    yaw, light = (StyleInput(name, style=shift.style) for name in ("yaw", "light"))
    keys = read.plan(1, [], {yaw: 2.0, light: -1.0})
    assert strengths(keys) == [{"yaw": -2, "light": 1}, {"yaw": 2, "light": -1}]
    keys = read.plan(1, ["seed:5"], {yaw: 2.0})
    assert strengths(keys) == [{"seed5": 1, "yaw": -2}, {"seed5": 1, "yaw": 2}]
    keys = read.plan(1, ["shift"], {shift: 1.0})
    assert [key.strengths[shift] for key in keys] == pytest.approx([-0.2, 1.8])


def test_between_is_linear(read):
    one, two = (person.latent for person in read.people[:2])
    shift, drawn = read.styles["shift"], read.styles["drawn"]
    first, second = Keyframe(one, {shift: 1, drawn: -1}), Keyframe(two, {shift: 0, drawn: 3})
    got = between(read.mixer, first, second, 0.25)
    assert torch.allclose(got.person.w, 0.75 * one.w + 0.25 * two.w, atol=1e-6)
    assert got.strengths == {shift: 0.75}  # 0 is left out
    assert between(read.mixer, first, second, 0.0).person is one
    assert between(read.mixer, second, second, 0.0).strengths == {drawn: 3}


def images_of(read, keys, times):
    return torch.stack(list(draw(read.mixer, keys, times)))


def test_ends_are_the_stills_and_the_middle_is_the_mean(read):
    keys = read.plan(2, ["drawn"])
    images = images_of(read, keys, moments(2, Timing(1, 0, 2, loop=False, easing="linear")))
    one, two = (person.latent for person in read.people[:2])
    mean = Latent((one.w + two.w) / 2, one.base)
    for image, person in zip(images, [one, mean, two], strict=True):
        still = read.mixer.draw(person, [read.mixer.apply(read.styles["drawn"], person)])[0]
        assert torch.allclose(image, still, atol=1e-4)
    assert (images[0] - images[2]).abs().mean() > 0.05


def test_styles_cross_fade(read):
    keys = read.plan(1, ["shift", "drawn"])
    middle = images_of(read, keys, [Moment(0, 1, 0.5)])
    applied = [
        AppliedStyle(read.styles["shift"].style, 0.4), AppliedStyle(read.styles["drawn"].style, 0.5)
    ]  # fmt: skip
    assert torch.allclose(middle, read.mixer.draw(read.people[0], applied), atol=1e-5)


def test_batched_images_equal_single_ones(read):
    times = moments(3, Timing(fps=7, seconds=1, hold=0))
    for styles in ([], ["shift", "drawn"], ["seed:5"]):
        keys = read.plan(3, styles)
        for moment, image in zip(times, draw(read.mixer, keys, times), strict=True):
            frame = between(read.mixer, keys[moment.start], keys[moment.end], moment.t)
            applied = [
                AppliedStyle(read.mixer.apply(style, frame.person).style, amount)
                for style, amount in frame.strengths.items()
            ]
            assert torch.allclose(image, read.mixer.draw(frame.person, applied)[0], atol=1e-4)


def test_images_are_rendered_lazily(read):
    times = moments(2, Timing(fps=60, seconds=600))
    first = next(iter(draw(read.mixer, read.plan(2), times)))
    assert first.shape == (3, 32, 32)


def test_layers_confine_styles_and_directions(read):
    keys = read.plan(1, ["shift"])
    read.mixer.layers = "fine"
    got = images_of(read, keys, [Moment(1, 1)])
    applied = AppliedStyle(read.styles["shift"].style, 0.8, "fine")
    assert torch.equal(got, read.mixer.draw(read.people[0], [applied]))


def detail_of(model, seed, share=0.1):
    """A residual with random values in every part."""
    torch.manual_seed(seed)
    synthesis = model.generator.synthesis
    weights = {"b8.conv0.weight": share * torch.randn_like(synthesis.b8.conv0.weight)}
    channels, size = synthesis.b16.conv1.weight.shape[0], synthesis.b16.conv1.noise_const.shape
    mask = (torch.rand([1, *size]) > 0.5).float()
    return Residual(
        weights, torch.randn([channels, *size]), mask, torch.randn([synthesis.noise_size])
    )


def rendered(model, ws, detail):
    return render(model.generator, ws, [], detail)


def test_residuals_are_interpolated(model, network):
    one, two = detail_of(model, 1), detail_of(model, 2)
    assert Residual.lerp(one, two, 0, network) is one
    assert Residual.lerp(one, two, 1, network) is two
    assert Residual.lerp(one, one, 0.3, network) is one
    assert Residual.lerp(None, None, 0.3, network) is None
    got = Residual.lerp(one, two, 0.25, network)
    name = "b8.conv0.weight"
    assert torch.allclose(got.weights[name], 0.75 * one.weights[name] + 0.25 * two.weights[name])
    assert torch.allclose(got.noise, 0.75 * one.noise + 0.25 * two.noise, atol=1e-6)
    # Where both replace the features, where one does, where none does.
    x = torch.randn_like(one.features)
    replaced = [torch.lerp(x, d.features, d.mask) for d in (one, two)]
    mixed = torch.lerp(x, got.features, got.mask)
    assert torch.allclose(mixed, 0.75 * replaced[0] + 0.25 * replaced[1], atol=1e-5)
    assert sorted(set(got.mask.flatten().tolist())) == [0, 0.25, 0.75, 1]


@pytest.mark.parametrize("swap", [False, True])
def test_a_missing_residual_is_no_change(model, network, swap):
    ws, some = ws_of(model, 1), detail_of(model, 1)
    pair, near = ((some, None), 1 - 1e-6) if swap else ((None, some), 1e-6)
    got = Residual.lerp(*pair, near, network)
    assert torch.allclose(rendered(model, ws, got), rendered(model, ws, None), atol=1e-3)
    got = Residual.lerp(*pair, 1 - near, network)
    assert torch.allclose(rendered(model, ws, got), rendered(model, ws, some), atol=1e-3)
    assert (rendered(model, ws, some) - rendered(model, ws, None)).abs().mean() > 0.01
    only = Residual({"b8.conv0.weight": torch.ones_like(network.b8.conv0.weight)})
    assert Residual.lerp(None, only, 0.5, network).noise is None


def test_features_of_two_sizes_are_an_error(model, network):
    one, two = detail_of(model, 1), detail_of(model, 2)
    two.features, two.mask = two.features[:, :8, :8], two.mask[:, :8, :8]
    with pytest.raises(StylemixError, match=r"got features of \[.*16, 16\] and of \[.*8, 8\]"):
        Residual.lerp(one, two, 0.5, network)


def test_a_refined_person_is_rendered_with_their_residual(read, model):
    read.people[1].latent.detail = detail_of(model, 1)
    keys = read.plan(2)
    images = images_of(read, keys, moments(2, Timing(1, 0, 3, loop=False)))
    assert torch.allclose(images[0], read.mixer.draw(read.people[0])[0], atol=1e-5)
    assert torch.allclose(images[-1], read.mixer.draw(read.people[1])[0], atol=1e-5)
    read.people[1].latent.detail = None
    plain = images_of(read, keys, moments(2, Timing(1, 0, 3, loop=False)))
    assert torch.allclose(images[0], plain[0], atol=1e-5)
    assert all((a - b).abs().mean() > 0.01 for a, b in zip(images[1:], plain[1:], strict=True))


@pytest.mark.slow
def test_a_photo_turns_its_own_head(monkeypatch):
    """Every frame is the photo, and one keyframe that it cannot follow makes all the model's."""
    mixer = Mixer(stylemix.load_model("faces-64"), settings=FEW, progress=False)
    timing = Timing(seconds=0.4, hold=0, fps=10, loop=False)
    animation = read_animation(mixer, [str(PORTRAIT)], [], {"yaw": 1.5}, timing)
    images = list(animation.images())
    assert {image.size for image in images} == {(512, 512)}
    faces = torch.cat([to_tensor(image) for image in images])
    turns = readings(faces, mixer.model.template)["yaw"]
    assert (turns.diff() > 0).all()
    photo = np.asarray(crop_photo(animation.people[0].photo, 512)).astype(float)
    edges = [np.abs(np.diff(one.mean(axis=2))).mean() for one in map(np.asarray, [*images, photo])]
    assert min(edges) > 0.8 * edges[-1]
    middle = np.asarray(images[len(images) // 2]).astype(float)  # of strength 0
    assert np.abs(middle - photo).mean() < 1
    monkeypatch.setattr(motion, "MAX_ERROR", 0.0)
    assert {image.size for image in animation.images()} == {(256, 256)}


@pytest.mark.slow
def test_photos_become_each_other():
    """Both ends are the photos, and what lies between is as sharp as the model's images."""
    mixer = Mixer(stylemix.load_model("faces-64"), settings=FEW, progress=False)
    timing = Timing(seconds=0.5, hold=0, fps=6, loop=False)
    other = PORTRAIT.with_name("astronaut.jpg")
    animation = read_animation(mixer, [str(PORTRAIT), str(other)], [], {}, timing, size=256)
    images = [np.asarray(image, float) for image in animation.images()]
    first, last = (np.asarray(crop_photo(person.photo, 256)) for person in animation.people)
    away = [[np.abs(image - photo).mean() for image in images] for photo in (first, last)]
    assert away[0] == sorted(away[0])
    assert away[1] == sorted(away[1], reverse=True)
    assert away[0][0] == away[1][-1] == 0
    images_of_model = draw(mixer, animation.keys, animation.times)
    enlarged = [model_image(image[None], mixer.model.template, 256) for image in images_of_model]
    edges = [
        [np.abs(np.diff(np.asarray(image, float).mean(axis=2))).mean() for image in one]
        for one in (images, enlarged)
    ]
    ratios = np.array(edges[0]) / edges[1]
    assert ratios.min() > 0.9
    assert min(ratios[0], ratios[-1]) > 1.2
