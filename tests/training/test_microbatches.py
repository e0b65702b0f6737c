"""Microbatches, and random numbers that do not depend on the split."""

import pytest
import torch

from stylemix.training.microbatches import Microbatch, StepRandom, cells, parts_of

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("world", "batch", "size", "shares"),
    [
        (1, 32, 32, [32]),
        (1, 32, 8, [32]),
        (2, 32, 16, [16, 16]),
        (2, 32, 4, [16, 16]),
        (3, 32, 12, [12, 12, 8]),
        (3, 40, 8, [8, 16, 16]),
        (5, 8, 1, [1, 2, 1, 2, 2]),
    ],
)
def test_every_image_is_in_one_part(world, batch, size, shares):
    by_rank = [parts_of(rank, world, batch, size) for rank in range(world)]
    parts = [part for own in by_rank for part in own]
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(batch))
    assert [sum(len(part) for part in own) for own in by_rank] == shares
    assert sum(part.weight for part in parts) == pytest.approx(1)
    assert max(len(part) for part in parts) <= size


def test_random_numbers_of_microbatches_equal_those_of_the_batch():
    whole, labels = Microbatch(0, 8, 8), torch.eye(5)
    split = [Microbatch(0, 3, 8), Microbatch(3, 4, 8), Microbatch(4, 8, 8)]
    draws = StepRandom(1, 4000)
    for draw in (
        lambda part: draws.normal("z", part, 6),
        lambda part: draws.labels("c", part, labels),
        lambda part: draws.noise("n", part, 7, CPU),
    ):
        assert torch.equal(torch.cat([draw(part) for part in split]), draw(whole))
    assert draws.labels("c", whole, None) is None


def test_random_numbers_differ_by_seed_position_and_name():
    keys = {
        StepRandom(seed, nimg).key(name)
        for seed in range(3)
        for nimg in (0, 4, 8)
        for name in ("Gmain z", "Dmain z", "Gmain z2")
    }
    assert len(keys) == 27
    part = Microbatch(0, 64, 64)
    noise = StepRandom(0, 0).noise("n", part, 64, CPU)
    assert torch.unique(noise).numel() > 4000  # no image repeats another
    assert abs(float(noise.mean())) < 0.06
    assert abs(float(noise.std()) - 1) < 0.03


def test_random_numbers_do_not_change_torchs_random_state():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    draws = StepRandom(0, 0)
    draws.normal("z", Microbatch(0, 4, 4), 3)
    draws.noise("n", Microbatch(0, 4, 4), 3, CPU)
    draws.cutoff("m", 0.5, 8)
    assert torch.equal(torch.rand(3), expected)


def test_mixing_happens_as_often_as_asked_at_every_layer():
    cutoffs = [StepRandom(0, i).cutoff("m", 0.5, 6) for i in range(600)]
    assert 0.44 < sum(c is not None for c in cutoffs) / 600 < 0.56
    assert {c for c in cutoffs if c is not None} == {1, 2, 3, 4, 5}
    assert all(StepRandom(0, i).cutoff("m", 0, 6) is None for i in range(20))
    assert all(StepRandom(0, i).cutoff("m", 1, 6) is not None for i in range(20))


def test_minibatch_groups_are_neighbours():
    """The layer groups images i, i + n / g, ...; in this order these are neighbours."""
    for count, group in ((8, 4), (12, 4), (8, 2), (6, 3)):
        order = cells(count, group).reshape(group, count // group)
        groups = {tuple(order[:, i].tolist()) for i in range(count // group)}
        assert groups == {tuple(range(i, i + group)) for i in range(0, count, group)}
    assert cells(5, 4).tolist() == [0, 1, 2, 3, 4]
