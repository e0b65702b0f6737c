"""The session of a visitor: its folder, its photo, and what a deletion leaves."""

import shutil
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stylemix.avatars.finish import model_image
from stylemix.errors import StylemixError
from stylemix.faces.templates import NO_TEMPLATE
from stylemix.io.assets import ASSETS
from stylemix.models.checkpoint import load_model
from stylemix.styles.style import Style, save_style
from stylemix.tools.app.drag import SIDE, zoom
from stylemix.tools.app.events import sentence
from stylemix.tools.app.files import receive_file
from stylemix.tools.app.learn import MAX_IMAGES, learn, receive_examples
from stylemix.tools.app.session import (
    PREVIEW_PX,
    Session,
    Stopped,
    close_sessions,
    smaller,
    stoppable,
)
from tests.support.models import saved, tiny_model

COLLINS = ASSETS / "portraits" / "collins.jpg"


@pytest.fixture(scope="module")
def model():
    return load_model("faces-64")


@pytest.fixture
def session(model, tmp_path):
    return Session(model, tmp_path / "sessions")


def uploaded(tmp_path, name="me.jpg", content=None):
    """A file as the web server stores it, in a folder of its own."""
    folder = tmp_path / "sessions" / "upload"
    folder.mkdir(parents=True)
    if content is None:
        shutil.copy(COLLINS, folder / name)
    else:
        (folder / name).write_bytes(content)
    return folder / name


def test_the_folder_is_the_visitors_alone(session, model, tmp_path):
    assert session.folder.stat().st_mode & 0o777 == 0o700
    other = Session(model, tmp_path / "sessions")
    assert other.folder != session.folder
    assert len(session.folder.name) == 32  # 24 random bytes


@pytest.mark.parametrize("of_photo", [True, False])
def test_the_end_of_the_app_waits_for_what_is_drawn_or_learned(model, tmp_path, of_photo):
    visit, elsewhere = Session(model, tmp_path / "app"), Session(model, tmp_path / "other")
    begun, stopped = threading.Event(), visit.stop if of_photo else visit.stop_learning

    def work():
        with visit.working(of_photo):
            begun.set()
            assert stopped.wait(30)
            (visit.folder / "last.jpg").touch()  # as what has begun may still do

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait(30)
    close_sessions(tmp_path / "app")
    thread.join(30)
    assert not visit.folder.exists()
    assert elsewhere.folder.exists()
    assert not elsewhere.stop.is_set()


def test_images_beyond_those_kept_are_removed_in_their_order(session, monkeypatch):
    monkeypatch.setattr("stylemix.tools.app.session.KEPT", 2)
    shown = [Path(session.show(Image.new("RGB", (8, 8)))) for _ in range(12)]
    assert [path.exists() for path in shown] == [False] * 9 + [True] * 3


def test_an_upload_is_moved_and_its_face_found(session, tmp_path):
    file = uploaded(tmp_path)
    session.receive(file)
    assert not file.parent.exists()
    assert len(session.find_faces()) == 1
    assert session.photo.read_bytes() == COLLINS.read_bytes()
    assert session.face is None


@pytest.mark.parametrize("name", ["{}/me.jpg", "{}/sessions/../me.jpg", "{}/sessions/link/me.jpg"])
def test_only_uploads_are_taken(session, tmp_path, name):
    """Whatever a browser says that it has sent: files of this machine stay where they are."""
    shutil.copy(COLLINS, tmp_path / "me.jpg")
    (tmp_path / "sessions" / "link").symlink_to(tmp_path)
    for take in (session.receive, session.discard, lambda file: receive_examples(session, [file])):
        with suppress(StylemixError):
            take(name.format(tmp_path))
    assert (tmp_path / "me.jpg").is_file()
    assert (session.received, list(session.folder.iterdir())) == (None, [])
    with pytest.raises(StylemixError, match="got a file that was not sent"):
        session.adopt(name.format(tmp_path), "photo")


