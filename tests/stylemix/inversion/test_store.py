"""Files of projected photos: only missing files are made."""

from pathlib import Path

import pytest
import torch

from stylemix.inversion.latent import load_latent
from stylemix.inversion.portraits import read_portrait
from stylemix.inversion.settings import ProjectionSettings
from stylemix.inversion.store import PhotoToProject, project_missing
from stylemix.networks.batches import use_batch
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


def test_only_missing_photos_are_projected(model, photos, tmp_path):
    folder = tmp_path / "new" / "folder"
    (first,) = project_missing(photos[:1], model, FEW, folder)
    assert first[0] == "obama"
    assert first[2]
    saved = load_latent(folder / "obama.latent.safetensors", model)
    assert torch.equal(saved.w, first[1].w.cpu())
    both = list(project_missing(photos, model, FEW, folder))
    assert [(name, is_new) for name, _, is_new in both] == [("obama", False), ("astronaut", True)]
    assert torch.equal(both[0][1].w, saved.w)
    again = project_missing(photos, model, FEW, folder, again=True)
    assert [is_new for *_, is_new in again] == [True, True]


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
