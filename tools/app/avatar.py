"""The screen for the avatar: all styles on the visitor, the picture, and what changes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from html import escape
from typing import Any

from stylemix.faces.regions import REGIONS
from stylemix.inversion.settings import PRESETS
from stylemix.styles.named_directions import READINGS
from stylemix.tools.app.events import Page, as_progress
from stylemix.tools.app.pictures import (
    BANDS,
    Drawn,
    MixOptions,
    command_line,
    draw,
    draw_gallery,
    save_picture,
)
from stylemix.tools.app.session import Session

NO_SECOND = "none"
SIZES = [("automatic", ""), ("the whole photo", "photo"), ("head and shoulders", "portrait"),
         ("the face", "crop")]  # fmt: skip
EDITS = {
    "smile": "Smile",
    "yaw": "Turn the head to the right",
    "pitch": "Lower the head",
    "mouth": "Open the mouth",
    "light": "Light from the right",
}
SHOWN = {"before": 100, "both": 50, "after": 0}  # where the line is
FORMATS = [("PNG", ".png"), ("JPEG", ".jpg")]


def read_options(
    style: str | None, strength: float, second: str, share: float, values: Sequence[Any]
) -> MixOptions:
    """The options from the values of the page, in the order in which `add_controls` makes them."""
    edits, bands = values[: len(READINGS)], values[len(READINGS) : len(READINGS) + len(BANDS)]
    identity, color, regions, size, preset = values[len(READINGS) + len(BANDS) :]
    styles: dict[str, float | None] = {}
    if style:
        styles[style] = float(strength)
    if second and second not in (NO_SECOND, style):
        styles[second] = float(share)
    return MixOptions(
        styles,
        dict(zip(READINGS, map(float, edits), strict=True)),
        (float(bands[0]), float(bands[1]), float(bands[2])),
        float(identity) or None,
        tuple(regions or ()),
        float(color),
        size or None,
        preset,
    )


def add_screen(page: Page) -> None:
    """Adds the screen to the page."""
    gr, shared = page.gr, page.shared
    shared["gallery"] = gr.Gallery(
        label="Choose a style", show_label=False, allow_preview=False, object_fit="cover",
        height="auto", elem_id="gallery", buttons=[], interactive=False, visible=False,
    )  # fmt: skip
    shared["style"] = gr.State("")
    with gr.Group(visible=False, elem_id="result") as shared["result"]:
        shared["slider"] = gr.ImageSlider(
            label="Before and after", type="filepath", elem_id="slider", buttons=[],
            interactive=False, max_height=620,
        )  # fmt: skip
        shared["show"] = gr.Radio(
            list(SHOWN), value="both", label="Show", show_label=False, container=False,
            elem_id="show",
        )  # fmt: skip
        shared["strength"] = page.slider(0, 1.5, 1, step=0.05, label="Strength", elem_id="strength")
        with gr.Row():
            shared["full"] = gr.Button("Full picture", variant="primary", elem_id="full")
            shared["download"] = gr.DownloadButton(
                "Download", interactive=False, elem_id="download"
            )
        shared["controls"] = add_controls(page)


def add_controls(page: Page) -> list[Any]:
    """The controls behind "Adjust", in the order of `read_options`."""
    gr, shared = page.gr, page.shared
    with gr.Accordion("Expression and pose", open=False):
        edits = [page.slider(-3, 3, 0, step=0.25, label=EDITS[name]) for name in READINGS]
    with gr.Accordion("What changes, and how much", open=False):
        bands = [
            page.slider(0, 1.5, 1, step=0.05, label=f"{name.title()} layers", info=info)
            for name, info in zip(BANDS, ("shape and pose", "features", "colours"), strict=True)
        ]
        identity = page.slider(
            0, 0.95, 0, step=0.05, label="Keep at least this much of the person",
            info="0 for no limit; 0.6 is clearly the same person",
        )  # fmt: skip
        color = page.slider(0, 1, 0, step=0.05, label="Keep the person's colours")
        regions = gr.CheckboxGroup(
            list(REGIONS), label="Only here", info="nothing ticked: everywhere"
        )
    with gr.Accordion("A second style", open=False):
        shared["second"] = gr.Dropdown([NO_SECOND], value=NO_SECOND, label="Second style")
        shared["share"] = page.slider(0, 1.5, 0.5, step=0.05, label="Its strength")
    with gr.Accordion("Size and quality of the full picture", open=False):
        size = gr.Radio(SIZES, value="", label="Size")
        preset = gr.Radio(
            list(PRESETS), value="balanced", label="Quality",
            info="of styles that need the model; drawn ones are always at their best",
        )  # fmt: skip
        shared["format"] = gr.Radio(FORMATS, value=".png", label="File")
        shared["command"] = gr.Textbox(
            elem_id="command", label="The same as a command", buttons=["copy"], lines=2
        )
    return [*edits, *bands, identity, color, regions, size, preset]


def connect(page: Page, before_gallery: list[Any]) -> None:
    """Connects the screen; the gallery is drawn after the events `before_gallery`."""
    gr, shared = page.gr, page.shared
    parts = [shared["gallery"], shared["second"], page.status]
    for after in before_gallery:
        for drawn, line in ((True, "gallery"), (False, "project")):
            after = page.on(
                after.then, partial(on_gallery, page, drawn), [], parts, line=line, drawing=True,
                progress=True, show_progress="minimal", show_progress_on=[page.busy],
            )  # fmt: skip

    inputs = [shared["style"], shared["strength"], shared["second"], shared["share"]]
    inputs += [*shared["controls"], shared["format"]]
    outputs = [shared[name] for name in ("slider", "download", "command")] + [page.status]

    def on_change(session: Session, *values: Any, progress: Any) -> Iterator[tuple[Any, ...]]:
        style, strength, second, share, *controls, suffix = values
        options = read_options(style, strength, second, share, controls)
        preview, full = (options, suffix, False), (options, suffix, True)
        if session.photo is None or not options.weights:
            return
        if session.shown in (preview, full):  # the event of a control that came late, or twice
            return
        drawn = draw(session, options, False, as_progress(progress, "Projecting the photo"))
        if session.shown == full:
            return
        session.shown = preview
        off = gr.update(value=None, interactive=False)
        command = command_line(session, options, f"avatar{suffix}")
        yield images(session, drawn), off, command, escape(drawn.text)

    def on_full(session: Session, *values: Any, progress: Any) -> tuple[Any, ...]:
        style, strength, second, share, *controls, suffix = values
        options = read_options(style, strength, second, share, controls)
        session.shown = (options, suffix, True)
        drawn = draw(session, options, True, as_progress(progress, "Projecting the photo"))
        file = gr.update(value=str(save_picture(session, drawn, suffix)), interactive=True)
        command = command_line(session, options, f"avatar{suffix}")
        return images(session, drawn), file, command, f"{escape(drawn.text)}. Ready to download."

    chosen = page.on(
        shared["gallery"].select, partial(on_select, gr), [],
        [shared["style"], shared["strength"], shared["result"]], event=gr.SelectData,
    )  # fmt: skip
    options: dict[str, Any] = {
        "line": "draw", "drawing": True, "progress": True, "show_progress_on": [shared["slider"]],
    }  # fmt: skip
    page.on(chosen.then, on_change, inputs, outputs, scroll_to_output=True, **options)
    moved = [control.input for control in inputs if hasattr(control, "input")]
    moved += [control.release for control in inputs if hasattr(control, "release")]  # its reset
    page.on(moved, on_change, inputs, outputs, last=True, **options)
    page.on(
        shared["show"].input, lambda _, where: (gr.update(slider_position=SHOWN[where]),),
        [shared["show"]], [shared["slider"]],
    )  # fmt: skip
    page.on(shared["full"].click, on_full, inputs, outputs, **options)


def on_select(gr: Any, session: Session, event: Any) -> tuple[Any, ...]:
    """Chooses the style of the gallery that was clicked, with its strength."""
    style = event.value["caption"]  # its number may be another while the gallery is drawn
    if style not in session.style_names():
        return gr.skip(), gr.skip(), gr.skip()
    return style, session.style(style).strength, gr.update(visible=True)


def images(session: Session, drawn: Drawn) -> tuple[str, str]:
    """The files of the picture before and after."""
    return session.show(drawn.before, generated=False), session.show(drawn.image)


def on_gallery(
    page: Page, drawn: bool, session: Session, progress: Any
) -> Iterator[tuple[Any, ...]]:
    """Draws one half of the gallery, style after style; shows what there is."""
    gr = page.gr
    if session.photo is None:
        return
    if drawn:
        session.gallery = []
    names = session.style_names()
    second = gr.update(choices=[NO_SECOND, *names])  # what has been chosen meanwhile stays
    if not names:
        said = "No style fits this model. Learn one, bring one, or go back to the app's own model."
        yield gr.update(value=[], visible=False), second, said
    for _ in draw_gallery(session, drawn, as_progress(progress, "Projecting the photo")):
        done = len(session.gallery)
        rest = "" if done == len(names) else "; more are being drawn"
        said = f"{done} of {len(names)} styles{rest}. Choose one."
        told = said if session.shown is None else gr.skip()  # what is said of a picture stays
        yield gr.update(value=[*session.gallery], visible=True), second, told
