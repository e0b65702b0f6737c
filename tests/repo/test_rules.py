"""Rules of the repository: imports, sizes, safety, help texts."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from click.testing import CliRunner

from stylemix import cli

ROOT = Path(__file__).resolve().parents[2]
PARTS = ["stylemix", "ops", "training", "tools"]
# beside the standard library
EVERYWHERE = {"torch", "numpy", "scipy", "PIL", "safetensors", "tqdm"}
THIRD_PARTY = {
    "ops": {"torch", "numpy"},
    "stylemix": EVERYWHERE,
    "training": EVERYWHERE,
    "tools": EVERYWHERE | {"click"},
}
OF_CLICK = ["stylemix.cli", "stylemix.completion", "stylemix.global_options"]  # beside the commands
# Each of these imports only those before it.
LAYERS = ["ops", "stylemix", "training", "tools"]
# Inside a layer: folders, and the modules beside them, import strictly lower levels.
LEVELS = {
    "stylemix": [
        {"errors", "memory", "version"}, {"messages", "options_file"}, {"progress"}, {"devices"},
        {"io", "networks"},
        {"images", "safe_pickle"}, {"faces"}, {"models"}, {"metrics", "styles"}, {"inversion"},
        {"avatars", "privacy"}, {"export"},
        {"api", "completion", "global_options"}, {"cli", "model"}, {"", "__main__"},
    ],
    "tools": [{""}, {"app"}],
    "training": [{"augment", "data", "curation"}, {""}, {"sweep", "adapt"}],
}  # fmt: skip


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "stylemix" else ("stylemix", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


# Each folder itself, not the links in stylemix/ that lead to the others once more.
MODULES = {
    _name(path): path
    for part in PARTS
    for path in sorted((ROOT / part).rglob("*.py"))
    if not (part == "stylemix" and path.relative_to(ROOT).parts[1] in PARTS)
}
PYTHON = [*MODULES.values(), *ROOT.glob("*.py")]
PYTHON += [path for folder in ["tests", "docs"] for path in (ROOT / folder).rglob("*.py")]
TREES = {path: ast.parse(path.read_text(encoding="utf-8"), str(path)) for path in PYTHON}


def _part(module: str) -> str:
    """Returns the folder of a module of this package."""
    second = [*module.split("."), ""][1]
    return second if second in PARTS else "stylemix"


def _place(module: str) -> tuple[int, int, str]:
    """Returns layer, level in the layer, and folder of a module of this package."""
    layer = _part(module)
    inner = module.removeprefix("stylemix").removeprefix(f".{layer}").lstrip(".").split(".")
    folder = inner[0]
    if layer != "stylemix" and not (ROOT / layer / folder).is_dir():
        folder = ""  # the modules beside the folders are one level
    levels = LEVELS.get(layer, [{""}])
    level = next(number for number, names in enumerate(levels) if folder in names)
    return LAYERS.index(layer), level, folder


def _imported(node: ast.AST) -> Iterator[str]:
    """Yields the modules that a statement imports, `from package import module` included."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        for alias in node.names:
            inner = f"{node.module}.{alias.name}"
            yield inner if inner in MODULES else node.module


def _at_import(tree: ast.Module) -> Iterator[ast.stmt]:
    """Yields the statements that run when a module is imported."""
    todo: list[ast.AST] = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            todo += node.orelse
            continue
        if isinstance(node, ast.stmt):
            yield node
        todo += ast.iter_child_nodes(node)


