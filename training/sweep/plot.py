"""sweep.png: the best figure so far against trials, and the figure against each varied setting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from stylemix.images.write import save_image
from stylemix.training.sweep.search import Trial
from stylemix.training.sweep.space import Vary, shown

SCALE = 2  # drawn larger, then shrunk: Pillow's circles and slanted lines have steps
PANEL, PLOT = (360, 300), (64, 40, 344, 250)  # px: a panel, and left, top, right, bottom in it
PAGE, INK, FAINT = (255, 255, 255), (40, 40, 40), (228, 228, 228)
BLUE, GREY, RED = (31, 107, 178), (150, 150, 150), (214, 69, 50)
STEPS = (1, 2, 2.5, 5, 10)
WIDE = 4.0  # figures that differ by more than this factor get a logarithmic axis


@dataclass(frozen=True)
class Axis:
    """Numbers from `low` to `high` along an axis, or words at equal distances."""

    low: float
    high: float
    log: bool = False
    words: tuple[str, ...] = ()
    whole: bool = False

    def at(self, value: float) -> float:
        """Where a value lies, from 0 to 1."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[tuple[float, str]]:
        """Values with a label each."""
        if self.words:
            return [(float(i), word) for i, word in enumerate(self.words)]
        values = _powers(self.low, self.high) if self.log else []
        if len(values) < 2:
            step = _step((self.high - self.low) / 4)
            step = max(math.ceil(step), 1) if self.whole else step
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            values = [i * step for i in range(first, last + 1)]
        return [(value, f"{value:.6g}") for value in values]


def save_plot(
    path: Path, space: Sequence[Vary], done: Sequence[Trial], best: Trial, metric: str
) -> None:
    """Draws complete trials as blue dots, pruned ones as grey rings, the best one in red."""
    known = [trial for trial in done if math.isfinite(trial.figure)]
    heights = _around([trial.figure for trial in known], WIDE)
    panels = 1 + len(space)
    columns = min(3, panels)
    rows = math.ceil(panels / columns)
    sheet = _Sheet(columns * PANEL[0], rows * PANEL[1] + 24)
    for index in range(panels):
        row, column = divmod(index, columns)
        sheet.corner = column * PANEL[0], row * PANEL[1]
        if index == 0:
            across = Axis(-0.5, max(len(done), 2) - 0.5, whole=True)
            sheet.frame(across, heights, "trial", metric)
            sheet.best_so_far(across, heights, known)
            places = [float(trial.number) for trial in known]
        else:
            vary = space[index - 1]
            across = _across(vary)
            sheet.frame(across, heights, vary.name, metric if column == 0 else "")
            places = [_place(vary, trial) for trial in known]
        # The best one last, on top of the others.
        for trial, place in sorted(zip(known, places, strict=True), key=lambda t: t[0] is best):
            sheet.dot(across.at(place), heights.at(trial.figure), trial, trial is best)
    sheet.corner = 0, rows * PANEL[1]
    sheet.legend()
    save_image(path, sheet.finished(), generated=False)


def _across(vary: Vary) -> Axis:
    if vary.choices:
        return Axis(-0.5, len(vary.choices) - 0.5, words=tuple(map(shown, vary.choices)))
    if vary.log:
        margin = (vary.high / vary.low) ** 0.04
        return Axis(vary.low / margin, vary.high * margin, log=True)
    margin = (vary.high - vary.low) * 0.04
    return Axis(vary.low - margin, vary.high + margin, whole=vary.whole)


def _place(vary: Vary, trial: Trial) -> float:
    value = trial.values[vary.name]
    return float(vary.choices.index(value) if vary.choices else value)


def _around(values: Sequence[float], wide: float) -> Axis:
    low, high = min(values), max(values)
    if low > 0 and high / low > wide:
        margin = (high / low) ** 0.08
        return Axis(low / margin, high * margin, log=True)
    margin = (high - low) * 0.08 or abs(high) * 0.08 or 1
    return Axis(low - margin, high + margin)


