"""The phases: which network each trains, by which loss, and their statistics."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from stylemix.training import phases
from stylemix.training.distributed import Ranks
from stylemix.training.guard import spread
from stylemix.training.losses import d_relativistic, g_minimax, g_relativistic
from stylemix.training.microbatches import Microbatch, StepRandom, parts_of
from stylemix.training.phases import Step, batches
from stylemix.training.state import TrainState
from stylemix.training.warm_start import finest_layers

CPU = torch.device("cpu")


@pytest.fixture
def start(tiny, dataset):
    def make(**changes):
        config = replace(tiny, **changes).resolve()
        state = TrainState.create(config, 0, CPU)
        step = Step(state, config, {})
        part = Microbatch(0, 4, 4)
        return step, batches([part], dataset.batch(range(4))[0], None, CPU)

    return make


def _copy(network):
    return {name: value.clone() for name, value in network.named_parameters()}


def _moved(network, before):
    return {name for name, value in network.named_parameters() if not value.equal(before[name])}


def test_training_does_not_change_torchs_random_state(start):
    before = torch.random.get_rng_state()
    step, data = start(augment="fixed", augment_p=0.5)
    step(StepRandom(0, 0), data)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_phases_run_at_their_intervals(start, monkeypatch):
    calls = []
    step, data = start(style_mixing=0)
    monkeypatch.setattr(step, "phase", lambda name, *rest: calls.append((index, name)))
    for index in range(7):
        step(StepRandom(0, index * 4), data)
    assert [i for i, name in calls if name == "Gmain"] == list(range(7))
    assert [i for i, name in calls if name == "Greg"] == [0, 2, 4, 6]
    assert [i for i, name in calls if name == "Dreg"] == [0, 3, 6]
    assert [name for i, name in calls if i == 6] == ["Gmain", "Greg", "Dmain", "Dreg"]
    calls.clear()
    for changes in ({"d_reg_interval": 0}, {"r1_gamma": 0}, {"r1_gamma": "0:0,1:5"}):
        step, data = start(path_length_weight=0, **changes)
        monkeypatch.setattr(step, "phase", lambda name, *rest: calls.append(name))
        step(StepRandom(0, 0), data)
    assert calls == ["Gmain", "Dmain"] * 3  # a scheduled gamma starts at 0


def test_each_phase_moves_its_own_network(start):
    step, data = start()
    state = step.state
    state.set_rates(step.config)
    draws = StepRandom(0, 0)
    for name in ("Gmain", "Greg", "Dmain", "Dreg"):
        state.discriminator.requires_grad_(name.startswith("D"))
        G, D = _copy(state.generator), _copy(state.discriminator)
        step.phase(name, draws, data)
        assert bool(_moved(state.generator, G)) == name.startswith("G"), name
        assert bool(_moved(state.discriminator, D)) == name.startswith("D"), name


@pytest.mark.parametrize(("group", "size"), [(2, 2), (1, 3), (1, 1)])
def test_the_split_does_not_change_the_gradients(start, dataset, group, size):
    """Microbatches and the batch of 8, in all phases; Adam's moment is the gradient."""
    pixels = dataset.batch(range(8))[0]
    moments = []
    for part_size in (8, size):
        step, _ = start(batch=8, mbstd_group=group, lr=0, augment="fixed", augment_p=0.5)
        step.config = replace(step.config, beta2=0.0)
        parts = parts_of(0, 1, 8, part_size)
        data = batches(parts, pixels, None, CPU)
        step(StepRandom(0, 0), data)
        adams = step.state.g_optimizer, step.state.d_optimizer
        moments.append([e["exp_avg"] for adam in adams for e in adam.state.values()])
        moments[-1] += [step.state.path_length_mean, step.state.sign_sum, step.state.sign_count]
        moments[-1] += [step.state.generator.mapping.w_avg, step.state.diversity]
    assert len(moments[0]) > 20
    for whole, split in zip(*moments, strict=True):
        torch.testing.assert_close(split, whole, rtol=1e-4, atol=2e-6)


def test_w_avg_and_path_length_follow_their_means(start):
    step, data = start(style_mixing=0)
    state, draws = step.state, StepRandom(0, 0)
    z = draws.normal("Gmain z", data[0].part, 8)
    expected = 0.005 * state.generator.mapping(z)[:, 0].mean(dim=0).detach()
    state.set_rates(step.config)
    step.phase("Gmain", draws, data)
    torch.testing.assert_close(state.generator.mapping.w_avg, expected)
    assert float(state.path_length_mean) == 0
    step.phase("Greg", draws, data)
    assert float(state.path_length_mean) > 0


def test_signs_are_counted(start):
    step, data = start()
    step(StepRandom(0, 0), data)
    assert float(step.state.sign_count) == 4
    assert float(step.state.sign_sum) in (-4, -2, 0, 2, 4)


