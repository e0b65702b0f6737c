"""Each command on the pages below runs at toy size, and writes what it names.

A command is taken from its page word by word. Appended options make it small: with click the last
one counts. Stand-ins have the names on the page: a few images, portraits, shards.
"""

import io
import re
import shlex
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from torch.distributed.run import get_args_parser

from stylemix.cli import main
from stylemix.inversion.latent import Latent, save_latent
from stylemix.models.blend import blend
from stylemix.models.checkpoint import load_model
from stylemix.networks.latents import sample_ws
from stylemix.styles.style import find_style
from tests.docs.test_pages import DOCS, ROOT, blocks
from tests.support.models import tiny_model, trained_on
from tests.support.toy_launcher import run_launcher
from tests.support.toy_shards import write_shards
from tests.training.curation.test_pack import texture

PAGES = (
    "train", "sweep", "data", "cluster", "pack", "metrics", "augment", "video", "mix", "edit",
    "project", "blend", "drag",
)  # fmt: skip
PORTRAITS = Path(__file__).parents[1] / "data" / "portraits"
MODEL = ROOT / "stylemix" / "assets" / "faces-64.safetensors"

TRAIN = [
    "--kimg", ".008", "--batch", "4", "--tick-kimg", ".004", "--state-minutes", "0",
    "--precision", "fp32", "--device", "cpu",
]  # fmt: skip
SMALL = ["--z-dim", "8", "--w-dim", "8", "--channel-base", "64", "--channel-max", "16"]
TOY = {
    "train": TRAIN,
    "pack": ["--workers", "1", "--device", "cpu", "--max-upscale", "0", "--min-sharpness", "0"],
    "generate": ["--seeds", "0-3", "--device", "cpu"],
    "metrics": ["--count", "8", "--batch", "4", "--device", "cpu"],
    "sweep": [*TRAIN, *SMALL, "--resolution", "8", "--trials", "2", "--metrics", "kid"],
    "inspect": ["--device", "cpu"],
    "doctor": [],
    "project": ["--budget", ".2", "--device", "cpu"],
    "mix": ["--output-size", "32", "--device", "cpu"],
    "edit": ["--output-size", "32", "--device", "cpu"],
    "blend": ["--device", "cpu"],
    "drag": ["--size", "32", "--device", "cpu", "--max-steps", "3"],
    "video": ["--seconds", ".4", "--hold", "0", "--fps", "5", "--size", "32", "--device", "cpu"],
}
# What is not run as it stands, and why.
CHANGED = {
    "--gpus": "one process instead; test_gpus_starts_ranks_and_any_number_resumes has three",
    "--nnodes": "several machines: the options are parsed and the training runs as one process; "
    "test_distributed_hosts.py and test_cluster_files.py start the processes",
    "--nproc-per-node": "two processes instead of eight",
    "--size 1024": "64 px instead: the portraits are small",
    "me.jpg": "a seed, as for all photos but those of project itself: that takes a while",
    "photo.jpg": "a seed, too",
    "look.jpg": "a seed, too",
    "photos/": "a folder of latents, for the same reason",
    "--build": "compiles for half a minute; test_doctor.py runs it",
}
NOT_OURS = {
    "pip": "installs from the network",
    "sbatch": "test_cluster_files.py runs the script",
    "kubectl": "test_cluster_files.py runs the pods' command",
}


def page_commands():
    """The command lines of the pages' bash blocks, with where they stand."""
    for name in PAGES:
        for block in blocks(DOCS / f"{name}.md"):
            if block.language != "bash":
                continue
            for line in re.sub(r"\\\n\s*", " ", block.text).splitlines():
                words = shlex.split(line, comments=True)
                if words and words[0] not in NOT_OURS:
                    yield pytest.param(words, id=f"{block} {' '.join(words[:3])}")


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory):
    """A folder with everything that the pages name."""
    folder = tmp_path_factory.mktemp("stand-ins")
    for name, count in (("images", 10), ("posters", 10), ("pets/cats", 4), ("pets/dogs", 4)):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            texture(len(name) + i, (160, 144)).save(folder / name / f"{i}.png")
    for name in ("faces", "val", "held-out", "more", "portraits", "old"):
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            for i in range(8):
                stream = io.BytesIO()
                texture(10 * len(name) + i, (160, 160)).save(stream, "png")  # other ones in val.zip
                archive.writestr(f"{i}.png", stream.getvalue())
    (folder / "shared").mkdir()
    shutil.copy(folder / "faces.zip", folder / "shared")
    shutil.copytree(PORTRAITS, folder / "photos")
    write_shards(folder / "shards", [1] * 100)
    shutil.copy(MODEL, folder / "model.safetensors")
    (folder / "people").mkdir()
    model = load_model(MODEL)
    for seed, name in enumerate(("me", "people/me", "people/you")):
        latent = Latent(sample_ws(model.generator, 1, seed, 0.7)[0], model.fingerprint)
        save_latent(folder / f"{name}.latent.safetensors", latent)
    (folder / "latents").mkdir()
    shutil.copy(folder / "me.latent.safetensors", folder / "latents")
    shutil.copy(PORTRAITS / "obama.jpg", folder / "me.jpg")
    (folder / "photos" / "two_people.jpg").unlink()  # which of the two is asked of the user
    trained_on(model, 0.01).save(folder / "toon.safetensors")
    tiny_model(resolution=64, classes=4).save(folder / "pets.pkl")
    blend([model, trained_on(model, 0.01)]).save(folder / "blend.safetensors")
    shutil.copy(find_style("golden-hour"), folder / "influencer.pkl")
    shutil.copy(find_style("smile"), folder / "cheerful.pkl")
    return folder


