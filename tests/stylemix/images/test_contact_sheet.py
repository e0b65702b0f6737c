"""Contact sheets: positions of images and labels."""

import math

import numpy as np
import pytest
from PIL import Image, ImageFont

from stylemix.errors import StylemixError
from stylemix.images import contact_sheet
from stylemix.images.contact_sheet import _plain, _shorten, _wrap, fit_size, grid

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
LONG = "an_extremely_long_name_of_a_style_file_that_nobody_would_ever_type.safetensors " * 3


def _squares(*colors: tuple[int, int, int]) -> list[Image.Image | None]:
    return [Image.new("RGB", (64, 64), color) for color in colors]


def _box(sheet: Image.Image, color: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Returns left, top, right and bottom (the first px outside) of a colour."""
    rows, columns = np.nonzero((np.asarray(sheet) == color).all(-1))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def _ink(sheet: Image.Image) -> np.ndarray:
    """Returns a mask of the text: grey to black pixels."""
    pixels = np.asarray(sheet).astype(int)
    return (pixels.max(-1) < 200) & (np.ptp(pixels, axis=-1) < 9)


def test_rows_and_columns():
    sheet = grid(_squares(RED, GREEN, BLUE), columns=2)
    margin, gap, cell = 16, 9, 192
    assert sheet.size == (2 * margin + 2 * cell + gap,) * 2
    assert _box(sheet, RED) == (margin, margin, margin + cell, margin + cell)
    assert _box(sheet, GREEN)[0] == margin + cell + gap
    assert _box(sheet, BLUE)[:2] == (margin, margin + cell + gap)
    assert not _ink(sheet).any()


@pytest.mark.parametrize(
    ("count", "columns"), [(1, 1), (3, 3), (5, 5), (6, 3), (7, 4), (10, 5), (16, 4), (25, 5)]
)
def test_columns_are_chosen_for_a_full_sheet(count, columns):
    sheet = grid(_squares(*[RED] * count), cell=16, gap=4)
    assert sheet.width == 16 + columns * 20 - 4


def test_labels_set_the_columns():
    assert grid(_squares(*[RED] * 6), column_labels=["a", "b"], cell=16, gap=4).width == 16 + 36
    tall = grid(_squares(*[RED] * 6), row_labels=["", "", ""], cell=16, gap=4)
    assert tall.size == (16 + 36, 16 + 56)


def test_non_square_and_missing_images():
    wide = Image.new("RGB", (400, 100), RED)
    sheet = grid([wide, None, *_squares(BLUE)], columns=3, cell=100, gap=10)
    left, top, right, bottom = _box(sheet, RED)
    assert (right - left, bottom - top) == (100, 25)
    assert abs((top + bottom) / 2 - sheet.height / 2) <= 1
    assert _box(sheet, BLUE)[0] - left == 220
    empty = np.asarray(sheet)[8:108, left + 110 : left + 210]
    assert (empty[1:-1, 1:-1] == 255).all()


@pytest.mark.parametrize(("size", "box"), [((50, 30), (100, 60)), ((30, 50), (60, 100))])
def test_cells_have_the_aspect_ratio_of_the_images(size, box):
    images = [Image.new("RGB", size, color) for color in (RED, GREEN)]
    sheet = grid([*images, None], columns=3, cell=100, gap=10)
    assert sheet.size == (3 * box[0] + 20 + 16, box[1] + 16)
    assert _box(sheet, RED) == (8, 8, 8 + box[0], 8 + box[1])
    assert _box(sheet, GREEN)[0] == 18 + box[0]
    labelled = grid(images, columns=1, cell=100, gap=10, labels=["one", "two"])
    assert _box(labelled, GREEN)[1] > 18 + box[1] + 8  # the label of the first is between them
    ink = np.nonzero(_ink(labelled)[8 + box[1] : _box(labelled, GREEN)[1]])
    assert len(ink[0]) > 0
    assert abs((ink[1].min() + ink[1].max()) / 2 - labelled.width / 2) < 3


def test_fit_size():
    assert fit_size((160, 96), 80) == (80, 48)
    assert fit_size((3, 4), 1000) == (750, 1000)
    assert fit_size((1000, 1), 10) == (10, 1)


def test_small_images_are_upsampled_smoothly():
    step = Image.new("RGB", (64, 64), BLUE)
    step.paste(RED, (0, 0, 32, 64))
    reds = np.asarray(grid([step]))[100, 16:208, 0]
    assert (reds[:90] == 255).all()
    assert (reds[102:] == 0).all()
    assert len(set(reds[90:102].tolist())) > 3


def test_transparent_images_are_composited_on_white():
    sheet = grid([Image.new("RGBA", (64, 64), (0, 0, 0, 0))])
    assert sheet.getcolors() == [(sheet.width * sheet.height, WHITE)]


@pytest.mark.parametrize("cell", [32, 64, 192, 300])
def test_long_labels_do_not_overlap(cell):
    images = _squares(RED, GREEN, BLUE, RED)
    sheet = grid(
        images, 2, [LONG, LONG], [LONG, LONG], title=LONG, cell=cell, labels=[LONG] * 4, gap=8
    )
    left, top, right, bottom = _box(sheet, GREEN)
    assert (right - left, bottom - top) == (cell, cell)  # no text over it
    lower = _box(sheet, BLUE)
    assert (lower[2] - lower[0], lower[3] - lower[1]) == (cell, cell)
    ink = _ink(sheet)
    rows, columns = np.nonzero(ink)
    assert min(rows.min(), columns.min()) > 0
    assert rows.max() < sheet.height - 1
    assert columns.max() < sheet.width - 1
    two_lines = 2 * math.ceil(1.25 * max(11, round(cell * 0.085)))
    assert ink[top - two_lines : top, left:].any()
    assert not ink[top - two_lines :, left - 8 : left].any()  # labels of two columns never meet
    assert not ink[top - two_lines :, lower[0] - 4 : lower[0]].any()  # nor those beside and below


def test_labels_are_beside_their_images():
    sheet = grid(_squares(RED, GREEN), row_labels=["I", "I"], column_labels=["I"], labels=["I"])
    ink = _ink(sheet)
    left, top, right, bottom = _box(sheet, RED)
    above = np.nonzero(ink[:top].any(0))[0]
    assert abs(above.mean() - (left + right) / 2) <= 2
    beside = np.nonzero(ink[top:bottom, :left].any(1))[0]
    assert abs(beside.mean() - (bottom - top) / 2) <= 2
    under = np.nonzero(ink[bottom : _box(sheet, GREEN)[1], left:].any(0))[0]
    assert abs(under.mean() - (right - left) / 2) <= 2


def test_last_row_without_labels_takes_no_space_for_them():
    images = _squares(RED, GREEN)
    one, both = (grid(images, 1, labels=labels).height for labels in (["a"], ["a", "b"]))
    assert grid(images, 1).height < one < both


def test_text_is_reduced_to_the_font():
    assert _plain("Ren\u00e9e \u2014 \u0141\u00f8v\u00e9 \u201cSt\u00e4rke\u201d\n0.5\u2026") == (
        "Renee - Love \u201cStarke\u201d 0.5\u2026"
    )
    assert _plain("\u65e5\u672c") == "??"


def test_wrap_and_shorten():
    font = ImageFont.load_default(16)
    assert _wrap("", font, 100, 2) == []
    assert _wrap("one two", font, 500, 2) == ["one two"]
    wide = int(font.getlength("light and make-"))
    assert _wrap("light and make-up now", font, wide, 2) == ["light and make-", "up now"]
    for text in (LONG, "x" * 90, "a b c d e f g h i j k l m n o p q r s t u v w x y z"):
        lines = _wrap(text, font, 100, 2)
        assert len(lines) == 2 - (text[0] == "x")
        assert all(0 < font.getlength(line) <= 100 for line in lines)
    short = _shorten("IMG_20240101_portrait_final_0042.jpg", font, 150)
    assert short.startswith("IMG_2024")
    assert short.endswith("2.jpg")
    assert "\u2026" in short


def test_large_sheets_get_small_cells(monkeypatch):
    monkeypatch.setattr(contact_sheet, "_MAX_PIXELS", 100_000)
    sheet = grid(_squares(*[RED] * 36))
    assert _box(sheet, RED) == (8, 8, 8 + 6 * 52 + 5 * 4, 8 + 6 * 52 + 5 * 4)  # 52^2 * 36 < 10^5


def test_wrong_calls():
    with pytest.raises(StylemixError, match="got no images for a sheet"):
        grid([])
    with pytest.raises(ValueError, match="got 3 column_labels; expected at most 2"):
        grid(_squares(RED, GREEN), 2, ["a", "b", "c"])
    with pytest.raises(ValueError, match="got 2 row_labels; expected at most 1"):
        grid(_squares(RED, GREEN), 2, row_labels=["a", "b"])
