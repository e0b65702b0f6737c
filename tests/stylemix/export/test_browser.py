"""The page for the browser: what it writes, and what Chromium then shows, opened as a file."""

import base64
import json
import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import avg_pool2d

from stylemix.avatars.finisher import enlarge
from stylemix.errors import StylemixError
from stylemix.export import browser, files
from stylemix.export.browser import PAGE, SOURCE, page_graphs, page_settings, write_page
from stylemix.faces.alignment import align_photo
from stylemix.faces.detector import load_detector
from stylemix.faces.templates import FACES128, NO_TEMPLATE
from stylemix.images.tensors import to_tensor
from stylemix.io.assets import ASSETS
from stylemix.models.loading import use_model
from stylemix.networks.latents import bands, map_latents, mix, z_from_seed
from stylemix.networks.student import tone_curve
from stylemix.styles.style import find_style, load_style
from tests.support.camera_page import open_page, wait_for
from tests.support.exported_page import (
    FRAMES,
    READY,
    STATUS,
    export_page,
    needs_runtime,
    numbers,
    planes,
    scene,
)
from tests.support.models import tiny_model

DRAWING = "stylemix.planes(document.getElementById('drawing')).data"


def fake_runtime(folder: Path) -> Path:
    """A package with the names of onnxruntime-web."""
    (folder / "dist").mkdir(parents=True)
    for kind, stem in browser.RUNTIMES.items():
        for name in (f"ort.{kind}.min.js", f"{stem}.mjs", f"{stem}.wasm"):
            (folder / "dist" / name).write_text(f"// {name}")
    return folder


def test_the_folder_holds_all_that_the_page_names(tmp_path, monkeypatch):
    monkeypatch.setattr(browser, "check_packages", lambda: None)
    written = []

    def onnx_bytes(graph, facts, precision):
        written.append((facts["name"], precision))
        return b"network", files.Deviation(0.0, 0.0)

    monkeypatch.setattr(browser, "onnx_bytes", onnx_bytes)
    page = tmp_path / "page"
    write_page(page, fake_runtime(tmp_path / "npm"), ["comic", "ink"])
    names = ["propose", "refine", "locate", "mapping", "synthesis", "style-0", "style-1"]
    assert written == [(name, "fp16") for name in names]
    html = (page / "index.html").read_text()
    for name in re.findall(r'(?:src|href)="([^":]+)"', html):
        assert (page / name).is_file(), name
    text = base64.b64encode(b"network").decode()
    line = f'globalThis.stylemix.files["locate"] = "{text}";\n'
    assert (page / "models" / "locate.js").read_text() == line
    assert (page / "runtime" / "ort.webgpu.min.js").read_text() == "// ort.webgpu.min.js"
    settings = (page / "models" / "page.js").read_text()
    settings = settings.removeprefix("globalThis.stylemix = { page: ")
    settings = json.loads(settings.removesuffix(", files: {} };\n"))
    assert [style["name"] for style in settings["styles"]] == ["comic", "ink"]
    assert settings["model"]["side"] == 256


def test_the_page_may_not_connect_to_anything():
    html = (SOURCE / "index.html").read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)[1]
    assert "default-src 'none'" in policy
    assert "connect-src 'none'" in policy
    for name in PAGE:
        assert not re.search(r"https?://(?!\S+ or as a file)\w", (SOURCE / name).read_text()), name


def test_other_models_are_shown_at_their_own_size():
    model = tiny_model(resolution=32, channels=1)
    settings = page_settings({}, model, "tiny")["model"]
    assert (settings["side"], settings["channels"], settings["z_dim"]) == (32, 1, 16)
    network = page_graphs({}, model)["synthesis"].network
    assert not isinstance(network, browser.Enlarged)


def test_what_the_page_cannot_use_is_refused(tmp_path, monkeypatch):
    with pytest.raises(StylemixError, match=r"got no ort.wasm.min.js .* npm install onnx"):
        write_page(tmp_path / "page", tmp_path / "none")
    npm = fake_runtime(tmp_path / "npm")
    monkeypatch.setattr(browser, "check_packages", lambda: None)
    for model in (tiny_model(classes=2), tiny_model(base=(4, 6), template=NO_TEMPLATE)):
        with pytest.raises(StylemixError, match="a square one without classes"):
            write_page(tmp_path / "page", npm, model=model)
    with pytest.raises(StylemixError, match="make it with stylemix distill"):
        write_page(tmp_path / "page", npm, ["noir"])
    (tmp_path / "comic.safetensors").write_bytes(Path(find_style("ink")).read_bytes())
    with pytest.raises(StylemixError, match="got two styles with the name comic"):
        write_page(tmp_path / "page", npm, ["comic", str(tmp_path / "comic.safetensors")])
    assert not (tmp_path / "page").exists()


