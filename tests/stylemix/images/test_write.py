"""Conversion between images and tensors, resizing, and writing files."""

import os
import struct

import numpy as np
import pytest
import torch
from PIL import Image

import stylemix
from stylemix.errors import StylemixError
from stylemix.images.read import load_image
from stylemix.images.tensors import resize, to_pil, to_tensor
from stylemix.images.write import check_folder, save_image

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
TRAINED = SOURCE_TYPE + "trainedAlgorithmicMedia"
COMPOSITE = SOURCE_TYPE + "compositeWithTrainedAlgorithmicMedia"


@pytest.fixture(autouse=True)
def unsigned(monkeypatch):
    """Files without Content Credentials, whether the package for them is here or not."""
    monkeypatch.setattr("stylemix.images.credentials.has_package", lambda: False)


def _ramp() -> Image.Image:
    """Returns 16 x 16 px with every grey value once in the red channel."""
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[..., 0] = np.arange(256).reshape(16, 16)
    pixels[..., 2] = 255
    return Image.fromarray(pixels)


def test_to_tensor_values():
    tensor = to_tensor(_ramp())
    assert (tensor.shape, tensor.dtype) == ((1, 3, 16, 16), torch.float32)
    assert tensor.is_contiguous()
    assert tensor[0, :, 0, 0].tolist() == [-1, -1, 1]
    assert tensor[0, 0, 15, 15] == 1
    assert tensor[0, 0, 0, 3].item() == pytest.approx(3 / 127.5 - 1)


def test_to_pil_undoes_to_tensor_exactly():
    for tensor in (to_tensor(_ramp()), to_tensor(_ramp())[0], to_tensor(_ramp()).double()):
        assert np.array_equal(np.asarray(to_pil(tensor)), np.asarray(_ramp()))


def test_to_pil_rounds_as_stylegan2():
    values = torch.tensor([-2.0, -1.0, -0.002, 0.0, 0.003, 0.999, 1.0, 9.0, -1.0])
    image = to_pil(values.reshape(1, 1, 9))
    assert image.mode == "L"
    # floor(x * 127.5 + 128): 127.745, 128, 128.3825, 255.37; then 0..255
    assert np.asarray(image)[0].tolist() == [0, 0, 127, 128, 128, 255, 255, 255, 0]
    half = to_pil(values.reshape(1, 1, 9).bfloat16().requires_grad_())
    assert np.asarray(half)[0, [0, 3, 6, 7, 8]].tolist() == [0, 128, 255, 255, 0]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3.4e38])
def test_to_pil_refuses_values_that_are_not_finite(value):
    """A latent or a model with values that are too large would give a black image."""
    image = torch.zeros([3, 4, 4])
    image[1, 2, 3] = value
    with pytest.raises(StylemixError, match="got an image with NaN or infinite values; expected"):
        to_pil(image)


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4, 4)])
def test_to_pil_refuses_a_wrong_shape(shape):
    with pytest.raises(ValueError, match=r"got a tensor of shape \[.*expected \[1, 3 or 4, H, W\]"):
        to_pil(torch.zeros(shape))


@pytest.mark.parametrize("channels", [2, 5, 16])
def test_channels_that_no_picture_has_are_refused(channels):
    """A model may have them, and its file can be converted."""
    with pytest.raises(StylemixError, match=f"got images of {channels} channels; expected 1 "):
        to_pil(torch.zeros([channels, 4, 4]))
    with pytest.raises(StylemixError, match=f"got images of {channels} channels; expected 1 "):
        to_tensor(Image.new("RGB", (4, 4)), channels=channels)


