"""Pages that keep their word: commands parse, options exist, links lead somewhere."""

import ast
import importlib
import itertools
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import click
import pytest
from torch.distributed.run import get_args_parser

from stylemix import cli
from stylemix.global_options import GLOBAL_OPTIONS
from stylemix.training.adapt.finetune import TransferSettings
from stylemix.training.adapt.look_loss import LookSettings
from stylemix.training.config import TrainConfig

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md"))]
# Where each command is explained.
ON_OTHER_PAGES = {
    "demo": "quickstart.md",
    "inspect": "command-line.md",
    "completion": "command-line.md",
    "forget": "privacy.md",
    "doctor": "install.md",
}
PAGE_OF = {name: f"{name}.md" for name in cli.COMMANDS} | ON_OTHER_PAGES
WITH_A_TABLE = [name for name in cli.COMMANDS if name not in ON_OTHER_PAGES]
# Options whose default is not click's own, since another setting or a dataclass decides.
DEFAULTS: dict[tuple[str, str], object] = {
    ("adapt", "--steps"): LookSettings().steps,
    ("adapt", "--kimg"): TransferSettings().kimg,
    ("train", "--output"): None,
    ("train", "--data-name"): None,
}
GLOBAL = {flag for option in GLOBAL_OPTIONS for flag in option.opts}
OPTION_ROWS = {"--w-dim": "--z-dim`, `--w-dim"}  # two options that share a row
OF_STYLEGAN2 = {
    "--outdir", "--data", "--cfg", "--gamma", "--cond", "--snap", "--aug", "--p", "--target",
    "--augpipe", "--resume", "--freezed", "--fp32", "--subset", "--nhwc", "--allow-tf32",
    "--nobench",
}  # fmt: skip
OF_TORCHRUN = {flag for action in get_args_parser()._actions for flag in action.option_strings}
OF_OTHERS = {"--slow", "--logdir", "--locked"} | OF_STYLEGAN2 | OF_TORCHRUN
ENDS = {"&&", "||", ";", "|", ">", ">>"}
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")


@dataclass(frozen=True)
class Block:
    """A piece of code in a page: its language ("" for inline and indented code) and its text."""

    page: Path
    line: int
    language: str
    text: str
    inline: bool = False

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@cache
def blocks(page: Path) -> tuple[Block, ...]:
    """Returns the fenced and indented blocks and the inline code of a page."""
    found: list[Block] = []
    fence, language, start, lines = "", "", 0, list[str]()
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        mark = re.match(r" *(`{3,})(.*)", line)
        if fence:
            if mark and mark[1] == fence and not mark[2].strip():
                found.append(Block(page, start, language, "\n".join(lines)))
                fence = ""
            else:
                lines.append(line)
        elif mark:
            fence, language, start, lines = mark[1], mark[2].strip(), number, []
        elif line.startswith("    "):
            found.append(Block(page, number, "", line.strip()))
        else:
            spans = re.findall(r"(?<!`)`([^`]+)`(?!`)", line)
            found += [Block(page, number, "", span, inline=True) for span in spans]
    assert not fence, f"{page.name}: a block is not closed"
    return tuple(found)


