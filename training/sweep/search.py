"""A sweep: sequential trials, each a separate run, proposed from the trials before it.

Optuna proposes and prunes. Its study is rebuilt from the completed trials each time, so that a
stopped sweep resumes with the same results.
"""

from __future__ import annotations

import json
import math
import random
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stylemix.errors import StylemixError
from stylemix.io.atomic import write_json
from stylemix.io.journal import WorkFile
from stylemix.io.json_text import parse_json
from stylemix.memory import is_out_of_memory
from stylemix.training.config import TrainConfig
from stylemix.training.loop import TrainResult
from stylemix.training.sweep.space import Vary

if TYPE_CHECKING:
    import optuna

WORK_FILE = "sweep.sqlite"
WORSE = "worse than half of the trials at this point"
FAILURES = 3  # consecutive failures that end the sweep, since settings are hardly the reason
OnMetrics = Callable[[float, dict[str, float]], str]
Train = Callable[[TrainConfig, Path, OnMetrics], TrainResult]


@dataclass(frozen=True)
class Plan:
    """The plan of a sweep.

    Args:
        base: settings of all trials.
        space: the settings that vary.
        trials: number of trials, including pruned and failed ones.
        startup: random trials before the sampler uses them, and before pruning.
        prune: stop trials that are worse than half of the others.
    """

    base: TrainConfig
    space: tuple[Vary, ...]
    trials: int
    startup: int = 5
    prune: bool = True


@dataclass
class Trial:
    """The result of a trial; `figures` are the metric of its snapshots, None where not finite."""

    number: int
    values: dict[str, Any]
    state: str = "complete"
    figures: list[float | None] = field(default_factory=list)
    metric: str = "figure"
    kimg: float = 0
    seconds: float = 0
    reason: str = ""

    @property
    def best_value(self) -> float:
        """The lowest metric, which is that of the trial's best.safetensors."""
        finite = [value for value in self.figures if value is not None]
        return math.inf if self.state == "failed" else min(finite, default=math.inf)


def done_trials(work: WorkFile) -> list[Trial]:
    """Returns the completed trials of a work file."""
    trials: list[Trial] = []
    while (record := work.get(_name(len(trials)))) is not None:
        trials.append(Trial(**record))
    return trials


def sweep(
    plan: Plan, folder: Path, work: WorkFile, train: Train, first: dict[str, Any]
) -> Iterator[list[Trial]]:
    """Yields all completed trials after each trial; resumes from the work file.

    Args:
        plan: plan of the sweep.
        folder: parent of the trials' run folders.
        work: stores the completed trials.
        train: trains with settings in a folder, and calls back after each evaluation.
        first: values of the first trial, where the space contains them.

    Raises StylemixError after consecutive failures and for errors of the system, such as a full
    disk, KeyboardInterrupt when stopped by a signal.
    """
    done = done_trials(work)
    while len(done) < plan.trials:
        given = {} if done else {v.name: first[v.name] for v in plan.space if first[v.name] in v}
        trial = _run(plan, done, folder / _name(len(done)), train, given)
        done.append(trial)
        work.put(_name(trial.number), asdict(trial))
        yield done
        if len(done) >= FAILURES and all(t.state == "failed" for t in done[-FAILURES:]):
            raise StylemixError(
                f"got {FAILURES} failed trials in a row; expected metrics; see the last reason: "
                f"{trial.reason}"
            )


def _name(number: int) -> str:
    return f"trial-{number:04d}"


def _run(
    plan: Plan, done: Sequence[Trial], folder: Path, train: Train, given: dict[str, Any]
) -> Trial:
    """Trains one trial to its end; resumes from its folder."""
    proposal = folder / "trial.json"
    if proposal.exists():
        given = json.loads(proposal.read_text(encoding="utf-8"))
    trial = Trial(len(done), propose(plan, done, given))
    write_json(proposal, trial.values)
    started = time.monotonic() - _seconds(folder)

    def stop_reason(kimg: float, _: dict[str, float]) -> str:
        ended = kimg * 1000 + 0.5 >= (plan.base.kimg or 0) * 1000
        values = _metric_values(folder)[1]
        return WORSE if values and not ended and hopeless(plan, done, trial, values) else ""

    try:
        # A trial that was killed right after it was pruned is pruned again without training.
        trial.kimg = _last_kimg(folder)
        trial.reason = stop_reason(trial.kimg, {})
        if not trial.reason:
            outcome = train(replace(plan.base, **trial.values), folder, stop_reason)
            trial.kimg, trial.reason = outcome.kimg, outcome.stopped
            if outcome.interrupted:
                raise KeyboardInterrupt
        trial.state = "pruned" if trial.reason == WORSE else "complete"
        trial.metric, trial.figures = _metric_values(folder)
        if trial.best_value == math.inf:
            trial.state, trial.reason = "failed", "its metric is not finite"
    except StylemixError as error:
        if _is_of_the_system(error):  # the trial is resumed, as if it had been stopped
            raise
        trial.state, trial.reason = "failed", str(error)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        trial.state, trial.reason = "failed", "out of memory"
    if trial.state == "failed":
        trial.kimg = _last_kimg(folder)
    trial.seconds = round(time.monotonic() - started, 1)
    return trial


