"""The screen for dragging points of the face: a click on the handle, a click on its target."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from PIL import Image, ImageDraw

from stylemix.avatars.drag import STEPS, DragStep, Point, read_drag
from stylemix.avatars.drawing import crop_photo
from stylemix.avatars.finish import model_image
from stylemix.avatars.mixer import Person
from stylemix.errors import StylemixError
from stylemix.progress import Progress
from stylemix.tools.app.events import Page, as_progress
from stylemix.tools.app.session import Session
from stylemix.tools.drag import parse_point

SIDE = 512  # px of the face on the screen
EVERY = 4  # steps from one image to the next
Pair = tuple[Point, Point]


def parse_points(text: str) -> tuple[list[Pair], Point | None]:
    """Pairs of handles and targets from "X,Y:X,Y X,Y:X,Y", and a last handle without a target."""
    words = text.split()
    number = len(words) - (bool(words) and ":" not in words[-1])
    pairs = [_parse(word, word) for word in words[:number]]
    return pairs, _parse(words[number], f"{words[number]}:0,0")[0] if words[number:] else None


def _parse(word: str, pair: str) -> Pair:
    try:
        return parse_point(pair)
    except StylemixError:
        raise StylemixError(
            f"got the point {word!r}; expected a handle and its target as X,Y:X,Y, as in "
            "30,40:36,40; correct it, or clear the points and click on the face"
        ) from None


def add_click(text: str, x: float, y: float) -> str:
    """The points after a click at x, y in px of the model: a new handle, or the target of one."""
    point = f"{x:.1f},{y:.1f}"
    last = text.split()[-1:]
    return f"{text}:{point}" if last and ":" not in last[0] else f"{text} {point}".strip()


def face_of(session: Session, progress: Progress | None = None) -> Image.Image:
    """The face that is dragged: the photo's, or as the model draws it where there is none."""
    mixer = session.mixer(progress)
    person = session.person("preview", True, mixer, only_photo=False)
    if person.photo is not None and session.model.template.eyes is not None:
        return crop_photo(person.photo, SIDE)
    drawn = mixer.draw(Person("face", mixer.latent(person)))
    return model_image(drawn, session.model.template, SIDE)


def zoom(session: Session) -> float:
    """The px of the face on the screen for one of the model's image."""
    return SIDE / session.model.generator.config.longer_side


def marked(image: Image.Image, text: str, scale: float) -> Image.Image:
    """The image with an arrow from each handle to its target; `scale` is its px for one there."""
    pairs, handle = parse_points(text)
    image = image.copy()
    pen = ImageDraw.Draw(image)
    for (x0, y0), (x1, y1) in ((tuple(scale * v for v in a), tuple(scale * v for v in b))
                               for a, b in pairs):  # fmt: skip
        angle = math.atan2(y1 - y0, x1 - x0)
        head = [(x1 - 14 * math.cos(t), y1 - 14 * math.sin(t)) for t in (angle - 0.5, angle + 0.5)]
        for color, width in (("black", 7), ("yellow", 3)):
            pen.line([x0, y0, x1, y1], fill=color, width=width)
        pen.polygon([(x1, y1), *head], fill="yellow", outline="black")
        _dot(pen, x0, y0)
    if handle is not None:
        _dot(pen, scale * handle[0], scale * handle[1])
    return image


def _dot(pen: ImageDraw.ImageDraw, x: float, y: float) -> None:
    pen.ellipse([x - 7, y - 7, x + 7, y + 7], fill="red", outline="white", width=2)


def drag_face(
    session: Session, text: str, mask: str | None, progress: Progress | None = None
) -> Iterator[DragStep]:
    """The steps of a drag of the visitor's face; each becomes what styles are drawn on.

    Raises StylemixError without a photo or a complete pair of points.
    """
    pairs, handle = parse_points(text)
    if handle is not None or not pairs:
        raise StylemixError(
            "got no handle with a target; expected one; click on the face, then where that place "
            "shall go"
        )
    mixer = session.mixer(progress)
    person = session.person("preview", True, mixer, only_photo=False)
    steps = read_drag(mixer, person, pairs, mask)
    best = math.inf
    for step in steps:
        if session.stop_dragging.is_set():
            return
        if max(step.distances) < best:
            best = max(step.distances)
            session.use_dragged(step)
        yield step