def _drawn(photo: Image.Image, side: int) -> torch.Tensor:
    """The drawing of a photo's face by PyTorch, from a crop of `side` px."""
    crop = to_tensor(align_photo(photo, FACES128, side).crop)
    return load_style("comic").drawing(crop, tone_curve(crop))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The page with one style, and a camera that shows a portrait."""
    return export_page(tmp_path_factory)


@pytest.mark.slow
@needs_runtime
def test_chromium_computes_what_pytorch_does(folder):
    with open_page((folder / "index.html").as_uri(), folder.parent / "camera.y4m") as page:
        wait_for(page, READY)
        z = numbers(page, "stylemix.latent(4294967295, 9)").double()
        torch.testing.assert_close(z, z_from_seed(4294967295, 9)[0])
        generator = use_model("faces-64", "cpu").generator
        a, b = (map_latents(generator, z_from_seed(seed, generator.z_dim), 0.7) for seed in (3, 7))
        mixed = mix(a, b, bands(64)["middle"], 0.5)
        mixed = mix(mixed, b, bands(64)["fine"])
        image = numbers(page, (
            "(async () => { const ends = await stylemix.mapSeeds([3, 7], 0.7);"
            "const amounts = {coarse: 0, middle: 0.5, fine: 1};"
            "return stylemix.render([stylemix.mixLatents(...ends, amounts)]); })()"
        ))  # fmt: skip
        with torch.no_grad():
            expected = enlarge(generator.synthesis(mixed, "const"), FACES128)
        torch.testing.assert_close(image.view(expected.shape), expected, atol=1e-3, rtol=0)

        photo = scene()
        crop = to_tensor(align_photo(photo, FACES128, 64).crop)
        curve = tone_curve(crop)
        found = numbers(page, f"stylemix.toneCurve({planes(crop)})")
        torch.testing.assert_close(found, curve[0], atol=1e-4, rtol=0)
        drawn = numbers(page, f"stylemix.draw('style-0', {planes(crop)}, {curve[0].tolist()})")
        expected = load_style("comic").drawing(crop, curve)
        torch.testing.assert_close(drawn.view(expected.shape), expected, atol=1e-3, rtol=0)

        face = load_detector().detect(photo)[0]
        points = page.evaluate(
            f"(async () => (await stylemix.findFace({planes(to_tensor(photo))})).points)()"
        )
        assert np.abs(np.array(points) - face.points).max() < 0.02 * face.eye_distance
        assert page.problems == []


@pytest.mark.slow
@needs_runtime
def test_the_camera_is_drawn_and_nothing_leaves_the_page(folder):
    with open_page((folder / "index.html").as_uri(), folder.parent / "camera.y4m") as page:
        wait_for(page, READY)
        page.click("#camera")
        wait_for(page, f"{FRAMES} > 3")
        assert re.search(r"^\d+\.\d frames per second, \d+ ms a frame$", page.inner_text("#rate"))
        shown = numbers(page, DRAWING).view(1, 3, 320, 320)
        page.click("#camera")
        assert page.inner_text("#camera") == "Start the camera"
        expected = _drawn(scene(), 160)
        # A video's colours are coded, and its points are read once: lines move by a px or two.
        small, same, mirrored = (
            avg_pool2d(image, 16) for image in (shown, expected, expected.flip(3))
        )
        assert (small - same).abs().mean() < 0.12
        assert (small - mirrored).abs().mean() > 0.3
        inside = (folder.as_uri() + "/", "blob:")
        assert [url for url in page.requests if not url.startswith(inside)] == []
        assert page.problems == []
        answer = "fetch('https://example.com').then(() => 'sent', () => 'refused')"
        assert page.evaluate(answer) == "refused"
        assert "Content Security Policy" in page.problems[0]


@pytest.mark.slow
@needs_runtime
def test_photos_keys_and_a_phone(folder, tmp_path):
    camera, noise = folder.parent / "camera.y4m", tmp_path / "wall.png"
    Image.new("RGB", (200, 150), "white").save(noise)
    (tmp_path / "text.png").write_text("no image")
    with open_page((folder / "index.html").as_uri(), camera, width=390, height=800) as page:
        wait_for(page, READY)
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        page.set_input_files("#photo", ASSETS / "portraits" / "hopper.jpg")
        wait_for(page, f"{FRAMES} === 1")
        assert re.search(r"^1 photo, \d+ ms$", page.inner_text("#rate"))
        shown = numbers(page, DRAWING).view(1, 3, 512, 512)
        expected = _drawn(Image.open(ASSETS / "portraits" / "hopper.jpg"), 256)
        assert (shown - expected).abs().mean() < 0.03  # browsers resample otherwise
        page.set_input_files("#photo", noise)
        wait_for(page, f"{STATUS}.startsWith('No face')")
        page.set_input_files("#photo", tmp_path / "text.png")
        wait_for(page, f"{STATUS}.startsWith('text.png is not an image')")
        unnamed = (
            "[...document.querySelectorAll('input, select, button')]"
            ".filter((control) => !control.labels?.length && !control.textContent.trim()).length"
        )
        assert page.evaluate(unnamed) == 0
        page.focus("#seed-b")
        for _ in range(2):  # the button, then the first slider
            page.keyboard.press("Tab")
        before = page.evaluate("document.getElementById('face-mixed').toDataURL()")
        page.keyboard.press("End")
        assert page.inner_text("output[for=coarse]") == "100 %"
        wait_for(page, f"document.getElementById('face-mixed').toDataURL() !== '{before}'")
        assert page.problems == []


@pytest.mark.slow
@needs_runtime
def test_hasty_clicks_and_a_camera_that_goes(folder, tmp_path):
    Image.new("RGB", (200, 150), "white").save(tmp_path / "wall.png")
    large = Image.new("RGB", (6000, 4000), "gray")
    large.paste(Image.open(ASSETS / "portraits" / "hopper.jpg").resize((3000, 3000)), (1000, 0))
    large.save(tmp_path / "large.jpg")
    (tmp_path / "notes.png").write_text("no image")
    with open_page((folder / "index.html").as_uri(), folder.parent / "camera.y4m") as page:
        wait_for(page, READY)
        page.evaluate(
            """() => {
              const { mediaDevices } = navigator, ask = mediaDevices.getUserMedia;
              window.tracks = [];
              mediaDevices.getUserMedia = async (how) => {
                const stream = await ask.call(mediaDevices, how);
                window.tracks.push(...stream.getTracks());
                return stream;
              };
            }"""
        )
        page.dblclick("#camera")
        wait_for(page, f"{FRAMES} > 1")
        page.click("#camera")
        assert page.evaluate("tracks.map((track) => track.readyState)") == ["ended"]
        page.click("#camera")
        wait_for(page, "tracks.length === 2")
        page.evaluate("tracks[1].stop(); tracks[1].dispatchEvent(new Event('ended'))")
        wait_for(page, f"{STATUS}.startsWith('The camera is gone')")
        assert page.inner_text("#camera") == "Start the camera"
        page.set_input_files("#photo", tmp_path / "large.jpg")  # takes longer to decode
        page.set_input_files("#photo", tmp_path / "wall.png")
        wait_for(page, f"{STATUS}.startsWith('No face')")
        page.wait_for_timeout(2000)
        assert page.inner_text("#status").startswith("No face")
        assert not page.evaluate(f"{DRAWING}.some((value) => value > -1)")  # of an earlier photo
        page.evaluate(
            """() => {
              const find = stylemix.findFace;
              stylemix.findFace = async (image) => {
                await new Promise((go) => setTimeout(go, 2000));
                return find(image);
              };
            }"""
        )
        page.set_input_files("#photo", ASSETS / "portraits" / "hopper.jpg")
        wait_for(page, f"{STATUS} === 'Drawing ...'")
        page.set_input_files("#photo", tmp_path / "notes.png")
        wait_for(page, f"{DRAWING}.some((value) => value > -1)")
        page.wait_for_timeout(500)
        assert page.inner_text("#status").startswith("notes.png is not an image")
        page.fill("#seed-a", "99999999999")
        page.press("#seed-a", "Tab")
        assert page.input_value("#seed-a") == "4294967295"
        assert page.problems == []


@pytest.mark.slow
@needs_runtime
def test_the_folder_can_be_hosted(folder):
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *_: None
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        origin = f"http://127.0.0.1:{server.server_port}/"
        with open_page(origin, folder.parent / "camera.y4m") as page:
            wait_for(page, READY)
            assert [url for url in page.requests if not url.startswith((origin, "blob:"))] == []
            assert page.problems == []
    finally:
        server.shutdown()
        server.server_close()