@pytest.fixture
def here(stand_ins, tmp_path, monkeypatch):
    """A folder of its own for a command, with the stand-ins in it."""
    for path in stand_ins.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "shared").unlink()  # runs are written there
    shutil.copytree(stand_ins / "shared", tmp_path / "shared")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STYLEMIX_CACHE", str(stand_ins / "cache"))
    monkeypatch.setenv("STYLEMIX_OPS", "torch")  # compiling takes longer than all of these
    return tmp_path


def _toy(words):
    """A command line of stylemix, without its name, in small."""
    words = [word.removeprefix("/") if word.startswith("/shared/") else word for word in words]
    more = list(TOY[words[0]])
    if words[0] == "train":
        more += [] if "--transfer" in words else [*SMALL, "--resolution", _resolution(words)]
        more += ["--gpus", "1"] if "--gpus" in words else []
        more += ["--metrics-count", "8"] if "--metrics" in words else []
    if words[0] == "pack" and "1024" in words:
        more += ["--size", "64"]
    if words[0] in ("video", "mix", "edit", "drag"):  # a photo may have a weight behind it
        label = "@0" if "pets.pkl" in words else ""  # a seed has no class that could be searched
        words = [re.sub(r"^(\w+)\.jpg", lambda m: f"seed:{len(m[1])}{label}", x) for x in words]
        words = ["people" if word == "photos/" else word for word in words]
    return [word for word in words if word != "--build"] + more


def _resolution(words):
    """8 px; what is not square stays so."""
    asked = words[words.index("--resolution") + 1] if "--resolution" in words else "64"
    width, _, height = asked.partition("x")
    return "6x8" if height and width != height else "8"


def _run(words, folder):
    """Runs a command line in this process and looks for what it names as output."""
    output = folder / words[words.index("--output") + 1] if "--output" in words else None
    if output is not None and output.is_symlink():
        output.unlink()  # a stand-in of what this command makes itself
    if words[0] == "generate":
        model = folder / words[words.index("--model") + 1]
        model.parent.mkdir(parents=True)
        shutil.copy(MODEL, model)
    if words[0] == "blend":
        (folder / "runs" / "faces").mkdir(parents=True)
        for kimg in (200, 400):
            shutil.copy(MODEL, folder / "runs" / "faces" / f"snapshot-000{kimg}.safetensors")
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    if words[0] == "train":
        (run,) = [output] if output is not None else folder.glob("runs/*")
        _expect_run(run, words)
    elif words[0] == "pack" and "--dry-run" in words:
        assert output is not None
        assert output.with_suffix(".pack.json").exists()
        assert not output.exists()
    elif output is not None:
        assert output.stat().st_size > 100


def _expect_run(run, words):
    names = {path.name for path in run.iterdir()}
    assert {"snapshot-000000.safetensors", "fakes-000000.png", "stats.jsonl"} <= names
    assert "state-000000000008.safetensors" in names
    assert ("best.safetensors" in names) == ("--metrics" in words)
    assert any(name.startswith("events.out.tfevents") for name in names) == (
        "--tensorboard" in words
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard")
@pytest.mark.parametrize("words", list(page_commands()))
def test_a_command_of_a_page_runs(words, here):
    if "--tensorboard" in words:
        pytest.importorskip("tensorboard")
    if any(word.endswith(".mp4") for word in words):
        pytest.importorskip("av")
    program, *rest = words
    if program == "stylemix":
        _run(_toy(rest), here)
        return
    assert program == "torchrun", "an unknown program: run it here, or name it in NOT_OURS"
    asked = get_args_parser().parse_args(rest)
    assert (asked.module, asked.training_script) == (True, "stylemix")
    words = _toy(asked.training_script_args)
    if asked.standalone:
        _launch(rest[: rest.index("-m")], words, here)
    else:
        assert asked.nnodes != "1:1"
        _run(words, here)


def _launch(options, words, folder):
    """Starts torchrun with the page's options and two processes."""
    command = [sys.executable, "-m", "torch.distributed.run", *options, "--nproc-per-node", "2"]
    said = run_launcher([*command, "-m", "stylemix", *words], folder)
    assert "2 processes" in said
    _expect_run(next(folder.glob("runs/*")), words)


def test_what_is_changed_or_left_out_is_on_a_page():
    """The lists above hold nothing that no page has any more."""
    text = "\n".join(
        block.text for name in PAGES for block in blocks(DOCS / f"{name}.md") if block.language
    ) + (DOCS / "cluster.md").read_text(encoding="utf-8")
    assert [word for word in [*CHANGED, *NOT_OURS] if word not in text] == []
