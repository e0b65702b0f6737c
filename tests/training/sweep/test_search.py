"""A sweep finds better settings, and resumes with the same results."""

import errno
import math
import sqlite3
from dataclasses import asdict, replace

import pytest
import torch

from stylemix.errors import StylemixError
from stylemix.io.journal import open_work
from stylemix.training.loop import TrainResult
from stylemix.training.sweep.report import plot, table
from stylemix.training.sweep.search import (
    WORK_FILE,
    WORSE,
    Trial,
    done_trials,
    hopeless,
    importance,
    propose,
    sweep,
)
from tests.support.toy_sweep import BASE, PLAN, KilledError, Training

pytest.importorskip("optuna", reason="optuna is not installed")


def run(plan, folder, train):
    with open_work(folder / WORK_FILE) as work:
        for _ in sweep(plan, folder, work, train, asdict(BASE.resolve())):
            pass
        return done_trials(work)


def without_times(trials):
    return [replace(trial, seconds=0) for trial in trials]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run(PLAN, tmp_path_factory.mktemp("whole"), Training())


def test_the_metric_is_the_lowest_of_each_trial(whole):
    assert [trial.number for trial in whole] == list(range(10))
    for trial in whole:
        distance = abs(math.log10(trial.values["lr"]) + 2)
        distance += 0.3 * (trial.values["augment_pipe"] == "bg")
        assert trial.best_value == pytest.approx(10 * distance + 8 / len(trial.figures))


def test_it_learns_where_the_metric_is_low():
    """After twelve trials it proposes rates near the best one, .01; at random it does not."""
    values = {"augment_pipe": "bg", "mapping_layers": 2}
    rates = [-4 + i / 4 for i in range(12)]
    done = [
        Trial(i, {"lr": 10**rate} | values, figures=[abs(rate + 2)]) for i, rate in enumerate(rates)
    ]

    def distance(startup):
        plans = [replace(PLAN, base=replace(BASE, seed=i), startup=startup) for i in range(10)]
        rates_proposed = [math.log10(propose(plan, done, {})["lr"]) for plan in plans]
        return sum(abs(rate + 2) for rate in rates_proposed) / len(rates_proposed)

    assert distance(4) < 0.6 * distance(99)


def test_the_first_trial_has_the_given_values_within_the_space(whole):
    assert whole[0].values["lr"] == 0.001
    assert whole[0].values["mapping_layers"] == 2  # the automatic one
    assert whole[0].values["augment_pipe"] in ("blit", "bg")  # bgc is not in the space


@pytest.mark.slow
def test_the_plot_has_a_panel_for_each_setting(whole):
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="matplotlib is not installed")
    style = dict(pyplot.rcParams)
    failed = replace(whole[0], number=len(whole), state="failed")
    first, last = (plot(PLAN, done) for done in (whole[:1], [*whole, failed]))
    assert first.size == last.size == (960, 960)  # 640 for the trials, 320 for a setting
    assert first.tobytes() != last.tobytes()
    assert (pyplot.rcParams, pyplot.get_fignums()) == (style, [])


def test_importance_is_reported(whole):
    parts = importance(PLAN, whole)
    assert set(parts) == {"lr", "augment_pipe", "mapping_layers"}
    assert max(parts, key=parts.__getitem__) == "lr"
    assert sum(parts.values()) == pytest.approx(1)
    assert importance(PLAN, whole[:3]) == {}


def test_bad_trials_end_early(whole, tmp_path):
    pruned = [trial for trial in whole if trial.state == "pruned"]
    assert pruned
    assert all(len(t.figures) < 4 and t.kimg < 4 and t.reason == WORSE for t in pruned)
    assert all(trial.state == "complete" for trial in whole[:4])  # --startup
    assert all(len(t.figures) == 4 for t in whole if t.state == "complete")
    whole_length = run(replace(PLAN, trials=8, prune=False), tmp_path, Training())
    assert {(trial.state, trial.kimg) for trial in whole_length} == {("complete", 4)}