def test_signs_of_relativistic_scores_do_not_depend_on_their_level(start):
    """The loss does not either, so that nothing holds the level at 0."""
    sums = []
    for level in (-100, 0, 100):
        step, data = start(loss="relativistic", augment="fixed", augment_p=0)
        step.state.discriminator.b4.out.bias.data.fill_(level)
        step.phase("Dmain", StepRandom(0, 0), data)
        sums.append((float(step.state.sign_sum), float(step.state.sign_count)))
    assert sums[0] == sums[1] == sums[2]


def test_style_mixing_changes_the_last_layers(start):
    step, data = start(style_mixing=1)
    part, cuts = data[0].part, set()
    for nimg in range(0, 120, 4):
        draws = StepRandom(0, nimg)
        plain = step.state.generator.mapping(draws.normal("Gmain z", part, 8))
        same = step._ws(draws, "Gmain", part, None).eq(plain).all(dim=2)
        count = int(same[0].sum())
        assert same.tolist() == [[True] * count + [False] * (4 - count)] * 4  # one cut for all
        cuts.add(count)
    assert cuts == {1, 2, 3}


def test_losses_by_hand():
    real, fake = torch.tensor([[2.0], [-1.0]]), torch.tensor([[0.5], [1.0]])
    sigmoid = torch.sigmoid(fake)
    torch.testing.assert_close(g_minimax(fake), torch.log(1 - sigmoid).mean())
    torch.testing.assert_close(g_relativistic(fake, real), F.softplus(real - fake).mean())
    torch.testing.assert_close(
        d_relativistic(real, fake),
        (F.softplus(torch.tensor(-1.5)) + F.softplus(torch.tensor(2.0))) / 2,
    )


@pytest.mark.parametrize("loss", ["logistic", "minimax", "relativistic"])
def test_the_loss_decides_the_gradient(loss, start, monkeypatch):
    """Gmain's loss on given scores; minimax hardly trains a generator that fools no one."""
    step, data = start(loss=loss)
    scores = {"Gmain": torch.full([4, 1], -6.0), "Gmain real": torch.full([4, 1], 1.0)}
    monkeypatch.setattr(step, "_score", lambda draws, name, *rest: (scores[name], []))
    scores["Gmain"].requires_grad_(True)
    step._g_main(StepRandom(0, 0), data[0], _Ignore()).backward()
    slope = float(scores["Gmain"].grad.sum())
    expected = {
        "logistic": -torch.sigmoid(torch.tensor(6.0)),
        "minimax": -torch.sigmoid(torch.tensor(-6.0)),
        "relativistic": -torch.sigmoid(torch.tensor(7.0)),
    }
    assert slope == pytest.approx(float(expected[loss]), rel=1e-5)


def test_features_count_by_their_weight(start, monkeypatch):
    step, data = start(feature_weight=3)
    scores, maps = torch.zeros([4, 1]), [torch.ones([4, 2], requires_grad=True)]
    monkeypatch.setattr(step, "_score", lambda *rest: (scores, maps))
    loss = step._g_main(StepRandom(0, 0), data[0], _Ignore())
    assert loss.item() == pytest.approx(math.log(2) - 3, rel=1e-6)
    loss.backward()
    assert torch.allclose(maps[0].grad, torch.full([4, 2], -3 / 8))
    # Scores of 1 for reals and fakes alike: no loss for the former, 2 for the latter.
    loss = step._d_main(StepRandom(0, 0), data[0], _Ignore())
    assert loss.item() == pytest.approx(2 * math.log(2) + 2, rel=1e-6)


class _Ignore:
    def add(self, name, value):
        pass


def test_both_penalties(start, monkeypatch):
    """R1 and R2 of a linear discriminator are the squared norm of its weights."""
    weight = torch.randn([3, 8, 8])
    step, data = start(r1_gamma=3, r2_gamma=5, d_reg_interval=3)
    monkeypatch.setattr(
        step,
        "_score",
        lambda draws, name, part, images, *rest, **more: (
            (images * weight).sum([1, 2, 3])[:, None],
            [],
        ),
    )
    loss = step._d_reg(StepRandom(0, 0), data[0], _Ignore())
    assert float(loss) == pytest.approx(float(weight.square().sum()) * (3 + 5) / 2 * 3, rel=1e-5)


def test_frozen_layers_stay(start):
    step, data = start(freeze_d=3)
    state = step.state
    state.frozen = finest_layers(state.discriminator, 3)
    assert {name.rpartition(".")[0] for name in state.frozen} == {
        "b8.fromrgb", "b8.conv0", "b8.conv1",
    }  # fmt: skip
    before = _copy(state.discriminator)
    step(StepRandom(0, 0), data)
    moved = _moved(state.discriminator, before)
    assert moved & state.frozen == set()
    assert {"b8.skip.weight", "b4.fc.weight"} <= moved


