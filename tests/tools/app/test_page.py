"""The app in a browser: what a person does there, from the photo to the download."""

import io
import os
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylemix.errors import StylemixError
from stylemix.io.assets import ASSETS
from stylemix.tools.app import page as page_module
from tests.support.browser import CHROMIUM, PATIENCE, QUICK, ROOT, chromium, start_app
from tests.support.camera_page import camera_arguments, write_camera

PORTRAITS = ASSETS / "portraits"
TWO_PEOPLE = Path(__file__).parents[2] / "data" / "portraits" / "two_people.jpg"
PHOTO_INPUT = "#photo input[type=file]"


def test_without_gradio_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(StylemixError, match=r"pip install 'stylemix\[app\]'"):
        page_module.load_gradio()


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def visit(app, browser):
    """Opens the page as another visitor; in the end no error and no call of another machine."""
    contexts, hosts, errors = [], set(), []

    def open_page(width=1180, height=900):
        contexts.append(browser.new_context(viewport={"width": width, "height": height}))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: hosts.add(request.url.split("/")[2].split(":")[0]))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(app)
        page.wait_for_selector(PHOTO_INPUT, state="attached")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert hosts == {"127.0.0.1"}
    assert not errors


def drop(page, photo):
    page.set_input_files(PHOTO_INPUT, str(photo))
    page.wait_for_selector("#gallery img")


def choose(page, style):
    page.click(f"#gallery button[aria-label={style}]")
    page.wait_for_selector("#slider img")


def open_tab(page, name):
    tab = page.locator(f"button[role=tab]:has-text('{name}')").last
    if not tab.is_visible():
        page.click("button[aria-label='More tabs']")
        tab = page.locator(f"button:has-text('{name}') >> visible=true").last
    tab.click()


def session_folders(folder):
    """The folders of visitors who have a photo."""
    return {path.parent.parent for path in folder.glob("stylemix-app-*/*/photo-*/*")}


@pytest.mark.slow
def test_a_photo_becomes_the_picture_of_the_command(visit, tmp_path):
    page = visit()
    drop(page, PORTRAITS / "collins.jpg")
    style = page.locator("#gallery button[aria-label=ink]")
    style.press("Enter")  # by keyboard, as everything
    page.wait_for_selector("#slider img")
    assert [image.get_attribute("alt") for image in page.locator("#slider img").all()] == [
        "Before", "After",
    ]  # fmt: skip
    page.locator("#strength input[type=range]").focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("document.querySelector('#strength input').value == 0.95")
    page.click("#full")
    page.wait_for_function("document.querySelector('#status').innerText.includes('Ready')")
    with page.expect_download() as download:
        page.click("#download")
    downloaded = Image.open(download.value.path())
    page.click("button:has-text('Size and quality')")
    command = shlex.split(page.locator("#command textarea").input_value())
    shutil.copy(PORTRAITS / "collins.jpg", tmp_path)
    assert command[:6] == ["stylemix", "mix", "--source", "collins.jpg", "--style", "ink:0.95"]
    # Another process as well, since the sums of another number of threads are rounded otherwise.
    own = [sys.executable, "-m", QUICK, *command[1:], "--no-cache"]
    subprocess.run(own, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    expected = Image.open(tmp_path / "avatar.png")
    assert np.array_equal(np.asarray(downloaded), np.asarray(expected))
    assert downloaded.info == expected.info  # the marks of generated images
    assert "compositeWithTrained" in downloaded.info["IPTC DigitalSourceType"]


@pytest.mark.slow
def test_a_deleted_photo_leaves_nothing(visit, folder):
    page, before = visit(), session_folders(folder)
    drop(page, PORTRAITS / "hopper.jpg")
    choose(page, "comic")
    (own,) = session_folders(folder) - before
    address = page.locator("#slider img").first.get_attribute("src")
    assert urllib.request.urlopen(address).status == 200
    page.click("#delete")
    page.wait_for_function("document.querySelector('#status').innerText.startsWith('Deleted')")
    assert list(own.iterdir()) == []
    uploads = [p for p in folder.rglob("*.jpg") if p.read_bytes()[:2] and p.name == "hopper.jpg"]
    assert uploads == []
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(address)
    page.wait_for_function("document.querySelectorAll('#gallery img, #slider img').length == 0")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGTERM)])
def test_an_app_that_is_stopped_while_it_draws_leaves_nothing(number, browser, tmp_path):
    process, address = start_app(tmp_path, stderr=subprocess.PIPE)
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    page.wait_for_selector(PHOTO_INPUT, state="attached")
    drop(page, PORTRAITS / "collins.jpg")  # the other styles are drawn, and it is projected
    assert session_folders(tmp_path)
    process.send_signal(number)
    _out, err = process.communicate(timeout=PATIENCE / 1000)
    page.close()
    assert process.returncode == 0, err
    assert "terminate called" not in err
    assert "Traceback" not in err
    assert list(tmp_path.glob("stylemix-app-*")) == []


@pytest.mark.slow
def test_two_visitors_do_not_see_each_other(visit, folder):
    before, pages = session_folders(folder), [visit(), visit()]
    for page, name in zip(pages, ("obama", "biden"), strict=True):
        page.set_input_files(PHOTO_INPUT, str(PORTRAITS / f"{name}.jpg"))
    pictures = []
    for page in pages:
        page.wait_for_selector("#gallery img")
        choose(page, "comic")
        address = page.locator("#slider img").first.get_attribute("src")
        pictures.append((Path(address).parent.name, urllib.request.urlopen(address).read()))
    folders = session_folders(folder) - before
    assert {path.name for path in folders} == {name for name, _ in pictures}
    assert all(path.stat().st_mode & 0o777 == 0o700 for path in folders)
    for (_, picture), name in zip(pictures, ("obama", "biden"), strict=True):
        shown = Image.open(io.BytesIO(picture)).resize((64, 64)).convert("RGB")
        own, other = (
            np.abs(np.asarray(shown, float) - _head(PORTRAITS / f"{each}.jpg")).mean()
            for each in (name, "biden" if name == "obama" else "obama")
        )
        assert own < 15 < other