@cache
def prose(page: Path) -> str:
    """Returns a page without its code."""
    text = re.sub(r"^ *(`{3,}).*?^ *\1 *$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return re.sub(r"`[^`\n]+`", "", text)


def command_lines() -> Iterator[tuple[Block, list[str]]]:
    """Yields the words of every `stylemix ...` in the pages, inline ones included."""
    for block in (block for page in PAGES for block in blocks(page)):
        if block.language not in ("", "bash", "console", "sh"):
            continue
        text = re.sub(r"\\\n\s*", " ", block.text)
        for line in text.splitlines():
            if "stylemix " not in line:
                continue
            words = shlex.split(line.removeprefix("$ "), comments=True)
            start = 0
            for end, word in enumerate([*words, ";"]):
                if word not in ENDS:
                    continue
                part = words[start:end]
                start = end + 1
                if " ".join(part[:3]) == "python -m stylemix":
                    part = part[2:]
                if part[:1] == ["stylemix"] and len(part) > 1:
                    yield block, part[1:]


def command(name: str) -> click.Command:
    found = cli.main.get_command(click.Context(cli.main), name)
    assert found is not None
    return found


@cache
def options(name: str) -> dict[str, click.Option]:
    """Returns the options of a command by each of their spellings, `--help` left out."""
    params = [param for param in command(name).params if isinstance(param, click.Option)]
    return {flag: option for option in params for flag in [*option.opts, *option.secondary_opts]}


def explained(name: str) -> dict[str, click.Option]:
    """Returns the options that the page of a command tells about: `sweep` leaves train's to it.

    What every command has is on a page of its own.
    """
    shared = {"--" + field.name.replace("_", "-") for field in fields(TrainConfig)}
    elsewhere = GLOBAL | shared if name == "sweep" else GLOBAL
    return {flag: option for flag, option in options(name).items() if flag not in elsewhere}


def problem(words: list[str], inline: bool) -> str | None:
    """Says what is wrong with the words of a command line, None where it parses."""
    name, arguments = words[0], words[1:]
    if name in ("COMMAND", "...", "--help", "-h", "--version"):
        return None
    if name not in cli.COMMANDS:
        return f"there is no command {name!r}"
    try:
        command(name).make_context(name, arguments).close()
    except click.exceptions.Exit:
        pass  # --help
    except click.MissingParameter as error:
        if not inline:  # in a sentence a command may be named without what it needs
            return error.format_message()
    except click.UsageError as error:
        return error.format_message()
    return None


def test_every_command_line_parses(capsys):
    lines = list(command_lines())
    wrong = [
        f"{block}: stylemix {' '.join(words)}: {said}"
        for block, words in lines
        if (said := problem(words, block.inline)) is not None
    ]
    assert not wrong, "\n".join(wrong)
    shown = {words[0] for block, words in lines if not block.inline}
    assert set(cli.COMMANDS) <= shown, "every command needs an example in a page"


@pytest.mark.parametrize(
    "line", ["demo --grid", "mix --source a.jpg", "align", "nosuch", "train x --kimg y"]
)
def test_a_wrong_command_line_is_found(line):
    assert problem(line.split(), inline=False) is not None


def test_missing_arguments_are_fine_in_a_sentence():
    assert problem(["adapt"], inline=True) is None
    assert problem(["adapt", "--nosuch"], inline=True) is not None


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_option_is_on_the_page_of_its_command(name):
    page = DOCS / PAGE_OF[name]
    code = " ".join(block.text for block in blocks(page))
    mentioned = set(FLAG.findall(code))
    missing = [flag for flag in explained(name) if flag.startswith("--") and flag not in mentioned]
    assert not missing, f"{page.name} says nothing about {', '.join(missing)}"


def test_what_every_command_has_is_in_one_table():
    rows = (DOCS / "command-line.md").read_text(encoding="utf-8").splitlines()
    assert [f for f in GLOBAL if not any(row.startswith(f"| `{f}`") for row in rows)] == []
    for name in cli.COMMANDS:
        assert set(options(name)) >= GLOBAL


def test_no_page_names_an_option_that_does_not_exist():
    known = {flag for name in cli.COMMANDS for flag in options(name)} | {"--help", "--version"}
    wrong = []
    for page in DOCS.glob("*.md"):
        for block in blocks(page):
            ours = block.language in ("", "bash") and not re.match(r"(pip|git|python) ", block.text)
            flags = FLAG.findall(block.text) if ours else []
            wrong += [f"{block}: {flag}" for flag in flags if flag not in known | OF_OTHERS]
    assert not wrong


@pytest.mark.parametrize("name", WITH_A_TABLE)
def test_tables_of_options_hold_options_of_that_command_only(name):
    rows = [line for line in (DOCS / f"{name}.md").read_text().splitlines() if "| `--" in line]
    flags = {f for row in rows for f in FLAG.findall(row.split("|")[1])}
    assert len(flags) >= 3
    assert flags <= set(options(name)) | OF_STYLEGAN2  # a table leads from theirs to ours


