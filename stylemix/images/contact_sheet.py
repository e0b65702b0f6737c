"""Contact sheets: a grid of images with labels that never overlap."""

import math
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from PIL import Image, ImageDraw, ImageFont

from stylemix.errors import StylemixError
from stylemix.images.color_modes import to_rgb

DEFAULT_CELL = 192
_MAX_PIXELS = 60_000_000  # of a sheet without a given cell size
_BACKGROUND, _TEXT_COLOR, _EMPTY_CELL = (255, 255, 255), (34, 34, 34), (222, 222, 222)
_TEXT_SIZE, _TITLE_SIZE = 0.085, 0.115  # in fractions of the cell size
_MIN_TEXT_SIZE = 11  # px; smaller text is hard to read
_LINE_HEIGHT = 1.25  # in fractions of the text size
_MAX_LABEL_LENGTH = 400  # characters; the rest of a label is ignored
_MAX_LABEL_LINES, _MAX_ROW_LABEL_LINES, _MAX_TITLE_LINES = 2, 4, 2
_ELLIPSIS = "\u2026"
# Characters of Pillow's font outside ASCII.
_NON_ASCII = "\u2026\u2018\u2019\u201c\u201d\xab\xbb\xb0\xb1\xb7\xa9\u2122"
_REPLACEMENTS = {
    "\t": " ",
    "\n": " ",
    "\u2013": "-",
    "\u2014": "-",
    "\u2192": ">",
    "\xd7": "x",
    "\xdf": "ss",
    "\xe6": "ae",
    "\xc6": "Ae",
    "\xf8": "o",
    "\xd8": "O",
    "\u0142": "l",
    "\u0141": "L",
}

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def grid(
    images: Sequence[Image.Image | None],
    columns: int | None = None,
    column_labels: Sequence[str] | None = None,
    row_labels: Sequence[str] | None = None,
    title: str | None = None,
    cell: int | None = None,
    gap: int | None = None,
    labels: Sequence[str] | None = None,
) -> Image.Image:
    """Returns `images` as one RGB grid, row by row, with the longer side of each at `cell` px.

    None is an empty cell. Images are scaled, and centred where aspect ratios differ. `labels` are
    below each image, the others beside and above the grid; long labels are wrapped and shortened.
    Without `columns`, row or column labels set their number, or the grid is about square.
    """
    if not images:
        raise StylemixError("got no images for a sheet; expected at least one; name an image")
    columns = columns or _count_columns(len(images), column_labels, row_labels)
    rows = math.ceil(len(images) / columns)
    for name, texts, limit in (
        ("column_labels", column_labels, columns),
        ("row_labels", row_labels, rows),
        ("labels", labels, len(images)),
    ):
        if texts is not None and len(texts) > limit:
            raise ValueError(f"got {len(texts)} {name}; expected at most {limit}")
    cell = cell or min(DEFAULT_CELL, max(16, math.isqrt(_MAX_PIXELS // (rows * columns))))
    gap = max(4, cell // 20) if gap is None else gap
    sizes = [fit_size(image.size, cell) for image in images if image is not None]
    widths, heights = zip(*sizes, strict=True) if sizes else ((cell,), (cell,))
    layout = _Layout.make(cell, (max(widths), max(heights)), gap, rows, columns)
    layout.add_labels(column_labels, row_labels, labels, title)
    return layout.draw(images)


def fit_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Returns `size` (width, height) scaled to a longer side of `side` px."""
    longer = max(size)
    return max(1, round(size[0] * side / longer)), max(1, round(size[1] * side / longer))


def _count_columns(
    count: int, column_labels: Sequence[str] | None, row_labels: Sequence[str] | None
) -> int:
    if column_labels:
        return len(column_labels)
    if row_labels:
        return math.ceil(count / len(row_labels))
    if count <= 5:
        return count
    square = math.ceil(math.sqrt(count))
    return min(range(square, square + 3), key=lambda columns: (-count % columns, columns))


@dataclass
class _Block:
    """Wrapped text in one font; sizes in px."""

    lines: list[str]
    font: Font
    leading: int

    @property
    def height(self) -> int:
        return self.leading * len(self.lines)

    @property
    def width(self) -> int:
        return max((math.ceil(self.font.getlength(line)) for line in self.lines), default=0)

    def draw(self, draw: ImageDraw.ImageDraw, x: float, y: float, anchor: str) -> None:
        """Draws below `y`, with `x` at the left (l), middle (m) or right (r) by `anchor`."""
        for index, line in enumerate(self.lines):
            middle = y + self.leading * (index + 0.5)
            draw.text((x, middle), line, _TEXT_COLOR, font=self.font, anchor=f"{anchor}m")


@dataclass
class _Layout:
    """The positions on a sheet in px; read them only after `add_labels`."""

    cell: int
    box: tuple[int, int]  # width and height of a cell; the larger one is `cell`
    gap: int
    rows: int
    columns: int
    margin: int
    above: list[_Block]
    beside: list[_Block]
    below: list[_Block]
    title: list[_Block]

    @classmethod
    def make(cls, cell: int, box: tuple[int, int], gap: int, rows: int, columns: int) -> "_Layout":
        return cls(cell, box, gap, rows, columns, max(8, cell // 12), [], [], [], [])

    def add_labels(
        self,
        above: Sequence[str] | None,
        beside: Sequence[str] | None,
        below: Sequence[str] | None,
        title: str | None,
    ) -> None:
        size = max(_MIN_TEXT_SIZE, round(self.cell * _TEXT_SIZE))
        width = max(self.cell, 4 * size)  # keeps row labels legible beside tiny cells
        self.above = [_block(text, size, self.box[0], _MAX_LABEL_LINES) for text in above or ()]
        self.below = [_block(text, size, self.box[0], _MAX_LABEL_LINES) for text in below or ()]
        lines = max(1, min(_MAX_ROW_LABEL_LINES, self.box[1] // math.ceil(size * _LINE_HEIGHT)))
        self.beside = [_block(text, size, width, lines) for text in beside or ()]
        if title:
            size = max(_MIN_TEXT_SIZE + 2, round(self.cell * _TITLE_SIZE))
            width = self.width - 2 * self.margin
            self.title = [_block(title, size, width, _MAX_TITLE_LINES)]

    @property
    def pad(self) -> int:
        """Space between a label and its image."""
        return max(4, self.cell // 32)

    @cached_property
    def left(self) -> int:
        beside = max((block.width for block in self.beside), default=0)
        return self.margin + (beside + 2 * self.pad if beside else 0)

    @property
    def width(self) -> int:
        return self.left + self.columns * (self.box[0] + self.gap) - self.gap + self.margin

    @cached_property
    def row_tops(self) -> list[int]:
        """The top of each row of images, and of a row after the last."""
        head = self.title[0].height + self.margin if self.title else 0
        above = max((block.height for block in self.above), default=0)
        tops = [self.margin + head + (above + self.pad if above else 0)]
        for row in range(self.rows):
            labels = self.below[row * self.columns : (row + 1) * self.columns]
            under = max((block.height for block in labels), default=0)
            tops.append(tops[-1] + self.box[1] + self.gap + (under + self.pad if under else 0))
        return tops

    def corner(self, index: int) -> tuple[int, int]:
        row, column = divmod(index, self.columns)
        return self.left + column * (self.box[0] + self.gap), self.row_tops[row]

    def draw(self, images: Sequence[Image.Image | None]) -> Image.Image:
        bottom = self.row_tops[-1] - self.gap + self.margin
        sheet = Image.new("RGB", (self.width, bottom), _BACKGROUND)
        pen = ImageDraw.Draw(sheet)
        for block in self.title:
            block.draw(pen, self.margin, self.margin, "l")
        width, height = self.box
        for column, block in enumerate(self.above):
            x, y = self.corner(column)
            block.draw(pen, x + width / 2, y - self.pad - block.height, "m")
        for row, block in enumerate(self.beside):
            x, y = self.corner(row * self.columns)
            block.draw(pen, x - 2 * self.pad, y + height / 2 - block.height / 2, "r")
        for index, block in enumerate(self.below):
            x, y = self.corner(index)
            block.draw(pen, x + width / 2, y + height + self.pad, "m")
        for index, image in enumerate(images):
            x, y = self.corner(index)
            if image is None:
                pen.rectangle((x, y, x + width - 1, y + height - 1), outline=_EMPTY_CELL)
                continue
            fitted = _fit(image, self.cell)
            left, top = (width - fitted.width) // 2, (height - fitted.height) // 2
            sheet.paste(fitted, (x + left, y + top))
        return sheet


def _fit(image: Image.Image, cell: int) -> Image.Image:
    # Lanczos rings at hard edges when it upsamples by a large factor; bicubic hardly does.
    upsampled = cell > max(image.size)
    method = Image.Resampling.BICUBIC if upsampled else Image.Resampling.LANCZOS
    return to_rgb(image).resize(fit_size(image.size, cell), method)


def _block(text: str, size: int, width: int, max_lines: int) -> _Block:
    font = ImageFont.load_default(size)
    lines = _wrap(_plain(text), font, width, max_lines)
    return _Block(lines, font, math.ceil(size * _LINE_HEIGHT))


def _plain(text: str) -> str:
    """Reduces text to the characters of the font: drops accents, replaces the rest by "?"."""
    text = text[:_MAX_LABEL_LENGTH]
    letters = (_REPLACEMENTS.get(letter) or _base_letter(letter) for letter in text)
    return " ".join("".join(letters).split())


def _base_letter(letter: str) -> str:
    if letter in _NON_ASCII:
        return letter
    bases = (part for part in unicodedata.normalize("NFKD", letter) if not _is_accent(part))
    return "".join(base if " " <= base <= "~" else "?" for base in bases)


def _is_accent(letter: str) -> bool:
    return unicodedata.combining(letter) > 0


def _wrap(text: str, font: Font, width: int, max_lines: int) -> list[str]:
    """Wraps text after spaces, _, - and / to lines of at most `width` px; shortens the last."""
    lines: list[str] = []
    words = [word for word in re.findall(r"[^ _/-]*[ _/-]*", text) if word]
    while words:
        if len(lines) == max_lines - 1:
            return [*lines, _shorten("".join(words), font, width)]
        count = 1
        while count < len(words) and font.getlength("".join(words[: count + 1]).strip()) <= width:
            count += 1
        lines.append(_shorten("".join(words[:count]).strip(), font, width))
        words = words[count:]
    return lines


def _shorten(text: str, font: Font, width: int) -> str:
    """Removes the middle of a text that is too wide, since file names differ at both ends."""
    if font.getlength(text) <= width:
        return text

    def shortened(count: int) -> str:
        tail = count // 3
        return text[: count - tail].rstrip() + _ELLIPSIS + text[len(text) - tail :].lstrip()

    def width_of(count: int) -> int:
        return math.ceil(font.getlength(shortened(count)))

    count = bisect_right(range(1, len(text)), width, key=width_of)
    return shortened(count) if count else ""
