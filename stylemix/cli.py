"""The `stylemix` command: a table of commands, each imported when it is called.

Every error that a user can cause is printed as one line on standard error, with exit code 2.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from itertools import pairwise
from types import FrameType
from typing import Any

import click
from click.core import ParameterSource

from stylemix import messages
from stylemix.completion import read_table, stand_in
from stylemix.errors import StylemixError, did_you_mean
from stylemix.global_options import own_defaults, with_global_options
from stylemix.memory import is_out_of_memory, keep_memory
from stylemix.options_file import at_home
from stylemix.version import __version__

# Threads of PyTorch that wait for others sleep, instead of taking the processor from whatever else
# runs: beside one busy process the demo takes 54 s so, and 226 s otherwise; alone 2 to 10 % more.
# OpenMP reads it when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

COMMANDS = {
    "demo": ("stylemix.tools.demo:demo_command", "Show portraits in every shipped style."),
    "app": ("stylemix.tools.app.command:app_command", "Serve the app for a browser."),
    "mix": ("stylemix.tools.mix:mix_command", "Render a person in one or more styles."),
    "project": ("stylemix.tools.project:project_command", "Project photos to latents."),
    "edit": ("stylemix.tools.edit:edit_command", "Change a photo's expression, pose or light."),
    "drag": ("stylemix.tools.drag:drag_command", "Drag points of a face to other places."),
    "video": (
        "stylemix.tools.video:video_command",
        "Make a video that changes person, style or pose.",
    ),
    "adapt": ("stylemix.tools.adapt:adapt_command", "Make a style file from images."),
    "distill": (
        "stylemix.tools.distill:distill_command",
        "Train a small network that redraws photos in a style.",
    ),
    "evaluate-style": (
        "stylemix.tools.evaluate_style:evaluate_style_command",
        "Measure identity and style of avatars.",
    ),
    "generate": ("stylemix.tools.generate:generate_command", "Generate new images from seeds."),
    "align": ("stylemix.tools.align:align_command", "Crop and align the faces of photos."),
    "pack": ("stylemix.tools.pack:pack_command", "Make a training dataset from photos."),
    "train": ("stylemix.tools.train:train_command", "Train a generator on images."),
    "sweep": (
        "stylemix.tools.sweep:sweep_command",
        "Choose training options by held-out images.",
    ),
    "metrics": ("stylemix.tools.metrics:metrics_command", "Compare generated and real images."),
    "audit": ("stylemix.tools.audit:audit_command", "Test what a model has memorised."),
    "blend": ("stylemix.tools.blend:blend_command", "Blend models, or snapshots of a run."),
    "convert": ("stylemix.tools.convert:convert_command", "Convert model files."),
    "export": (
        "stylemix.tools.export:export_command",
        "Export models and styles as ONNX files or a web page.",
    ),
    "forget": ("stylemix.tools.forget:forget_command", "Remove what is kept of photos."),
    "inspect": ("stylemix.tools.inspect:inspect_command", "Say what files are."),
    "doctor": ("stylemix.tools.doctor:doctor_command", "Check the installation."),
    "completion": (
        "stylemix.tools.completion:completion_command",
        "Print the script that completes lines in a shell.",
    ),
}

TEXTS = ("--consent", "--credit", "--license", "--name")  # options whose values may be empty
USER_ERROR = 2
INTERRUPTED = 130  # what shells report: 128 + SIGINT, and 143 or 129 for these
# SIGHUP, which Windows does not have, comes when the terminal is closed.
ENDING = (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))
PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>


class _Terminated(KeyboardInterrupt):
    """A signal that ends a command as Ctrl-C does: one line, and no half-written file."""


def _terminate(number: int, _frame: FrameType | None) -> None:
    raise _Terminated(number)


def stop_on_sigterm() -> None:
    """Lets SIGTERM and SIGHUP stop a command as Ctrl-C does, unless somebody else handles them."""
    if threading.current_thread() is not threading.main_thread():
        return
    free = [number for number in ENDING if signal.getsignal(number) is signal.SIG_DFL]
    for number in free:
        signal.signal(number, _terminate)
    if free and hasattr(os, "register_at_fork"):  # workers are ended by it, and say nothing
        os.register_at_fork(after_in_child=_end_on_sigterm)
    if "TORCHELASTIC_RUN_ID" in os.environ and sys.platform == "linux":
        import ctypes

        # A torchrun that is killed cannot stop its ranks, which would hold devices and files.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def _whole_imports() -> Iterator[None]:
    """Holds Ctrl-C back until modules are imported; a second one ends the process at once.

    NumPy and PyTorch catch it in places, and go on with the half of a module.
    """
    main_thread = threading.current_thread() is threading.main_thread()
    if not main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    came = []

    def remember(_number: int, _frame: FrameType | None) -> None:
        came.append(True)
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if came:
        raise KeyboardInterrupt


def _end_on_sigterm() -> None:
    for number in ENDING:
        if signal.getsignal(number) is _terminate:
            signal.signal(number, signal.SIG_DFL)


class _OneLineError(click.ClickException):
    exit_code = USER_ERROR

    def show(self, file: object = None) -> None:
        with suppress(OSError):  # where nothing can be printed, the exit code says it
            messages.show_error(self.message)


def _open_streams() -> None:
    """Gives a process that was started without standard streams, as by a service, empty ones.

    Else the next file that it opens is number 1 or 2, into which compilers and libraries print.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):  # the lowest free number is taken
                os.open(os.devnull, os.O_RDWR)
                mode = "w" if number else "r"
                setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def _describe(error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    if reason.startswith("No usable temporary directory"):  # of tempfile
        return (
            f"got {reason[0].lower()}{reason[1:]}; expected one that can be written; "
            "set TMPDIR to a folder with some free space"
        )
    return f"{reason}: {error.filename}" if error.filename else reason


def _one_line(text: str) -> str:
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def _source(error: click.UsageError) -> str:
    """Where a wrong value comes from, if not from the command line."""
    if isinstance(error, click.BadParameter) and error.ctx is not None and error.param is not None:
        source = error.ctx.get_parameter_source(str(error.param.name))
        if source is ParameterSource.DEFAULT_MAP:
            return " (in the file of options)"
    return ""


@contextmanager
def _plain_errors(ctx: click.Context | None = None) -> Iterator[None]:
    """Prints errors of users and their machines as one line; bugs keep their traceback."""
    try:
        yield
    except StylemixError as error:
        raise _OneLineError(_one_line(str(error))) from error
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        where = error.ctx or ctx
        path = where.command_path if where is not None else "stylemix"
        if error.ctx is None and ctx is not None and ctx.invoked_subcommand in COMMANDS:
            path += f" {ctx.invoked_subcommand}"  # its words could not be parsed
        text = _one_line(error.format_message()).rstrip(".") + _source(error)
        raise _OneLineError(f"{text}; see '{path} --help'") from error
    except KeyboardInterrupt as error:
        with suppress(OSError):  # the terminal may be gone
            text = messages.current().stopped()
            messages.problem(text)
            messages.current().finish(text)
        code = 128 + error.args[0] if isinstance(error, _Terminated) else INTERRUPTED
        raise click.exceptions.Exit(code) from None
    except (MemoryError, RuntimeError, OSError, ImportError) as error:
        if is_out_of_memory(error):
            text = "got out of memory; expected room for one batch; "
            advice = "use fewer or smaller images at a time, or --device cpu"
            raise _OneLineError(text + advice) from error
        if isinstance(error, OSError) and error.errno != errno.EPIPE:
            raise _OneLineError(_one_line(_describe(error))) from error
        raise  # click handles a closed pipe (`stylemix ... | head`)


def _check_empty(ctx: click.Context, words: list[str]) -> None:
    """Fails for an empty word, such as of an unset variable: as a name it is the current folder."""
    for before, word in pairwise(["", *words]):
        name, is_given, value = word.partition("=")
        if not (is_given and word.startswith("--")):
            name, value = before, word
        if not value and name not in TEXTS:
            what = name if name.startswith("--") else "word"
            ctx.fail(
                f"got an empty {what}; expected the name of a file or another value; leave it out"
            )


def _check_folder() -> None:
    """Fails where the current folder was removed: libraries of PyTorch end the process there."""
    try:
        os.getcwd()
    except OSError as error:
        raise StylemixError(
            f"got a current folder that cannot be used ({error.strerror}); expected one that is "
            "there; change to another one with cd"
        ) from error


class LazyGroup(click.Group):
    """A click group that imports a command only when it runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports and returns a command; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        if ctx is not None and ctx.resilient_parsing and cmd_name in (table := read_table()):
            return stand_in(cmd_name, table[cmd_name])
        module, function = COMMANDS[cmd_name][0].split(":")
        with _whole_imports():
            command: click.Command = getattr(import_module(module), function)
        return with_global_options(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands from the table, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Parses the options before the name of the command."""
        _open_streams()
        with _plain_errors(parent):
            return super().make_context(info_name, args, parent, **extra)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command, and the user's own defaults of its options."""
        if ctx.resilient_parsing:  # a shell completes a line
            return super().resolve_command(ctx, args)
        args = [args[0], *map(at_home, args[1:])]
        said, (name, *words) = messages.current(), args
        said.command = name
        # The options are parsed later; errors until then have the form that was asked for.
        words = words[: words.index("--")] if "--" in words else words
        said.json, said.verbose = "--json" in words, "--verbose" in words
        _check_folder()
        if name not in COMMANDS:
            ctx.fail(f"No such command '{name}'{did_you_mean(name, COMMANDS)}")
        _check_empty(ctx, args[1:])
        found = super().resolve_command(ctx, args)
        assert found[1] is not None
        ctx.default_map = {name: own_defaults(found[1], name, list(COMMANDS))}
        return found

    def invoke(self, ctx: click.Context) -> object:
        """Runs the command; with --json prints its line, whether it succeeds or fails."""
        # The line of JSON can fail, too: standard output may be a file on a full disk.
        with messages.session() as said, _plain_errors(ctx):
            try:
                with _plain_errors(ctx):
                    result: object = super().invoke(ctx)
            except _OneLineError as error:
                with suppress(OSError):
                    said.finish(error.message)
                raise
            except SystemExit:  # a training that was stopped
                said.finish()
                raise
            said.finish()
            return result


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="stylemix")
def main() -> None:
    """Turn a photo of a person into avatars, with a generator of your own.

    \b
    Examples:
      stylemix demo --output demo.png
      stylemix mix me.jpg toon --output avatar.png
      stylemix COMMAND --help
    """
    keep_memory()
    stop_on_sigterm()
