"""How well the watermark of generated images survives: the tables of docs/privacy.md.

    python docs/recipes/watermark_table.py avatars/ --unmarked faces.zip --unmarked photos/
    python docs/recipes/watermark_table.py --video me.mp4 --video you.mp4

Each image is marked at each size and attacked; the share whose watermark is found, and the lowest
score, are printed for each attack. So are those of the marked MP4 files of `--video`, encoded once
more after each attack. `--unmarked` images are measured with the true key and with random ones:
what is found there is false.
"""

from __future__ import annotations

import io
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from PIL import Image

from stylemix.images.color_modes import to_rgb
from stylemix.images.marks import find_marks
from stylemix.images.sources import list_images
from stylemix.images.watermark import (
    FOUND,
    add_watermark,
    collect_spectra,
    measure_watermark,
    score_spectra,
)
from stylemix.progress import track

SIZES = (256, 512, 1024)
EULER = 0.5772156649015329

Attack = Callable[[Image.Image, np.random.Generator], Image.Image]


def jpeg(image: Image.Image, quality: int = 75) -> Image.Image:
    """The image after a JPEG file with 4:2:0 colours."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def rescale(
    image: Image.Image, scale: float, method: Image.Resampling = Image.Resampling.BICUBIC
) -> Image.Image:
    """The image at another size."""
    return image.resize((round(image.width * scale), round(image.height * scale)), method)


def crop(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """The image without 0 to 5 % at each side, and 5 % at one of them at least."""
    parts = random.uniform(0, 0.05, 4)
    parts[random.integers(4)] = 0.05
    left, top, right, bottom = (parts * np.array([*image.size, *image.size])).round().astype(int)
    return image.crop((left, top, image.width - right, image.height - bottom))


ATTACKS: dict[str, Attack] = {
    "none": lambda image, _: image,
    "JPEG 75": lambda image, _: jpeg(image),
    "resize to 75 %": lambda image, _: rescale(image, 0.75),
    "crop of 5 %": crop,
    "screenshot at 80 %": lambda image, _: rescale(image, 0.8, Image.Resampling.BILINEAR),
    "screenshot at 125 %": lambda image, _: rescale(image, 1.25, Image.Resampling.BILINEAR),
    "resize to 75 %, then JPEG 75": lambda image, _: jpeg(rescale(image, 0.75)),
    "JPEG 75, then resize to 75 %": lambda image, _: rescale(jpeg(image), 0.75),
    "JPEG 75, resize to 75 %, crop": lambda image, random: crop(
        jpeg(rescale(image, 0.75)), random
    ),
}  # fmt: skip


def psnr(first: Image.Image, second: Image.Image) -> float:
    """The PSNR of two images in dB."""
    error = np.asarray(first, dtype=np.float64) - np.asarray(second)
    return float(10 * np.log10(255**2 / np.mean(error * error)))


def attack_table(names: tuple[str, ...], sizes: tuple[int, ...]) -> None:
    """Prints the scores of marked images after each attack."""
    sources = [source for name in names for source in list_images(name)]
    scores = defaultdict[tuple[int, str], list[float]](list)
    changes = defaultdict[int, list[float]](list)
    for number, source in enumerate(track(sources, "Attacks", len(sources))):
        image = to_rgb(source.open())
        for size in sizes:
            plain = rescale(image, size / max(image.size), Image.Resampling.LANCZOS)
            marked = add_watermark(plain)
            changes[size].append(psnr(plain, marked))
            for name, attack in ATTACKS.items():
                attacked = attack(marked, np.random.default_rng(number))
                scores[size, name].append(measure_watermark([attacked]))
    click.echo(
        f"\n{len(sources)} images: found, and the lowest score ({FOUND:g} counts as found)\n"
    )
    click.echo("| attack | " + " | ".join(f"{size} px" for size in sizes) + " |")
    click.echo("| --- |" + " --- |" * len(sizes))
    for name in ATTACKS:
        cells = [
            f"{np.mean(np.array(scores[size, name]) >= FOUND):.1%}, {min(scores[size, name]):.1f}"
            for size in sizes
        ]
        click.echo(f"| {name} | " + " | ".join(cells) + " |")
    cells = [f"{np.median(changes[size]):.1f}, {min(changes[size]):.1f} dB" for size in sizes]
    click.echo("| median and least PSNR | " + " | ".join(cells) + " |")


def encode_again(
    video: Path, copy: Path, change: Callable[[Image.Image], Image.Image], crf: int, step: int = 1
) -> None:
    """Writes every `step`-th frame of a video, changed, as H.264 of the quality `crf`."""
    import av

    with av.open(str(video)) as source, av.open(str(copy), "w") as target:
        rate = source.streams.video[0].average_rate
        assert rate is not None
        stream = target.add_stream("h264", rate=rate / step, options={"crf": str(crf)})
        stream.pix_fmt = "yuv420p"
        for number, frame in enumerate(source.decode(video=0)):
            if number % step:
                continue
            image = change(frame.to_image())
            image = image.crop((0, 0, image.width // 2 * 2, image.height // 2 * 2))
            if number == 0:
                stream.width, stream.height = image.size
            changed = av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")
            target.mux(stream.encode(changed))
        target.mux(stream.encode(None))


def video_table(videos: tuple[str, ...]) -> None:
    """Prints the scores of marked videos that were encoded again after each attack."""

    def cut(image: Image.Image) -> Image.Image:  # the same crop for every frame
        return crop(image, np.random.default_rng(0))

    def same(image: Image.Image) -> Image.Image:
        return image

    def smaller(image: Image.Image) -> Image.Image:
        return rescale(image, 0.75)

    attacks = {
        "CRF 23 (FFmpeg's default)": (same, 23, 1),
        "CRF 28": (same, 28, 1),
        "CRF 33": (same, 33, 1),
        "every other frame, CRF 23": (same, 23, 2),
        "crop of 5 %, CRF 23": (cut, 23, 1),
        "resize to 75 %, CRF 23": (smaller, 23, 1),
        "resize to 75 %, CRF 28": (smaller, 28, 1),
    }
    scores = {"none": [find_marks(video).score or 0.0 for video in videos]}
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "copy.mp4")
        for name, (change, crf, step) in attacks.items():
            scores[name] = []
            for video in track(videos, name, len(videos)):
                encode_again(Path(video), copy, change, crf, step)
                scores[name].append(find_marks(copy).score or 0.0)
    click.echo(f"\n{len(videos)} videos: found, and the lowest score\n")
    click.echo("| attack | found |\n| --- | --- |")
    for name, values in scores.items():
        click.echo(f"| {name} | {np.mean(np.array(values) >= FOUND):.1%}, {min(values):.1f} |")


def false_table(names: tuple[str, ...], keys: int, limit: int) -> None:
    """Prints what is found in images that were not marked."""
    click.echo("\n| unmarked images | key | measured | found | highest | by a fitted tail |")
    click.echo("| --- | --- | --- | --- | --- | --- |")
    for name in names:
        sources = list_images(name)
        sources = sources[:: max(1, len(sources) // limit)][:limit]
        own, other = list[float](), list[float]()
        for number, source in enumerate(track(sources, name, len(sources))):
            spectra = collect_spectra([to_rgb(source.open())])
            own.append(score_spectra(spectra))
            other += [score_spectra(spectra, f"{number} {key}".encode()) for key in range(keys)]
        for label, values in (("true", own), ("random", other)):
            if values:
                found = sum(value >= FOUND for value in values)
                cells = (name, label, f"{len(values):,}", found, f"{max(values):.2f}")
                click.echo("| " + " | ".join(map(str, cells)) + f" | {tail(values):.1e} |")


def tail(scores: list[float]) -> float:
    """The chance of a score from `FOUND` on, by a Gumbel distribution with the scores' moments.

    The distribution of a largest value; that of normal variables, as here, falls faster.
    """
    scale = max(float(np.std(scores)), 1e-9) * 6**0.5 / np.pi
    place = float(np.mean(scores)) - EULER * scale
    return float(-np.expm1(-np.exp(-(FOUND - place) / scale)))


@click.command()
@click.argument("images", nargs=-1)
@click.option("--size", "sizes", type=int, multiple=True, help="px; again for more.")
@click.option("--video", "videos", multiple=True, help="Marked MP4 file; again for more.")
@click.option("--unmarked", multiple=True, help="Images, a folder or a zip; again for more.")
@click.option("--keys", default=10, show_default=True, help="Random keys for each unmarked image.")
@click.option("--limit", default=1000, show_default=True, help="Unmarked images of each source.")
def main(
    images: tuple[str, ...],
    sizes: tuple[int, ...],
    videos: tuple[str, ...],
    unmarked: tuple[str, ...],
    keys: int,
    limit: int,
) -> None:
    """Print the tables."""
    if images:
        attack_table(images, sizes or SIZES)
    if videos:
        video_table(videos)
    false_table(unmarked, keys, limit)


if __name__ == "__main__":
    main()
