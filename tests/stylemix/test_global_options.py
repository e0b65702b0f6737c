"""What every command has: --json, --quiet, --verbose, --overwrite and defaults of the user's."""

import json
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest
from click.testing import CliRunner

from stylemix import cli
from stylemix.errors import StylemixError
from stylemix.global_options import may_overwrite
from stylemix.messages import detail, note, result, say, wrote


@pytest.fixture
def probe(monkeypatch, tmp_path):
    """Runs `stylemix probe ARGS` in an empty folder; the command tells about its arguments."""

    @click.command()
    @click.argument("model", required=False)
    @click.option("--preset", type=click.Choice(["fast", "best"]), default="best")
    @click.option("--style", "styles", multiple=True)
    @click.option("--no-loop/--loop", "once", default=False)
    @click.option("--device", default="auto")
    @click.option("--steps", type=int, default=3)
    @click.option("--file", type=click.Path(path_type=Path))
    @click.option("--fail", is_flag=True)
    def command(**arguments):
        say("a table")
        wrote("out.png")
        note("Note: something")
        detail("More")
        result(overwrite=may_overwrite(), **arguments)
        if arguments["fail"]:
            raise StylemixError("got a; expected b")

    module = ModuleType("stylemix_probe")
    module.command = command
    monkeypatch.setitem(sys.modules, "stylemix_probe", module)
    monkeypatch.setitem(cli.COMMANDS, "probe", ("stylemix_probe:command", "Test."))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("STYLEMIX_CONFIG", raising=False)

    def run(*words):
        return CliRunner().invoke(cli.main, ["probe", *words], prog_name="stylemix")

    return run


def _result(probe, *words):
    done = probe("--json", *words)
    assert done.exit_code == 0, done.output
    assert done.stdout.count("\n") == 1
    return json.loads(done.stdout)["result"]


def test_text_json_quiet_and_verbose(probe):
    assert probe().stdout == "a table\nWrote out.png\n"
    assert probe().stderr == "Note: something\n"
    assert (probe("--quiet").stdout, probe("--quiet").stderr) == ("a table\n", "")
    assert probe("--verbose").stderr == "Note: something\nMore\n"
    done = probe("--json")
    document = json.loads(done.stdout)
    assert (document["command"], document["written"]) == ("probe", [{"path": "out.png"}])
    assert (document["notes"], "error" in document) == (["Note: something"], False)
    both = probe("--quiet", "--verbose")
    assert both.exit_code == 2
    assert "got --quiet and --verbose; expected one of them" in both.stderr


def test_overwriting_is_asked_for(probe):
    assert _result(probe)["overwrite"] is False
    assert _result(probe, "--overwrite")["overwrite"] is True


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--fail"], "got a; expected b"),
        (["--preset", "slow"], "Invalid value for '--preset'"),
        (["--stile", "x"], "--style"),
    ],
)
def test_errors_are_json_with_exit_code_2(probe, words, message):
    done = probe(*words, "--json")
    assert done.exit_code == 2
    assert message in json.loads(done.stdout)["error"]
    assert done.stderr.startswith("Error: ") or "Note" in done.stderr


def test_an_unknown_command_is_json_too_and_names_the_nearest(probe):
    done = CliRunner().invoke(cli.main, ["prob", "--json"], prog_name="stylemix")
    assert done.exit_code == 2
    assert "No such command 'prob'; did you mean probe?" in json.loads(done.stdout)["error"]


def test_defaults_of_the_user(probe):
    Path("stylemix.toml").write_text(
        '[all]\ndevice = "cpu"\nmodel = "own"\n'
        '[probe]\npreset = "fast"\nstyle = "toon"\nloop = false\noverwrite = true\nsteps = 5\n'
    )
    got = _result(probe)
    assert (got["device"], got["preset"], got["styles"]) == ("cpu", "fast", ["toon"])
    assert (got["once"], got["overwrite"], got["steps"]) == (True, True, 5)
    assert got["model"] is None  # an argument, and no option
    assert _result(probe, "--preset", "best", "--style", "noir")["styles"] == ["noir"]
    assert "Defaults of stylemix.toml: device, preset" in probe("--verbose").stderr


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("[probe]\npreste = 'fast'", "got 'preste' in [probe]; expected the name of an option, wit"
         "hout dashes; did you mean preset?"),
        ("[all]\ndevise = 'cpu'", "did you mean device?"),
        ("[probe]\npreset = 'slow'", "is not one of 'fast', 'best'. (in the file of options)"),
        ("[probe]\npreset = ['fast']", "got a table or a list for preset; expected one value"),
        ("[prob]\n", "did you mean probe?"),
        ("[probe]\nsteps = 1e400", "'inf' is not a valid integer"),
        ("[probe]\nsteps = 2.5", "'2.5' is not a valid integer"),
        ("[probe]\nsteps = true", "'True' is not a valid integer"),
        ("[probe]\nsteps = 1979-05-27", "got datetime.date(1979, 5, 27) for steps; expected a te"),
        (f"[probe]\nsteps = 0x{'f' * 9999}", "got a number of many digits for steps; expected a"),
        ("[probe]\nfile = 'a'\n[all]\njson = 3", "'3' is not a valid boolean"),
        ('[probe]\nfile = "a\\u0000b"', "got 'a\\x00b' for file; expected a text or a number"),
        ("[probe]\nstyle = [[1]]", "got [1] for style; expected a text or a number; change it"),
    ],
)  # fmt: skip
def test_a_wrong_default_is_one_sentence(probe, table, message):
    Path("stylemix.toml").write_text(table)
    done = probe()
    assert done.exit_code == 2
    assert message.replace(". (", " (") in done.stderr
    assert done.stderr.count("\n") == 1
