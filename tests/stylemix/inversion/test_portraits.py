"""From a photo to the input of a model."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stylemix.errors import StylemixError
from stylemix.faces.alignment import align_photo
from stylemix.faces.templates import FACES128, FFHQ, NO_TEMPLATE
from stylemix.images.read import load_image
from stylemix.images.sources import list_images, unique_names
from stylemix.images.tensors import to_tensor
from stylemix.inversion.portraits import project_portraits, read_portrait
from stylemix.inversion.settings import ProjectionSettings
from tests.support.models import tiny_model

PORTRAITS = Path(__file__).parents[2] / "data" / "portraits"
OBAMA, TWO = PORTRAITS / "obama.jpg", PORTRAITS / "two_people.jpg"


def test_a_photo_is_aligned_to_the_template_of_the_model():
    for template, size in ((FACES128, 32), (FFHQ, 16)):
        portrait = read_portrait(OBAMA, tiny_model(resolution=size, template=template))
        expected = align_photo(load_image(OBAMA), template, size)
        assert torch.equal(portrait.image, to_tensor(expected.crop)[0])
        assert portrait.image.shape == (3, size, size)
        assert np.array_equal(portrait.alignment.matrix, expected.matrix)
        assert portrait.name == str(OBAMA)


def test_a_grey_model_gets_a_grey_portrait():
    grey = read_portrait(OBAMA, tiny_model(channels=1)).image
    red, green, blue = read_portrait(OBAMA, tiny_model()).image
    assert grey.shape == (1, 32, 32)
    assert (grey[0] - (0.299 * red + 0.587 * green + 0.114 * blue)).abs().max() < 0.01


def test_an_oblong_model_gets_a_centre_crop(tmp_path):
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[:, 50:150] = np.arange(100)[None, :, None]
    Image.fromarray(pixels).save(tmp_path / "wall.png")
    model = tiny_model(resolution=16, base=(10, 5), template=NO_TEMPLATE)
    portrait = read_portrait(tmp_path / "wall.png", model)
    assert portrait.image.shape == (3, 40, 20)
    expected = 25 + 2.5 * (torch.arange(20) + 0.5) - 0.5  # 2.5 photo px each, from column 75 on
    assert torch.allclose(portrait.image[0, 7], expected / 127.5 - 1, atol=0.01)
    assert portrait.alignment.matrix.tolist() == [[0.4, 0, -30], [0, 0.4, 0], [0, 0, 1]]


def test_transparency_reaches_a_model_with_alpha(tmp_path):
    image = Image.new("RGBA", (32, 32), (255, 0, 0, 255))
    image.paste((0, 0, 255, 0), (0, 0, 32, 16))
    image.save(tmp_path / "sticker.png")
    portrait = read_portrait(tmp_path / "sticker.png", tiny_model(channels=4, template=NO_TEMPLATE))
    assert portrait.image[:, 4, 4].tolist() == [-1, -1, 1, -1]
    assert portrait.image[:, 28, 4].tolist() == [1, -1, -1, 1]
    face = read_portrait(OBAMA, tiny_model(channels=4))  # faces are cut out of the opaque photo
    assert torch.equal(face.image[:3], read_portrait(OBAMA, tiny_model()).image)
    assert (face.image[3] == 1).all()


def test_a_model_without_faces_gets_a_centre_crop(tmp_path):
    Image.linear_gradient("L").convert("RGB").resize((120, 60)).save(tmp_path / "wall.png")
    portrait = read_portrait(tmp_path / "wall.png", tiny_model(template=NO_TEMPLATE))
    rows = portrait.image.mean(dim=(0, 2))
    assert (rows.diff() > 0).all()
    assert portrait.alignment.matrix[0].tolist() == pytest.approx([32 / 60, 0, -16])


def test_a_member_of_a_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        archive.write(OBAMA, "in/me.jpg")
    (source,) = list_images(tmp_path / "some.zip")
    portrait = read_portrait(source, tiny_model())
    assert torch.equal(portrait.image, read_portrait(OBAMA, tiny_model()).image)
    assert portrait.name.endswith("some.zip/in/me.jpg")


def test_one_of_several_faces():
    model = tiny_model()
    with pytest.raises(StylemixError, match=r"got 2 faces in .*two_people\.jpg"):
        read_portrait(TWO, model)
    first, second = (read_portrait(TWO, model, face) for face in (1, 2))
    assert not torch.allclose(first.image, second.image, atol=0.2)
    with pytest.raises(StylemixError, match="got --face 3"):
        read_portrait(TWO, model, 3)


def test_projecting_gives_latents_with_metadata(capsys, monkeypatch):
    model = tiny_model(template=NO_TEMPLATE)
    portraits = [read_portrait(photo, model) for photo in (OBAMA, TWO)]
    settings = ProjectionSettings(w_steps=1, plus_steps=1, refine_steps=0)
    projection, latents = project_portraits(portraits, model, settings, progress=False)
    assert capsys.readouterr().err == ""
    for i, (latent, portrait) in enumerate(zip(latents, portraits, strict=True)):
        assert torch.equal(latent.w, projection.ws[i])
        assert latent.base == model.fingerprint
        assert latent.template == NO_TEMPLATE
        assert latent.metrics.pop("seconds") > 0
        assert latent.metrics == projection.metrics[i]
        assert np.array_equal(latent.matrix, portrait.alignment.matrix)
    monkeypatch.setattr("stylemix.progress.on_terminal", lambda: True)
    project_portraits(portraits[:1], model, settings)
    assert "Projecting obama.jpg: 100%" in capsys.readouterr().err
    project_portraits(portraits, model, settings)
    assert "Projecting 2 photos: 100%" in capsys.readouterr().err


def test_unique_names():
    assert list(unique_names(["a", "b"])) == ["a", "b"]
    assert list(unique_names(["me", "Me", "me-2", "me"])) == ["me", "Me-2", "me-2-2", "me-3"]