def add_screen(page: Page) -> None:
    """Adds the screen to the page."""
    gr = page.gr
    gr.Markdown(
        "Click on a place of the face, then on the place where it shall go; once more for more "
        "points. Half a centimetre goes a long way. Styles are then drawn on this face."
    )
    with gr.Row():
        with gr.Column(scale=3):
            picture = gr.Image(
                label="Your face", interactive=False, type="filepath",
                height=420, buttons=[], elem_id="drag-face",
                alt_text="Your face, with arrows for the points",
            )  # fmt: skip
        with gr.Column(scale=2):
            show = gr.Button("Show my face", variant="primary")
            points = gr.Textbox(
                elem_id="drag-points",
                label="Points", placeholder="22,46:20,43",
                info="Handle and target as X,Y:X,Y in px of the model's image, by clicks or typed.",
            )  # fmt: skip
            mask = gr.Dropdown(
                [("everything", ""), "face", "skin", "hair", "background"], value="",
                label="What may change",
            )  # fmt: skip
            with gr.Row():
                go = gr.Button("Drag", variant="primary", elem_id="drag-go")
                stop = gr.Button("Stop", variant="stop")
            with gr.Row():
                clear = gr.Button("Clear the points")
                undo = gr.Button("Back to the photo")
            said = gr.HTML(elem_id="drag-status", padding=True)
    page.shared |= {"drag": picture, "drag_points": points, "drag_said": said}
    page.shared["drag_parts"] = (picture, show, points, mask, go, stop, clear, undo, said)


def connect(page: Page) -> None:
    """Connects the screen."""
    picture, show, points, mask, go, stop, clear, undo, said = page.shared["drag_parts"]
    gr = page.gr

    def on_show(session: Session, text: str, progress: Any) -> tuple[Any, ...]:
        face = face_of(session, as_progress(progress, "Finding the face in the model"))
        return (session.show(marked(face, text, zoom(session))),)

    def on_click(session: Session, text: str, event: Any) -> tuple[Any, ...]:
        x, y = (value / zoom(session) for value in event.index)
        text = add_click(text or "", x, y)
        return session.show(marked(face_of(session), text, zoom(session))), text

    def on_ask(session: Session) -> tuple[Any, ...]:
        session.stop_dragging.clear()  # before it waits in line, so that a stop then counts
        return ("",)

    def on_drag(session: Session, text: str, mask: str, progress: Any) -> Iterator[tuple[Any, ...]]:
        report = as_progress(progress, "Finding the face in the model")
        step = None
        for step in drag_face(session, text or "", mask or None, report):
            if step.step % EVERY == 0:
                now = marked(step.image(SIDE), _ahead(step), zoom(session))
                yield session.show(now), f"Step {step.step} of at most {STEPS}"
        if step is not None and session.photo is not None:
            left = f"{max(step.distances):.1f} px from the target"
            how = "arrived" if step.arrived else f"stopped {left}"
            yield session.show(face_of(session)), f"Dragged: {how} after {step.step} steps."

    def on_undo(session: Session) -> tuple[Any, ...]:
        session.use_dragged(None)
        return (session.show(face_of(session)) if session.photo else gr.skip(), "")

    def on_stop(session: Session) -> tuple[Any, ...]:
        session.stop_dragging.set()
        return ()

    line: dict[str, Any] = {"line": "draw", "drawing": True, "show_progress_on": [picture]}
    page.on(show.click, on_show, [points], [picture], progress=True, **line)
    page.on(picture.select, on_click, [points], [picture, points], event=gr.SelectData, **line)
    asked = page.on(go.click, on_ask, [], [said])
    page.on(asked.then, on_drag, [points, mask], [picture, said], progress=True, **line)
    page.on(stop.click, on_stop, [], [])
    page.on(clear.click, lambda session: ("",), [], [points])
    page.on(undo.click, on_undo, [], [picture, points], **line)


def _ahead(step: DragStep) -> str:
    pairs = zip(step.positions, step.targets, strict=True)
    return " ".join(f"{a:.1f},{b:.1f}:{c:.1f},{d:.1f}" for (a, b), (c, d) in pairs)