def test_channels_as_a_network_has_them(tmp_path):
    pixels = np.arange(6 * 5 * 4, dtype=np.uint8).reshape(6, 5, 4) * 2
    clear = Image.fromarray(pixels)
    tensor = to_tensor(clear, channels=4)
    assert tensor.shape == (1, 4, 6, 5)
    assert np.array_equal(np.asarray(to_pil(tensor)), pixels)
    save_image(tmp_path / "a.png", tensor)
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "RGBA"
        assert np.array_equal(np.asarray(image), pixels)
    on_white = to_tensor(clear)[0, :, 1, 2] * 127.5 + 127.5
    r, g, b, a = pixels[1, 2].astype(float)
    expected = [(value * a + 255 * (255 - a)) / 255 for value in (r, g, b)]
    assert on_white.tolist() == pytest.approx(expected, abs=1)
    save_image(tmp_path / "a.jpg", tensor)
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.mode == "RGB"
        assert np.asarray(image)[1, 2].tolist() == pytest.approx(expected, abs=12)
    grey = to_tensor(Image.new("RGB", (4, 2), (100, 50, 200)), channels=1)
    assert grey.shape == (1, 1, 2, 4)
    assert np.asarray(to_pil(grey))[0, 0] == round(0.299 * 100 + 0.587 * 50 + 0.114 * 200)
    opaque = to_tensor(_ramp(), channels=4)
    assert torch.equal(opaque[:, :3], to_tensor(_ramp()))
    assert (opaque[:, 3] == 1).all()


def test_to_tensor_of_several():
    small, large = Image.new("L", (16, 16), 255), Image.new("RGB", (40, 20))
    tensor = to_tensor([small, large], size=8)
    assert tensor.shape == (2, 3, 8, 8)
    assert (tensor[0] == 1).all()
    assert (tensor[1] == -1).all()
    with pytest.raises(StylemixError, match=r"got images of \(16, 16\) and of \(40, 20\) px"):
        to_tensor([small, large])
    with pytest.raises(StylemixError, match="got no images"):
        to_tensor([])


def test_resize_crops_the_ends_and_preserves_the_aspect_ratio():
    image = Image.new("RGB", (300, 100), (0, 0, 255))
    image.paste((255, 0, 0), (100, 0, 200, 100))
    for oblong in (image, image.rotate(90, expand=True)):
        square = np.asarray(resize(oblong, 50)).astype(int)
        assert square.shape == (50, 50, 3)
        assert np.abs(square - (255, 0, 0)).max() < 20  # the filter extends beyond the edge
    assert resize(image, (60, 20)).size == (60, 20)
    assert resize(image, (60, 20)).getpixel((3, 3)) == (0, 0, 255)


def test_resize_averages():
    checks = np.indices((64, 64)).sum(0) % 2 * 255
    small = np.asarray(resize(Image.fromarray(checks.astype(np.uint8)), 8)).astype(int)
    assert np.abs(small[1:-1, 1:-1] - 127.5).max() < 3
    same = _ramp()
    assert resize(same, 16) is not same
    assert np.array_equal(np.asarray(resize(same, 16)), np.asarray(same))


def _chunks(data: bytes) -> list[tuple[str, bytes]]:
    chunks, start = [], 8
    while start < len(data):
        (length,) = struct.unpack(">I", data[start : start + 4])
        chunks.append((data[start + 4 : start + 8].decode(), data[start + 8 : start + 8 + length]))
        start += 12 + length
    return chunks


@pytest.mark.parametrize(
    ("generated", "expected"), [(True, TRAINED), ("composite", COMPOSITE), (False, None)]
)
def test_png_metadata_mark_it_as_generated_only(tmp_path, generated, expected):
    path = tmp_path / "a.PNG"
    source = _ramp()
    source.info = {"icc_profile": b"x" * 200, "exif": b"Exif\0\0", "dpi": (72, 72), "me": "here"}
    save_image(path, source, generated=generated)
    chunks = _chunks(path.read_bytes())
    marks = ["iTXt", "iTXt"] if expected else []
    assert [kind for kind, _ in chunks] == ["IHDR", *marks, "IDAT", "IEND"]
    with Image.open(path) as image:
        text = dict(image.text)
    software = {"Software": f"stylemix {stylemix.__version__}"}
    assert text == ({"IPTC DigitalSourceType": expected, **software} if expected else {})
    assert source.info["me"] == "here"
    assert np.array_equal(np.asarray(load_image(path)), np.asarray(_ramp()))


@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "a.webp"])
def test_jpeg_and_webp_are_marked_in_xmp(tmp_path, name):
    path = tmp_path / name
    save_image(path, _ramp(), generated="composite")
    data = path.read_bytes()
    assert data.count(b"compositeWithTrainedAlgorithmicMedia") == 1
    with Image.open(path) as image:
        assert set(image.info) <= {"xmp", "jfif", "jfif_version", "jfif_unit", "jfif_density"} | {
            "loop", "background", "timestamp", "duration",
        }  # fmt: skip
        assert dict(image.getexif()) == {}
    save_image(path, _ramp(), generated=False)
    assert b"lgorithmicMedia" not in path.read_bytes()
    assert np.abs(np.asarray(load_image(path)).astype(int) - np.asarray(_ramp())).mean() < 6


