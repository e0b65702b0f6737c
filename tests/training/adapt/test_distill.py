"""Students learn drawings from pairs; a training that was stopped goes on bitwise."""

from dataclasses import replace

import pytest
import torch

from stylemix.errors import StylemixError
from stylemix.networks.student import Student, StudentConfig
from stylemix.training.adapt import student_training
from stylemix.training.adapt.distill import DistillSettings, difference, learn_student

CONFIG = StudentConfig((8, 12))
SHORT = DistillSettings(kimg=0.032, batch=4, crop=32, state_kimg=0.016)


@pytest.fixture(autouse=True)
def small_students(monkeypatch):
    monkeypatch.setattr(student_training, "StudentConfig", lambda: CONFIG)


@pytest.fixture(scope="module")
def pairs():
    """Coloured blobs and their negatives, twice as large."""
    rng = torch.Generator().manual_seed(0)
    coarse = torch.rand([6, 3, 6, 6], generator=rng)
    large = torch.nn.functional.interpolate(coarse, [512, 512], mode="bicubic").clamp(0, 1)
    photos = torch.nn.functional.interpolate(large, [256, 256], mode="area")
    return (photos * 255).byte(), (255 - large * 255).byte()


def equal(a, b):
    ours, theirs = a.state_dict(), b.state_dict()
    return all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.slow
def test_a_student_learns_what_a_drawing_does(pairs):
    photos, negatives = pairs
    settings = DistillSettings(kimg=0.24, batch=4, crop=48, light=0, rough=0, lr=0.01)
    student = learn_student(photos, negatives, settings)
    with torch.inference_mode():
        drawn = student(photos.float() / 127.5 - 1)
    error = (drawn - (negatives.float() / 127.5 - 1)).abs().mean()
    plain = (photos.float() / 127.5 - 1).repeat_interleave(2, 2).repeat_interleave(2, 3)
    before = (plain - (negatives.float() / 127.5 - 1)).abs().mean()
    assert float(error) < 0.65 * float(before)


@pytest.mark.slow
def test_stopped_and_continued_is_bitwise_the_same(pairs, tmp_path):
    photos, negatives = pairs
    straight = learn_student(photos, negatives, SHORT)
    state = tmp_path / "student.state"

    def stop(done, _total, _loss):
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn_student(photos, negatives, SHORT, state_file=state, progress=stop)
    torch.manual_seed(99)  # its random numbers are its own
    seen = []
    again = learn_student(
        photos, negatives, SHORT, state_file=state, progress=lambda *p: seen.append(p[0])
    )
    assert seen == [5, 6, 7, 8]  # from the state after 16 parts of photos on
    assert equal(again, straight)


def test_a_start_is_trained_further(pairs):
    photos, negatives = pairs
    torch.manual_seed(5)
    start = Student(CONFIG)
    short = replace(SHORT, kimg=0.004, lr=1e-6)
    student = learn_student(photos, negatives, short, start)
    for key, value in student.state_dict().items():
        torch.testing.assert_close(value, start.state_dict()[key], atol=1e-4, rtol=0)


def test_other_pairs_or_settings_do_not_continue(pairs, tmp_path):
    photos, negatives = pairs
    state = tmp_path / "student.state"
    learn_student(photos, negatives, SHORT, state_file=state)
    for other, settings in ((negatives.flip(1) // 2, SHORT), (negatives, replace(SHORT, lr=0.1))):
        with pytest.raises(StylemixError, match=r"other images, settings or base; .* delete it"):
            learn_student(photos, other, settings, state_file=state)
    state.write_bytes(b"nothing")
    with pytest.raises(StylemixError, match="damaged state"):
        learn_student(photos, negatives, SHORT, state_file=state)


def test_too_few_or_unequal_pairs_are_refused(pairs):
    photos, negatives = pairs
    for counts in ((3, 3), (6, 5)):
        with pytest.raises(StylemixError, match="expected as many of both, at least 4"):
            learn_student(photos[: counts[0]], negatives[: counts[1]], SHORT)


def test_another_precision_is_refused():
    with pytest.raises(StylemixError, match="got precision 'fp16'; expected one of fp32, bf16"):
        DistillSettings(precision="fp16")


def test_the_difference_counts_edges():
    flat, line = torch.zeros([1, 3, 8, 8]), torch.zeros([1, 3, 8, 8])
    line[:, :, 4] = 1.0
    assert float(difference(flat, flat, 2.0)) == 0
    # A row of eight, and two of seven pairs of rows: 1/8 + 2 * 2/7.
    assert float(difference(line, flat, 2.0)) == pytest.approx(1 / 8 + 4 / 7)
