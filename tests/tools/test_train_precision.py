"""The automatic precision depends on the machine; a run resumes in any, with the same state."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from click.testing import CliRunner

from stylemix.cli import main
from stylemix.models.checkpoint import load_model
from stylemix.ops import architectures
from stylemix.tools import sweep, train
from stylemix.training.config import TrainConfig
from stylemix.training.distributed import Ranks
from stylemix.training.loop import TrainResult
from stylemix.training.phases import Step
from stylemix.training.session import begin
from tests.support.toy_runs import last_state, run

CPU = torch.device("cpu")
OLD, NEW = {"avx2", "fma"}, {"avx2", "fma", "avx512_bf16"}


@pytest.fixture
def processor(monkeypatch):
    """Changes the processor's features."""
    return lambda features: monkeypatch.setattr(architectures, "cpu_features", lambda: features)


@pytest.mark.parametrize(
    ("features", "chosen"),
    [(OLD, "fp32"), (NEW, "bf16"), ({"amx_bf16"}, "bf16"), ({"bf16"}, "bf16"), (set(), "fp32")],
)
def test_auto_is_the_fast_precision_of_the_machine(processor, features, chosen):
    processor(features)
    config = TrainConfig().resolve()
    assert config.precision == chosen
    assert config.conv_clamp == (256 if chosen == "bf16" else None)
    assert TrainConfig().resolve(1, "cuda").precision == "bf16"
    for given in ("fp32", "bf16", "fp16"):
        assert TrainConfig(precision=given).resolve().precision == given


@pytest.mark.parametrize(("first", "second", "clamp"), [(OLD, NEW, None), (NEW, OLD, 256)])
def test_a_run_resumes_on_another_processor(
    processor, tiny, dataset, tmp_path, monkeypatch, first, second, clamp
):
    """It uses that processor's precision, with the same state and networks."""
    asked, seen = replace(tiny, precision="auto", kimg=0.004), set()
    processor(first)
    run(asked, dataset, tmp_path)
    before = last_state(tmp_path)

    processor(second)
    asked = replace(asked, kimg=0.008)
    state, begun = begin(asked, dataset.fingerprint(), 0, tmp_path, CPU, Ranks())
    assert begun.config.precision == ("bf16" if second is NEW else "fp32")
    assert begun.config.conv_clamp == clamp
    assert all(torch.equal(before[name], value) for name, value in state.tensors().items())
    assert state.generator.config.conv_clamp == state.discriminator.config.conv_clamp == clamp

    whole = Step.__call__

    def step(self, *args):
        seen.add(self.dtype)
        whole(self, *args)

    monkeypatch.setattr(Step, "__call__", step)
    run(asked, dataset, tmp_path)
    assert seen == {torch.bfloat16 if second is NEW else torch.float32}
    options = json.loads((tmp_path / "training_options.json").read_text())
    assert (options["precision"], options["conv_clamp"]) == (begun.config.precision, clamp)
    snapshot = load_model(tmp_path / "snapshot-000000.safetensors")
    assert snapshot.generator.config.conv_clamp == clamp
    after = last_state(tmp_path)
    assert all(value.isfinite().all() for value in after.values())
    assert {k: (v.dtype, v.shape) for k, v in after.items()} == {
        k: (v.dtype, v.shape) for k, v in before.items()
    }


def test_another_precision_may_be_asked_for(tiny, dataset, tmp_path):
    run(replace(tiny, kimg=0.004), dataset, tmp_path)
    for precision in ("bf16", "fp16", "fp32"):
        asked = replace(tiny, precision=precision)
        state, begun = begin(asked, dataset.fingerprint(), 0, tmp_path, CPU, Ranks())
        assert (begun.config.precision, begun.config.conv_clamp) == (precision, None)
        before = last_state(tmp_path)
        assert all(torch.equal(before[name], value) for name, value in state.tensors().items())


def test_the_first_rank_decides_for_all(processor, tiny, dataset, tmp_path):
    asked = replace(tiny, precision="auto")
    processor(OLD)
    lead = asked.resolve(2)
    broadcasts = [json.dumps(asdict(lead)), json.dumps([{}, "auto"])]

    class Second(Ranks):
        def broadcast_text(self, value):
            return broadcasts.pop(0)

        def broadcast_(self, tensors):
            pass

    processor(NEW)
    _, begun = begin(asked, dataset.fingerprint(), 0, tmp_path, CPU, Second(1, 2))
    assert begun.config == lead
    assert begun.config.precision == "fp32"


@pytest.mark.parametrize(
    ("features", "precision", "rank", "told"),
    [
        (OLD, "bf16", 0, 1), (set(), "bf16", 0, 1), (OLD, "bf16", 1, 0), (NEW, "bf16", 0, 0),
        (OLD, "auto", 0, 0), (OLD, "fp32", 0, 0),
    ],
)  # fmt: skip
def test_a_slow_precision_is_reported_once(
    processor, pictures, tmp_path, monkeypatch, features, precision, rank, told
):
    processor(features)
    ranks = Ranks(rank, 2 if rank else 1)
    monkeypatch.setattr(train, "join", lambda device, timeout: ranks)
    monkeypatch.setattr(train, "train", lambda *rest: TrainResult(tmp_path, 0))
    arguments = [pictures, "--precision", precision, "--device", "cpu", "--resolution", 16]
    command = ["train", *map(str, arguments), "--output", str(tmp_path)]
    result = CliRunner().invoke(main, command, prog_name="stylemix")
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stderr.splitlines() if "bf16" in line]
    assert len(lines) == told
    assert all("many times as long as fp32; --precision auto" in line for line in lines)


def test_a_sweep_compares_trials_of_one_precision():
    assert "precision" not in sweep.FREE