def test_saves_tensors_and_all_modes(tmp_path):
    save_image(tmp_path / "tensor.png", to_tensor(_ramp()))
    assert np.array_equal(np.asarray(load_image(tmp_path / "tensor.png")), np.asarray(_ramp()))
    clear = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    save_image(tmp_path / "clear.png", clear)
    save_image(tmp_path / "clear.jpg", clear)
    with Image.open(tmp_path / "clear.png") as image:
        assert image.mode == "RGBA"
    assert load_image(tmp_path / "clear.jpg").getpixel((3, 3)) == (255, 255, 255)
    save_image(tmp_path / "cmyk.webp", Image.new("CMYK", (16, 16)))
    save_image(tmp_path / "grey.jpg", to_tensor(_ramp())[0, :1])
    assert len(os.listdir(tmp_path)) == 5


@pytest.mark.parametrize(
    ("name", "got"), [("a.tga", "the extension '.tga'"), ("a", "no extension"), (".png", "no ext")]
)
def test_unknown_extension(tmp_path, name, got):
    with pytest.raises(StylemixError, match=f"got {got}.*expected .png, .jpg or .webp; rename"):
        save_image(tmp_path / name, _ramp())
    assert os.listdir(tmp_path) == []


def test_failing_write_leaves_the_existing_image(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    save_image(path, _ramp())
    before = path.read_bytes()

    def fail(self, stream, *args, **options):
        with open(stream, "wb") as file:
            file.write(b"\x89PNG half")
        raise RuntimeError("the encoder broke")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(RuntimeError, match="the encoder broke"):
        save_image(path, Image.new("RGB", (16, 16)))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.png"]


@pytest.mark.parametrize("name", ["a.png", "me.latent.safetensors", "STYLE.PKL", "report.json"])
def test_a_name_of_one_file_is_no_folder(name, tmp_path):
    with pytest.raises(StylemixError, match=r"got one file, .* for several results"):
        check_folder(tmp_path / name)
    (tmp_path / name).mkdir()
    check_folder(tmp_path / name)  # somebody wanted it


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "results").write_text("")
    with pytest.raises(StylemixError, match=r"got the file .*results; expected a folder"):
        check_folder(tmp_path / "results")
    check_folder(tmp_path / "results.of.friday")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StylemixError, match=r"got the file .*link; expected a folder"):
        check_folder(tmp_path / "link")


def test_a_tensor_of_bytes_is_the_image_that_it_shows(tmp_path):
    values = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16).repeat(3, 1, 1)
    save_image(tmp_path / "a.png", values, generated=False)
    assert (np.asarray(Image.open(tmp_path / "a.png"))[..., 0].ravel() == np.arange(256)).all()


@pytest.mark.parametrize(
    ("image", "generated", "message"),
    [
        (np.zeros([32, 32, 3], np.uint8), True, "got ndarray as an image"),
        (None, True, "got NoneType as an image"),
        (torch.zeros([2, 3, 32, 32]), True, r"got a tensor of shape \[2, 3, 32, 32\]"),
        (torch.zeros([3, 0, 32]), True, "got an image of 32 x 0 px"),
        (Image.new("RGB", (0, 32)), True, "got an image of 0 x 32 px"),
        (Image.new("RGB", (32, 32)), "composit", "got generated 'composit'; expected one of True"),
    ],
)
def test_unusable_images_and_marks_are_refused(image, generated, message, tmp_path):
    with pytest.raises(StylemixError, match=message):
        save_image(tmp_path / "a.png", image, generated)
    assert not list(tmp_path.iterdir())


def test_an_image_whose_file_is_closed_is_not_written(tmp_path):
    save_image(tmp_path / "a.png", Image.new("RGB", (32, 32)))
    closed = Image.open(tmp_path / "a.png")
    closed.close()
    with pytest.raises(StylemixError, match="got an image that cannot be read"):
        save_image(tmp_path / "b.png", closed)
