"""One person's visit to the app: a folder of their own, their photo, and what was made from it."""

from __future__ import annotations

import os
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from weakref import WeakSet

from PIL import Image

from stylemix.avatars.drag import DragStep
from stylemix.avatars.drawing import scale_photo
from stylemix.avatars.mixer import Mixer, Person
from stylemix.errors import StylemixError
from stylemix.faces.alignment import choose_face
from stylemix.faces.detector import Face, load_detector
from stylemix.images.read import load_image
from stylemix.images.write import save_image
from stylemix.inversion.latent import Latent
from stylemix.inversion.portraits import AlignedPhoto, read_portrait
from stylemix.inversion.settings import preset_settings
from stylemix.models.model import Model
from stylemix.progress import Progress
from stylemix.styles.style import Style, fits, load_style, shipped_styles

PREVIEW_PX = 1024  # longer side of the photo in previews
SHOWN_PX = 1280  # longer side of an image on the page; the download has all px
PATIENCE = 60  # seconds that a deletion waits for the end of a computation
KEPT = 40  # images on the page that are kept; older ones are not shown any more
FACE_PX, FACE_MARGIN = 160, 0.35  # a found face, and what is around it in parts of its box

load_shipped = lru_cache(maxsize=None)(load_style)


class Session:
    """What the app knows of one visitor.

    Attributes:
        base: the model that all visitors share.
        model: the visitor's: `base`, or one that they brought.
        folder: the only folder with files of the visitor; nobody else may read it.
        received: the uploaded photo, which nobody may have looked at yet.
        photo: the visitor's photo, None before there is one.
        faces: faces in it, the largest first.
        face: number of the chosen face from 1; None where there is a single one, or none.
        learning: whether a style is being learned.
        dragged: the face after dragged points, which is then used instead of the photo.
        styles: files of styles that the visitor learned or brought, by name.
        examples: pictures of a style that is to be learned.
        gallery: files of the styles drawn on the visitor, with the names of the styles.
        shown: options of the picture that is shown, or drawn as a full one; None for another.
        turn: changes whenever another face, or another model, is to be drawn.
        stop: set when what is computed for the visitor is not wanted any more.
        stop_dragging: set to stop a drag.
        stop_learning: set to stop the learning of a style.
    """

    def __init__(self, base: Model, parent: Path) -> None:
        self.base = self.model = base
        self.folder = parent / secrets.token_urlsafe(24)  # its name is in addresses of images
        self.folder.mkdir(mode=0o700, parents=True)
        self.stop, self.stop_dragging = threading.Event(), threading.Event()
        self.stop_learning, self.learning = threading.Event(), False
        self.examples: list[Path] = []
        self._idle, self._working, self._learning = threading.Condition(), 0, 0
        self._projecting = threading.Lock()
        self.turn = 0
        self.styles: dict[str, Path] = {}
        self._loaded: dict[str, Style] = {}
        self._count = 0
        self._forget()
        _OPEN.add(self)

    def _forget(self) -> None:
        self.received: Path | None = None
        self.photo: Path | None = None
        self.faces: list[Face] = []
        self.face: int | None = None
        self._turn()

    def _turn(self) -> None:
        self.turn += 1
        self.use_dragged(None)
        self.gallery: list[tuple[str, str]] = []
        self._portraits: dict[bool, AlignedPhoto] = {}
        self._latents: dict[str, Latent] = {}

    @contextmanager
    def working(self, of_photo: bool = True) -> Iterator[None]:
        """Computes something of the visitor's photo, or learns a style.

        A deletion of the photo waits for what is made of it, and the end of the visit for both, so
        that nothing is written afterwards.
        """
        with self._idle:
            if of_photo and not self._working:
                self.stop.clear()
            self._working += of_photo
            self._learning += not of_photo
        try:
            yield
        finally:
            with self._idle:
                self._working -= of_photo
                self._learning -= not of_photo
                self._idle.notify_all()

    @contextmanager
    def _halted(self) -> Iterator[None]:
        """Stops what is computed for the visitor, waits for its end, and lets nothing begin."""
        self.stop.set()
        self.stop_dragging.set()
        with self._idle:
            self._idle.wait_for(lambda: not self._working, PATIENCE)
            yield
            if not self._working:
                self.stop.clear()

    def adopt(self, file: str | Path, kind: str) -> Path:
        """Moves an uploaded file into a new folder `kind` of the session, and returns it there.

        The copy of the web server is removed. Raises StylemixError for a file that is not there.
        """
        source = self.uploaded(file)
        target = self.new_file(kind, "")
        target.mkdir()
        try:
            shutil.copyfile(source, target / source.name)
        except OSError as error:
            raise StylemixError(
                f"got no file {source.name}; expected one that was sent completely; send it again"
            ) from error
        self.discard(source)
        return target / source.name

    def uploaded(self, file: str | Path) -> Path:
        """The file of an upload, in its folder; StylemixError for others, which a page may name."""
        source = Path(os.path.realpath(file))
        if source.parent.parent != Path(os.path.realpath(self.folder.parent)):
            raise StylemixError("got a file that was not sent; expected an upload; send it")
        return source

    def discard(self, file: str | Path) -> None:
        """Removes the file of an upload that is not taken, and its folder."""
        with suppress(OSError, StylemixError):
            (source := self.uploaded(file)).unlink()
            source.parent.rmdir()

    def new_file(self, kind: str, suffix: str) -> Path:
        """A new name in the folder; images of the page beyond the last `KEPT` are removed."""
        self._count += 1
        # By number: another thread may remove one before its time is read.
        shown = sorted(self.folder.glob("shown-*"), key=lambda path: int(path.name.split("-")[1]))
        for old in shown[:-KEPT]:
            old.unlink(missing_ok=True)
        return self.folder / f"{kind}-{self._count}-{secrets.token_hex(4)}{suffix}"

    def show(self, image: Image.Image, generated: bool = True, kind: str = "shown") -> str:
        """Writes an image for the page, at most `SHOWN_PX` large, with the marks of the command."""
        small = image.copy()
        small.thumbnail((SHOWN_PX, SHOWN_PX), Image.Resampling.LANCZOS)
        path = self.new_file(kind, ".jpg")
        save_image(path, small, generated="composite" if generated else False)
        return str(path)

    def receive(self, file: str | Path) -> None:
        """Takes an uploaded photo in place of an earlier one; `find_faces` reads it."""
        self.forget_photo()
        self.received = self.adopt(file, "photo")

    def find_faces(self) -> list[Face]:
        """Reads the photo that was received, and finds its faces.

        Raises StylemixError for a file that is not an image, and for one without a face.
        """
        photo = self.received
        if photo is None:
            raise StylemixError("got no photo; expected one; drop a photo, or take one")
        try:
            image = load_image(photo)
            if self.model.template.eyes is not None:
                self.faces = load_detector().detect(image)
                choose_face(self.faces, 1 if self.faces else None, photo.name, image.size)
        except StylemixError:
            self.received, self.faces = None, []
            shutil.rmtree(photo.parent, ignore_errors=True)
            raise
        self.photo = photo
        self.face = 1 if len(self.faces) > 1 else None
        return self.faces

    def face_crops(self) -> list[tuple[str, str]]:
        """Images of the faces that were found, the largest first, with their captions."""
        if self.photo is None:
            return []
        image, crops = load_image(self.photo), []
        for number, face in enumerate(self.faces, 1):
            left, top, right, bottom = face.box
            x, y = FACE_MARGIN * (right - left), FACE_MARGIN * (bottom - top)
            box = (
                max(left - x, 0),
                max(top - y, 0),
                min(right + x, image.width),
                min(bottom + y, image.height),
            )
            crop = image.crop(tuple(round(value) for value in box))
            crop.thumbnail((FACE_PX, FACE_PX))
            crops.append((self.show(crop, False, "face"), f"Face {number}"))
        return crops

    def choose(self, face: int) -> None:
        """Chooses the face with a number from 1; what was made from another is forgotten."""
        self._turn()
        self.face = face if len(self.faces) > 1 else None

    def use_model(self, model: Model) -> None:
        """Draws with another model from now on."""
        self.model = model
        self._turn()
        if self.photo is not None and not self.faces and model.template.eyes is not None:
            self.faces = load_detector().detect(load_image(self.photo))

    def use_dragged(self, step: DragStep | None) -> None:
        """Draws the face after a drag, or again the photo, from now on; what is shown is not it."""
        self.dragged: DragStep | None = step
        self.shown: object = None

    def portrait(self, full: bool) -> AlignedPhoto:
        """The chosen face aligned to the model; the photo behind it is smaller unless `full`."""
        if self.photo is None:
            raise StylemixError("got no photo; expected one; drop a photo, or take one")
        if True not in self._portraits:
            self._portraits[True] = read_portrait(str(self.photo), self.model, self.face)
        if full not in self._portraits:
            self._portraits[full] = smaller(self._portraits[True])
        return self._portraits[full]

    def latent(self, preset: str, mixer: Mixer) -> Latent:
        """The photo's latent of a preset; for "preview" the best one that there is, else "fast"."""
        if preset == "preview":
            there = [name for name in ("best", "balanced", "fast") if name in self._latents]
            preset = there[0] if there else "fast"
        turn, known = self.turn, self._latents
        with self._projecting:
            if preset not in known:
                photo = self.portrait(full=True)
                known[preset] = mixer.reader.project([photo], preset_settings(preset))[0]
        if turn != self.turn:
            raise Stopped
        return known[preset]

    def person(self, preset: str, full: bool, mixer: Mixer, only_photo: bool) -> Person:
        """The visitor for a mixer; with `only_photo` without a latent, as students need none."""
        if self.dragged is not None:
            photo = self.dragged.photo()
            small = photo if photo is None or full else smaller(photo)
            return Person("dragged", self.dragged.latent, small)
        photo = self.portrait(full)
        name = self.photo.stem if self.photo else "image"
        return Person(name, None if only_photo else self.latent(preset, mixer), photo)

    def mixer(self, progress: Progress | None = None, fast: bool = False,
              shares: tuple[float, ...] | None = None) -> Mixer:  # fmt: skip
        """A mixer of the visitor's model, which neither reads nor fills the user's cache."""
        report = stoppable(progress, self.stop)
        return Mixer(self.model, layer_strengths=shares, progress=report, fast=fast)

    def style(self, name: str) -> Style:
        """A style by its name: one of the visitor, or a shipped one."""
        if name not in self.styles:
            return load_shipped(name)
        if name not in self._loaded:
            self._loaded[name] = load_style(self.styles[name], self.model)
        return self._loaded[name]

    def style_names(self) -> list[str]:
        """Styles that fit the visitor's model, their own first."""
        own = [name for name in self.styles if fits(self.style(name), self.model)]
        return own + [name for name in shipped_styles() if fits(load_shipped(name), self.model)]

    def add_style(self, name: str, file: Path) -> str:
        """Adds a style file of the visitor under a name that is free, and returns that name."""
        free, number = name, 2
        while free in self.styles or free in shipped_styles():
            free, number = f"{name}-{number}", number + 1
        self.styles[free] = file
        try:
            self.style(free)
        except StylemixError:
            del self.styles[free]
            raise
        return free

    def forget_photo(self) -> None:
        """Removes the photo and everything that was derived from it, in memory and on disk."""
        with self._halted():
            kept = {path.parent for path in [*self.styles.values(), *self.examples]}
            for path in set(self.folder.iterdir()) - kept:
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            self._forget()

    def close(self) -> None:
        """Stops what runs, and removes the folder: the end of the visit."""
        self.stop_learning.set()
        with self._halted():
            self._idle.wait_for(lambda: not self._learning, PATIENCE)
            self._forget()
            shutil.rmtree(self.folder, ignore_errors=True)


_OPEN: WeakSet[Session] = WeakSet()


def close_sessions(parent: Path) -> None:
    """Ends all visits whose folders are in `parent`: each stops first, then all are waited for."""
    sessions = [session for session in _OPEN if session.folder.parent == parent]
    for session in sessions:
        session.stop.set()
        session.stop_dragging.set()
        session.stop_learning.set()
    for session in sessions:
        session.close()


class Stopped(Exception):
    """Raised in a computation whose result is not wanted any more."""


def stoppable(progress: Progress | None, stop: threading.Event) -> Progress:
    """A progress that reports to another, if there is one, and raises `Stopped` after `stop`."""

    def report(done: int, total: int, loss: float = 0.0, /) -> None:
        if stop.is_set():
            raise Stopped
        if progress is not None:
            progress(done, total, loss)

    return report


def smaller(portrait: AlignedPhoto) -> AlignedPhoto:
    """The same aligned face with at most `PREVIEW_PX` of the photo behind it."""
    return scale_photo(portrait, PREVIEW_PX / max(portrait.photo_size))
