"""The screen for one's own files: models and styles, which are read without running their code."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from stylemix.errors import StylemixError
from stylemix.model import load_model
from stylemix.models.container import STYLE
from stylemix.styles.style import format_of
from stylemix.tools.app.events import Page
from stylemix.tools.app.session import Session


def receive_file(session: Session, upload: str | Path) -> str:
    """Takes a style or model file, and says in a sentence what it was.

    A file that is neither is an error, as for the commands; no code of it is executed.
    """
    file = session.adopt(upload, "file")
    try:
        if format_of(file) == STYLE:
            name = session.add_style(file.stem, file)
            return f"The style {name} is in your gallery."
        model = load_model(file, str(session.base.generator.device))
    except StylemixError:
        shutil.rmtree(file.parent, ignore_errors=True)
        raise
    shutil.rmtree(file.parent, ignore_errors=True)  # it is in memory now
    session.use_model(model)
    size, template = model.generator.config.size_text, model.template.name
    return f"The model {file.name} ({size}, template {template}) draws from now on."


def add_screen(page: Page) -> None:
    """Adds the screen to the page."""
    gr = page.gr
    gr.Markdown(
        "Bring a style file of `stylemix adapt` or `stylemix distill`, or a model: one of stylemix "
        "or of another StyleGAN2 program. Files are read by a reader that runs none of their code."
    )
    file = gr.File(label="Style or model file", height=140, elem_id="own-file")
    said = gr.HTML(elem_id="own-status", padding=True)
    back = gr.Button("Back to the app's own model")
    page.shared |= {"own": (file, said, back)}


def connect(page: Page, gone: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    """Connects the screen; returns the events after which the gallery is to be drawn.

    `gone` says how components of other screens change when another model draws.
    """
    gr, (file, said, back) = page.gr, page.shared["own"]
    outputs = [said, *(page.shared[name] for name in gone)]
    emptied, kept = [gr.update(**how) for how in gone.values()], [gr.skip() for _ in gone]

    def on_file(session: Session, path: str | None) -> Iterator[tuple[Any, ...]]:
        yield None, "", *kept  # whatever comes, another file can be tried
        if path is not None:
            turn, text = session.turn, escape(receive_file(session, path))
            yield None, text, *(kept if turn == session.turn else emptied)

    def on_back(session: Session) -> tuple[Any, ...]:
        session.use_model(session.base)
        return "The app's own model draws from now on.", *emptied

    read = page.on(file.upload, on_file, [file], [file, *outputs], line="project",
                   show_progress_on=[said])  # fmt: skip
    returned = page.on(back.click, on_back, [], outputs)
    return [read, returned]