def test_a_deletion_removes_everything_of_the_photo(session, tmp_path):
    session.receive(uploaded(tmp_path))
    session.find_faces()
    session.show(Image.new("RGB", (20, 20)))
    session.portrait(full=True)
    turn = session.turn
    session.forget_photo()
    assert list(session.folder.iterdir()) == []
    assert session.photo is None
    assert session.turn > turn
    with pytest.raises(StylemixError, match="got no photo"):
        session.portrait(full=False)


def test_a_deletion_waits_for_what_is_computed(session, tmp_path):
    session.receive(uploaded(tmp_path))
    began, told = threading.Event(), []

    def compute():
        with session.working():
            began.set()
            session.stop.wait(30)
            session.show(Image.new("RGB", (20, 20)))  # too late to be seen
            told.append("computed")

    thread = threading.Thread(target=compute)
    thread.start()
    began.wait(30)
    session.forget_photo()
    thread.join()
    assert told == ["computed"]
    assert list(session.folder.iterdir()) == []


def test_own_styles_survive_a_deletion_and_nothing_survives_the_end(session, tmp_path, model):
    shift = model.generator.mapping.w_avg[None].repeat(model.generator.num_ws, 1)
    save_style(tmp_path / "mine.pkl", Style(model.fingerprint, shift=shift))
    file = uploaded(tmp_path, "mine.pkl", (tmp_path / "mine.pkl").read_bytes())
    assert receive_file(session, file) == "The style mine is in your gallery."
    assert session.style_names()[0] == "mine"
    session.forget_photo()
    assert session.styles["mine"].is_file()
    session.close()
    assert not session.folder.exists()


def test_a_name_that_is_taken_gets_a_number(session, tmp_path, model):
    shift = model.generator.mapping.w_avg[None].repeat(model.generator.num_ws, 1)
    save_style(tmp_path / "toon.pkl", Style(model.fingerprint, shift=shift))
    assert session.add_style("toon", tmp_path / "toon.pkl") == "toon-2"


def test_a_model_is_read_and_its_file_removed(session, tmp_path):
    saved(tiny_model(), tmp_path / "own.safetensors")
    file = uploaded(tmp_path, "own.safetensors", (tmp_path / "own.safetensors").read_bytes())
    said = receive_file(session, file)
    assert said.startswith("The model own.safetensors (32 px,")
    assert session.model is not session.base
    assert list(session.folder.iterdir()) == []
    assert "toon" in session.style_names()  # a student draws for any model of faces
    assert "noir" not in session.style_names()


@pytest.mark.parametrize(("name", "said"), [("a.jpg", "got text"), ("b.jpg", "got an empty file")])
def test_a_bad_photo_is_one_sentence_without_folders(session, tmp_path, name, said):
    session.receive(uploaded(tmp_path, name, b"" if "empty" in said else b"no image, but words"))
    with pytest.raises(StylemixError) as caught:
        session.find_faces()
    text = sentence(caught.value, session)
    assert text.startswith(f"{name}: {said}")
    assert str(tmp_path) not in text
    assert list(session.folder.iterdir()) == []


def test_markup_in_a_name_is_shown_as_it_is(session):
    assert sentence(StylemixError("<img src=x>: got"), session) == "&lt;img src=x&gt;: got"


def test_another_face_forgets_what_was_made_of_the_first(session, tmp_path):
    two = Path(__file__).parents[2] / "data" / "portraits" / "two_people.jpg"
    session.receive(uploaded(tmp_path, content=two.read_bytes()))
    faces = session.find_faces()
    assert len(faces) >= 2
    assert session.face == 1
    assert [caption for _, caption in session.face_crops()][:2] == ["Face 1", "Face 2"]
    first = session.portrait(full=True).image
    session.choose(2)
    assert not np.array_equal(session.portrait(full=True).image, first)


