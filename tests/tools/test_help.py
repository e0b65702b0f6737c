"""One example of each command's --help is run, word by word, with options that make it cheap.

Meanwhile no socket to anywhere can be opened, and afterwards no file tells where the others lay or
what photos were called.
"""

import re
import shlex
import shutil
import socket
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
    "edit": ("edit photo.jpg --smile 2", f"{FEW} --output-size 32", "edited.png"),
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
    "audit": (
        "audit faces-64 --data faces.zip", "--projected 1 --device cpu --output audit.json",
        "audit.json",
    ),
    "blend": ("blend faces.pkl toon.pkl --swap", "--device cpu", "blend.safetensors"),
    "convert": ("convert ffhq.pkl", "", "ffhq.safetensors"),
    "export": ("export comic --output", "", "comic.onnx"),
    "forget": ("forget me.jpg", "", None),
    "inspect": ("inspect faces-64 comic", "--device cpu", None),
    "doctor": ("doctor", "", None),
    "completion": ("completion bash", "", None),
}  # fmt: skip
SLOW = {"demo", "adapt", "distill", "evaluate-style", "pack", "project", "video", "edit", "drag",
        "sweep", "train", "metrics", "audit", "convert", "blend", "mix", "export"}  # fmt: skip


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
    folder = tmp_path_factory.mktemp(f"examples-{TELL_TALE}")
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


TELL_TALE = "schmidt-family"  # in the paths of all files
DATA = ("faces.zip", "val.zip")
NAMES = ("me.jpg", "photo.jpg", "look1", "look2", "obama", "astronaut", *DATA)
# What is kept for a reason, which docs/privacy.md names: the command that trains with the best
# settings of a sweep, and the options that a training is resumed with.
KEPT = r"(best|training_options)\.json|state-\d+\.safetensors"


def contents(folder):
    """Name and bytes of the files below a folder, and of what is in their zips; no links."""
    for path in sorted(path for path in folder.rglob("*") if not path.is_symlink()):
        if not path.is_file():
            continue
        yield path, path.read_bytes()
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    yield path, name.encode() + archive.read(name)


def told(folder):
    """(file, word) for each word of a private path or name that a file has."""
    for path, data in contents(folder):
        allowed = DATA if re.fullmatch(KEPT, path.name) else ()
        for word in (TELL_TALE, *NAMES):
            if word.encode() in data and word not in allowed:
                yield path.relative_to(folder).as_posix(), word


@pytest.fixture
def calls(monkeypatch):
    """The attempts to reach a network, none of which succeeds.

    `train` of one process needs none; torchrun and `app` use the machine's own interface only, and
    are not run here.
    """
    made = []

    class Closed(socket.socket):
        def __init__(self, family=-1, *rest, **more):
            if family != getattr(socket, "AF_UNIX", None):
                made.append(f"socket of the family {family}")
                raise OSError("no network in this test")
            super().__init__(family, *rest, **more)

    def look_up(host, *_rest, **_more):
        made.append(f"the address of {host}")
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "socket", Closed)
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(socket, "gethostbyname", look_up)
    return made


def test_calls_and_names_would_be_found(calls, tmp_path):
    import urllib.request

    with pytest.raises(OSError, match="no network"):
        urllib.request.urlopen("https://example.org")
    with pytest.raises(OSError, match="no network"):
        socket.create_connection(("127.0.0.1", 9))
    with pytest.raises(OSError, match="no network"):
        socket.socket()
    assert len(calls) == 3
    (tmp_path / "a.json").write_text(f'"/data/{TELL_TALE}/x.png"')
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("pack.json", "obama.jpg" * 9)
    (tmp_path / "best.json").write_text("stylemix train faces.zip me.jpg")
    assert list(told(tmp_path)) == [
        ("a.json", TELL_TALE), ("b.zip", "obama"), ("best.json", "me.jpg"),
    ]  # fmt: skip


MARKED = [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in EXAMPLES]


@pytest.mark.parametrize("name", MARKED)
def test_an_example_of_the_help_runs(
    name, stand_ins, tmp_path, monkeypatch, calls, few_steps, few_faces, exported_once
):
    tmp_path = tmp_path / TELL_TALE
    tmp_path.mkdir()
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
    assert calls == []
    found = list(told(tmp_path))
    assert not found, found
