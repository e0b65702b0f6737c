"""SIGKILL at random moments in every command that writes: `python -m tests.hostile.kills`.

After each kill no file with a final name may be incomplete, and the same command, given again, has
to end well with the files that it writes when it is not killed. One process imports everything and
forks for each run. `--count` is the number of kills, `--only` the name of one command.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from stylemix.faces.templates import NO_TEMPLATE
from stylemix.io.tensor_files import read_tensors
from stylemix.models.checkpoint import save_model
from stylemix.networks.student import StudentConfig
from stylemix.safe_pickle.reader import load
from stylemix.styles.style import Style, save_style
from tests.hostile.commands import end_as_command
from tests.support.models import tiny_model

ROOT = Path(__file__).parents[2]
PORTRAITS = ROOT / "stylemix/assets/portraits"
MODEL = ["--model", "base.safetensors", "--device", "cpu"]
QUICK = ["--w-steps", "4", "--steps", "4", "--refine-steps", "2"]
TRAIN = (
    "--resolution 8 --kimg .24 --batch 4 --z-dim 8 --w-dim 8 --channel-base 64 --channel-max 16 "
    "--precision fp32 --tick-kimg .02 --snapshot-kimg .06 --state-minutes 0 --device cpu"
)
COMMANDS = {
    "generate": ["generate", *MODEL, "--seeds", "0-59", "--output", "out"],
    "mix": ["mix", "seed:1", "shift.pkl", *MODEL, "--output", "out/avatar.png"],
    "mix a folder": ["mix", "few", "shift.pkl", *MODEL, *QUICK, "--output", "out"],
    "edit": ["edit", "seed:1", "--direction", "shift.pkl:1", *MODEL, "--save-style", "out/e.pkl",
             "--output", "out/e.png"],
    "project": ["project", "few", *MODEL, *QUICK, "--output", "out"],
    "video": ["video", "--source", "seed:1", "--source", "seed:2", *MODEL, "--seconds", ".6",
              "--output", "out/v.webp"],
    "adapt": ["adapt", "photos", *MODEL, "--method", "look", "--no-align", "--steps", "4",
              "--output", "out/s.pkl"],
    "distill": ["distill", "--pairs", "faces", "drawings", "--start", "none", "--kimg", ".016",
                *MODEL, "--output", "out/d.safetensors"],
    "align": ["align", "me.jpg", "--output", "out/a.png"],
    "pack": ["pack", "photos", "--crop", "centre", "--size", "32", "--workers", "1",
             "--output", "out/d.zip"],
    "pack to a folder": ["pack", "photos", "--crop", "centre", "--size", "32", "--workers", "1",
                         "--output", "out/d"],
    "convert": ["convert", "other.pt", "out/m.safetensors"],
    "blend": ["blend", "base.safetensors", "other.safetensors", "--weights", ".5,.5",
              "--device", "cpu", "--output", "out/b.safetensors"],
    "export": ["export", "base.safetensors", "--output", "out/m.onnx"],
    "metrics": ["metrics", "base.safetensors", "--data", "photos", "--metrics", "kid", "--count",
                "8", "--device", "cpu", "--output", "out/m.json"],
    "train": ["train", "photos", *TRAIN.split(), "--output", "out"],
}  # fmt: skip
TIMES = {"seconds", "Timing/total_sec", "Timing/sec_per_kimg"}


def make_inputs(folder: Path) -> None:
    """Models, styles and photos that all commands take."""
    base = tiny_model(template=NO_TEMPLATE)
    save_model(folder / "base.safetensors", base)
    save_model(folder / "other.safetensors", tiny_model(seed=1, template=NO_TEMPLATE))
    shift = torch.ones(base.generator.num_ws, base.generator.w_dim)
    save_style(folder / "shift.pkl", Style(base.fingerprint, shift=shift))
    shutil.copy(ROOT / "tests/golden/rosinality_32.pt", folder / "other.pt")
    shutil.copy(PORTRAITS / "hopper.jpg", folder / "me.jpg")
    draw = np.random.default_rng(0)
    for kind in ("photos", "few", "faces", "drawings"):
        (folder / kind).mkdir()
    for portrait in PORTRAITS.glob("*.jpg"):
        shutil.copy(portrait, folder / "faces")
        with Image.open(portrait) as image:
            image.transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(
                folder / "drawings" / portrait.name
            )
    for i in range(12):
        pixels = draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        photo = Image.fromarray(pixels).resize((160, 160), Image.Resampling.BICUBIC)
        photo.save(folder / "photos" / f"{i}.png")
        if i < 3:
            photo.save(folder / "few" / f"{i}.png")


def start(arguments: list[str], folder: Path) -> int:
    """Begins a command in a child, and returns its process."""
    child = os.fork()
    if child:
        return child
    try:
        os.chdir(folder)
        os.environ["STYLEMIX_CACHE"] = str(folder / "cache")
        stream = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(stream, 1)
        os.dup2(stream, 2)
        from stylemix.training.adapt import student_training

        student_training.StudentConfig = lambda: StudentConfig((8, 12))  # type: ignore[misc, assignment]
        end_as_command(arguments)
    finally:
        os._exit(99)


def finish(child: int) -> int:
    """Waits for a child; returns its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def results(folder: Path) -> dict[str, Path]:
    """The files with final names that a command wrote, by their names."""
    out = folder / "out"
    return {
        path.relative_to(out).as_posix(): path
        for path in sorted(out.rglob("*"))
        if path.is_file() and not path.name.startswith(".") and path.suffix != ".work"
    }


