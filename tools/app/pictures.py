"""From what is set on the page to pictures: the options, their command, and the drawing."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from stylemix.avatars.avatar import AvatarOptions, describe
from stylemix.avatars.drawing import crop_photo, portrait_box
from stylemix.avatars.finish import Finished, finish, model_image, parse_output_size
from stylemix.avatars.inputs import StyleArgument
from stylemix.avatars.mixer import Mixer, Person
from stylemix.avatars.strengths import parse_strength
from stylemix.errors import StylemixError
from stylemix.images.sources import open_image
from stylemix.images.tensors import resize, to_pil
from stylemix.images.write import save_image
from stylemix.progress import Progress
from stylemix.tools.app.session import Session, Stopped

THUMBNAIL_PX = 384
BANDS = ("coarse", "middle", "fine")


@dataclass(frozen=True)
class MixOptions:
    """What is set on the page; the defaults are those of `stylemix mix`.

    Attributes:
        styles: weights by name of the style; None for the recommended strength.
        edits: amounts by name of the direction, in standard deviations; those of 0 do nothing.
        bands: factors of all strengths in the coarse, middle and fine layers.
        min_identity: least identity, 0 to 1; None for no limit.
        regions: where the styles act; empty for everywhere.
        keep_color: colours of the face, 0 for the style's and 1 for the person's.
        output_size: "photo", "portrait", "crop", px or None, as for the command.
        preset: preset of the projection.
    """

    styles: Mapping[str, float | None] = field(default_factory=dict)
    edits: Mapping[str, float] = field(default_factory=dict)
    bands: tuple[float, float, float] = (1.0, 1.0, 1.0)
    min_identity: float | None = None
    regions: tuple[str, ...] = ()
    keep_color: float = 0.0
    output_size: str | None = None
    preset: str = "balanced"

    @property
    def strength(self) -> str | None:
        """The value of --strength: the bands, None where all of them are 1."""
        if all(value == 1 for value in self.bands):
            return None
        return ",".join(f"{k}={v:g}" for k, v in zip(BANDS, self.bands, strict=True))

    @property
    def weights(self) -> dict[str, float | None]:
        """All styles and directions with their weights."""
        return {**self.styles, **{name: amount for name, amount in self.edits.items() if amount}}


@dataclass(frozen=True)
class Drawn:
    """A drawn picture, what it was before, and a sentence about it.

    `full` says whether it is what the command writes; previews may be coarser.
    """

    image: Image.Image
    before: Image.Image
    text: str
    full: bool


def command_line(session: Session, options: MixOptions, output: str = "avatar.png") -> str:
    """The command that draws the same picture."""
    source = "dragged.latent.safetensors" if session.dragged is not None else "photo.jpg"
    if session.photo is not None and session.dragged is None:
        source = session.photo.name
    words = ["stylemix", "mix", "--source", source]
    for name, weight in options.weights.items():
        file = session.styles[name].name if name in session.styles else name
        words += ["--style", file if weight is None else f"{file}:{weight:g}"]
    if session.model is not session.base:
        words += ["--model", "MODEL"]
    pairs = {
        "--strength": options.strength,
        "--min-identity": options.min_identity,
        "--keep-color": options.keep_color or None,
        "--output-size": options.output_size,
        "--preset": None if options.preset == "balanced" else options.preset,
        "--face": session.face,
        "--output": output,
    }
    for name in options.regions:
        words += ["--region", name]
    for flag, value in pairs.items():
        if value is not None:
            words += [flag, str(value)]
    return shlex.join(words)


def draw(
    session: Session,
    options: MixOptions,
    full: bool = True,
    progress: Progress | None = None,
    portrait: bool = False,
) -> Drawn:
    """The visitor in the styles of the options, as `stylemix mix` draws it with `full`.

    A preview starts from a smaller photo and a faster projection, lets students draw, and is of
    the automatic size, or with `portrait` of head and shoulders. Raises StylemixError without a
    photo or a style, and for options that do not fit each other or the model.
    """
    if not options.weights:
        raise StylemixError("got no style; expected one; choose a style, or change the expression")
    number, shares = None, None
    if options.strength is not None:
        side = session.model.generator.img_resolution
        number, shares = parse_strength(options.strength, side)
    own = AvatarOptions(options.min_identity, options.regions, options.keep_color)
    own.check(session.model)
    mixer = session.mixer(progress, fast=not full, shares=shares)
    arguments = [StyleArgument(session.style(k), w) for k, w in options.weights.items()]
    inputs = mixer.read([], arguments)[1]
    parts = mixer.apply_all(inputs, Person("", None), number)  # styles do not depend on the person
    drawn = all(part.by_student for part in parts)
    person = session.person(options.preset if full else "preview", full, mixer, drawn)
    avatar = mixer.avatar(person, parts, own)
    size = parse_output_size(options.output_size) if full else None
    done = finish(mixer, person, avatar, parts, size)
    if portrait and done.area == "photo" and person.photo is not None:
        head = done.image.crop(portrait_box(person.photo))
        done = replace(done, image=head, area="portrait")
    text = f"{' + '.join(options.weights)}: {done.how}"
    if avatar.identity is not None:
        text += f"; {describe(avatar, parts)}"
    students = [name for name in options.styles if session.style(name).is_student]
    if students and options.strength is not None:
        text += f"; layers do not matter to {' and '.join(students)}"
    return Drawn(done.image, before(mixer, person, done), text, full)


def before(mixer: Mixer, person: Person, done: Finished) -> Image.Image:
    """The part of the photo that a finished image shows, in the same size."""
    photo, size = person.photo, done.image.size
    if photo is None:
        return resize(model_image(mixer.draw(person), mixer.model.template), size)
    if done.area == "photo":
        image = open_image(photo.source)
    elif done.area == "portrait":
        image = open_image(photo.source).crop(portrait_box(photo))
    elif photo.image.shape[1] == photo.image.shape[2] and photo.image.shape[0] == 3:
        image = crop_photo(photo, max(size))
    else:
        image = to_pil(photo.image)
    return resize(image, size)


def draw_gallery(session: Session, drawn: bool, progress: Progress | None = None) -> Iterator[int]:
    """Draws the visitor in every style that fits into `session.gallery`, one after the other.

    Either the styles that are `drawn` by students, within a second each, or the others, which need
    a projection of the photo first. What is there already stays. Yields the number of styles that
    are still to come, and raises Stopped where another face was chosen meanwhile.
    """
    names = [name for name in session.style_names() if session.style(name).is_student == drawn]
    turn = session.turn
    for number, name in enumerate(names, 1):
        if session.photo is None:
            return
        if name not in [shown for _, shown in session.gallery]:
            image = draw(session, MixOptions({name: None}), False, progress, portrait=True).image
            small = image.copy()
            small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
            if turn != session.turn:  # another face is drawn by now, and by another thread
                raise Stopped
            session.gallery.append((session.show(small, kind="gallery"), name))
        yield len(names) - number


def save_picture(session: Session, drawn: Drawn, suffix: str = ".png") -> Path:
    """Writes a drawn picture for its download, with the marks of generated images."""
    folder = session.new_file("picture", "")
    folder.mkdir()
    path = folder / f"avatar{suffix}"
    save_image(path, drawn.image, generated="composite")
    return path
