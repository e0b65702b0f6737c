"""The screen for the photo: drop or take one, see the faces found, choose one, delete it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from typing import Any

from stylemix.errors import StylemixError
from stylemix.io.assets import ASSETS
from stylemix.tools.app.events import Page
from stylemix.tools.app.session import Session

PORTRAITS = sorted((ASSETS / "portraits").glob("*.jpg"))


def receive_example(session: Session, number: int) -> None:
    """Takes a shipped portrait, as if it had been uploaded."""
    copy = session.folder.parent / f"{session.folder.name}-example"
    copy.mkdir(mode=0o700, exist_ok=True)
    session.receive(shutil.copy(PORTRAITS[number], copy))


def find(session: Session) -> str:
    """Finds the faces of the photo that was received, and says so in a sentence."""
    faces, name = session.find_faces(), session.received.name if session.received else ""
    if session.model.template.eyes is None:
        return f"{name}: the model knows no faces, so the middle of the photo is used."
    if len(faces) == 1:
        return f"{name}: 1 face found."
    return f"{name}: {len(faces)} faces found; the largest is chosen."


def add_screen(page: Page) -> None:
    """Adds the screen to the page; `page.shared` then has what others need of it."""
    gr = page.gr

    photo = gr.Image(
        label="Your photo", sources=["upload", "webcam", "clipboard"], type="filepath",
        image_mode=None, height=300, elem_id="photo", buttons=[],
        placeholder="Drop a photo of a face\nor click to choose one",
        alt_text="Your photo",
        # A mirrored photo would be a mirrored avatar: hair parted on the wrong side.
        webcam_options=gr.WebcamOptions(mirror=False),
    )  # fmt: skip
    faces = gr.Gallery(
        label="Faces found: choose one", columns=4, height="auto", allow_preview=False,
        object_fit="contain", visible=False, elem_id="faces", buttons=[],
    )  # fmt: skip
    delete = gr.Button(
        "Delete my photo and all pictures of it", variant="stop", size="sm", visible=False,
        elem_id="delete",
    )  # fmt: skip
    page.shared |= {"photo": photo, "faces": faces, "delete": delete}


def add_examples(page: Page) -> None:
    """Adds the shipped portraits, for those who have no photo at hand."""
    gr = page.gr
    gr.set_static_paths([PORTRAITS[0].parent])  # served from there, without copies
    with gr.Column(elem_id="start") as page.shared["examples"]:
        gr.Markdown("## No photo at hand? Take one of these")
        page.shared["portraits"] = gr.Gallery(
            [(str(path), path.stem.title()) for path in PORTRAITS], label="Portraits",
            show_label=False, allow_preview=False, object_fit="cover", elem_id="portraits",
            height="auto", buttons=[], interactive=False,
        )  # fmt: skip


def connect(page: Page, gone: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    """Connects the screen; returns the events after which the gallery is to be drawn.

    `gone` says how components of other screens change when the photo does.
    """
    gr, shared = page.gr, page.shared
    photo, faces, examples = shared["photo"], shared["faces"], shared["examples"]
    outputs = [photo, faces, examples, shared["delete"]]
    changed = [page.status, *(shared[name] for name in gone)]
    outputs += changed
    emptied = tuple(gr.update(**how) for how in gone.values())

    def on_photo(session: Session, file: dict[str, Any] | None) -> tuple[Any, ...]:
        if file is not None:
            session.receive(file["path"])
        return ()

    def on_example(session: Session, event: Any) -> tuple[Any, ...]:
        receive_example(session, event.index)
        return ()

    def on_received(session: Session) -> Iterator[tuple[Any, ...]]:
        try:
            said = find(session)
        except StylemixError:
            yield without_photo("")
            raise
        crops = session.face_crops() if len(session.faces) > 1 else []
        chosen = gr.update(value=crops, visible=bool(crops), selected_index=0 if crops else None)
        hidden, seen = gr.update(visible=False), gr.update(visible=True)
        yield str(session.photo), chosen, hidden, seen, said, *emptied

    def on_face(session: Session, event: Any) -> tuple[Any, ...]:
        session.choose(event.index + 1)
        return f"Face {event.index + 1} is chosen.", *emptied

    def without_photo(said: str) -> tuple[Any, ...]:
        hidden, seen = gr.update(visible=False), gr.update(visible=True)
        return None, gr.update(value=[], visible=False), seen, hidden, said, *emptied

    def on_delete(session: Session) -> tuple[Any, ...]:
        session.forget_photo()
        return without_photo("Deleted: the photo, its latents, and all pictures of it.")

    # Without gradio's reading of the image: stylemix has a sentence for each that is none.
    came = page.on(photo.input, on_photo, [photo], [], preprocess=False)
    chose = page.on(shared["portraits"].select, on_example, [], [], event=gr.SelectData)
    options: dict[str, Any] = {"line": "draw", "show_progress_on": [page.busy]}
    found = [page.on(after.then, on_received, [], outputs, **options) for after in (came, chose)]
    switched = page.on(faces.select, on_face, [], changed, event=gr.SelectData)
    for trigger in (shared["delete"].click, photo.clear):
        page.on(trigger, on_delete, [], outputs)
    return [*found, switched]
