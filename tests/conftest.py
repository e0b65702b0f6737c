"""What all tests share: the device to run on, and which tests are left out unless asked for."""

import os
import random
import secrets
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# Threads that wait sleep: spinning ones take the processor from the others on a busy machine, and
# tests last ten times as long. OpenMP reads it when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# The same sums on every machine, also in the commands that tests start; the cores are for the
# other processes of pytest-xdist.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Importing ONNX Runtime, as some tests do by themselves, would tell its makers about it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import torch

from stylemix.devices import free_memory
from stylemix.inversion import settings
from stylemix.inversion.settings import PRESETS
from stylemix.ops import toolchain
from stylemix.training.adapt import look, method
from stylemix.training.adapt.scores import score_style
from stylemix.training.config import TrainConfig
from stylemix.training.data.dataset import ImageDataset
from tests.support.exports import share_exports
from tests.support.few_steps import in_few_steps
from tests.support.toy_runs import run

torch.set_num_threads(1)
# Convolutions in whole float32 on a GPU as well, where PyTorch rounds their inputs to 10 bits.
torch.backends.cudnn.allow_tf32 = False
if toolchain.torch_release() < toolchain.TORCH_TARGET:
    os.environ["STYLEMIX_OPS"] = "torch"  # else each first use says that torch is too old

hang_up = getattr(signal, "SIGHUP", None)
if hang_up is not None and signal.getsignal(hang_up) is signal.SIG_IGN:
    # Under nohup the commands that tests start would ignore it, too; a handler is not inherited.
    signal.signal(hang_up, lambda *_: None)

LEFT_OUT = pytest.StashKey[list[str]]()
MEMORY = 3 * 2**30  # bytes that one process of the tests may need


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Lets pytest-xdist, where it is installed, use all cores; its option -n overrules this.

    One process is enough for named files and right for a GPU; a worker starts no further ones.
    """
    asked = config.getoption("numprocesses", None) is not None or config.getoption("usepdb")
    if asked or "PYTEST_XDIST_WORKER" in os.environ or not config.pluginmanager.hasplugin("xdist"):
        return
    files = [argument for argument in config.args if ".py" in argument]
    if len(files) < len(config.args) and config.getoption("--device") != "cuda":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        memory = free_memory(torch.device("cpu"))
        config.option.numprocesses = min(cores, cores if memory is None else memory // MEMORY)
        config.option.dist = "worksteal" if config.option.numprocesses else "no"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", choices=["cpu", "cuda"], default="cpu", help="also test on cuda")
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """Each device in turn, so that one test body serves both."""
    return torch.device(request.param)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    options = {}
    if config.getoption("--device") != "cuda":
        options["gpu"] = "--device cuda"
    elif not torch.cuda.is_available():
        raise pytest.UsageError("got --device cuda; expected a CUDA device; run without the option")
    if not config.getoption("--slow"):
        options["slow"] = "--slow"
    config.stash[LEFT_OUT] = told = []
    for marker, option in options.items():
        left_out = [item for item in items if item.get_closest_marker(marker)]
        if left_out:
            items[:] = [item for item in items if not item.get_closest_marker(marker)]
            config.hook.pytest_deselected(items=left_out)
            told.append(f"{len(left_out)} marked {marker} (pytest {option})")
    if hasattr(config, "workeroutput"):
        config.workeroutput["left_out"] = told


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error) -> None:
    """A process of pytest-xdist has ended, and says which tests it left out."""
    node.config.stash[LEFT_OUT] = node.workeroutput.get("left_out", []) if error is None else []


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(
    terminalreporter: "pytest.TerminalReporter", config: pytest.Config
) -> None:
    told = config.stash.get(LEFT_OUT, [])
    if told:  # by this process, or by one of pytest-xdist's
        terminalreporter.write_line(f"Left out, with what runs them: {', '.join(told)}")


@pytest.fixture(autouse=True)
def the_same_numbers() -> None:
    """What a test draws without a seed of its own is the same in any order, and alone."""
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)


@pytest.fixture(autouse=True)
def no_files_of_the_user(tmp_path_factory: pytest.TempPathFactory, monkeypatch) -> None:
    """Tests use neither the cache of projected photos of whoever runs them, nor their key."""
    own = tmp_path_factory.getbasetemp() / "cache" / secrets.token_hex(8)
    for module in ("stylemix.inversion.cache", "stylemix.images.credentials"):
        monkeypatch.setattr(f"{module}.cache_folder", lambda kind: own / kind)


@pytest.fixture
def few_steps(monkeypatch) -> None:
    """Photos are projected in a step of each kind, where only what comes after it is tested."""
    for name, preset in PRESETS.items():
        monkeypatch.setitem(PRESETS, name, in_few_steps(preset))
    monkeypatch.setattr(settings, "LATENTS", in_few_steps(settings.LATENTS))


@pytest.fixture
def few_faces(monkeypatch) -> None:
    """Styles are learned with fewer generated faces to compare with and to draw."""
    monkeypatch.setattr(look, "REFERENCE_COUNT", 16)
    monkeypatch.setattr(look, "SCORED_FACES", 2)
    monkeypatch.setattr(method, "SCORED_FACES", 2)
    monkeypatch.setattr("stylemix.training.adapt.adapt.FACES", 4)
    monkeypatch.setattr("stylemix.training.adapt.adapt.score_style", partial(score_style, count=4))


@pytest.fixture
def exported_once(tmp_path_factory: pytest.TempPathFactory, monkeypatch) -> None:
    share_exports(tmp_path_factory, monkeypatch)


# A run that takes a second: ten random images, networks of 8 px with a few channels.


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    draw = np.random.RandomState(0)
    for i in range(10):
        pixels = draw.randint(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="session")
def dataset(pictures: Path) -> ImageDataset:
    return ImageDataset(pictures, 8)


@pytest.fixture(scope="session")
def tiny() -> TrainConfig:
    """Both regularisations, style mixing and adaptive augmentation take part in 16 steps."""
    return TrainConfig(
        resolution=8, kimg=0.064, batch=4, z_dim=8, w_dim=8, channel_base=64, channel_max=16,
        precision="fp32", d_reg_interval=3, g_reg_interval=2, ada_kimg=0.05, ada_target=0,
        tick_kimg=0.016, state_minutes=0, snapshot_kimg=20,
    )  # fmt: skip


@pytest.fixture(scope="session")
def straight(
    tiny: TrainConfig, dataset: ImageDataset, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a run of 64 images without a stop."""
    folder = tmp_path_factory.mktemp("straight")
    run(tiny, dataset, folder)
    return folder