@pytest.mark.parametrize(
    ("changes", "g_ratio", "d_ratio"),
    [
        ({"g_reg_interval": 4, "d_reg_interval": 16}, 4 / 5, 16 / 17),
        ({"g_reg_interval": 1, "d_reg_interval": 1}, 1 / 2, 1 / 2),
        ({"path_length_weight": 0, "d_reg_interval": 0}, 1, 1),
        ({"path_length_weight": 0, "r1_gamma": 0}, 1, 1),
    ],
)
def test_adam_makes_up_for_the_lazy_steps(tiny, changes, g_ratio, d_ratio):
    config = replace(tiny, lr=0.002, d_lr="0:.004,1:.002", beta2="0:.9,1:.99", **changes).resolve()
    state = TrainState.create(config, 0, CPU)
    state.counters.cur_nimg, state.counters.lr_scale = 500, 0.5
    state.set_rates(config)
    for optimizer, ratio, lr in (
        (state.g_optimizer, g_ratio, 0.001), (state.d_optimizer, d_ratio, 0.0015),
    ):  # fmt: skip
        (group,) = optimizer.param_groups
        assert group["lr"] == pytest.approx(lr * ratio)
        assert group["betas"] == (0, pytest.approx(0.945**ratio))
        assert group["eps"] == 1e-8


def test_gradients_that_are_not_finite_are_harmless(start, monkeypatch):
    step, data = start()
    state = step.state
    state.set_rates(step.config)
    bias = state.generator.mapping.fc0.bias

    def loss_of(draws, batch, sums):
        return (bias * torch.tensor([float("nan"), float("inf"), 1.0, 0, 0, 0, 0, 0])).sum()

    monkeypatch.setattr(step, "_g_main", loss_of)
    step.phase("Gmain", StepRandom(0, 0), data)
    assert torch.isfinite(bias).all()
    assert step.look(0) == (1, False)
    assert step.look(1) == (0, True)


def test_a_loss_that_is_not_finite_counts_once_for_all_ranks(start, monkeypatch):
    step, data = start()
    step.ranks = Ranks(0, 3)
    monkeypatch.setattr(Ranks, "all_reduce_", lambda _, tensors: [t.mul_(3) for t in tensors])
    monkeypatch.setattr(step, "_g_main", lambda *_: torch.tensor(math.nan))
    step.phase("Gmain", StepRandom(0, 0), data)
    assert step.look(0) == (1, False)


@pytest.mark.parametrize(
    ("noise", "learned"),
    [
        ("random", {"b4.conv1", "b8.conv0", "b8.conv1"}),
        ("fine", {"b8.conv0", "b8.conv1"}),
        ("none", set()),
    ],
)
def test_only_layers_with_noise_learn_how_strong_it_is(start, noise, learned):
    step, data = start(noise=noise)
    for index in range(3):
        step(StepRandom(0, index * 4), data)
    strengths = {
        name.removesuffix(".noise_strength"): value.item()
        for name, value in step.state.generator.synthesis.named_parameters()
        if name.endswith("noise_strength")
    }
    assert {name for name, value in strengths.items() if value != 0} == learned
    assert len(strengths) == 3


def test_path_length_noise_is_independent_of_the_size(start, monkeypatch):
    step, data = start(resolution="8x16")
    noise = []

    def lengths(images, ws, y):
        noise.append(y * (images.shape[2] * images.shape[3]) ** 0.5)
        return images.sum([1, 2, 3])

    monkeypatch.setattr(phases, "path_lengths", lengths)
    step._g_reg(StepRandom(0, 0), data[0], _Ignore())
    assert noise[0].shape == (2, 3, 16, 8)
    assert noise[0].std().item() == pytest.approx(1, abs=0.1)


def test_diversity_is_a_running_mean(start, monkeypatch):
    values = {"real mean": torch.tensor([1.0, 2.0]), "real square": torch.tensor([1.0, 5.0])}
    assert float(spread(values, "real")) == 0.5
    step, data = start()
    spreads = {"real": torch.tensor(0.4), "fake": torch.tensor(0.2)}
    monkeypatch.setattr(phases, "spread", lambda _values, kind: spreads[kind])
    step.phase("Dmain", StepRandom(0, 0), data)
    assert float(step.state.diversity) == pytest.approx(0.5)  # the first one counts wholly
    step.state.diversity.fill_(1.0)
    step.phase("Dmain", StepRandom(0, 4), data)
    assert float(step.state.diversity) == pytest.approx(0.98 + 0.02 * 0.5)


def test_heads_on_features_learn_slowly(tiny):
    config = replace(tiny, lr=0.0025, feature_weight=1, r1_gamma=0).resolve()
    state = TrainState.create(config, 0, CPU)
    state.set_rates(config)
    rates = {group["kind"]: group["lr"] for group in state.d_optimizer.param_groups}
    assert rates["features"] == pytest.approx(0.0002)
