"""Progress callbacks and the progress bar."""

from stylemix.progress import progress_bar


def test_a_bar_shows_steps_and_loss(capsys):
    with progress_bar("Learning", "step") as progress:
        progress(1, 4, 0.25)
        progress(4, 4, 0.125)
    text = capsys.readouterr().err
    assert "Learning: 100%" in text
    assert "4/4" in text
    assert "loss 0.125" in text


def test_a_second_task_restarts_and_a_loss_is_optional(capsys):
    with progress_bar("Reading") as progress:
        for total in (2, 3):
            for done in range(1, total + 1):
                progress(done, total)
    text = capsys.readouterr().err
    assert "3/3" in text
    assert "loss" not in text


def test_a_disabled_bar_shows_nothing(capsys):
    with progress_bar("Reading", disable=True) as progress:
        progress(1, 1, 0.5)
    assert capsys.readouterr().err == ""
