"""What is done to photos that students learn from."""

import torch

from stylemix.networks.student import Student, StudentConfig
from stylemix.training.adapt.student_training import StudentTraining, floats, relight, roughen

CONFIG = StudentConfig((8, 12))


def test_photos_are_changed_in_the_asked_share_only():
    photos = torch.rand([6, 3, 256, 256], generator=torch.Generator().manual_seed(0)) * 1.6 - 0.8
    for change in (relight, roughen):
        torch.manual_seed(0)
        torch.testing.assert_close(change(photos, 0.0), photos, atol=1e-5, rtol=0)
        assert all(float((new - old).abs().mean()) > 0.001
                   for new, old in zip(change(photos, 1.0), photos, strict=True))  # fmt: skip


def test_bytes_become_floats():
    assert floats(torch.tensor([[[[0, 255]]]], dtype=torch.uint8)).flatten().tolist() == [-1, 1]


def test_a_step_follows_the_loss_and_the_average_follows_the_student():
    start = Student(CONFIG)
    work = StudentTraining(start, 0.01, (0.9, 0.99), 0)
    photos = torch.zeros([1, 3, 16, 16])
    before = float(start.draw(photos).detach().mean())
    for _ in range(5):
        work.descend(work.student.draw(photos).mean(), 0.5, 100, 0.5)
    now, average = (float(one.draw(photos).detach().mean()) for one in (work.student, work.average))
    assert now < average < before
