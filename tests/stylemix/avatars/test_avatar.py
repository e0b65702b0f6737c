"""Avatars with options: minimum identity, colour preservation, regions."""

import weakref

import pytest
import torch

from stylemix.avatars.avatar import Avatar, AvatarOptions, describe, draw_avatar, likeness, weaker
from stylemix.avatars.derived_styles import blend_style
from stylemix.avatars.mixer import Mixer, Person
from stylemix.avatars.render import AppliedStyle, render
from stylemix.errors import StylemixError
from stylemix.faces.regions import region_mask
from stylemix.faces.templates import NO_TEMPLATE
from stylemix.images.lab import to_lab
from stylemix.inversion.latent import Latent
from stylemix.styles.style import Style
from tests.support.models import W_DIM, tiny_model, ws_of


@pytest.fixture(scope="module")
def model():
    return tiny_model(resolution=64)


@pytest.fixture(scope="module")
def person(model):
    return Latent(ws_of(model)[0], model.fingerprint)


@pytest.fixture(scope="module")
def parts(model, person):
    """A blend with another person, with a recommended strength."""
    style = blend_style(model.fingerprint, person.w, ws_of(model)[1], None)
    style.strength = 0.8
    return [AppliedStyle(style)]


@pytest.fixture(scope="module")
def plain(model, person):
    return render(model.generator, person.w[None])


def test_without_options_it_is_the_plain_mix(model, person, parts):
    avatar = draw_avatar(model, person, parts)
    assert torch.equal(avatar.image, render(model.generator, person.w[None], parts))
    assert (avatar.share, avatar.identity) == (1.0, None)


def test_the_guard_preserves_the_minimum_identity(model, person, parts, plain):
    full = likeness(model, plain)(draw_avatar(model, person, parts).image)
    shares = []
    for least in (full + 0.25 * (1 - full), full + 0.75 * (1 - full)):
        avatar = draw_avatar(model, person, parts, AvatarOptions(min_identity=least))
        assert least <= avatar.identity < least + 0.02
        assert avatar.identity == pytest.approx(likeness(model, plain)(avatar.image), abs=1e-4)
        same = render(model.generator, person.w[None], weaker(parts, avatar.share))
        assert torch.allclose(avatar.image, same)
        shares.append(avatar.share)
    assert 1 > shares[0] > shares[1] > 0


def test_the_guard_leaves_a_sufficient_identity_alone(model, person, parts, plain):
    full = draw_avatar(model, person, parts)
    identity = likeness(model, plain)(full.image)
    avatar = draw_avatar(model, person, parts, AvatarOptions(min_identity=identity - 0.05))
    assert avatar.share == 1
    assert avatar.identity == pytest.approx(identity, abs=1e-4)
    assert torch.equal(avatar.image, full.image)


def test_identity_is_one_for_the_same_image(model, plain):
    assert likeness(model, plain)(plain) == 1


def test_weaker_scales_the_strength_in_use(parts):
    assert [part.strength for part in weaker(parts, 0.5)] == [0.4]
    assert [part.strength for part in weaker([AppliedStyle(parts[0].style, -2.0)], 0.5)] == [-1.0]


def test_preserved_colors_are_those_of_the_face(model, person, parts, plain):
    face = region_mask(["face"], plain, model.template)

    def hues(image):
        return (to_lab(image)[:, 1:] * face).sum(dim=(2, 3)) / face.sum()

    styled = hues(draw_avatar(model, person, parts).image)
    half, preserved = (
        hues(draw_avatar(model, person, parts, AvatarOptions(keep_color=amount)).image)
        for amount in (0.5, 1.0)
    )
    own = hues(plain)
    assert (styled - own).norm() > 5
    assert (preserved - own).norm() < 0.5 * (styled - own).norm()
    assert (preserved - own).norm() < (half - own).norm() < (styled - own).norm()


def test_the_guard_measures_the_final_image(model, person, parts, plain):
    finish = AvatarOptions(min_identity=0.9, keep_color=1.0)
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 16:48, :] = 1
    avatar = draw_avatar(model, person, parts, finish, mask)
    assert avatar.identity == pytest.approx(likeness(model, plain)(avatar.image), abs=1e-4)
    everywhere = draw_avatar(model, person, parts, finish)
    assert avatar.share != everywhere.share
    assert (avatar.image - plain)[..., :4, :].abs().mean() < 0.1 * (
        everywhere.image - plain
    )[..., :4, :].abs().mean()  # fmt: skip


@pytest.mark.parametrize(
    ("finish", "message"),
    [
        (AvatarOptions(min_identity=1.5), "--min-identity 1.5"),
        (AvatarOptions(keep_color=2), "--keep-color 2"),
        (AvatarOptions(keep_color=float("nan")), "--keep-color nan"),
        (
            AvatarOptions(regions=("eyes",)),
            "'eyes'; expected face, skin, hair, background or an image",
        ),
    ],
)
def test_options_out_of_range_are_one_line(model, finish, message):
    with pytest.raises(StylemixError) as error:
        finish.check(model)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_face_options_need_a_face_template(tmp_path):
    model = tiny_model(template=NO_TEMPLATE)
    for finish in (AvatarOptions(keep_color=0.5), AvatarOptions(regions=("hair",))):
        with pytest.raises(StylemixError, match="which is not for faces"):
            finish.check(model)
    (tmp_path / "mask.png").touch()
    AvatarOptions(regions=(str(tmp_path / "mask.png"),)).check(model)


def test_no_identity_is_kept_without_a_face():
    model = tiny_model(template=NO_TEMPLATE)
    person = Latent(ws_of(model)[0])
    shift = Style(model.fingerprint, shift=torch.ones([model.generator.num_ws, W_DIM]))
    limited, free = (
        draw_avatar(model, person, [AppliedStyle(shift)], AvatarOptions(least))
        for least in (0.99, None)
    )
    assert torch.equal(limited.image, free.image)
    assert (limited.share, limited.identity) == (1.0, None)


def test_description_of_an_avatar(parts):
    avatar = Avatar(lambda: torch.zeros(1, 3, 4, 4), 0.5, 0.623)
    assert describe(avatar, parts) == "strength 0.40, identity 0.62"
    assert describe(avatar, 2 * parts) == "strength x 0.50, identity 0.62"
    shares = [AppliedStyle(parts[0].style, 1.0, shares=(0.5,) * 10)]
    assert describe(Avatar(avatar.draw), shares) == "strength x 1.00"


def test_a_mixer_keeps_no_person_of_a_folder(model, person):
    mixer = Mixer(model)
    someone = Person("a", person)
    mask = mixer.mask(someone, ("face",))
    assert mixer.mask(someone, ("face",)) is mask
    gone = weakref.ref(someone)
    del someone
    assert gone() is None
