"""Names of snapshots, and their average."""

from dataclasses import replace

import numpy as np
import pytest

import stylemix
from stylemix.errors import StylemixError
from stylemix.models.checkpoint import load_model, save_model
from stylemix.training.snapshots import average_snapshots, list_snapshots, snapshot_name
from tests.support.models import tiny_model, trained_on
from tests.support.toy_runs import run


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run of three snapshots, at 10, 20 and 40 kimg."""
    folder = tmp_path_factory.mktemp("run")
    first = tiny_model()
    for seed, kimg in enumerate((10, 20, 40)):
        model = replace(trained_on(first, seed=seed), card={"kimg": kimg, "data": "faces"})
        save_model(folder / f"snapshot-{kimg:06d}.safetensors", model, "float32")
    save_model(folder / "best.safetensors", first)
    return folder


def test_a_snapshot_is_named_by_whole_kimg_and_a_second_one_by_its_images(tmp_path):
    model, names = tiny_model(), []
    for cur_nimg in (999_000, 1_000_192, 1_000_512, 1_001_024, 1_001_024):
        names.append(snapshot_name(tmp_path, cur_nimg))
        model.card = {"kimg": cur_nimg / 1000}
        save_model(tmp_path / f"snapshot-{names[-1]}.safetensors", model)
    # The last one is that of a resumed run, which comes to the same position once more.
    assert names == ["000999", "001000", "001000_512", "001001", "001001"]
    assert [path.stem[9:] for path in list_snapshots(tmp_path)] == names[:-1]
    (tmp_path / "snapshot-001000.safetensors").unlink()  # by --keep-snapshots
    assert snapshot_name(tmp_path, 1_000_512) == "001000_512"
    assert snapshot_name(tmp_path, 1_000_768) == "001000_768"
    (tmp_path / "snapshot-001001.safetensors").write_bytes(b"damaged")
    assert snapshot_name(tmp_path, 1_001_999) == "001001"


@pytest.mark.slow
def test_snapshots_within_one_kimg_are_all_there(tiny, dataset, tmp_path):
    result = run(replace(tiny, kimg=0.02, snapshot_kimg=0.008, batch=2), dataset, tmp_path)
    names = ["snapshot-000000", "snapshot-000000_016", "snapshot-000000_020"]
    assert [path.stem for path in list_snapshots(tmp_path)] == names
    assert result.snapshot == tmp_path / "snapshot-000000_020.safetensors"
    kimgs = [load_model(path).card["kimg"] for path in list_snapshots(tmp_path)]
    assert kimgs == [0.008, 0.016, 0.02]
    grids = sorted(path.stem for path in tmp_path.glob("fakes-*.png"))
    assert grids == [name.replace("snapshot", "fakes") for name in names]


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({}, (1 / 3, 1 / 3, 1 / 3)),
        ({"last": 2}, (0, 0.5, 0.5)),
        ({"half_life": 10}, (0.125 / 1.375, 0.25 / 1.375, 1 / 1.375)),
    ],
)
def test_an_average_is_that_of_float64(run_folder, options, weights):
    average = average_snapshots(run_folder, **options)
    states = [load_model(p).generator.state_dict() for p in list_snapshots(run_folder)]
    for name in ("mapping.fc0.weight", "mapping.w_avg", "synthesis.b8.conv0.weight"):
        parts = zip(weights, states, strict=True)
        expected = sum(w * state[name].double().numpy() for w, state in parts)
        actual = average.generator.state_dict()[name].numpy()
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-9)
    count = sum(weight > 0 for weight in weights)
    names = [f"snapshot-{kimg:06d}.safetensors" for kimg in (40, 20, 10)[:count]]
    assert [parent["name"] for parent in average.card["parents"]] == names
    assert average.latents_of == ()


def test_the_public_function_averages_the_last_five(run_folder):
    average = stylemix.average_snapshots(run_folder)
    assert isinstance(average, stylemix.Model)
    assert len(average.card["parents"]) == 3


def test_what_cannot_be_averaged_is_refused(run_folder, tmp_path):
    with pytest.raises(StylemixError, match="got 0 snapshots to average; expected two or more"):
        average_snapshots(tmp_path)
    with pytest.raises(StylemixError, match="got 1 snapshots to average"):
        average_snapshots(run_folder, last=1)
    with pytest.raises(StylemixError, match="got a half-life of 0 kimg"):
        average_snapshots(run_folder, half_life=0)
    for number in (1, 2):
        save_model(tmp_path / f"snapshot-{number:06d}.safetensors", tiny_model())
    with pytest.raises(StylemixError, match="got a model without kimg in its card"):
        average_snapshots(tmp_path, half_life=5)
