"""Drags: handles move, the rest is kept, and what cannot be done is said in one line."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import stylemix
from stylemix.avatars.drag import drag, drag_steps, principal_axes
from stylemix.avatars.drawing import crop_photo
from stylemix.avatars.finisher import enlarge
from stylemix.errors import StylemixError
from stylemix.faces.landmarks import landmarks
from stylemix.faces.templates import NO_TEMPLATE
from stylemix.images.read import load_image
from stylemix.inversion.latent import Latent
from stylemix.inversion.residual import Residual
from stylemix.inversion.settings import ProjectionSettings
from stylemix.networks.latents import map_latents, sample_ws, z_from_seed
from tests.support.models import tiny_model, ws_of

HANDLE = (12.0, 16.0)
PORTRAIT = Path(__file__).parents[2] / "data" / "portraits" / "obama.jpg"
RECIPE = Path(__file__).resolve().parents[3] / "docs" / "recipes" / "drag_table.py"


@pytest.fixture(scope="module")
def model():
    return tiny_model(template=NO_TEMPLATE)


def half_mask(side=32):
    """White in the left half."""
    pixels = np.zeros([side, side], np.uint8)
    pixels[:, : side // 2] = 255
    return Image.fromarray(pixels)


def test_axes_have_the_covariance_of_the_latents(model):
    axes = principal_axes(model.generator)
    w = sample_ws(model.generator, 4000, 0)[:, 0]
    torch.testing.assert_close(axes.t() @ axes, torch.cov(w.t()), rtol=1e-3, atol=1e-5)


def test_a_handle_moves_to_its_target(model):
    steps = list(drag_steps("seed:1", [(HANDLE, (14, 16))], model=model, steps=60))
    assert steps[0].positions == (HANDLE,)
    assert steps[0].distances == (2.0,)
    assert not steps[0].arrived
    assert steps[-1].arrived
    assert steps[-1].distances[0] <= steps[-1].tolerance == 0.5
    assert len(steps) < 61  # it stopped
    assert steps[-1].image(32) != steps[0].image(32)


def test_the_first_step_is_the_image_as_it_is_and_fine_layers_stay(model):
    first, *_, last = drag_steps("seed:1", [(HANDLE, (20, 16))], model=model, steps=3)
    assert last.step == 3
    plain = Latent(first.latent.w, model=model).image()
    assert first.image(32).tobytes() == plain.tobytes()
    moved = (last.latent.w - first.latent.w).abs().amax(dim=1) > 0
    assert moved.tolist() == [True] * 5 + [False] * 3  # of 4, 8, 8, 16, 16, 32, 32 and 32 px


def test_it_stops_when_the_caller_stops(model):
    steps = drag_steps("seed:1", [(HANDLE, (28, 16))], model=model)
    assert [next(steps).step for _ in range(3)] == [0, 1, 2]
    steps.close()


def test_it_goes_on_in_a_caller_without_gradients(model):
    with torch.no_grad():
        last = list(drag_steps("seed:1", [(HANDLE, (20, 16))], model=model, steps=2))[-1]
    assert last.step == 2
    assert last.distances[0] < 8


def test_an_image_that_is_all_alike_stays_as_it_is():
    flat = tiny_model(template=NO_TEMPLATE)
    for parameter in flat.generator.synthesis.parameters():
        parameter.zero_()
    first, *_, last = drag_steps("seed:1", [(HANDLE, (20, 16))], model=flat, steps=2)
    assert torch.isfinite(last.latent.w).all()
    assert (last.latent.w == first.latent.w).all()


def test_progress_reports_the_distance_of_the_farthest_handle(model):
    calls = []
    done = drag(
        "seed:1", [(HANDLE, (30, 2))], model=model, steps=4, progress=lambda *a: calls.append(a)
    )
    assert [call[:2] for call in calls] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert max(done.distances) == min(call[2] for call in calls)


def test_a_mask_keeps_what_is_outside(model):
    point, changes = [(HANDLE, (9, 16))], []
    for mask in (None, np.asarray(half_mask())):
        first, *_, last = drag_steps("seed:1", point, mask=mask, model=model, steps=20)
        pair = [np.asarray(step.image(32)).astype(float) for step in (first, last)]
        change = np.abs(pair[1] - pair[0]).mean(axis=(0, 2))
        changes.append((change[20:].mean(), change[:16].mean()))
    (free_outside, _), (kept_outside, kept_inside) = changes
    assert kept_outside < 0.7 * free_outside
    assert kept_inside > 0


def test_the_residual_of_a_photo_is_kept(model):
    residual = Residual(weights={"b16.conv1.bias": torch.full([16], 0.3)})
    latent = Latent(ws_of(model, 1)[0], detail=residual, metrics={"mse": 1.0}, photo="a:b")
    first, *_, last = drag_steps(latent, [(HANDLE, (14, 16))], model=model, steps=2)
    assert first.image(32).tobytes() == latent.image(model).tobytes()
    assert last.latent.detail is residual
    assert last.latent.base == model.fingerprint
    assert (last.latent.metrics, last.latent.photo) == ({}, None)  # those of another image
    assert last.latent.image().tobytes() == last.image(32).tobytes()


def test_the_same_settings_serve_another_width_and_resolution():
    large = tiny_model(resolution=64, template=NO_TEMPLATE)
    *_, last = drag_steps("seed:1", [((24, 32), (28, 32))], model=large, steps=60)
    assert last.distances[0] <= 1


@pytest.mark.parametrize(
    ("points", "mask", "message"),
    [
        ([], None, "got 0 points; expected 1 to 16"),
        ([(HANDLE, HANDLE)] * 17, None, "got 17 points"),
        ([(HANDLE, (33, 4))], None, "got the point 33,4; expected one within the model's image"),
        ([((float("nan"), 1), HANDLE)], None, "got the point nan,1"),
        ([((None, 1), HANDLE)], None, "got the point nan,1"),
        ([((10**400, 1), HANDLE)], None, "got the points .*; expected pairs"),
        ([((20, 16), HANDLE)], half_mask(), "got the handle 20,16 outside of the mask"),
        ([(HANDLE, (14, 16))], half_mask().resize((40, 32)), "got a mask of 40 x 32 px"),
        ([(HANDLE, (14, 16))], "nosuch.png", "nosuch.png"),
        ([(HANDLE, (14, 16))], "face", "which has no eye positions"),
    ],
)
def test_what_cannot_be_dragged(model, points, mask, message):
    with pytest.raises(StylemixError, match=message):
        drag("seed:1", points, mask=mask, model=model)


def test_the_public_names(model):
    assert stylemix.drag is drag
    assert stylemix.drag_steps is drag_steps
    own = stylemix.Model(model.generator, template=model.template)
    done = own.drag("seed:1", [(HANDLE, HANDLE)])
    assert (done.step, done.arrived) == (0, True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "name"),
    [(103, "nose to the left"), (107, "corners of the mouth out and up")],
)
def test_handles_land_within_2_px_of_64(seed, name):
    # Judged by the matches of another network's features in the enlarged images.
    table = runpy.run_path(str(RECIPE))
    model = stylemix.load_model("faces-64")
    ids, moves = table["DRAGS"][name]
    ws = map_latents(model.generator, z_from_seed(seed, model.generator.z_dim), 0.7)
    with torch.no_grad():
        before = model.generator.synthesis(ws, noise_mode="const")
        large = enlarge(before, model.template).clone()
        handles = landmarks(large, model.template)[0, list(ids)] * 64
    targets = handles + torch.tensor(moves)
    pairs = list(zip(handles.tolist(), targets.tolist(), strict=True))
    done = drag(f"seed:{seed}", pairs, model=model)
    assert done.arrived
    with torch.no_grad():
        after = model.generator.synthesis(done.latent.w[None], noise_mode="const")
        found = table["find"](large, enlarge(after, model.template).clone(), handles)
        still = table["find"](large, large, handles)
    assert torch.linalg.vector_norm(found - targets, dim=1).max() <= 2
    assert torch.linalg.vector_norm(still - handles, dim=1).max() == 0


@pytest.mark.slow
def test_a_photo_follows_its_points():
    """What is dragged is the photo, in its own detail, and the next drag goes on from there."""
    few = ProjectionSettings(w_steps=20, plus_steps=10, refine_steps=0)
    first, *_, last = drag_steps(PORTRAIT, [((32, 52), (32, 55))], preset=few, steps=30)
    photo = load_image(PORTRAIT)
    start = np.asarray(first.image(256)).astype(float)
    crop = np.asarray(crop_photo(first.start.photo, 256)).astype(float)
    assert np.abs(start - crop).mean() < 1
    moved = last.photo()
    assert moved.photo_size == photo.size
    change = np.abs(np.asarray(moved.source).astype(float) - np.asarray(photo)).mean(axis=2)
    assert change[60:140, 150:240].mean() > 1
    assert change[350:].max() == 0
    edges = [np.abs(np.diff(x.mean(axis=2))).mean() for x in (np.asarray(last.image(256)), crop)]
    assert edges[0] > 0.8 * edges[1]
    assert last.image().size == (256, 256)
