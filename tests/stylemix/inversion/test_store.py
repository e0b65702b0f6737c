"""Files of projected photos: only missing files are made."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageChops

from stylemix.images.sources import ImageSource
from stylemix.inversion.encoder import Encoder
from stylemix.inversion.latent import load_latent
from stylemix.inversion.portraits import read_portrait
from stylemix.inversion.settings import ProjectionSettings
from stylemix.inversion.store import PhotoToProject, project_missing
from stylemix.networks.batches import use_batch
from stylemix.networks.config import DiscriminatorConfig
from tests.support.models import tiny_model

PORTRAITS = Path(__file__).parents[2] / "data" / "portraits"
FEW = ProjectionSettings(w_steps=2, plus_steps=2, refine_steps=1)


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def photos(model):
    names = ("obama", "astronaut")
    return [PhotoToProject(n, read_portrait(PORTRAITS / f"{n}.jpg", model)) for n in names]


@pytest.mark.slow
def test_only_missing_photos_are_projected(model, photos, tmp_path):
    folder = tmp_path / "new" / "folder"
    (first,) = project_missing(photos[:1], model, FEW, folder)
    assert first[0] == "obama"
    assert first.is_new
    assert first.path == folder / "obama.latent.safetensors"
    saved = load_latent(folder / "obama.latent.safetensors", model)
    assert torch.equal(saved.w, first[1].w.cpu())
    both = list(project_missing(photos, model, FEW, folder))
    assert [(done.name, done.is_new) for done in both] == [("obama", False), ("astronaut", True)]
    assert torch.equal(both[0][1].w, saved.w)
    again = project_missing(photos, model, FEW, folder, again=True)
    assert [is_new for *_, is_new in again] == [True, True]


@pytest.mark.slow
def test_another_encoder_is_another_setting(model, photos, tmp_path):
    """A file of the search without it was taken for finished."""
    trunk = DiscriminatorConfig(img_resolution=32, channel_base=256, channel_max=32)
    sizes = model.generator.num_ws, model.generator.w_dim
    encoders = [None, *(Encoder(trunk, *sizes).eval().requires_grad_(False) for _ in range(2))]
    settings = replace(FEW, refine_steps=0)
    for expected in (True, False):
        for encoder, name in zip(encoders, ("obama", "obama-2", "obama-3"), strict=True):
            (done,) = project_missing(photos[:1], model, settings, tmp_path, encoder)
            assert (done.path.name, done.is_new) == (f"{name}.latent.safetensors", expected)


def test_finished_photos_get_a_pasted_image_and_a_consent(model, photos, tmp_path):
    """Both were ignored where the latent was already there."""
    source = ImageSource("obama", PORTRAITS / "obama.jpg")
    pasted, latent = tmp_path / "obama.pasted.png", tmp_path / "obama.latent.safetensors"
    whole = replace(photos[0], source=source)
    list(project_missing([whole], model, FEW, tmp_path))
    at_once = pasted.read_bytes()
    pasted.unlink()
    before = load_latent(latent)
    asked = replace(whole, consent="in writing")
    assert [done.is_new for done in project_missing([asked], model, FEW, tmp_path)] == [False]
    again, expected = Image.open(pasted), Image.open(BytesIO(at_once))
    assert ImageChops.difference(again, expected).getextrema() == ((0, 0),) * 3
    after = load_latent(latent)
    assert (before.consent, after.consent) == ("not recorded", "in writing")
    assert torch.equal(after.w, before.w)
    assert torch.equal(after.detail.features, before.detail.features)
    (kept,) = project_missing(photos[:1], model, FEW, tmp_path)
    assert (kept.is_new, kept.latent.consent) == (False, "in writing")


def test_photos_are_read_a_batch_at_a_time(model, photos, tmp_path):
    read = []

    def lazily():
        for photo in photos:
            read.append(photo.name)
            yield photo

    with use_batch(1):
        done = project_missing(lazily(), model, FEW, tmp_path)
        assert next(done)[0] == "obama"
        assert read == ["obama"]
        assert [name for name, *_ in done] == ["astronaut"]


@pytest.mark.slow
def test_files_of_other_photos_and_settings_are_kept(model, photos, tmp_path):
    obama, astronaut = photos
    called = [replace(obama, name="me"), replace(astronaut, name="me-2")]
    other = [replace(astronaut, name="me")]

    def names(photos, settings=FEW, **options):
        done = project_missing(photos, model, settings, tmp_path, **options)
        return [(done.path.name.partition(".")[0], done.is_new) for done in done]

    assert names(called[:1]) == [("me", True)]
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert names(other) == [("me-2", True)]
    assert {path: path.read_bytes() for path in before} == before
    assert sorted(path.name for path in tmp_path.glob("me-2.*")) == [
        "me-2.latent.safetensors", "me-2.recon.png", "me-2.side-by-side.png"
    ]  # fmt: skip
    assert names(called) == [("me", False), ("me-2", False)]
    more = replace(FEW, seed=1)
    assert names(called, more) == [("me-3", True), ("me-2-2", True)]
    assert names(called, more) == [("me-3", False), ("me-2-2", False)]
    assert names(other, replace=True) == [("me", True)]
    assert names(called[:1], again=True) == [("me", True)]


def test_photos_of_one_call_do_not_take_each_others_names(model, photos, tmp_path):
    obama, astronaut = photos
    (tmp_path / "me.latent.safetensors").write_text("another file")
    called = [replace(obama, name="me"), replace(astronaut, name="me-2")]
    for is_new in (True, False):
        done = project_missing(called, model, FEW, tmp_path)
        assert [(done.path.name.partition(".")[0], done.is_new) for done in done] == [
            ("me-2", is_new), ("me-2-2", is_new)
        ]  # fmt: skip