def _is_of_the_system(error: BaseException) -> bool:
    """Whether an error says nothing about the settings: the disk is full, a file is gone."""
    cause = error.__cause__
    return cause is not None and (isinstance(cause, OSError) or _is_of_the_system(cause))


# Optuna: proposals, pruning and importance.


def propose(plan: Plan, done: Sequence[Trial], given: dict[str, Any]) -> dict[str, Any]:
    """Returns values for the next trial by seed, number and completed trials; some may be given.

    Uses a tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011) after random trials.
    """
    study = study_of(plan, done)
    study.enqueue_trial(given)
    proposed = study.ask(_distributions(plan)).params
    return {v.name: given.get(v.name, v.tidy(proposed[v.name])) for v in plan.space}


def hopeless(
    plan: Plan, done: Sequence[Trial], trial: Trial, values: Sequence[float | None]
) -> bool:
    """Returns whether the best of the metric's values is above the median of complete trials."""
    study = study_of(plan, done)
    study.enqueue_trial(trial.values)
    optuna_trial = study.ask(_distributions(plan))
    for step, value in enumerate(values):
        optuna_trial.report(math.inf if value is None else value, step)
    return optuna_trial.should_prune()


def importance(plan: Plan, done: Sequence[Trial]) -> dict[str, float]:
    """Returns the importance of each setting, summing to 1 (PED-ANOVA); {} for too few trials."""
    import optuna

    if sum(trial.state == "complete" for trial in done) < max(plan.startup, 4):
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # marked as experimental in some versions
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        return optuna.importance.get_param_importances(study_of(plan, done), evaluator=evaluator)


def study_of(plan: Plan, done: Sequence[Trial]) -> optuna.Study:
    """Returns the completed trials as an Optuna study, seeded for the next trial."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seed = random.Random(f"{plan.base.seed}/{len(done)}").getrandbits(32)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=plan.startup)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=plan.startup)
    study = optuna.create_study(
        sampler=sampler, pruner=pruner if plan.prune else optuna.pruners.NopPruner()
    )
    states = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}
    for trial in done:
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState[states[trial.state]],
                value=None if trial.state == "failed" else trial.best_value,
                params=trial.values,
                distributions=_distributions(plan),
                intermediate_values={i: v for i, v in enumerate(trial.figures) if v is not None},
            )
        )
    return study


def _distributions(plan: Plan) -> dict[str, Any]:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    return {
        v.name: CategoricalDistribution(v.choices)
        if v.choices
        else IntDistribution(int(v.low), int(v.high), log=v.log)
        if v.whole
        else FloatDistribution(v.low, v.high, log=v.log)
        for v in plan.space
    }


# Files of a run folder.


def _metric_values(folder: Path) -> tuple[str, list[float | None]]:
    """Returns the name of the first metric, and its values at the snapshots so far."""
    lines = [
        {key: value for key, value in line.items() if not key.startswith("Progress/")}
        for line in _lines(folder / "metrics.jsonl")
    ]
    firsts = [next(iter(line.items())) for line in lines if line]
    return firsts[0][0] if firsts else "figure", [value for _, value in firsts]


def _seconds(folder: Path) -> float:
    lines = _lines(folder / "stats.jsonl")
    return float(lines[-1].get("Timing/total_sec", 0)) if lines else 0.0


def _last_kimg(folder: Path) -> float:
    lines = [*_lines(folder / "stats.jsonl")[-1:], *_lines(folder / "metrics.jsonl")[-1:]]
    return max((float(line["Progress/kimg"]) for line in lines), default=0.0)


def _lines(path: Path) -> list[dict[str, Any]]:
    """Returns lines of JSON without an incomplete last line."""
    lines: list[dict[str, Any]] = []
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError):
                lines.append(parse_json(line))
    return lines