def content(path: Path) -> object:
    """What has to be equal in a file of two runs; raises an exception for an incomplete one."""
    if path.suffix == ".safetensors":
        tensors = read_tensors(path)[1]
        return {name: (value.shape, value.numpy().tobytes()) for name, value in tensors.items()}
    if path.suffix == ".pkl":
        return str(_untimed(load(path)))
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    if path.suffix == ".json":
        return _untimed(json.loads(path.read_text()))
    if path.suffix == ".jsonl":
        return len([json.loads(line) for line in path.read_text().splitlines()])
    if path.suffix in (".png", ".jpg", ".webp"):
        with Image.open(path) as image:
            image.load()
            return np.asarray(image).tobytes()
    return len(path.read_bytes())


def _untimed(value: object) -> object:
    if isinstance(value, dict):
        return {key: _untimed(item) for key, item in value.items() if key not in TIMES}
    return [_untimed(item) for item in value] if isinstance(value, list) else value


def faults(folder: Path, expected: dict[str, object], ended: bool) -> Iterator[str]:
    """What is wrong with the files that lie there; all have to be there if it has `ended`."""
    found = results(folder)
    for name, path in found.items():
        try:
            value = content(path)
        except Exception as error:
            if not (path.suffix == ".jsonl" and not ended):  # a last line is completed
                yield f"{name} is incomplete: {type(error).__name__}"
            continue
        if ended and name in expected and value != expected[name]:
            yield f"{name} differs"
    for name in expected if ended else ():
        if name not in found:
            yield f"{name} is missing"
    if ended:
        again = {name for name in found if name not in expected and "-2." not in name}
        if again:
            yield f"{', '.join(sorted(again))} left"


def attempt(name: str, inputs: Path, expected: dict[str, object], delay: float) -> list[str]:
    """Kills a command after `delay` seconds, gives it again, and returns what is wrong."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "work")
        shutil.copytree(inputs, folder)
        child = start(COMMANDS[name], folder)
        time.sleep(delay)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        killed = finish(child) < 0
        wrong = list(faults(folder, expected, ended=False))
        code = finish(start(COMMANDS[name], folder)) if killed else 0
        if code:
            said = (folder / "log.txt").read_text(errors="replace").splitlines()[-1:]
            wrong.append(f"exit code {code}: {said}")
        wrong += faults(folder, expected, ended=True)
        left = [path.name for path in (folder / "out").rglob("*.tmp*")]
        return [*wrong, *(["(ended before)"] if not killed else []), *(["(tmp)"] if left else [])]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.kills", description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=list(COMMANDS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    draw, names = random.Random(given.seed), given.only or list(COMMANDS)
    tally, bad = Counter[str](), []
    with tempfile.TemporaryDirectory() as place:
        inputs = Path(place, "inputs")
        inputs.mkdir()
        make_inputs(inputs)
        references: dict[str, tuple[float, dict[str, object]]] = {}
        for number in range(given.count):
            name = names[number % len(names)]
            if name not in references:
                folder = Path(place, name.replace(" ", "-"))
                shutil.copytree(inputs, folder)
                started = time.monotonic()
                code = finish(start(COMMANDS[name], folder))
                seconds = time.monotonic() - started
                if code:
                    print(f"{name} fails: {(folder / 'log.txt').read_text()[-2000:]}")
                    return 1
                found = {key: content(path) for key, path in results(folder).items()}
                references[name] = seconds, found
            seconds, expected = references[name]
            delay = draw.uniform(0.02, 1.0) * seconds
            said = attempt(name, inputs, expected, delay)
            wrong = [text for text in said if not text.startswith("(")]
            tally.update(["wrong" if wrong else "right", *set(said) & {"(tmp)", "(ended before)"}])
            bad += [f"{name} after {delay:.2f} s: {'; '.join(wrong)}"] * bool(wrong)
            when = f"{delay:5.2f} of {seconds:5.2f} s"
            print(f"{number + 1:4} {name:17} {when}  {'; '.join(said)}", flush=True)
    print(
        f"{given.count} kills: {tally['right']} right, {tally['wrong']} wrong; "
        f"{tally['(ended before)']} had ended before, {tally['(tmp)']} left a temporary file"
    )
    print("\n".join(bad))
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
