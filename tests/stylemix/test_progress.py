"""Progress: a bar on a terminal, lines in a log, nothing with --quiet."""

import sys

import pytest

from stylemix import messages, progress
from stylemix.progress import progress_bar, track


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr(progress, "on_terminal", lambda: True)


@pytest.fixture
def clock(monkeypatch):
    """The seconds that have passed, to be set."""
    seconds = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: seconds[0])
    return seconds


def test_a_bar_shows_steps_and_loss(terminal, capsys):
    with progress_bar("Learning", "step") as report:
        report(1, 4, 0.25)
        report(4, 4, 0.125)
    text = capsys.readouterr().err
    assert "Learning: 100%" in text
    assert "4/4" in text
    assert "loss 0.125" in text
    assert "\x1b[3" not in text  # no colours, whatever NO_COLOR says


def test_a_second_task_restarts_and_a_loss_is_optional(terminal, capsys):
    with progress_bar("Reading") as report:
        for total in (2, 3):
            for done in range(1, total + 1):
                report(done, total)
    text = capsys.readouterr().err
    assert "3/3" in text
    assert "loss" not in text


@pytest.mark.parametrize("bar", [True, False])
def test_without_show_and_with_quiet_there_is_nothing(bar, monkeypatch, clock, capsys):
    monkeypatch.setattr(progress, "on_terminal", lambda: bar)
    with progress_bar("Reading", show=False) as report:
        clock[0] = 60
        report(1, 1, 0.5)
    with messages.session("probe") as said:
        said.quiet = True
        assert list(track([1, 2], "Reading", 2)) == [1, 2]
    assert capsys.readouterr().err == ""


def test_a_log_has_a_line_every_ten_seconds(clock, capsys):
    with progress_bar("Learning", "step") as report:
        for step in range(1, 30):
            clock[0] = float(step)
            report(step, 40, 0.25)
    assert capsys.readouterr().err.splitlines() == [
        "Learning: 11/40 steps, loss 0.250, 10 s, about 26 s left",
        "Learning: 21/40 steps, loss 0.250, 20 s, about 18 s left",
    ]


def test_what_was_done_before_does_not_count_for_the_time_left(clock, capsys):
    with progress_bar("Cropping", "photo") as report:
        for number, done in enumerate((901, 906)):
            clock[0] = 10.0 * number
            report(done, 1000)
    assert capsys.readouterr().err == "Cropping: 906/1000 photos, 10 s, about 157 s left\n"


def test_short_tasks_say_nothing_in_a_log(clock, capsys):
    assert list(track(range(100), "Reading", 100)) == list(range(100))
    assert capsys.readouterr().err == ""


def test_a_notebook_counts_as_a_terminal(monkeypatch):
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert not progress.on_terminal()
    monkeypatch.setitem(sys.modules, "ipykernel", progress)
    assert progress.on_terminal()


def test_there_may_be_no_standard_error(monkeypatch, clock):
    monkeypatch.setattr(sys, "stderr", None)
    assert not progress.on_terminal()
    with progress_bar("Reading") as report:
        report(1, 3)
        clock[0] = 60
        report(2, 3)
