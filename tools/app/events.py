"""What all screens share: the page, its session, and how handlers are called and fail."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from stylemix.errors import StylemixError
from stylemix.memory import release_memory
from stylemix.models.model import Model
from stylemix.progress import Progress
from stylemix.tools.app.session import Session, Stopped

# How many visitors are served at once, by what is done for them; the others see their place.
LINES = {"draw": 2, "gallery": 1, "project": 1, "learn": 1}
OF_PHOTOS = ("draw", "gallery", "project")  # a deletion of the photo waits for these
HOUR = 3600  # seconds that a visitor's files are kept after the last use


class Page:
    """The page while it is built.

    Attributes:
        gr: the module gradio.
        base: the model of all visitors.
        folder: where sessions have their folders; gradio serves files from it.
        state: component with the visitor's session.
        status: component with a sentence about what was done last.
        busy: component below it with the progress of what is done for the gallery.
        shared: components of one screen that another changes, by name.
    """

    def __init__(self, gr: Any, base: Model, folder: Path) -> None:
        self.gr, self.base, self.folder = gr, base, folder
        self.state = gr.State(time_to_live=HOUR, delete_callback=close)
        self.status: Any = None
        self.busy: Any = None
        self.shared: dict[str, Any] = {}

    def slider(self, low: float, high: float, value: float, **options: Any) -> Any:
        """A slider; what is typed beside it may be empty or out of range, and is then brought in.

        As the browser does when the field is left: gradio refuses both without a word.
        """
        made = self.gr.Slider(low, high, value, **options)
        made.preprocess = lambda typed: min(max(float(typed or 0), low), high)
        return made

    def on(
        self,
        trigger: Any,
        function: Callable[..., Any],
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        *,
        line: str = "",
        drawing: bool = False,
        progress: bool = False,
        event: Any = None,
        last: bool = False,
        **options: Any,
    ) -> Any:
        """Calls `function(session, *values of inputs)` at events, and shows what it returns.

        The function returns a tuple of values for the outputs, or yields several, each of them
        whole: of two that come close together a slow browser shows the last one only. A
        StylemixError is shown as its sentence; the outputs then stay as they are.

        Args:
            trigger: an event of a component, a list of them, or `then` of what this returned.
            function: the handler.
            inputs: components whose values it gets.
            outputs: components that it changes.
            line: which of `LINES` it waits in; none for quick functions.
            drawing: whether it draws the photo, so that it ends when that is deleted.
            progress: whether it gets gradio's `progress`.
            event: the class of the event's data, if it gets `event`.
            last: during a run only the last of further events counts, as for sliders.
            options: others of gradio's listeners.
        """
        gr, shown = self.gr, len(outputs)
        handler = partial(self._handle, function, shown, line, drawing)
        waiting = gr.Progress()

        def call(progress_: Any = waiting, session: Any = None, *values: Any) -> Iterator[Any]:
            yield from handler(session, values, **({"progress": progress_} if progress else {}))

        def call_with_event(event_: Any, session: Any = None, *values: Any) -> Iterator[Any]:
            yield from handler(session, values, event=event_)

        if event is not None:
            call_with_event.__annotations__ = {"event_": event}
        several = isinstance(trigger, list)
        listen = partial(gr.on, trigger) if several else trigger
        return listen(
            call if event is None else call_with_event,
            [self.state, *inputs],
            [self.state, *outputs],
            concurrency_id=line or None,
            concurrency_limit=LINES[line] if line else None,
            trigger_mode="always_last" if last else "once",
            api_visibility="private",
            show_progress_on=options.pop("show_progress_on", list(outputs) or None),
            **options,
        )

    def _handle(
        self,
        function: Callable[..., Any],
        shown: int,
        line: str,
        drawing: bool,
        session: Session | None,
        values: Sequence[Any],
        **extra: Any,
    ) -> Iterator[Any]:
        """Yields the session and the values of the `shown` outputs, as gradio wants them."""
        session = session or Session(self.base, self.folder)
        nothing, turn, told = [self.gr.skip()] * shown, session.turn, False

        def all_of(part: Sequence[Any]) -> Any:
            # Copies: gradio takes the value out of an update, which may be given once more.
            copies = [dict(value) if isinstance(value, dict) else value for value in part]
            return (session, *copies) if shown else session

        # Not while a part is shown: gradio never comes back for the next if the visitor has left.
        def working() -> Any:
            return session.working(line in OF_PHOTOS) if line else nullcontext()

        def advance(parts: Iterator[Any]) -> Any:
            with working():
                part = None if drawing and turn != session.turn else next(parts, None)
            if drawing and turn != session.turn:
                raise Stopped
            return part

        try:
            with working():
                result = function(session, *values, **extra)
            parts = iter([result] if isinstance(result, tuple) else result)
            while (part := advance(parts)) is not None:
                yield all_of(part)
                told = True
        except Stopped:
            told = False
        except StylemixError as error:
            self.gr.Warning(sentence(error, session), duration=None, title="This did not work")
        if line:
            release_memory()
        # Gradio shows the last part again at the end, which must not be one of an earlier photo.
        if not told or (drawing and turn != session.turn):
            yield all_of(nothing)


FOLDER = rf"([a-z]+-\d+-[0-9a-f]{{8}}{re.escape(os.sep)})?"  # of `Session.new_file`


def close(session: Session | None) -> None:
    """Ends a visit."""
    if session is not None:
        session.close()


def sentence(error: StylemixError, session: Session) -> str:
    """An error for the page, without the folders of this machine."""
    return escape(re.sub(re.escape(f"{session.folder}{os.sep}") + FOLDER, "", str(error)))


def as_progress(progress: Any, what: str) -> Progress:
    """Gradio's progress as that of a computation."""

    def report(done: int, total: int, loss: float = 0.0, /) -> None:
        progress((done, total), desc=what)

    return report