def _head(photo):
    """Head and shoulders of a photo in 64 px, as before a drawing."""
    from stylemix.avatars.drawing import portrait_box
    from stylemix.inversion.portraits import read_portrait
    from stylemix.models.checkpoint import load_model

    box = portrait_box(read_portrait(photo, load_model("faces-64")))
    return np.asarray(Image.open(photo).convert("RGB").crop(box).resize((64, 64)), float)


@pytest.mark.slow
def test_a_photo_is_taken_with_the_camera(app, browser, tmp_path):
    scene = Image.new("RGB", (640, 480), (90, 100, 110))
    scene.paste(Image.open(PORTRAITS / "collins.jpg").convert("RGB").resize((480, 480)), (80, 0))
    scene.save(tmp_path / "scene.png")
    write_camera(tmp_path / "camera.y4m", scene)
    with browser.browser_type.launch(
        executable_path=str(CHROMIUM), args=camera_arguments(tmp_path / "camera.y4m")
    ) as own:
        page = own.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(app)
        page.click("#photo button[aria-label='Capture from camera']")
        page.click("#photo button:has(.icon-wrap)")  # allows the camera
        page.click("#photo button[aria-label='capture photo']")
        choose(page, "comic")
        address = page.locator("#slider img").first.get_attribute("src")
        taken = Image.open(io.BytesIO(urllib.request.urlopen(address).read()))
        page.click("#delete")
        page.wait_for_function("document.querySelector('#status').innerText.startsWith('Deleted')")
    taken = np.asarray(taken.convert("RGB").resize((64, 64)), float)
    head = _head(tmp_path / "scene.png")
    assert np.abs(taken - head).mean() < 15 < np.abs(taken[:, ::-1] - head).mean()


@pytest.mark.slow
def test_bad_files_get_their_sentence(visit, tmp_path):
    page = visit()
    (tmp_path / "notes.jpg").write_text("no image")
    Image.new("RGB", (300, 200), "green").save(tmp_path / "meadow.png")
    (tmp_path / "style.pkl").write_text("no style")
    for name, said in (
        ("notes.jpg", "notes.jpg: got"),
        ("meadow.png", "got no face in meadow.png; expected an upright face"),
    ):
        page.set_input_files(PHOTO_INPUT, str(tmp_path / name))
        toast = page.locator(".toast-body").last
        toast.wait_for()
        assert said in toast.inner_text()
        assert "stylemix-app" not in toast.inner_text()
        assert toast.get_attribute("role") in ("alert", "status")  # screen readers tell it
        page.locator(".toast-close").last.click()
        toast.wait_for(state="detached")
    open_tab(page, "Your own files")
    page.set_input_files("#own-file input[type=file]", str(tmp_path / "style.pkl"))
    page.wait_for_selector(".toast-body")
    assert "style.pkl: got a text file" in page.inner_text(".toast-body")


@pytest.mark.slow
def test_several_faces_are_shown_to_choose_from(visit):
    page = visit()
    drop(page, TWO_PEOPLE)
    faces = page.locator("#faces button[aria-label]")
    names = [face.get_attribute("aria-label") for face in faces.all()]
    assert names == [f"Face {number}" for number in range(1, len(names) + 1)]
    assert len(names) >= 2
    choose(page, "comic")
    faces.nth(1).click()
    page.wait_for_selector("#result", state="hidden")  # that of the other face
    page.wait_for_function("document.querySelector('#status').innerText.includes('of ')")


@pytest.mark.slow
def test_a_phone_shows_every_screen_without_scrolling_sideways(visit):
    page = visit(390, 844)
    slower = {"rate": 6}  # than this machine; what comes close together is then seen at once
    page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", slower)
    drop(page, PORTRAITS / "collins.jpg")
    choose(page, "toon")
    for title in ("Expression", "What changes", "A second style", "Size and quality"):
        page.click(f"button:has-text('{title}')")
    wide = "document.documentElement.scrollWidth"
    assert page.evaluate(wide) == 390
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('input, textarea, button')]
        .filter(e => e.offsetParent !== null)
        .filter(e => !(e.getAttribute('aria-label') || e.innerText.trim() || e.title
                       || (e.labels && e.labels.length)))
        .map(e => e.outerHTML.slice(0, 120))"""
    )
    assert unnamed == []
    for name in ("Drag points", "Learn a style", "Your own files", "Privacy"):
        open_tab(page, name)
        assert page.evaluate(wide) == 390, name


@pytest.mark.slow
def test_learning_can_be_stopped(visit):
    page = visit()
    open_tab(page, "Learn a style")
    page.set_input_files("#examples-in input[type=file]", str(PORTRAITS / "biden.jpg"))
    page.wait_for_selector("#examples-seen img")
    page.click("#learn")
    page.wait_for_function("/\\d+\\/\\d+/.test(document.body.innerText)")  # its progress
    page.click("#learn-stop")
    page.wait_for_function("document.querySelector('#learn-status').innerText.includes('Stopped')")
