"""The screen for a style of one's own: learned from dropped pictures, with progress and a stop."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

from stylemix.errors import StylemixError
from stylemix.images.read import load_image
from stylemix.progress import Progress
from stylemix.styles.style import save_style
from stylemix.tools.app.events import Page, as_progress
from stylemix.tools.app.session import Session, Stopped, stoppable
from stylemix.training.adapt.adapt import AdaptSettings, StyleCard, adapt

MAX_IMAGES = 60  # more take a machine that is one's own, and the command
STEPS = 250
METHODS = [
    ("automatic", "auto"),
    ("a look: light, colours, make-up", "look"),
    ("a drawing: lines, strokes, planes", "drawing"),
]


def receive_examples(session: Session, files: Sequence[str]) -> list[Path]:
    """Takes pictures of a style in place of earlier ones; raises StylemixError for a bad one.

    What is not taken is removed.
    """
    try:
        if session.learning:
            raise StylemixError(
                "got pictures while a style is learned from others; expected the end of that; "
                "wait, or stop it"
            )
        forget_examples(session)
        if len(files) > MAX_IMAGES:
            raise StylemixError(
                f"got {len(files)} pictures; expected at most {MAX_IMAGES}; drop fewer, or use "
                "stylemix adapt"
            )
        session.examples = [session.adopt(file, "example") for file in files]
    finally:
        for file in files:
            session.discard(file)
    try:
        for path in session.examples:
            load_image(path)
    except StylemixError:
        forget_examples(session)
        raise
    return session.examples


def forget_examples(session: Session) -> None:
    """Removes the pictures of a style."""
    for path in session.examples:
        shutil.rmtree(path.parent, ignore_errors=True)
    session.examples = []


def learn(
    session: Session,
    name: str,
    steps: int = STEPS,
    method: str = "auto",
    progress: Progress | None = None,
) -> tuple[str, Path]:
    """Learns a style from the pictures, as `stylemix adapt` does; returns its name and its file.

    Raises `Stopped` if the visitor stops it, and StylemixError for pictures that do not suit.
    """
    if not session.examples:
        raise StylemixError("got no pictures of a style; expected one or more; drop them first")
    if session.stop_learning.is_set():  # while it waited in line
        raise Stopped
    model = replace(session.model, generator=copy.deepcopy(session.model.generator))
    label = "".join(c for c in name.strip() if c.isalnum() or c in "-_ ")[:40] or "my style"
    style = adapt(
        list(session.examples),
        AdaptSettings(method, steps=steps),
        model=model,
        card=StyleCard(label),
        progress=stoppable(progress, session.stop_learning),
    )
    if session.stop_learning.is_set():
        raise Stopped
    folder = session.new_file("style", "")
    folder.mkdir()
    file = folder / f"{label.replace(' ', '-')}.pkl"
    save_style(file, style)
    forget_examples(session)
    return session.add_style(label, file), file


def add_screen(page: Page) -> None:
    """Adds the screen to the page."""
    gr, shared = page.gr, page.shared
    gr.Markdown(
        "Drop one to twenty photos of faces with the light, the colours or the make-up that you "
        "want, or drawings by one hand; the style is then in your gallery. The pictures are "
        "removed when it is learned."
    )
    with gr.Row():
        with gr.Column():
            files = gr.File(
                label="Pictures of the style", file_count="multiple", elem_id="examples-in",
                height=160,
            )  # fmt: skip
            seen = gr.Gallery(
                label="Pictures to learn from", columns=5, height=140, allow_preview=False,
                buttons=[], interactive=False, visible=False, elem_id="examples-seen",
            )  # fmt: skip
        with gr.Column():
            name = gr.Textbox("my style", label="Name of the style", max_length=40)
            steps = page.slider(
                10, 500, STEPS, step=10, label="Steps", elem_id="steps",
                info="fewer are faster; 250 take about two minutes on two cores",
            )  # fmt: skip
            method = gr.Radio(METHODS, value="auto", label="Method")
            with gr.Row():
                go = gr.Button("Learn", variant="primary", elem_id="learn")
                stop = gr.Button("Stop", variant="stop", elem_id="learn-stop")
            said = gr.HTML(elem_id="learn-status", padding=True)
            file = gr.DownloadButton("Download the style", interactive=False)
    shared |= {"learn": (files, seen, name, steps, method, go, stop, said, file)}


def connect(page: Page) -> list[Any]:
    """Connects the screen; returns the events after which the gallery is to be drawn."""
    gr = page.gr
    files, seen, name, steps, method, go, stop, said, file = page.shared["learn"]

    def on_files(session: Session, paths: list[str] | None) -> Iterator[tuple[Any, ...]]:
        if session.learning:
            yield None, gr.skip(), gr.skip()
        else:
            yield None, gr.update(visible=False), ""  # whatever comes, it can be tried again
        received = receive_examples(session, paths or [])
        small = [session.show(load_image(path), generated=False) for path in received]
        said = f"{len(received)} picture{'' if len(received) == 1 else 's'}."
        yield None, gr.update(value=small, visible=True), said

    def on_ask(session: Session) -> tuple[Any, ...]:
        session.stop_learning.clear()  # before it waits in line, so that a stop then counts
        return ("",)

    def on_learn(
        session: Session, name: str, steps: float, method: str, progress: Any
    ) -> tuple[Any, ...]:
        report, session.learning = as_progress(progress, "Learning"), True
        try:
            label, path = learn(session, name, int(steps), method, report)
        except Stopped:
            return "Stopped.", gr.skip(), gr.skip()
        finally:
            session.learning = False
        text = f"Learned {escape(label)}: it is in your gallery."
        return text, gr.update(value=str(path), interactive=True), gr.update(visible=False)

    def on_stop(session: Session) -> tuple[Any, ...]:
        session.stop_learning.set()
        return ("Stopping." if session.learning else "Stopped.",)

    page.on(files.upload, on_files, [files], [files, seen, said])
    asked = page.on(go.click, on_ask, [], [said])
    learned = page.on(
        asked.then, on_learn, [name, steps, method], [said, file, seen], line="learn",
        progress=True, show_progress_on=[said],
    )  # fmt: skip
    page.on(stop.click, on_stop, [], [said])
    return [learned]