@pytest.mark.slow
def test_the_photo_behind_a_preview_is_smaller_and_its_face_where_it_was(model, tmp_path):
    large = Image.open(COLLINS).resize((2048, 2048))
    large.save(tmp_path / "large.png")
    from stylemix.inversion.portraits import read_portrait

    portrait = read_portrait(str(tmp_path / "large.png"), model)
    small = smaller(portrait)
    assert small.photo_size == (PREVIEW_PX, PREVIEW_PX)
    where = np.array([700.0, 500.0, 1.0])
    assert np.allclose(
        small.alignment.matrix @ (where * [0.5, 0.5, 1]), portrait.alignment.matrix @ where
    )
    assert small.image is portrait.image
    in_memory = replace(portrait, source=large.convert("RGB"))  # as after a drag
    assert smaller(in_memory).photo_size == (PREVIEW_PX, PREVIEW_PX)


def test_a_stopped_computation_raises():
    stop, seen = threading.Event(), []
    report = stoppable(lambda done, total, loss=0.0: seen.append((done, total)), stop)
    report(1, 2)
    stop.set()
    with pytest.raises(Stopped):
        report(2, 2)
    assert seen == [(1, 2)]


@pytest.mark.parametrize("learning", [False, True])
def test_pictures_that_are_not_taken_are_removed(session, tmp_path, learning):
    count = 1 if learning else MAX_IMAGES + 1
    files = [tmp_path / "sessions" / str(number) / "me.jpg" for number in range(count)]
    for file in files:
        file.parent.mkdir()
        file.touch()
    session.learning = learning
    with pytest.raises(StylemixError, match=r"got pictures while|expected at most 60"):
        receive_examples(session, [str(file) for file in files])
    assert [file for file in files if file.exists() or file.parent.exists()] == []


def test_pictures_to_learn_from_are_checked(session, tmp_path):
    with pytest.raises(StylemixError, match="expected at most 60"):
        receive_examples(session, ["x.jpg"] * (MAX_IMAGES + 1))
    with pytest.raises(StylemixError, match="got no pictures"):
        learn(session, "mine")
    with pytest.raises(StylemixError, match="got text"):
        receive_examples(session, [str(uploaded(tmp_path, "x.jpg", b"no image, but words"))])
    assert session.examples == []
    assert list(session.folder.iterdir()) == []


@pytest.mark.slow
def test_a_style_is_learned_and_its_pictures_removed(session, tmp_path):
    receive_examples(session, [str(uploaded(tmp_path))])
    seen = []
    name, file = learn(session, "my <b>style", 2, "look", lambda *step: seen.append(step[:2]))
    assert (name, file.name) == ("my bstyle", "my-bstyle.pkl")
    assert seen[-1] == (2, 2)
    assert session.style_names()[0] == name
    assert [path.name for path in session.folder.rglob("*.*")] == [file.name]


def test_a_stop_while_others_learn_counts(session, tmp_path, monkeypatch):
    monkeypatch.setattr("stylemix.tools.app.learn.adapt", None)  # it may not begin
    receive_examples(session, [str(uploaded(tmp_path))])
    session.stop_learning.set()
    with pytest.raises(Stopped):
        learn(session, "mine")
    assert len(session.examples) == 1  # for another try


def test_other_pictures_wait_for_the_end_of_learning(session, tmp_path):
    (example,) = receive_examples(session, [str(uploaded(tmp_path))])
    session.learning = True
    with pytest.raises(StylemixError, match="while a style is learned from others"):
        receive_examples(session, ["x.jpg"])
    assert example.is_file()


@pytest.mark.parametrize("shape", [{}, {"head": "haar"}, {"base": (3, 5)}, {"base": (5, 3)}])
def test_points_on_the_screen_are_px_of_the_models_image(session, shape):
    """The corner of the face on the screen is that of the model's image, of any shape."""
    session.use_model(tiny_model(resolution=16, template=NO_TEMPLATE, **shape))
    config = session.model.generator.config
    face = model_image(torch.zeros([1, 3, config.height, config.width]), NO_TEMPLATE, SIDE)
    corner = [side / zoom(session) for side in face.size]
    assert corner == pytest.approx([config.width, config.height], abs=0.05)  # of whole px


def test_what_is_dragged_is_not_what_is_shown(session):
    session.shown = "a picture of the photo"
    session.use_dragged(None)
    assert session.shown is None
