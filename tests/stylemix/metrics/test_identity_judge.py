"""The identity network for evaluation: invariances and discrimination."""

from pathlib import Path

import pytest
import torch

from stylemix.avatars.render import AppliedStyle, render
from stylemix.inversion.portraits import read_portrait
from stylemix.metrics.identity_judge import judged_embedding
from stylemix.models.checkpoint import load_model
from stylemix.networks.latents import layer_resolutions, map_latents
from stylemix.styles.named_directions import named_directions

PORTRAITS = Path(__file__).parents[2] / "data" / "portraits"


@pytest.fixture(scope="module")
def model():
    return load_model("faces-64")


@pytest.fixture(scope="module")
def ws(model):
    z = torch.randn([24, model.generator.z_dim], generator=torch.Generator().manual_seed(77))
    return map_latents(model.generator, z, psi=0.9)


def embed(model, images):
    return judged_embedding(images, model.template)


def test_embeddings_are_unit_vectors_without_gradients(model, ws):
    images = render(model.generator, ws[:3]).requires_grad_(True)
    embeddings = embed(model, images)
    assert embeddings.shape == (3, 64)
    assert torch.allclose(embeddings.norm(dim=1), torch.ones(3), atol=1e-5)
    assert not embeddings.requires_grad


def test_invariance_to_light_color_and_contrast(model, ws):
    images = render(model.generator, ws)
    plain = embed(model, images)
    grey = images.mean(dim=1, keepdim=True).expand_as(images)
    for changed in (images * 0.6, images * 0.8 + 0.15, grey):
        assert float((embed(model, changed) * plain).sum(dim=1).min()) > 0.9


def test_the_same_person_in_other_colors_pose_and_expression_is_recognised(model, ws):
    plain = embed(model, render(model.generator, ws))
    fine = torch.tensor(layer_resolutions(64)) >= 32
    other = torch.where(fine[None, :, None], ws.roll(1, dims=0), ws)
    directions = named_directions(model, ["smile", "yaw"])
    for images in (
        render(model.generator, other),
        render(model.generator, ws, [AppliedStyle(directions["smile"], 1.5)]),
        render(model.generator, ws, [AppliedStyle(directions["yaw"], 1.0)]),
    ):
        nearest = (embed(model, images) @ plain.t()).argmax(dim=1)
        assert float((nearest == torch.arange(24)).float().mean()) >= 0.8


def test_a_mirrored_photo_is_the_same_person(model):
    """Of people whom nobody generated."""
    faces = []
    for name, face in (("obama", None), ("astronaut", None), ("two_people", 1), ("two_people", 2)):
        faces.append(read_portrait(PORTRAITS / f"{name}.jpg", model, face).image)
    images = torch.stack(faces)
    a, b = embed(model, images), embed(model, images.flip(3))
    cosines = a @ b.t()
    assert (cosines.argmax(dim=1) == torch.arange(4)).all()
    others = cosines[~torch.eye(4, dtype=torch.bool)]
    assert float(cosines.diag().min()) > float(others.max()) + 0.1
