"""Many photos of all sorts, a tenth of them bad: `python -m tests.hostile.load FOLDER`.

Makes the photos, gives them to `mix --fast` (or with --project to `project --preset fast`), kills
the command once on its way and gives it again. Prints the peak of the process's memory so far, by
the number of results: a sample would tell more of the photo that is being drawn than of growth.
Exit code 1 unless all good ones are done, all bad ones are named, and the peak stays within a tenth
of what it was at the hundredth result.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from stylemix.io.assets import ASSETS
from tests.support.hostile_images import encoded

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")
BAD = ("truncated", "text", "empty", "no face", "flat", "huge", "tiny", "two faces")


def make_photos(folder: Path, count: int, seed: int = 0) -> list[str]:
    """Writes photos, and returns the names of the bad ones, a tenth."""
    folder.mkdir(parents=True)
    draw, bad = random.Random(seed), []
    portraits = [Image.open(path).convert("RGB") for path in sorted(ASSETS.glob("portraits/*.jpg"))]
    for number in range(count):
        photo = portraits[number % len(portraits)]
        if number % 10 == 7:
            name = f"{number:04}-{BAD[number // 10 % len(BAD)].replace(' ', '-')}.jpg"
            (folder / name).write_bytes(_bad(BAD[number // 10 % len(BAD)], portraits, draw))
            bad.append(name)
            continue
        side = draw.choice((320, 400, 512, 640, 900, 1200))
        photo = photo.resize((side, round(side * photo.height / photo.width)))
        photo = photo.rotate(draw.uniform(-8, 8), Image.Resampling.BICUBIC)
        photo = ImageEnhance.Brightness(photo).enhance(draw.uniform(0.8, 1.2))
        kind, options = draw.choice(FORMATS), {}
        if draw.random() < 0.1:
            photo = photo.convert("L")
        if kind in ("JPEG", "PNG", "TIFF") and draw.random() < 0.3:  # as phones store it
            exif = Image.Exif()
            exif[274] = 6
            photo, options = photo.transpose(Image.Transpose.ROTATE_90), {"exif": exif}
        if kind == "JPEG" and draw.random() < 0.2:
            photo = photo.convert("CMYK")
        if kind == "PNG" and draw.random() < 0.3:
            photo = photo.convert(draw.choice(("RGBA", "P")))
        ending = kind.lower().replace("jpeg", "jpg")
        (folder / f"{number:04}.{ending}").write_bytes(encoded(photo, kind, **options))
    return bad


def _bad(kind: str, portraits: list[Image.Image], draw: random.Random) -> bytes:
    photo = portraits[0]
    if kind == "truncated":
        data = encoded(photo, "JPEG")
        return data[: len(data) * draw.randint(20, 90) // 100]
    if kind == "huge":
        data = encoded(photo, "JPEG")
        at = data.index(b"\xff\xc0") + 5
        return data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :]
    if kind == "no face":
        noise = np.random.default_rng(draw.randrange(99)).integers(0, 255, (400, 500, 3))
        return encoded(Image.fromarray(noise.astype(np.uint8)), "JPEG")
    if kind == "two faces":
        both = Image.new("RGB", (1280, 640))
        for column in range(2):
            both.paste(photo.resize((640, 640)), (640 * column, 0))
        return encoded(both, "JPEG")
    images = {"flat": (400, 400), "tiny": (12, 12)}
    if kind in images:
        return encoded(Image.new("RGB", images[kind], (90, 80, 70)), "JPEG")
    return b"I am a photo.\n" * 99 if kind == "text" else b""


class Run:
    """A command with the peak of its memory so far, in MB, by the number of results."""

    def __init__(self, arguments: list[str], folder: Path, ending: str) -> None:
        self.ending, self.output = ending, folder / "out"
        self.log = folder / "log.txt"
        environment = os.environ | {"STYLEMIX_CACHE": str(folder / "cache")}
        with self.log.open("w") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "stylemix", *arguments], stdout=stream, stderr=stream,
                env=environment,
            )  # fmt: skip
        self.memory: dict[int, float] = {}

    def said(self) -> int:
        """The number of results that the command named so far."""
        return self.log.read_text(errors="replace").count("Wrote ")

    def follow(self, until: float) -> None:
        """Samples until the process ends, or is killed at so many results."""
        while self.process.poll() is None:
            done = self.said()
            try:
                status = Path(f"/proc/{self.process.pid}/status").read_text()
                peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
                self.memory[done] = int(peak.split()[1]) / 1024
            except (OSError, StopIteration):
                break
            if done >= until:
                self.process.send_signal(signal.SIGKILL)
            time.sleep(0.5)
        self.process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.load", description=__doc__)
    parser.add_argument("folder", type=Path, help="new folder for photos and results")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--project", action="store_true", help="project instead of mix")
    given = parser.parse_args()
    bad = make_photos(given.folder / "photos", given.count)
    good = given.count - len(bad)
    words = [str(given.folder / "photos"), "--output", str(given.folder / "out")]
    arguments = ["mix", *words[:1], "comic", "--fast", "--no-cache", *words[1:]]
    ending = ".png"
    if given.project:
        arguments, ending = ["project", *words, "--preset", "fast"], ".latent.safetensors"
    first = Run(arguments, given.folder, ending)
    first.follow(good * 0.3)
    killed = first.said()
    half = [
        path for path in (given.folder / "out").glob(f"[!.]*{ending}") if not path.stat().st_size
    ]
    started = time.monotonic()
    second = Run(arguments, given.folder, ending)
    second.follow(float("inf"))
    seconds = time.monotonic() - started
    written = list((given.folder / "out").glob(f"[!.]*{ending}"))
    text = second.log.read_text(errors="replace")
    unnamed = [name for name in bad if name not in text]
    steps = sorted(second.memory)
    for step in steps[:: max(1, len(steps) // 20)]:
        print(f"{step:5} results  {second.memory[step]:7.0f} MB")
    late = [second.memory[step] for step in steps if step >= min(100, good // 3)]
    print(
        f"{given.count} photos: {len(written)} of {good} good ones done ({killed} before the kill, "
        f"{len(half)} half files), {len(bad) - len(unnamed)} of {len(bad)} bad ones named, "
        f"exit code {second.process.returncode}, {seconds / given.count:.2f} s a photo, peak "
        f"memory {late[0]:.0f} MB at the hundredth and {max(late):.0f} MB at the end"
    )
    flat = max(late) <= 1.1 * late[0]
    right = len(written) == good and not unnamed and not half and flat
    return int(not right or second.process.returncode != 2)


if __name__ == "__main__":
    sys.exit(main())
