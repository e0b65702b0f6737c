"""Directions: the right direction, layers and length, and no other reading changes."""

import pytest
import torch

from stylemix.errors import StylemixError
from stylemix.faces.attributes import readings
from stylemix.faces.templates import FACES128, NO_TEMPLATE
from stylemix.networks.latents import map_latents
from stylemix.styles import directions
from stylemix.styles.directions import principal_directions, read_directions, semantic_directions
from tests.support.models import W_DIM, tiny_model


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def deviation(model, vector):
    """Standard deviation of mapped latents along a direction [w_dim]."""
    z = torch.randn([4000, W_DIM], generator=torch.Generator().manual_seed(5))
    w = map_latents(model.generator, z)[:, 0]
    return float((w @ (vector / vector.norm())).std())


def test_a_reading_moves_alone_and_in_the_resolutions_that_control_it(model, monkeypatch):
    rng = torch.Generator().manual_seed(0)
    w = torch.randn([3000, 4, W_DIM], generator=rng).double()  # 4, 8, 16 and 32 px
    first, second = torch.eye(W_DIM).double()[:2]
    smile = w[:, 1] @ first
    beard = w[:, 1] @ (0.8 * first + 0.6 * second) + 0.5 * w[:, 2] @ first  # correlates with smile
    y = torch.stack([smile, beard], dim=1)
    y += 0.3 * torch.randn(y.shape, generator=rng).double()
    monkeypatch.setattr(directions, "_sample_readings", lambda *_: (["smile", "beard"], w, y))
    learned = {d.name: d for d in read_directions(model)}
    shift = learned["smile"].shift
    assert shift.shape == (model.generator.num_ws, W_DIM)
    # 4 px has w 0, 8 px 1 and 2, 16 px 3 and 4, 32 px the rest.
    assert set(shift.abs().sum(dim=1).nonzero()[:, 0].tolist()) == {1, 2, 3, 4}
    d8, d16 = shift[1].double(), shift[3].double()
    smile_moves = float(d8 @ first)
    beard_moves = float(d8 @ (0.8 * first + 0.6 * second) + 0.5 * d16 @ first)
    assert smile_moves > 0.5
    assert abs(beard_moves) < 0.05 * smile_moves
    # The latents are unit Gaussians here, so one standard deviation has the length 1.
    assert float(torch.cat([d8, d16]).norm()) == pytest.approx(1, abs=0.05)
    assert learned["smile"].explained == pytest.approx(1 / 1.09, abs=0.03)


@pytest.mark.slow
def test_directions_are_learned_from_the_model_s_own_faces(model):
    steps = []
    learned = read_directions(model, samples=80, progress=lambda *at: steps.append(at))
    assert [d.name for d in learned] == ["smile", "yaw", "pitch", "mouth", "light"]
    assert all(bool(d.shift.isfinite().all()) for d in learned)
    assert steps == [(32, 80), (64, 80), (80, 80)]
    again = read_directions(model, samples=80)
    assert all(a.shift.equal(b.shift) for a, b in zip(learned, again, strict=True))
    style = learned[0].style(model).check(model)
    assert style.info["method"] == "direction"
    assert style.shift.equal(learned[0].shift)


def test_light_is_the_brighter_side():
    dark = torch.full([1, 3, 64, 64], -0.6)
    lit = dark.clone()
    lit[..., 32:] = 0.6
    values = readings(torch.cat([dark, lit, lit.flip(3)]), FACES128)["light"]
    torch.testing.assert_close(values, torch.tensor([0, 0.6, -0.6]), atol=0.03, rtol=0)


def test_a_model_without_a_face_template_has_no_readings():
    with pytest.raises(StylemixError, match="has no eye positions"):
        read_directions(tiny_model(template=NO_TEMPLATE), samples=32)


def test_sefa_is_the_singular_vectors_of_the_affine_weights(model):
    blocks = model.generator.synthesis.blocks().values()
    rows = torch.cat([layer.affine.weight for block in blocks for layer in block.layers.values()])
    _, sizes, axes = torch.linalg.svd(rows / rows.norm(dim=1, keepdim=True), full_matrices=False)
    directions = semantic_directions(model.generator, count=3)
    assert len(directions) == 3
    for direction, axis, size in zip(directions, axes, sizes, strict=False):
        row = direction.shift[1]
        assert abs(float(row @ axis)) == pytest.approx(float(row.norm()), rel=1e-4)
        assert float(row.norm()) == pytest.approx(deviation(model, row), rel=0.06)
        share = float(size**2 / sizes.square().sum())
        assert direction.explained == pytest.approx(share, rel=1e-4)
        assert torch.equal(direction.shift, row.expand(model.generator.num_ws, -1))


@pytest.mark.parametrize("architecture", ["resnet", "orig"])
def test_sefa_of_a_model_with_a_single_torgb(architecture):
    generator = tiny_model(resolution=16, architecture=architecture).generator
    weights = [v for k, v in generator.named_parameters() if k.endswith("affine.weight")]
    rows = torch.nn.functional.normalize(torch.cat(weights), dim=1)
    _, _, axes = torch.linalg.svd(rows, full_matrices=False)
    axis = torch.nn.functional.normalize(semantic_directions(generator, 1)[0].shift[3], dim=0)
    assert abs(float(axis @ axes[0])) == pytest.approx(1, abs=1e-4)


def test_principal_directions_are_those_of_most_variance(model):
    directions = principal_directions(model.generator, count=W_DIM)
    shares = [d.explained for d in directions]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1)
    for direction in directions[:3]:
        axis = direction.shift[0]
        assert float(axis.norm()) == pytest.approx(deviation(model, axis), rel=0.06)
        assert all(row.equal(axis) for row in direction.shift)
    assert abs(float(directions[0].shift[0] @ directions[1].shift[0])) < 1e-4
