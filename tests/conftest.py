"""What all tests share: the device to run on, and which tests are left out unless asked for."""

import pytest
import torch

torch.set_num_threads(2)  # the same sums on every machine, and no fight with a busy one


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", choices=["cpu", "cuda"], default="cpu", help="also test on cuda")
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """Each device in turn, so that one test body serves both."""
    return torch.device(request.param)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    reasons = {}
    if config.getoption("--device") != "cuda":
        reasons["gpu"] = "needs --device cuda"
    elif not torch.cuda.is_available():
        raise pytest.UsageError("got --device cuda; expected a CUDA device; run without the option")
    if not config.getoption("--slow"):
        reasons["slow"] = "needs --slow"
    for item in items:
        for marker, reason in reasons.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))
