"""A portrait and its latent, for tests of what photos and the model's images of them do."""

from pathlib import Path

import pytest

import stylemix
from stylemix.avatars.mixer import Mixer
from stylemix.inversion.portraits import read_portrait
from stylemix.inversion.settings import ProjectionSettings

PORTRAIT = Path(__file__).parents[2] / "data" / "portraits" / "obama.jpg"
FEW = ProjectionSettings(w_steps=20, plus_steps=10, refine_steps=0)


@pytest.fixture(scope="module")
def mixer():
    return Mixer(stylemix.load_model("faces-64"), settings=FEW, progress=False)


@pytest.fixture(scope="module")
def person(mixer):
    return mixer.read([str(PORTRAIT)], [])[0][0]


@pytest.fixture(scope="module")
def face():
    return read_portrait(PORTRAIT, stylemix.load_model("faces-64")).image[None]
