"""The marks of generated images and videos, found in a file: metadata, watermark, signature."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from stylemix.errors import StylemixError
from stylemix.images.color_modes import to_rgb
from stylemix.images.cost import check_size
from stylemix.images.credentials import Credentials, has_package, read_credentials
from stylemix.images.provenance import SOURCE_TYPE_KEY
from stylemix.images.read import load_image, quiet_decoder
from stylemix.images.watermark import FOUND, collect_spectra, score_spectra
from stylemix.io.files import StrPath, open_file, user_path

FRAMES = 16  # of a video that are read, at equal distances
MAX_FRAME_PIXELS = 36_000_000  # of a video: 8K; decoders hold up to 17 frames of it
MAX_FURTHER_PIXELS = 32_000_000  # of an animation; of larger ones the first frame is read
MAX_READ_PIXELS = 2**27  # of all frames that are decoded: 160 of 800 px a side, 16 of 4K
_MAX_DISTANCE = 10  # frames: all before the last one read are decoded
_MIN_MEASURED = 128  # px of the longer side, below which no watermark is left
_ANIMATED = ("GIF", "PNG", "WEBP")
_XMP_TYPE = re.compile(r'DigitalSourceType[=>:\s]*["\'>]?([\w:/.-]{1,200})')
_XMP_TOOL = re.compile(r'(?:CreatorTool|Software)[=>:\s]*["\'>]?([\w ./-]{1,80})')


@dataclass(frozen=True)
class Marks:
    """What a file says about its origin; each part can be removed, and forged, by anybody.

    `metadata` is that of `read_marks`. `score` is the watermark's, None for an image that is too
    small to show one. `credentials` are None where there are none, or no package to read them.
    """

    metadata: dict[str, str]
    score: float | None
    credentials: Credentials | None

    @property
    def has_watermark(self) -> bool:
        """Whether the watermark is there; an unmarked image has it once in over 10,000 times."""
        return self.score is not None and self.score >= FOUND

    def lines(self) -> list[tuple[str, str]]:
        """(label, text) lines for people."""
        if self.score is None:
            watermark = f"not looked for in an image under {_MIN_MEASURED} px"
        else:
            found = "found" if self.has_watermark else "not found"
            watermark = f"{found}, score {self.score:.1f} (from {FOUND:g} on)"
        return [
            ("marks", ", ".join(self.metadata.values()) or "none of generated images"),
            ("watermark", watermark),
            ("credentials", _describe(self.credentials)),
        ]


def find_marks(path: StrPath) -> Marks:
    """The marks of an image or a video; StylemixError for a file that is neither, or damaged."""
    path = user_path(path)
    return Marks(read_marks(path), _score(path), read_credentials(path) if has_package() else None)


def read_marks(path: StrPath) -> dict[str, str]:
    """The type of source ("trainedAlgorithmicMedia", ...) and the software; {} without marks.

    Keys are "source type" and "software". Nothing is decoded; a file that cannot be opened has no
    marks.
    """
    if Path(path).suffix.lower() == ".mp4":
        info, text = {}, _mp4_comment(path)
    else:
        try:
            with (
                quiet_decoder(),
                open_file(path) as stream,
                Image.open(stream, formats=("PNG", "JPEG", "WEBP", "GIF")) as image,
            ):
                info = dict(image.info)
        except (OSError, ValueError, SyntaxError, StylemixError, Image.DecompressionBombError):
            return {}
        packet = info.get("xmp", info.get("comment", b""))
        text = packet.decode("utf-8", "replace")[:100_000] if isinstance(packet, bytes) else ""
    kind, tool = _XMP_TYPE.search(text), _XMP_TOOL.search(text)
    marks = {
        "source type": str(info.get(SOURCE_TYPE_KEY, kind[1] if kind else "")).split("/")[-1],
        "software": str(info.get("Software", tool[1] if tool else "")),
    }
    return {key: value for key, value in marks.items() if value}


def video_size(path: StrPath) -> tuple[int, int]:
    """(width, height) in px of an MP4 file; StylemixError for one that cannot be read."""
    with closing(_mp4_frames(path)) as frames:
        return next(frames).size


def _score(path: StrPath) -> float | None:
    frames = _mp4_frames(path) if Path(path).suffix.lower() == ".mp4" else _frames(path)
    # One after the other: the frames of a few kilobytes can be gigabytes together.
    spectra = collect_spectra(frame for frame in frames if max(frame.size) >= _MIN_MEASURED)
    return score_spectra(spectra) if spectra else None


def _frames(path: StrPath) -> Iterator[Image.Image]:
    """The image, and some of the further frames of an animation."""
    yield load_image(path)
    try:
        count = _count(path)
        with (
            quiet_decoder(),
            open_file(path) as stream,
            Image.open(stream, formats=_ANIMATED) as image,
        ):
            size = image.size
            for number in _numbers(count)[1:]:
                image.seek(number)
                if image.size != size:  # a GIF may grow
                    return
                image.load()  # here, where errors are expected
                yield to_rgb(image)
    except Exception:  # decoders raise nearly any exception; what was read is enough
        return


def _most_frames(size: tuple[int, int]) -> int:
    """How many frames of a size may be decoded, one at least."""
    pixels = size[0] * size[1]
    if pixels > MAX_FURTHER_PIXELS:
        return 1
    return min(FRAMES * _MAX_DISTANCE, max(1, MAX_READ_PIXELS // pixels))


def _count(path: StrPath) -> int:
    """The number of frames that may be decoded; Pillow would count all of a GIF, be it a million.

    Frames are decoded on the way, so that nothing is behind one that is damaged.
    """
    with (
        quiet_decoder(),
        open_file(path) as stream,
        Image.open(stream, formats=_ANIMATED) as image,
    ):
        size, most = image.size, _most_frames(image.size)
        if image.format != "GIF":
            return min(getattr(image, "n_frames", 1), most)
        for number in range(1, most):
            try:
                image.seek(number)
            except Exception:  # its end, or a damaged frame
                return number
            if image.size != size:
                return number
        return most


def _numbers(count: int) -> range:
    return range(count)[:: min(_MAX_DISTANCE, -(-count // FRAMES))][:FRAMES]


def _mp4_frames(path: StrPath) -> Generator[Image.Image, None, None]:
    """Some frames of a video; StylemixError for a damaged one, and without the extra `video`."""
    try:
        import av
    except ImportError as error:
        raise StylemixError(
            f"{path}: got a video without the package av; expected av to be installed; "
            "pip install 'stylemix[video]'"
        ) from error
    damaged = f"{path}: got a damaged video; expected an MP4 file; copy or download it again"
    number = -1
    with open_file(path) as file:
        try:
            file.peek(1)  # type: ignore[attr-defined] # av prints what it cannot read
            with av.open(file, format="mp4") as container:
                stream = container.streams.video[0]
                size = stream.width, stream.height
                _check_frame(size, path)
                wanted = _numbers(min(stream.frames or FRAMES, _most_frames(size)))
                for number, frame in enumerate(container.decode(stream)):
                    if number in wanted:
                        _check_frame((frame.width, frame.height), path)  # it may have grown
                        yield frame.to_image()
                    if number >= wanted[-1]:
                        return
        except (av.FFmpegError, OSError, IndexError, ValueError) as error:
            if number < 0:  # else what was read is enough
                raise StylemixError(damaged) from error
    if number < 0:
        raise StylemixError(damaged)


def _check_frame(size: tuple[int, int], path: StrPath) -> None:
    check_size(size, str(path))
    if size[0] * size[1] > MAX_FRAME_PIXELS:
        raise StylemixError(
            f"{path}: got a video of {size[0]} x {size[1]} px; expected at most "
            f"{MAX_FRAME_PIXELS // 10**6} megapixels, as 8K has; scale it down first"
        )


def _mp4_comment(path: StrPath) -> str:
    try:
        import av

        with open_file(path) as file, av.open(file, format="mp4") as container:
            return str(container.metadata.get("comment", ""))[:1000]
    except (ImportError, OSError, ValueError, StylemixError):  # FFmpeg's errors are of OSError, too
        return ""


def _describe(found: Credentials | None) -> str:
    if not has_package():
        return "not looked for; pip install 'stylemix[c2pa]'"
    if found is None:
        return "none that can be read"
    state = "valid" if found.valid else "not valid: the file was changed since"
    said = ", ".join(filter(None, (found.source_type, found.generator)))
    return f"{state}, {said}; signed by {found.issuer or 'nobody named'}"