def test_hopeless_is_above_the_median():
    plan = replace(PLAN, startup=2)
    values = {"lr": 0.01, "augment_pipe": "bg", "mapping_layers": 2}
    done = [Trial(i, values, figures=[10.0 + i, 5.0 + i]) for i in range(3)]
    trial = Trial(3, values)
    assert [hopeless(plan, done, trial, [value]) for value in (10.9, 11.1)] == [False, True]
    assert [hopeless(plan, done, trial, [99, value]) for value in (5.9, 6.1)] == [False, True]
    assert hopeless(plan, done, trial, [None])
    assert not hopeless(plan, done[:1], trial, [99])  # too few to compare with
    assert not hopeless(replace(plan, prune=False), done, trial, [99])


@pytest.mark.parametrize("stop_at", [1, 7, 18])
def test_killed_and_continued_is_the_same(stop_at, whole, tmp_path):
    killed = Training(stop_at)
    with pytest.raises(KilledError):
        run(PLAN, tmp_path, killed)
    again = Training()
    assert without_times(run(PLAN, tmp_path, again)) == without_times(whole)
    # Each snapshot was trained once, none twice.
    assert killed.ran + again.ran == sum(len(trial.figures) for trial in whole)
    assert len(list(tmp_path.glob("trial-*"))) == 10


def test_a_record_that_was_lost_is_made_again_from_its_folder(whole, tmp_path):
    run(replace(PLAN, trials=7), tmp_path, Training())
    with sqlite3.connect(tmp_path / WORK_FILE) as base:
        base.execute("DELETE FROM parts WHERE key >= 'trial-0004'")
    base.close()
    again = Training()
    assert without_times(run(PLAN, tmp_path, again)) == without_times(whole)
    assert again.ran == sum(len(trial.figures) for trial in whole[7:])


def test_proposals_follow_from_seed_and_trials(whole):
    first = propose(PLAN, whole[:6], {})
    other = replace(PLAN, base=replace(BASE, seed=1))
    assert propose(PLAN, whole[:6], {}) == first
    assert propose(other, whole[:6], {}) != first
    assert propose(PLAN, whole[:7], {}) != first
    assert propose(PLAN, whole[:6], {"lr": 0.07})["lr"] == 0.07
    assert first["lr"] == float(f"{first['lr']:.3g}")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (StylemixError("3 losses were not finite"), "3 losses were not finite"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out of memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "out of mem"),
        (None, "its metric is not finite"),
    ],
)
def test_a_failure_is_one_trial(error, reason, tmp_path):
    good = Training()

    def sometimes(config, folder, on_metrics):
        if folder.name != "trial-0002":
            return good(config, folder, on_metrics)
        if error is not None:
            raise error
        (folder / "metrics.jsonl").write_text('{"Progress/kimg": 4, "FD-Toy": null}\n')
        return TrainResult(folder, 4)

    trials = run(replace(PLAN, trials=5), tmp_path, sometimes)
    assert [trial.state == "failed" for trial in trials] == [False, False, True, False, False]
    assert trials[2].reason.startswith(reason)
    shown = table(PLAN, trials).splitlines()
    assert shown[5].split() == [
        "2", "-", *shown[5].split()[2:5], "4" if error is None else "0", "0:00:00", "failed",
    ]  # fmt: skip
    assert shown[-1] == f"trial 2 failed: {trials[2].reason}"


def test_a_full_disk_ends_the_sweep_and_fails_no_trial(whole, tmp_path):
    good = Training()

    def full(config, folder, on_metrics):
        if folder.name != "trial-0002":
            return good(config, folder, on_metrics)
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise StylemixError("cannot write: No space left on device") from error

    with pytest.raises(StylemixError, match=r"^cannot write"):
        run(PLAN, tmp_path, full)
    assert without_times(run(PLAN, tmp_path, good)) == without_times(whole)


def test_failures_in_a_row_and_bugs_end_the_sweep(tmp_path):
    def never(config, folder, on_metrics):
        raise StylemixError("3 losses were not finite")

    with pytest.raises(StylemixError, match=r"got 3 failed trials in a row.*3 losses were"):
        run(PLAN, tmp_path / "bad", never)

    def bug(config, folder, on_metrics):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        run(PLAN, tmp_path / "bug", bug)
    assert len(run(replace(PLAN, trials=2), tmp_path / "bug", Training())) == 2
