"""Videos as files: MP4 through PyAV; GIF, APNG and WebP, which move too, through Pillow."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stylemix.errors import StylemixError
from stylemix.images.color_modes import to_rgb
from stylemix.images.write import png_text, provenance_marks, xmp_packet
from stylemix.io.atomic import atomic_write

KINDS = {".mp4": "MP4", ".gif": "GIF", ".png": "PNG", ".apng": "PNG", ".webp": "WEBP"}
FASTEST_GIF = 50  # frames a second; viewers slow down what claims more
_TICK = {"GIF": 10, "PNG": 1, "WEBP": 1}  # ms, in which a kind counts time
_MOST_MEMORY = 2 << 30  # bytes of frames that Pillow may keep
_QUALITY = 90  # of WebP; at 95 the file is two thirds as large again
_CRF = "17"  # of H.264: 41 dB from the images


def check_video_path(path: str | os.PathLike[str], fps: int) -> str:
    """The kind of video that the extension of `path` names; StylemixError if it cannot be written.

    Commands call it before a long computation.
    """
    extension = Path(path).suffix.lower()
    kind = KINDS.get(extension)
    if kind is None:
        got = f"the extension {extension!r}" if extension else "no extension"
        raise StylemixError(
            f"{path}: got {got}; expected .mp4, .webp, .gif or .png; rename the output"
        )
    if kind == "GIF" and fps > FASTEST_GIF:
        raise StylemixError(
            f"{path}: got {fps} frames a second; expected at most {FASTEST_GIF} for .gif; "
            "lower --fps or use .webp"
        )
    if kind == "MP4":
        try:
            import av  # noqa: F401
        except ImportError as error:
            raise StylemixError(
                f"{path}: got .mp4 without the package av; expected it; "
                "pip install 'stylemix[video]', or use .webp"
            ) from error
    return kind


def save_video(
    path: str | os.PathLike[str],
    images: Iterable[Image.Image],
    lengths: Sequence[int],
    fps: int,
    repeat: bool = True,
) -> None:
    """Writes images of one size atomically as a video, each shown for so many frames.

    `repeat` is for GIF, APNG and WebP: for ever, or once. As with `save_image`, the file says that
    a generator took part: XMP in WebP, text chunks in PNG, a comment in GIF and MP4.
    """
    kind = check_video_path(path, fps)
    with atomic_write(path) as temporary:
        if kind == "MP4":
            _write_mp4(temporary, images, lengths, fps)
        else:
            _write_animation(temporary, kind, images, _durations(lengths, fps, kind), repeat)


def _durations(lengths: Sequence[int], fps: int, kind: str) -> list[int]:
    """Milliseconds of each image; rounded at its end, so that errors do not add up."""
    tick = _TICK[kind]
    ends = [tick * round(Fraction(1000 * total, fps * tick)) for total in accumulate(lengths)]
    return [end - start for start, end in pairwise([0, *ends])]


def _write_animation(
    file: Path, kind: str, images: Iterable[Image.Image], durations: list[int], repeat: bool
) -> None:
    frames = list(_prepared(file, kind, images, len(durations)))
    marks = provenance_marks("composite")
    options: dict[str, Any] = {"duration": durations, "loop": 0 if repeat else 1}
    if kind == "GIF":
        options |= {"comment": _comment(marks)}
        if not repeat:
            del options["loop"]  # a GIF without it is shown once; 1 would be once more
    elif kind == "PNG":
        options |= {"pnginfo": png_text(marks)}
    else:
        options |= {"quality": _QUALITY, "method": 4, "xmp": xmp_packet(marks)}
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], **options)


def _prepared(
    file: Path, kind: str, images: Iterable[Image.Image], count: int
) -> Iterator[Image.Image]:
    """The images as a kind can hold them; Pillow keeps them all, so there is a limit."""
    for number, image in enumerate(images):
        size = 3 * image.width * image.height * count
        if number == 0 and size > _MOST_MEMORY:
            raise StylemixError(
                f"got {count} frames of {image.width}x{image.height} px, "
                f"{size / 2**30:.1f} GiB in memory for {file.suffix}; expected up to "
                f"{_MOST_MEMORY / 2**30:g} GiB; use .mp4, or a smaller --size or --fps"
            )
        image.info = {}
        if kind == "GIF":
            # Pillow's own choice, the median cut, takes 18 times as long and shows bands.
            image = to_rgb(image)
            palette = image.quantize(256, Image.Quantize.FASTOCTREE)
            image = image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
        yield image


def _write_mp4(file: Path, images: Iterable[Image.Image], lengths: Sequence[int], fps: int) -> None:
    """H.264 that every player shows: yuv420p, in the colours of BT.709, and said so."""
    import av

    with av.open(str(file), "w", options={"movflags": "+faststart"}) as container:
        container.metadata["comment"] = _comment(provenance_marks("composite"))
        stream = container.add_stream("h264", rate=fps, options={"crf": _CRF})
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
        context.color_range = 1  # 16 to 235
        at = 0
        for image, length in zip(images, lengths, strict=True):
            even = image.width // 2 * 2, image.height // 2 * 2
            if at == 0:
                stream.width, stream.height = even
            pixels = np.asarray(to_rgb(image).crop((0, 0, *even)))
            rgb = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame = rgb.reformat(format="yuv420p", dst_colorspace="itu709")
            frame.time_base = Fraction(1, fps)
            for _ in range(length):
                frame.pts = at
                container.mux(stream.encode(frame))
                at += 1
        container.mux(stream.encode(None))


def _comment(marks: dict[str, str]) -> str:
    return "; ".join(f"{key}: {value}" for key, value in marks.items())
