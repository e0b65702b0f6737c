"""Each setting is defined once: the type of its text, and its valid values."""

from dataclasses import asdict, replace

import pytest

from stylemix.errors import StylemixError
from stylemix.training.config import TrainConfig, changed, continued
from stylemix.training.settings import SETTINGS


def test_the_type_of_a_value():
    kinds = {name: described.kind for name, described in SETTINGS.items()}
    assert (kinds["mirror"], kinds["batch"], kinds["kimg"]) == (bool, int, float)
    assert (kinds["lr"], kinds["beta2"]) == (float, float)  # which may also be schedules
    assert (kinds["resolution"], kinds["metrics_data"], kinds["loss"]) == (str, str, str)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch": 1}, "got batch 1; expected a number from 2 to 1048576"),
        ({"lr": "0:.001,5:2"}, "got lr 2.0; expected a number from 0 to 1"),
        ({"kimg": float("nan")}, "got kimg nan; expected a number from 0 to"),
        ({"channels": 2}, "got channels 2; expected one of 1, 3, 4"),
        ({"noise": "some"}, "got noise 'some'; expected one of random, fine, none"),
        ({"metrics": "speed,fd"}, "got metrics speed; expected some of fd, kid, pr, dc, ppl"),
        ({"metrics": ["fd"]}, "got metrics ['fd']; expected some of fd, kid, pr, dc, ppl"),
        ({"metrics": "pr,fd"}, "got pr as the first metric, which selects the best snapshot; expe"),
        ({"metrics": "", "early_stop": 3}, "got early_stop without metrics"),
        ({"metrics": "none", "early_stop": 3}, "got early_stop without metrics"),
        ({"resolution": "6x3"}, "got resolution 6x3; expected sides of 4 px or more"),
    ],
)
def test_invalid_settings(values, message):
    with pytest.raises(StylemixError) as caught:
        TrainConfig(**values)
    assert message in str(caught.value)


def test_a_resolution_has_one_notation():
    assert TrainConfig(resolution="64x64") == TrainConfig(resolution="64") == TrainConfig()
    assert TrainConfig(resolution="96X128").resolution == "96x128"


def test_a_run_of_before_an_option_was_there(tiny):
    now, new = tiny.resolve(), {"r2_gamma", "rollbacks"}
    assert changed({name: v for name, v in vars(tiny).items() if name not in new}, tiny) == {}
    stored = {name: v for name, v in vars(now).items() if name not in new}
    assert continued(stored, now) == now
    assert continued(stored, replace(now, kimg=5, beta2=0.9)) == replace(now, kimg=5)


def test_a_run_without_a_clamp_gets_none_in_any_later_precision(tiny):
    """Also where the last start was in that precision, for which it would be automatic."""
    config = replace(tiny, precision="fp32").resolve()
    for precision in ("bf16", "bf16", "fp16", "fp32", "bf16"):
        config = continued(asdict(config), replace(tiny, precision=precision).resolve())
        assert (config.precision, config.conv_clamp) == (precision, None)
