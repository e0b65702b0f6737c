"""How handlers are called: what they give arrives at once and whole, and errors as sentences."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from stylemix.errors import StylemixError
from stylemix.tools.app.events import Page
from stylemix.tools.app.session import Stopped

SKIPPED = "unchanged"


@pytest.fixture
def warnings():
    return []


@pytest.fixture
def handle(warnings):
    """Calls a function as an event does; returns what the page is given, without the session."""
    page = SimpleNamespace(
        gr=SimpleNamespace(
            skip=lambda: SKIPPED, Warning=lambda text, **_: warnings.append(text)
        ),
    )  # fmt: skip
    session = SimpleNamespace(turn=0, folder="folder")

    def call(function, shown=2, drawing=False):
        given = list(Page._handle(page, function, shown, "", drawing, session, ()))
        assert all(part[0] is session for part in given)
        return [part[1:] for part in given]

    return call


def test_what_a_handler_returns_comes_alone(handle):
    """Nothing follows it: a browser that is busy shows only the last of what comes together."""
    assert handle(lambda session: ("picture", "text")) == [("picture", "text")]


def test_what_a_handler_yields_comes_in_parts(handle):
    assert handle(lambda session: iter([(1, "a"), (2, "b")])) == [(1, "a"), (2, "b")]


def test_an_update_can_be_given_twice(handle):
    """As one that empties a component: gradio takes the value out of the one that it is given."""
    update = {"value": None}
    for _ in range(2):
        ((given,),) = handle(lambda session: (update,), shown=1)
        assert given.pop("value", "gone") is None


def test_without_a_result_the_page_stays_as_it_is(handle):
    assert handle(lambda session: iter([])) == [(SKIPPED, SKIPPED)]


def test_an_error_is_a_sentence_and_keeps_what_was_shown(handle, warnings):
    def fails(session, after=()):
        yield from after
        raise StylemixError("got <b>; expected a photo in folder/photo-1-0123abcd/me.jpg")

    assert handle(fails) == [(SKIPPED, SKIPPED)]
    assert handle(lambda session: fails(session, [(1, "a")])) == [(1, "a")]
    assert warnings == ["got &lt;b&gt;; expected a photo in me.jpg"] * 2


def test_a_picture_of_another_photo_is_not_shown(handle):
    def is_late(session):
        session.turn += 1
        yield 1, "of the photo before"

    assert handle(is_late, drawing=True) == [(SKIPPED, SKIPPED)]


def test_a_part_that_is_out_of_date_is_not_shown_again(handle):
    """At the end of a handler gradio shows the last part once more."""

    def is_stopped(session):
        yield 1, "of the photo before"
        raise Stopped

    assert handle(is_stopped) == [(1, "of the photo before"), (SKIPPED, SKIPPED)]

    def ends_after_a_deletion(session):
        yield 1, "of the photo before"
        session.turn += 1

    parts = [(1, "of the photo before"), (SKIPPED, SKIPPED)]
    assert handle(ends_after_a_deletion, drawing=True) == parts


def test_a_visitor_who_leaves_is_not_waited_for():
    """Gradio forgets a handler of a page that was closed, and never asks for the next part."""
    working, seen = [], []

    @contextmanager
    def work(of_photo):
        working.append(of_photo)
        yield
        working.pop()

    session = SimpleNamespace(turn=0, folder="folder", working=work)
    page = SimpleNamespace(gr=SimpleNamespace(skip=lambda: SKIPPED))

    def parts(session):
        for number in range(3):
            seen.append([number, *working])
            yield (number,)

    handler = Page._handle(page, parts, 1, "gallery", True, session, ())
    assert next(handler)[1:] == (0,)
    assert working == []
    assert next(handler)[1:] == (1,)
    session.turn += 1  # as a deletion does
    assert list(handler) == [(session, SKIPPED)]
    assert seen == [[0, True], [1, True]]