def _powers(low: float, high: float) -> list[float]:
    """Powers of ten in a range, with twice and five times where there are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for parts in ((1,), (1, 2, 5)):
        values = [part * 10.0**power for power in powers for part in parts]
        values = [value for value in values if low <= value <= high]
        if len(values) >= 3:
            break
    return values


def _step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in STEPS if step * power >= rough * 0.999)


class _Sheet:
    """A picture that is drawn in panels; `corner` is the upper left one of the panel at work."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width * SCALE, height * SCALE), PAGE)
        self.pen = ImageDraw.Draw(self.image)
        self.font = ImageFont.load_default(12 * SCALE)
        self.corner = 0, 0

    def finished(self) -> Image.Image:
        size = self.image.width // SCALE, self.image.height // SCALE
        return self.image.resize(size, Image.Resampling.LANCZOS)

    def frame(self, across: Axis, up: Axis, name: str, metric: str) -> None:
        """Lines, numbers and names of a panel."""
        left, top, right, bottom = PLOT
        for value, label in up.ticks():
            y = bottom - up.at(value) * (bottom - top)
            self.line((left, y, right, y), FAINT)
            self.text(left - 8, y, label, "rm")
        for value, label in across.ticks():
            x = left + across.at(value) * (right - left)
            self.line((x, bottom, x, bottom + 4), INK)
            self.text(x, bottom + 8, label, "ma")
        self.line((left, bottom, right, bottom), INK)
        self.text((left + right) / 2, bottom + 26, name, "ma")
        if metric:
            self.text(left - 44, top - 18, metric, "lm")

    def best_so_far(self, across: Axis, up: Axis, known: Sequence[Trial]) -> None:
        """A staircase down."""
        points: list[tuple[float, float]] = []
        best = math.inf
        for trial in known:
            x = across.at(trial.number)
            points += [(x, best)] if points else []
            best = min(best, trial.figure)
            points.append((x, best))
        points.append((1.0, best))
        for (x, a), (u, b) in pairwise(points):
            self.line((*self.place(x, up.at(a)), *self.place(u, up.at(b))), RED, 1.5)

    def dot(self, x: float, y: float, trial: Trial, best: bool) -> None:
        """A trial, at parts of the panel's plot."""
        place, radius = self.place(x, y), 6 if best else 4.5
        if trial.state == "pruned":
            self.ring(place, radius, PAGE, GREY)
        else:
            self.ring(place, radius, RED if best else BLUE, PAGE)

    def legend(self) -> None:
        """What the colours mean, in one line below."""
        x = float(PLOT[0])
        for word, fill, edge in (
            ("complete", BLUE, PAGE), ("pruned", PAGE, GREY), ("best", RED, PAGE),
        ):  # fmt: skip
            self.ring((x, 8), 4.5, fill, edge)
            self.text(x + 10, 8, word, "lm")
            x += 96

    def place(self, x: float, y: float) -> tuple[float, float]:
        left, top, right, bottom = PLOT
        return left + x * (right - left), bottom - y * (bottom - top)

    def ring(
        self, place: tuple[float, float], radius: float, fill: tuple[int, int, int],
        edge: tuple[int, int, int],
    ) -> None:  # fmt: skip
        x, y = self._at(*place)
        r = radius * SCALE
        self.pen.ellipse((x - r, y - r, x + r, y + r), fill=fill, outline=edge, width=3)

    def line(
        self,
        ends: tuple[float, float, float, float],
        colour: tuple[int, int, int],
        width: float = 1,
    ) -> None:
        x, y, u, v = ends
        self.pen.line((*self._at(x, y), *self._at(u, v)), colour, round(width * SCALE))

    def text(self, x: float, y: float, text: str, anchor: str) -> None:
        self.pen.text(self._at(x, y), text, INK, font=self.font, anchor=anchor)

    def _at(self, x: float, y: float) -> tuple[float, float]:
        return (x + self.corner[0]) * SCALE, (y + self.corner[1]) * SCALE
