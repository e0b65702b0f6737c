"""Each promise about safety and privacy names a test or a script; pages name fields as they are."""

import re
from pathlib import Path

import pytest

from stylemix.styles.style import load_style

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["SECURITY.md", "docs/security.md", "docs/hostile-files.md", "docs/privacy.md"]
HELD = r"`(?:bash )?((?:tests|docs|\.ci)/[^` ]*)[^`]*`"


@pytest.mark.parametrize("page", PAGES)
def test_what_holds_a_promise_exists(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(HELD, text)
    assert [name for name in named if not (ROOT / name).exists()] == []
    tables = re.findall(r"^\|.*held by \|\n\|[- |]+\n((?:\|.*\n)+)", text, re.M)
    rows = [row for table in tables for row in table.splitlines()]
    assert rows
    assert [row for row in rows if not re.search(HELD, row)] == []


def test_tests_that_pages_name_exist():
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    pages = (page for page in (ROOT / "docs").glob("*.md") if page.name != "log.md")
    named = re.findall(r"`(test_\w+)`", "".join(page.read_text("utf-8") for page in pages))
    assert [name for name in named if f"def {name}(" not in sources] == []


def test_the_fields_of_a_style_have_the_names_on_its_page():
    """The shipped look was written by `stylemix adapt`."""
    page = (ROOT / "docs" / "adapt.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`info\.(\w+)`", page)) - {"kimg", "biometric"}  # of other methods
    assert named
    assert named <= load_style("noir").info.keys()
