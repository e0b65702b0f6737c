"""Writing videos: MP4 with PyAV, and animated GIF, PNG and WebP with Pillow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stylemix.errors import StylemixError
from stylemix.images.color_modes import to_rgb
from stylemix.images.credentials import sign_file
from stylemix.images.provenance import Generated, png_text, provenance_marks, xmp_packet
from stylemix.images.write import as_written
from stylemix.io.atomic import atomic_write
from stylemix.io.files import StrPath

KINDS = {".mp4": "MP4", ".gif": "GIF", ".png": "PNG", ".apng": "PNG", ".webp": "WEBP"}
MAX_GIF_FPS = 50  # viewers slow down GIFs with a higher frame rate
_TICK = {"GIF": 10, "PNG": 1, "WEBP": 1}  # ms, the time unit of each format
_MAX_MEMORY = 2 << 30  # bytes of frames in Pillow's memory
_QUALITY = 90  # of WebP; 95 makes the file 1.7 times as large
_CRF = "17"  # of H.264, a PSNR of 41 dB


def check_video_path(path: StrPath, fps: int) -> str:
    """Returns the video format by the extension of `path`; StylemixError if it cannot be written.

    Commands call it before a long computation.
    """
    extension = Path(path).suffix.lower()
    kind = KINDS.get(extension)
    if kind is None:
        got = f"the extension {extension!r}" if extension else "no extension"
        raise StylemixError(
            f"{path}: got {got}; expected .mp4, .webp, .gif or .png; rename the output"
        )
    if kind == "GIF" and fps > MAX_GIF_FPS:
        raise StylemixError(
            f"{path}: got {fps} frames a second; expected at most {MAX_GIF_FPS} for .gif; "
            "lower --fps or use .webp"
        )
    if kind == "MP4":
        try:
            import av  # noqa: F401
        except ImportError as error:
            raise StylemixError(
                f"{path}: got .mp4 without the package av; expected av to be installed; "
                "pip install 'stylemix[video]', or use .webp"
            ) from error
    return kind


def save_video(
    path: StrPath,
    images: Iterable[Image.Image],
    lengths: Sequence[int],
    fps: int,
    repeat: bool = True,
    generated: Generated = "composite",
) -> None:
    """Writes images of one size atomically as a video, each shown for its number of frames.

    `repeat` makes GIF, APNG and WebP loop for ever rather than play once. The video has the marks
    of `save_image`: the metadata as XMP in WebP, text chunks in PNG and a comment in GIF and MP4,
    and the watermark in every frame.
    """
    kind = check_video_path(path, fps)
    marks = provenance_marks(generated)
    with atomic_write(path) as temporary:
        if kind == "MP4":
            _write_mp4(temporary, images, lengths, fps, marks)
        else:
            times = _durations(lengths, fps, kind)
            _write_animation(temporary, kind, images, times, repeat, marks)
        sign_file(temporary, marks)


def _durations(lengths: Sequence[int], fps: int, kind: str) -> list[int]:
    """Returns the duration of each image in ms; end times are rounded, so errors do not add up."""
    tick = _TICK[kind]
    ends = [tick * round(Fraction(1000 * total, fps * tick)) for total in accumulate(lengths)]
    return [end - start for start, end in pairwise([0, *ends])]


def _write_animation(
    file: Path,
    kind: str,
    images: Iterable[Image.Image],
    durations: list[int],
    repeat: bool,
    marks: dict[str, str],
) -> None:
    frames = list(_prepared(file, kind, images, len(durations), bool(marks)))
    options: dict[str, Any] = {"duration": durations, "loop": 0 if repeat else 1}
    if kind == "GIF":
        options |= {"comment": _comment(marks)} if marks else {}
        if not repeat:
            del options["loop"]  # a GIF without it plays once; 1 would repeat it once
    elif kind == "PNG":
        options |= {"pnginfo": png_text(marks)}
    else:
        options |= {"quality": _QUALITY, "method": 4, "xmp": xmp_packet(marks)}
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], **options)


def _prepared(
    file: Path, kind: str, images: Iterable[Image.Image], count: int, watermark: bool
) -> Iterator[Image.Image]:
    """Yields the images converted for a format; StylemixError above `_MAX_MEMORY` in total."""
    for number, image in enumerate(images):
        size = 3 * image.width * image.height * count
        if number == 0 and size > _MAX_MEMORY:
            raise StylemixError(
                f"got {count} frames of {image.width}x{image.height} px, "
                f"{size / 2**30:.1f} GiB in memory for {file.suffix}; expected up to "
                f"{_MAX_MEMORY / 2**30:g} GiB; use .mp4, or a smaller --size or --fps"
            )
        image = as_written(image, watermark=watermark)
        if kind == "GIF":
            # Pillow's default, the median cut, takes 18 times as long and causes banding.
            image = to_rgb(image)
            palette = image.quantize(256, Image.Quantize.FASTOCTREE)
            image = image.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
        yield image


def _write_mp4(
    file: Path,
    images: Iterable[Image.Image],
    lengths: Sequence[int],
    fps: int,
    marks: dict[str, str],
) -> None:
    """Writes H.264 for all players: yuv420p, converted to BT.709 and tagged as such."""
    import av

    with av.open(str(file), "w", options={"movflags": "+faststart"}) as container:
        container.metadata["comment"] = _comment(marks)
        stream = container.add_stream("h264", rate=fps, options={"crf": _CRF})
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
        context.color_range = 1  # 16 to 235
        position = 0  # in frames
        for image, length in zip(images, lengths, strict=True):
            even = image.width // 2 * 2, image.height // 2 * 2
            if position == 0:
                stream.width, stream.height = even
            frame_image = as_written(to_rgb(image).crop((0, 0, *even)), watermark=bool(marks))
            rgb = av.VideoFrame.from_ndarray(np.asarray(frame_image), format="rgb24")
            frame = rgb.reformat(format="yuv420p", dst_colorspace="itu709")
            frame.time_base = Fraction(1, fps)
            for _ in range(length):
                frame.pts = position
                container.mux(stream.encode(frame))
                position += 1
        container.mux(stream.encode(None))


def _comment(marks: dict[str, str]) -> str:
    return "; ".join(f"{key}: {value}" for key, value in marks.items())