def _last_cell(page: str, start: str) -> str:
    """Returns the last cell of the last table row of a page that starts so."""
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    row = [line for line in lines if line.startswith(start)][-1]
    return row.strip("| ").split("|")[-1].strip()


@pytest.mark.parametrize("name", WITH_A_TABLE)
def test_tables_of_options_tell_the_defaults(name):
    wrong = []
    for flag, option in explained(name).items():
        default = DEFAULTS.get((name, flag), option.default)
        if flag not in option.opts or not isinstance(default, (int, float, str, Path)):
            continue
        told = _last_cell(f"{name}.md", "| `" + OPTION_ROWS.get(flag, flag) + "`")
        expected = "off" if default is False else f"{default:g}" if _number(default) else default
        if str(expected) != told and not (default == "" and told == "empty"):
            wrong.append(f"{flag}: got {told}; expected {expected}")
    assert not wrong


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _styles() -> set[str]:
    assets = ROOT / "stylemix" / "assets"
    folders = [assets / "styles", assets / "directions"]
    return {file.stem for folder in folders for file in folder.iterdir()}


def test_styles_in_examples_are_shipped():
    if not _styles():
        pytest.skip("no styles are shipped yet")
    wrong = []
    for block, words in command_lines():
        for option, value in itertools.pairwise(words):
            name = re.sub(r":-?[\d.]+$", "", value)
            if (
                option == "--style"
                and name != "seed"
                and re.fullmatch(r"[a-z-]+", name)
                and name not in _styles()
            ):
                wrong.append(f"{block}: {name}")
    assert not wrong


def _slug(heading: str) -> str:
    """Returns the anchor of a heading, as MyST and GitHub make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


@cache
def anchors(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return {_slug(line) for line in re.findall(r"^#{1,3} +(.+)$", text, flags=re.M)}


def links(page: Path) -> list[str]:
    """Returns what a page links to or shows, code left out."""
    text = prose(page)
    found = re.findall(r"\]\(<?([^)>\s]+)>?(?: +\"[^\"]*\")?\)", text)
    return [*found, *re.findall(r"(?:src|href)=\"([^\"]+)\"", text)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    wrong = []
    for link in links(page):
        if re.match(r"[a-z]+:|_figures/", link):  # Sphinx fails for a figure that is not made
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists():
            wrong.append(f"{link}: no such file")
        elif anchor and anchor not in anchors(target):
            wrong.append(f"{link}: no such heading")
    assert not wrong


def test_every_page_is_in_the_contents():
    index = DOCS / "index.md"
    trees = [block.text for block in blocks(index) if block.language == "{toctree}"]
    named = [line for text in trees for line in text.splitlines() if re.fullmatch(r"[\w-]+", line)]
    pages = sorted(page.stem for page in DOCS.glob("*.md") if page != index)
    assert sorted(named) == pages


def test_the_architecture_has_one_row_for_each_folder_and_nothing_else():
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w/]+)` \|", text, flags=re.M)
    parts = ["ops", "stylemix", "training", "tools"]
    packages = [ROOT / part for part in parts]
    packages += [path.parent for part in parts for path in (ROOT / part).glob("*/__init__.py")]
    folders = {path.relative_to(ROOT).as_posix() for path in packages if not path.is_symlink()}
    assert sorted(row.rstrip("/") for row in rows) == sorted(folders)
    assert text.count("\n") < 60, "one screen"


PYTHON = [block for page in PAGES for block in blocks(page) if block.language == "python"]


def test_pages_of_tasks_have_a_python_example():
    have = {block.page.stem for block in PYTHON}
    assert {"align", "project", "mix", "adapt", "generate", "convert", "quickstart"} <= have


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_examples_import_what_exists(block):
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            module = importlib.import_module(node.module)
            assert [a.name for a in node.names if not hasattr(module, a.name)] == []


@pytest.mark.slow
@pytest.mark.parametrize("block", PYTHON, ids=str)
@pytest.mark.usefixtures("capsys", "few_steps", "few_faces", "exported_once")
def test_python_examples_run(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = block.text.replace("steps=250", "steps=4")  # they take a minute and a half
    exec(compile(text, str(block), "exec"), {"__name__": "example"})