def _where(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"


def _python(code: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"]
    return subprocess.run(command, cwd=cwd, text=True, capture_output=True, timeout=120)


def test_every_import_points_down():
    wrong = []
    for module, path in MODULES.items():
        if module == "stylemix":
            continue  # it only re-exports names
        here = _place(module)
        for node in ast.walk(TREES[path]):
            for target in _imported(node):
                if target.split(".")[0] == "stylemix":
                    there = _place(target)
                    if there != here and there[:2] >= here[:2]:
                        wrong.append(f"{_where(path, node)} imports {target}")
    assert not wrong


def test_a_folder_is_one_sentence():
    wrong = []
    for module, path in MODULES.items():
        if path.name == "__init__.py" and path.parent.parent != ROOT:
            only = TREES[path].body
            if len(only) != 1 or "\n" in (ast.get_docstring(TREES[path]) or "\n"):
                wrong.append(module)
    assert not wrong


def test_third_party_packages_at_import():
    wrong = []
    for module, path in MODULES.items():
        allowed = THIRD_PARTY[_part(module)] | {"stylemix", *sys.stdlib_module_names}
        allowed |= {"click"} if module in OF_CLICK else set()
        for node in _at_import(TREES[path]):
            for target in _imported(node):
                if target.split(".")[0] not in allowed:
                    wrong.append(f"{_where(path, node)} imports {target} outside a function")
    assert not wrong


def test_click_stays_in_commands():
    imports = [
        module
        for module, path in MODULES.items()
        if _part(module) != "tools"
        and any("click" in _imported(node) for node in ast.walk(TREES[path]))
    ]
    assert sorted(imports) == OF_CLICK


def test_imports_are_absolute_and_named():
    wrong = [
        _where(path, node)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.level or node.names[0].name == "*")
    ]
    assert not wrong


def test_no_import_cycles():
    graph = {
        module: {
            target
            for node in _at_import(TREES[path])
            for target in _imported(node)
            if target in MODULES and target != module
        }
        for module, path in MODULES.items()
    }
    list(TopologicalSorter(graph).static_order())  # raises CycleError, with the cycle


def test_help_imports_no_torch():
    done = _python(
        "from click.testing import CliRunner\n"
        "from stylemix.cli import main\n"
        "import stylemix\n"
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0\n"
        "print({'torch', 'numpy', 'scipy', 'PIL'} & set(sys.modules))"
    )
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_importing_everything_does_nothing(tmp_path):
    done = _python(
        "import importlib, torch\n"
        "torch.set_num_threads(3)\n"
        f"for name in {[name for name in MODULES if not name.endswith('__main__')]}:\n"
        "    importlib.import_module(name)\n"
        "assert torch.get_num_threads() == 3\n"
        "assert torch.get_default_dtype() == torch.float32\n"
        "assert torch.is_grad_enabled()\n"
        "assert torch.initial_seed() == torch.default_generator.initial_seed()\n"
        "assert not torch.cuda.is_initialized()\n",
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_everything_is_imported_where_unix_has_no_modules_of_its_own():
    names = [name for name in MODULES if not name.endswith("__main__")]
    done = _python(
        "import importlib, os\n"
        "for name in ('fcntl', 'resource', 'pwd', 'grp', 'termios', 'pty'):\n"
        "    sys.modules[name] = None\n"
        "for name in ('getuid', 'geteuid', 'sched_getaffinity'):\n"
        "    delattr(os, name)\n"
        f"for name in {names}:\n"
        "    importlib.import_module(name)\n"
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_checkout_without_symbolic_links_works(tmp_path):
    no_assets = shutil.ignore_patterns("assets", "__pycache__")
    for part in PARTS:
        shutil.copytree(ROOT / part, tmp_path / part, symlinks=True, ignore=no_assets)
    for name in ("ops", "training", "tools"):
        link = tmp_path / "stylemix" / name
        link.unlink()
        link.write_text(f"../{name}")  # what Git writes on Windows in place of a link
    code = f"sys.path.insert(0, {str(tmp_path)!r})\nimport stylemix.tools.mix, stylemix\n"
    done = _python(code + "print(stylemix.tools.mix.__file__)", cwd=tmp_path)
    assert (done.stderr, done.stdout.strip()) == ("", str(tmp_path / "tools" / "mix.py"))


@pytest.mark.parametrize("folder", ["ops", "training", "tools"])
def test_folders_refuse_to_be_imported_by_their_bare_name(folder):
    done = _python(f"import {folder}")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert f"stylemix.{folder}" in last


def test_public_names_are_lazy_and_complete():
    done = _python(
        "import stylemix\n"
        "assert 'torch' not in sys.modules\n"
        "assert set(stylemix.__all__) <= set(dir(stylemix))\n"
        "assert issubclass(stylemix.StylemixError, Exception)\n"
        "assert 'torch' not in sys.modules\n"
        "names = [name for name in stylemix.__all__ if name[0] != '_']\n"
        "print([callable(getattr(stylemix, name)) for name in names])\n"
        "stylemix.nosuch"
    )
    assert "False" not in done.stdout
    assert "AttributeError: module 'stylemix' has no attribute 'nosuch'" in done.stderr


def test_files_are_short():
    sources = [*PYTHON, *(path for part in PARTS for path in (ROOT / part).glob("*.c[pu]*"))]
    lengths = {path: path.read_text(encoding="utf-8").count("\n") for path in sources}
    assert not {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > 350}


def test_functions_are_short():
    too_long = []
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            # The loop may be longer: it is read from top to bottom, under headings.
            main_loop = path == ROOT / "training" / "loop.py" and node.name == "train"
            if lines > (120 if main_loop else 60):
                too_long.append(f"{_where(path, node)} {node.name}: {lines} lines")
    assert not too_long


def test_no_drawer_for_everything():
    names = {path.stem for path in MODULES.values()}
    assert not names & {"utils", "util", "misc", "helpers", "helper", "common"}


def test_identifiers_say_color_and_docstrings_returns():
    for node in (node for tree in TREES.values() for node in ast.walk(tree)):
        names = " ".join(str(getattr(node, key, "")) for key in ("id", "arg", "attr", "name"))
        text = ast.get_docstring(node) or "" if isinstance(node, ast.FunctionDef) else ""
        assert not re.match(r".*colour|.*\nreturn ", f"{names}\n{text}".lower()), names


def _unsafe(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if name.split(".")[-1] == "load" and "torch" in name:
        return given.get("weights_only") != "True"
    if name in {"np.load", "numpy.load"}:
        return given.get("allow_pickle", "False") != "False"
    return name in {
        "pickle.load", "pickle.loads", "pickle.Unpickler", "eval", "exec", "os.system",
        "yaml.load", "marshal.loads", "shelve.open", "pd.read_pickle",
    }  # fmt: skip


def test_nothing_that_is_loaded_can_run_code():
    wrong = []
    for path, tree in TREES.items():
        if path.is_relative_to(ROOT / "tests"):  # these may open what they wrote themselves
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _unsafe(node):
                wrong.append(f"{_where(path, node)} {ast.unparse(node.func)}")
            if isinstance(node, ast.ImportFrom) and node.module in {"pickle", "marshal", "shelve"}:
                wrong.append(f"{_where(path, node)} from {node.module} import: write it in full")
    assert not wrong


def test_no_paths_of_one_machine():
    names = ["work", "farm", "root", "home", "Users", "tmp"]
    pattern = re.compile(rf"(?<![\w.)>}}])/({'|'.join(names)})/\w")
    texts = [path for part in [*PARTS, "tests", "docs", ".ci"] for path in (ROOT / part).rglob("*")]
    texts += ROOT.glob("*.*")
    wrong = []
    for path in texts:
        if path.suffix in {".py", ".md", ".toml", ".in", ".txt", ".json"} or path.name == "run":
            lines = path.read_text(encoding="utf-8").splitlines()
            hits = (number for number, line in enumerate(lines, 1) if pattern.search(line))
            wrong += [f"{path.relative_to(ROOT)}:{number}" for number in hits]
    assert not wrong


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_command_has_a_help_text_with_an_example(name):
    result = CliRunner().invoke(cli.main, [name, "--help"], prog_name="stylemix")
    assert result.exit_code == 0, result.output
    assert re.search(r"Examples?:\n +(\$ )?stylemix " + name, result.output)
    assert f"Usage: stylemix {name}" in result.output


NO_DEVICE = {"completion", "convert", "doctor", "export", "forget"}


@pytest.mark.parametrize("name", [name for name in cli.COMMANDS if name not in NO_DEVICE])
def test_every_command_that_computes_takes_a_device(name):
    command = cli.main.get_command(None, name)
    option = next(option for option in command.params if "--device" in option.opts)
    assert option.default == "auto"
