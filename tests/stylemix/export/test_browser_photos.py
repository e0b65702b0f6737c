"""The page for the browser: photos at their edges, and photos that take over from the camera."""

import numpy as np
import pytest
from PIL import Image

from stylemix.images.tensors import to_tensor
from stylemix.io.assets import ASSETS
from tests.support.camera_page import open_page, wait_for
from tests.support.exported_page import (
    FRAMES,
    READY,
    STATUS,
    export_page,
    needs_runtime,
    numbers,
    planes,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The page with one style, and a camera that shows a portrait."""
    return export_page(tmp_path_factory)


@pytest.mark.slow
@needs_runtime
def test_a_crop_beyond_the_photo_is_mirrored_and_white_where_it_is_transparent(folder):
    photo = to_tensor(
        Image.open(ASSETS / "portraits" / "collins.jpg").convert("RGB").resize((96, 96))
    )
    with open_page((folder / "index.html").as_uri(), folder.parent / "camera.y4m") as page:
        wait_for(page, READY)
        align = (
            "(async () => { const photo = document.createElement('canvas'), crop = "
            "document.createElement('canvas'); photo.width = photo.height = 96; DRAW;"
            "const points = stylemix.page.template.map((p) => p.map((v) => 128 * v - 20));"
            "stylemix.align(photo, [96, 96], points, 128, crop);"
            "return stylemix.planes(crop).data; })()"
        )
        show = f"stylemix.show(photo, {planes(photo)}.data, 96, 96)"
        shown = numbers(page, align.replace("DRAW", show)).view(3, 128, 128)
        expected = np.pad(photo[0].numpy(), ((0, 0), (20, 20), (20, 20)), "reflect")[:, :128, :128]
        assert np.abs(shown.numpy() - expected).max() < 0.02
        assert numbers(page, align.replace("DRAW", "")).eq(1).all()
        again = page.evaluate(
            """(async () => {
              stylemix.files.again = stylemix.files["style-0"];
              let calls = 0;
              stylemix.loadScript = async () => { if (!calls++) throw new Error("gone"); };
              const first = await stylemix.network("again").catch((error) => error.message);
              return [first, (await stylemix.network("again")).outputNames];
            })()"""
        )
        assert again == ["gone", ["drawing"]]  # a network that was not to be had is fetched again


@pytest.mark.slow
@needs_runtime
def test_a_photo_takes_over_and_a_camera_that_draws_nothing_is_off(folder, tmp_path):
    Image.new("RGB", (20000, 10), "gray").save(tmp_path / "panorama.png")
    camera = "document.getElementById('camera').textContent"
    with open_page((folder / "index.html").as_uri(), folder.parent / "camera.y4m") as page:
        wait_for(page, READY)
        page.set_input_files("#photo", tmp_path / "panorama.png")
        wait_for(page, f"{STATUS}.startsWith('No face')")
        page.click("#camera")
        wait_for(page, f"{FRAMES} > 1")
        assert page.input_value("#detail") == "160"  # not that of a photo
        page.evaluate(
            """() => {
              const draw = window.draw = stylemix.draw;
              stylemix.draw = async (...given) => {
                stylemix.draw = draw;
                const drawn = await draw(...given);
                await new Promise((resolve) => { window.release = resolve; });
                return drawn;
              };
            }"""
        )
        wait_for(page, "Boolean(window.release)")
        page.set_input_files("#photo", ASSETS / "portraits" / "hopper.jpg")
        wait_for(page, "document.getElementById('rate').textContent.startsWith('1 photo')")
        images = "['source', 'drawing'].map((id) => document.getElementById(id).toDataURL())"
        before = page.evaluate(images)
        page.evaluate("window.release()")
        page.wait_for_timeout(500)
        assert page.evaluate(images) == before  # without the camera's last frame
        page.click("#camera")
        wait_for(page, f"{camera}.startsWith('Stop')")
        page.evaluate(
            """() => {
              stylemix.draw = async () => {
                stylemix.draw = window.draw;
                throw new Error("lost");
              };
            }"""
        )
        wait_for(page, f"{STATUS} === 'lost'")
        assert page.inner_text("#camera") == "Start the camera"
        page.click("#camera")
        wait_for(page, f"{camera}.startsWith('Stop')")
        page.evaluate(
            "Object.defineProperty(document, 'hidden', {value: true});"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )
        assert page.inner_text("#camera") == "Start the camera"
        refused = page.evaluate(
            """() => {
              const dataTransfer = new DataTransfer();
              dataTransfer.items.add(new File(["no image"], "text.txt"));
              const event = new DragEvent("drop", { dataTransfer, cancelable: true });
              document.dispatchEvent(event);
              return event.defaultPrevented;
            }"""
        )
        assert refused  # the page is not left
        wait_for(page, f"{STATUS}.startsWith('text.txt is not an image')")
        assert page.problems == []
