"""The controls of the page in a browser: whatever a person does with them, the picture follows."""

import pytest

from stylemix.faces.templates import NO_TEMPLATE
from stylemix.io.assets import ASSETS
from tests.support.browser import PATIENCE, chromium
from tests.support.few_steps import SHOWN
from tests.support.models import saved, tiny_model

PORTRAITS = ASSETS / "portraits"
COMMAND = "document.querySelector('#command textarea').value"


@pytest.fixture(scope="module")
def page(app):
    with chromium() as browser:
        opened = browser.new_page(viewport={"width": 1180, "height": 900})
        opened.set_default_timeout(PATIENCE)
        opened.goto(app)
        opened.wait_for_selector("#photo input[type=file]", state="attached")
        yield opened


def choose(page, photo, style):
    page.set_input_files("#photo input[type=file]", str(photo))
    page.click(f"#gallery button[aria-label={style}]")
    page.wait_for_selector("#slider img")


def wait_for_command(page, part):
    page.wait_for_function(f"{COMMAND}.includes('{part}')")


@pytest.mark.slow
def test_the_picture_follows_every_control(page):
    choose(page, PORTRAITS / "collins.jpg", "comic")
    page.click("button:has-text('Size and quality')")
    page.click("button:has-text('A second style')")
    second = page.locator("#result input[role=combobox]")
    second.click()
    page.click("[role=option]:has-text('ink')")
    wait_for_command(page, "--style ink:0.5")
    page.wait_for_function(f"document.querySelectorAll('#gallery img').length == {len(SHOWN)}")
    page.wait_for_timeout(500)
    assert second.input_value() == "ink"  # the gallery that is drawn leaves it alone
    typed = page.locator("#strength input[type=number]")
    for text, used in (("99", "1.5"), ("", "0"), ("0.8", "0.8")):
        typed.click()
        typed.press("Control+a")
        typed.press("Delete")
        typed.type(text)
        typed.press("Tab")
        wait_for_command(page, f"--style comic:{used} ")
        assert typed.input_value() == used
    page.click("#strength .reset-button")
    wait_for_command(page, "--style comic:1 ")
    page.click("#full")
    page.wait_for_selector("#status:has-text('Ready')")
    page.click("label:has-text('JPEG')")  # of another file than the one that is ready
    wait_for_command(page, "--output avatar.jpg")
    page.wait_for_function("document.querySelector('#download').disabled")


@pytest.mark.slow
def test_a_model_that_no_style_fits_is_told(page, tmp_path):
    choose(page, PORTRAITS / "collins.jpg", "comic")
    saved(tiny_model(template=NO_TEMPLATE), tmp_path / "own.safetensors")
    page.click("button[role=tab]:has-text('Your own files')")
    page.set_input_files("#own-file input[type=file]", str(tmp_path / "own.safetensors"))
    page.wait_for_selector("#own-status:has-text('draws from now on')")
    page.click("button[role=tab]:has-text('Avatar')")
    page.wait_for_selector("#status:has-text('No style fits this model.')")
    assert not page.locator("#result").is_visible()


@pytest.mark.slow
def test_a_stop_without_learning_does_not_wait_for_it(page):
    page.click("button[role=tab]:has-text('Learn a style')")
    page.click("#learn-stop")
    page.wait_for_selector("#learn-status:has-text('Stopped.')")


@pytest.mark.slow
def test_the_face_to_drag_and_its_points_go_with_their_photo(page):
    page.reload()
    page.set_input_files("#photo input[type=file]", str(PORTRAITS / "collins.jpg"))
    page.wait_for_selector("#status:has-text('1 face found')")
    page.click("button[role=tab]:has-text('Drag points')")
    points = page.locator("#drag-points :is(input, textarea)")
    points.fill("22,46:21,45")
    page.click("#drag-go")
    page.wait_for_selector("#drag-status:has-text('Dragged')")
    page.click("button[role=tab]:has-text('Avatar')")
    page.click("#delete")
    page.wait_for_selector("#status:has-text('Deleted')")
    page.wait_for_selector("#drag-face img", state="detached")
    assert points.input_value() == ""
    assert page.locator("#drag-status").text_content().strip() == ""


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_focus_of_the_keyboard_is_seen_on_what_is_chosen(page, scheme):
    page.emulate_media(color_scheme=scheme)
    page.reload()
    page.click("button[role=tab]:has-text('Learn a style')")
    chosen = page.locator("input[type=radio][value=auto]")
    page.get_by_label("number input for Steps").focus()
    for _ in range(3):
        page.keyboard.press("Tab")
    assert chosen.evaluate("e => e === document.activeElement")
    line, fill = chosen.evaluate(
        """e => { const style = getComputedStyle(e.closest('label'));
        return [[style.outlineStyle, style.outlineColor], style.backgroundColor] }"""
    )
    assert line[0] == "solid"  # around the label, since the dot is on its colour
    page.hover("#learn")
    page.wait_for_timeout(500)
    assert page.locator("#learn").evaluate("e => getComputedStyle(e).backgroundColor") == (
        "rgb(67, 56, 202)"  # white on it is read: 7.9 to 1
    )
    if scheme == "dark":
        assert line[1] != fill


@pytest.mark.slow
def test_each_place_to_drop_files_has_its_own_name(page):
    for tab in ("Learn a style", "Your own files"):  # which are made when they are opened
        page.click(f"button[role=tab]:has-text('{tab}')")
    places = page.locator("button[aria-dropeffect]")
    page.wait_for_function("document.querySelectorAll('button[aria-dropeffect]').length == 3")
    names = [place.get_attribute("aria-label") for place in places.all()]
    assert [name.split(":")[0] for name in names] == [
        "Your photo", "Pictures of the style", "Style or model file",
    ]  # fmt: skip
