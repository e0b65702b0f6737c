"""One example of each command's --help is run, word by word, with options that make it cheap."""

import re
import shlex
import shutil
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from stylemix import cli
from stylemix.models.checkpoint import load_model
from stylemix.styles.style import find_style
from tests.support.models import trained_on
from tests.training.curation.test_pack import texture

ROOT = Path(__file__).resolve().parents[2]
PORTRAITS = ROOT / "tests" / "data" / "portraits"
MODEL = ROOT / "stylemix" / "assets" / "faces-64.safetensors"

SMALL = "--resolution 8 --z-dim 8 --w-dim 8 --channel-base 64 --channel-max 16 --precision fp32"
TRAIN = f"{SMALL} --batch 4 --kimg .008 --tick-kimg .004 --device cpu"
FEW = "--w-steps 2 --steps 1 --refine-steps 1 --device cpu"
# By command: the start of its example, the options that make it small, and what it writes.
EXAMPLES = {
    "demo": ("demo me.jpg", "--device cpu", "me-in-styles.png"),
    "mix": ("mix me.jpg comic", "--device cpu", "avatar.png"),
    "project": ("project photo.jpg", FEW, "out/photo.latent.safetensors"),
    "edit": ("edit photo.jpg --smile 2", f"{FEW} --size 32", "edited.png"),
    "drag": ("drag seed:3", "--max-steps 2 --device cpu", "dragged.png"),
    "video": ("video me.jpg toon --output", f"{FEW} --fps 2 --seconds .5 --size 32", "avatar.webp"),
    "adapt": ("adapt look1.jpg", "--steps 1 --device cpu", "influencer.pkl"),
    "distill": (
        "distill influencer.pkl", "--faces 4 --kimg .004 --device cpu",
        "influencer-fast.safetensors",
    ),
    "evaluate-style": (
        "evaluate-style photos/", "--method fast --device cpu", "evaluation/report.json",
    ),
    "generate": ("generate --seeds 0-15 --grid", "--device cpu", "faces.png"),
    "align": ("align me.jpg", "--device cpu", "me.aligned.png"),
    "pack": (
        "pack photos/ --output", "--size 32 --workers 1 --max-upscale 0 --min-sharpness 0",
        "faces.zip",
    ),
    "train": ("train faces.zip --resolution 64 --preset laptop", TRAIN, "runs/faces"),
    "sweep": ("sweep faces.zip", f"{TRAIN} --trials 1 --metrics kid", "runs/sweep/best.json"),
    "metrics": ("metrics faces-64", "--count 8 --batch 4 --device cpu", None),
    "blend": ("blend faces.pkl toon.pkl --swap", "--device cpu", "blend.safetensors"),
    "convert": ("convert ffhq.pkl", "", "ffhq.safetensors"),
    "export": ("export comic --output", "", "comic.onnx"),
    "forget": ("forget me.jpg", "", None),
    "inspect": ("inspect faces-64 comic", "--device cpu", None),
    "doctor": ("doctor", "", None),
    "completion": ("completion bash", "", None),
}  # fmt: skip
SLOW = {"demo", "adapt", "distill", "evaluate-style", "pack", "project", "video", "edit", "drag",
        "sweep", "train", "metrics", "convert", "blend", "mix", "export"}  # fmt: skip


def examples(name):
    """The command lines below "Examples:" in the help of a command, each as words."""
    done = CliRunner().invoke(cli.main, [name, "--help"], prog_name="stylemix")
    text = done.output.split("Examples:\n")[1].split("\nOptions:")[0].split("\n\n")[0]
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [line.strip().removeprefix("stylemix ") for line in lines]


def test_each_command_has_an_example_that_is_run():
    commands = [name for name in cli.COMMANDS if name != "app"]  # serves: tests/tools/app starts it
    assert list(EXAMPLES) == commands


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory):
    """A folder with the files that the examples name."""
    folder = tmp_path_factory.mktemp("examples")
    for name in ("me.jpg", "photo.jpg", "look1.jpg"):
        shutil.copy(PORTRAITS / "obama.jpg", folder / name)
    for name in ("look2.jpg", "look3.jpg"):
        shutil.copy(PORTRAITS / "astronaut.jpg", folder / name)
    (folder / "photos").mkdir()
    for name in ("obama.jpg", "astronaut.jpg"):
        shutil.copy(PORTRAITS / name, folder / "photos")
    for name in ("faces", "held-out", "val"):
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            for number in range(8):
                texture(len(name) * 10 + number, (64, 64)).save(folder / "one.png")
                archive.write(folder / "one.png", f"{number}.png")
    model = load_model(MODEL)
    for name, written in (("faces.pkl", model), ("toon.pkl", trained_on(model, 0.01))):
        written.save(folder / name)
    shutil.copy(ROOT / "tests" / "golden" / "uncond_32_skip_resnet.pkl", folder / "ffhq.pkl")
    shutil.copy(find_style("golden-hour"), folder / "influencer.pkl")
    return folder


MARKED = [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in EXAMPLES]


@pytest.mark.parametrize("name", MARKED)
def test_an_example_of_the_help_runs(name, stand_ins, tmp_path, monkeypatch):
    start, small, written = EXAMPLES[name]
    line = next(line for line in examples(name) if f"{line} ".startswith(f"{start} "))
    words = shlex.split(line.split(" >> ")[0])
    for path in stand_ins.iterdir():
        if path.name != written:
            (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STYLEMIX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("STYLEMIX_OPS", "torch")
    if name == "export":
        pytest.importorskip("onnxscript")
    if name == "sweep":
        pytest.importorskip("optuna")
        pytest.importorskip("matplotlib")
    done = CliRunner().invoke(cli.main, [*words, *shlex.split(small)], prog_name="stylemix")
    assert done.exit_code == 0, done.output
    assert done.stdout
    if written is not None:
        assert (tmp_path / written).exists()
