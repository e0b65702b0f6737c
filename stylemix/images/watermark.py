"""The invisible watermark of generated images: "made by stylemix", and nothing else.

A fixed pseudo-random pattern is added to the luma (spread spectrum: Cox, Kilian, Leighton, Shamoon,
"Secure Spread Spectrum Watermarking for Multimedia", 1997), so weak that PSNR stays over 42 dB.
The pattern belongs to the image, not to its pixels: its longer side is `SIDE` px wherever it is
drawn, so that a resized image carries the pattern of its new size. A reader brings the image to
that size, takes away what the image itself shows, and correlates the rest with the pattern, at
every scale and shift that a crop of up to 10 % leaves.

The phases of the pattern are uniform and independent, so its correlation with any image that was
not marked is close to a standard normal variable in units of its deviation, whatever the image.
Who has the key, which is public, can forge or remove the mark.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image, ImageChops

KEY = b"stylemix watermark 1"
MIN_SIZE = 256  # px of the longer side, below which an image is not marked
FOUND = 6.5  # score from which an image counts as marked
MIN_PSNR = 42.5  # dB between an image and the marked one

SIDE = 256  # px of the longer side, where the pattern is defined
_LOWEST, _HIGHEST = 10, 84  # cycles along SIDE: below faces' own shapes, above what JPEG removes
_TILT = -0.5  # of the amplitude by frequency: low ones survive JPEG
_MAX_CROP = 0.1  # of a side
_SLACK = 2  # px at SIDE around the shifts of a crop, for roundings
_DRAWN = 512  # px of the longer side, at which the change of a larger image is computed
_ROOM = 1  # levels that white and black are moved, so that the mark can go both ways
_ZERO, _STEPS = 128, 16  # an 8-bit value v of that change means (v - 128) / 16 levels
_FLAT, _PER_ACTIVITY, _BUSIEST = 0.8, 0.12, 2.2  # amplitudes in levels: 256 px images and larger
_BY_SIZE = -0.3  # power of size/256: a finer image needs less to survive
_HOST, _LOCAL, _LEVEL, _LIMIT = 2.5, 1.5, 0.2, 2.0  # of the whitening: px, px, levels, deviations
_NOTHING = 1e-3  # levels
_COMPRESSION = 0.5  # power of the spectrum's magnitudes that is kept; 0 keeps phases only

Plane = NDArray[np.float32]
Spectrum = NDArray[np.complex64]
Spectra = dict[tuple[int, int], Spectrum]  # by the (width, height) of an image


def add_watermark(image: Image.Image, key: bytes = KEY) -> Image.Image:
    """A marked copy of an image of mode L, LA, RGB or RGBA; always the same for the same image.

    All colours of a pixel change by the same number of levels, and alpha does not. Images whose
    longer side is under `MIN_SIZE` have too few pixels and are returned unchanged.
    """
    if max(image.size) < MIN_SIZE:
        return image
    colors = image.convert("L" if image.mode in ("L", "LA") else "RGB")
    tones = np.clip(np.arange(256), _ROOM, 255 - _ROOM)
    counts = np.array(colors.histogram()).reshape(-1, 256).mean(0)
    moved = float(np.average((tones - np.arange(256)) ** 2, weights=counts))
    colors = colors.point(tones.tolist() * len(colors.getbands()))
    change = _change(colors.convert("L"), key, 255**2 / 10 ** (MIN_PSNR / 10) - moved)
    several = Image.merge("RGB", [change] * 3) if colors.mode == "RGB" else change
    marked = ImageChops.add(colors, several, offset=-_ZERO)
    if image.mode in ("LA", "RGBA"):
        marked.putalpha(image.getchannel("A"))
    return marked


def measure_watermark(images: Iterable[Image.Image], key: bytes = KEY) -> float:
    """The score of an image, or of the frames of a video together: marked from `FOUND` on.

    It is the largest correlation with the pattern over all scales and shifts of a crop, in
    deviations of the correlation over all shifts. The images have one size; there must be at least
    one.
    """
    return score_spectra(collect_spectra(images), key)


def collect_spectra(images: Iterable[Image.Image]) -> Spectra:
    """What `score_spectra` needs of an image or of frames; the key has no part in it."""
    sums: Spectra = {}
    for image in images:
        for size, spectrum in _spectra(image):
            sums[size] = sums[size] + spectrum if size in sums else spectrum
    return sums


def score_spectra(spectra: Spectra, key: bytes = KEY) -> float:
    """The score of `measure_watermark`, by one key of many."""
    return max(_peak(spectrum, size, key) for size, spectrum in spectra.items())


@lru_cache(maxsize=1)
def _band() -> Plane:
    """1 in the frequencies of the pattern, [SIDE, SIDE / 2 + 1]; vertical stripes are left out.

    Their spectrum, the first column, is that of two conjugate halves, which are not independent.
    """
    radius = _radius()
    band = ((radius >= _LOWEST) & (radius <= _HIGHEST)).astype(np.float32)
    band[:, 0] = 0
    return band


def _radius() -> Plane:
    """The cycles along SIDE of each value of a real spectrum."""
    vertical, horizontal = np.fft.fftfreq(SIDE, 1 / SIDE), np.fft.rfftfreq(SIDE, 1 / SIDE)
    radius: Plane = np.hypot(vertical[:, None], horizontal[None, :]).astype(np.float32)
    return radius


@lru_cache(maxsize=4)
def _phases(key: bytes) -> Spectrum:
    """Random unit numbers in the band, by a hash function that all machines have."""
    count = SIDE * (SIDE // 2 + 1)
    words = np.frombuffer(hashlib.shake_256(key).digest(2 * count), "<u2").reshape(SIDE, -1)
    phases: Spectrum = (np.exp(2j * np.pi * words / 2**16) * _band()).astype(np.complex64)
    return phases


@lru_cache(maxsize=1)
def _pattern(key: bytes) -> Plane:
    """The pattern with a deviation of 1, [SIDE, SIDE]."""
    wave = np.fft.irfft2(_phases(key) * np.maximum(_radius(), 1) ** _TILT, s=(SIDE, SIDE))
    pattern: Plane = (wave / wave.std()).astype(np.float32)
    return pattern


def _resize(
    plane: Plane, size: tuple[int, int], box: tuple[float, float, float, float] | None = None
) -> Plane:
    resized = Image.fromarray(plane).resize(size, Image.Resampling.BICUBIC, box)
    return np.array(resized, dtype=np.float32)


def _fitted(width: int, height: int, side: int) -> tuple[int, int]:
    """(width, height) with `side` as the longer one."""
    scale = side / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _change(luma: Image.Image, key: bytes, limit: float) -> Image.Image:
    """The change of each pixel in levels, plus `_ZERO`; the mean of its squares within a limit."""
    width, height = luma.size
    small = _fitted(width, height, min(max(luma.size), _DRAWN))
    part = SIDE / max(luma.size)
    wave = _resize(_pattern(key), small, (0.0, 0.0, width * part, height * part))
    amplitude = _amplitude(luma.resize(_fitted(width, height, SIDE), Image.Resampling.BOX))
    wave *= _resize(amplitude, small) * (max(luma.size) / MIN_SIZE) ** _BY_SIZE
    steps = np.clip(np.rint(wave * _STEPS) + _ZERO, 0, 255).astype(np.uint8)
    drawn = Image.fromarray(steps).resize(luma.size, Image.Resampling.BICUBIC)
    counts = np.array(drawn.histogram()) / (width * height)
    levels = (np.arange(256) - _ZERO) / _STEPS
    gain = 1.0
    while counts @ np.square(change := np.rint(gain * levels)) > limit:
        gain *= 0.97
    return drawn.point((change + _ZERO).astype(int).tolist())


def _amplitude(luma: Image.Image) -> Plane:
    """Levels of the mark by pixel: more where the image is busy, but not beside a lone edge."""
    values = np.asarray(luma, dtype=np.float32)
    mean = _filtered(values, 2, _mean)
    variance = _filtered(values * values, 2, _mean) - mean * mean
    busy = _filtered(np.sqrt(np.maximum(variance, 0)), 2, _least)  # edges are narrower
    busy = _blurred(busy, 2.0)
    amplitude: Plane = np.minimum(_FLAT + _PER_ACTIVITY * busy, _BUSIEST)
    return amplitude


def _mean(windows: Plane) -> Plane:
    mean: Plane = windows.mean(-1)
    return mean


def _least(windows: Plane) -> Plane:
    least: Plane = windows.min(-1)
    return least


def _blurred(values: Plane, sigma: float) -> Plane:
    """Values blurred by a Gaussian. SciPy has all this, but takes a quarter of a second to load."""
    radius = round(4 * sigma)
    kernel = np.exp(-np.square(np.arange(-radius, radius + 1)) / (2 * sigma**2))
    weights = (kernel / kernel.sum()).astype(np.float32)
    return _filtered(values, radius, lambda windows: windows @ weights)


def _filtered(values: Plane, radius: int, reduce: Callable[[Plane], Plane]) -> Plane:
    """A separable filter: `reduce` makes one value of each row's, then of each column's window."""
    for axis in (1, 0):
        widths = [(radius, radius) if own == axis else (0, 0) for own in (0, 1)]
        padded = np.pad(values, widths, "symmetric")
        values = reduce(sliding_window_view(padded, 2 * radius + 1, axis))
    return values


def _whitened(image: Image.Image) -> Plane:
    """An image at SIDE without what it shows: fine changes by their local deviation."""
    luma = image.convert("L")
    luma = luma.reduce(max(1, max(luma.size) // (4 * SIDE))).convert("F")
    values = np.asarray(luma.resize(_fitted(*image.size, SIDE), Image.Resampling.LANCZOS))
    fine = values - _blurred(values, _HOST)
    fine[np.abs(fine) < _NOTHING] = 0  # rounding errors of a plain area
    deviation = np.sqrt(_blurred(fine * fine, _LOCAL))
    white: Plane = np.clip(fine / (deviation + _LEVEL), -_LIMIT, _LIMIT).astype(np.float32)
    return white


def _spectra(image: Image.Image) -> Iterator[tuple[tuple[int, int], Spectrum]]:
    """The whitened image at each size that a crop may have left of SIDE, and its spectrum."""
    white = _whitened(image)
    height, width = white.shape
    for side in range(SIDE, round(SIDE * (1 - _MAX_CROP)) - 1, -1):
        size = _fitted(width, height, side)
        scaled = white if side == SIDE else _resize(white, size)
        spectrum = np.fft.rfft2(scaled, s=(SIDE, SIDE)) * _band()
        spectrum /= np.maximum(np.abs(spectrum), 1e-6) ** (1 - _COMPRESSION)
        yield size, spectrum.astype(np.complex64)


def _peak(spectrum: Spectrum, size: tuple[int, int], key: bytes) -> float:
    """The largest correlation over the shifts of a crop, in deviations over all shifts."""
    surface = np.fft.irfft2(np.conj(spectrum) * _phases(key), s=(SIDE, SIDE))
    deviation = float(np.sqrt(np.mean(np.square(surface))))
    if deviation < 1e-9:  # a plain image
        return 0.0
    cut = SIDE - max(size)  # px that are gone from the longer side
    ranges = []
    for length in (size[1], size[0]):
        gone = cut if length == max(size) else round(length * _MAX_CROP / (1 - _MAX_CROP))
        ranges.append(np.arange(-_SLACK, gone + _SLACK + 1) % SIDE)
    return float(surface[np.ix_(*ranges)].max()) / deviation
