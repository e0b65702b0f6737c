"""Personal styles."""

import copy
from pathlib import Path

import pytest
import torch

from stylemix.avatars.render import AppliedStyle, render
from stylemix.errors import StylemixError
from stylemix.faces.alignment import align_photo
from stylemix.faces.recognition import embed
from stylemix.faces.templates import FACES128, NO_TEMPLATE
from stylemix.images.read import load_image
from stylemix.images.tensors import to_tensor
from stylemix.inversion.settings import ProjectionSettings
from stylemix.training.adapt import personal
from stylemix.training.adapt.personal import check_one_person, learn_personal
from tests.support.models import tiny_model, ws_of

PORTRAITS = Path(__file__).resolve().parents[2] / "data" / "portraits"


@pytest.fixture(scope="module")
def model():
    return tiny_model(template=NO_TEMPLATE)


@pytest.fixture(scope="module")
def learned(model, photos):
    quick = ProjectionSettings(w_steps=15, plus_steps=15, refine_steps=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(personal, "LATENTS", quick)
        return learn_personal(model, photos, steps=60)


@pytest.fixture
def style(learned):
    return copy.copy(learned)


@pytest.fixture(scope="module")
def photos(model):
    """Five images of nearly one latent, a little darker than the model generates them."""
    ws = ws_of(model, 1, seed=4)
    near = ws + 0.05 * torch.randn([5, 1, 16], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model.generator.synthesis(near, noise_mode="const") * 0.8 - 0.1


def error(images, photos):
    return float((images - photos.mean(dim=0)).square().mean())


@pytest.mark.slow
def test_at_full_strength_every_face_becomes_the_person(model, style, photos):
    ws = ws_of(model, 3, seed=9)
    plain, half, whole = (
        render(model.generator, ws, [AppliedStyle(style, strength)]) for strength in (0, 0.5, 1)
    )
    assert torch.allclose(whole, whole[:1].expand_as(whole), atol=1e-4)
    assert error(whole, photos) < error(half, photos) < error(plain, photos)
    assert error(whole, photos) < 0.1 * error(plain, photos)


@pytest.mark.slow
def test_weights_improve_on_the_latents(model, style, photos):
    ws = ws_of(model, 1)
    whole = error(render(model.generator, ws, [AppliedStyle(style)]), photos)
    style.weights = {}
    assert whole < 0.7 * error(render(model.generator, ws, [AppliedStyle(style)]), photos)


@pytest.mark.slow
def test_the_style_is_of_its_base_and_noise_stays(model, style):
    assert style.base == model.fingerprint
    assert style.psi == 0
    assert style.check(model) is style
    assert not any("noise_strength" in name for name in style.weights)


class Photos:
    """A dataset of images in [-1, 1], with names."""

    def __init__(self, images):
        self.images = ((images + 1) * 127.5).round().to(torch.uint8)

    def __len__(self):
        return len(self.images)

    def batch(self, indices):
        return self.images[list(indices)], None

    def name(self, index):
        return f"album/{index}.jpg"


@pytest.fixture(scope="module")
def people():
    """Two photos of a man, years apart, one of another man and one of a woman, aligned."""
    sources = [PORTRAITS / "obama.jpg", PORTRAITS / "two_people.jpg"]
    crops = [
        (sources[0], None),
        (sources[1], 1),
        (sources[1], 2),
        (PORTRAITS / "astronaut.jpg", None),
    ]
    return torch.cat(
        [to_tensor(align_photo(load_image(path), FACES128, 64, face).crop) for path, face in crops]
    )


def test_photos_of_several_people_are_refused(people):
    faces = tiny_model(resolution=64)
    obama, first, second, woman = people
    same = first if identity(obama, first) < identity(obama, second) else second
    other = second if same is first else first
    check_one_person(faces, Photos(torch.stack([obama, same, obama.flip(2)])))
    with pytest.raises(StylemixError) as caught:
        check_one_person(faces, Photos(torch.stack([obama, other, same, woman])))
    said = str(caught.value)
    assert said.startswith("got photos of 3 people, of another one album/1.jpg, album/3.jpg; ")
    assert "--several-people" in said


def identity(one, two):
    return float((embed(one[None], FACES128) - embed(two[None], FACES128)).norm())


def test_without_faces_nobody_can_be_told_apart(model):
    check_one_person(model, Photos(torch.zeros(2, 3, 32, 32)))
