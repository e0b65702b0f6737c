"""`stylemix pack`: each option and its effect on the dataset."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image, ImageFilter

from stylemix.cli import main
from stylemix.faces.alignment import align_photo
from stylemix.faces.detector import load_detector
from stylemix.faces.templates import FACES128, FFHQ
from stylemix.images.read import load_image
from stylemix.training.curation import crop, workers
from stylemix.training.data.dataset import ImageDataset
from tests.training.curation.test_pack import texture

PORTRAITS = Path(__file__).parent.parent / "data" / "portraits"
OBAMA, TWO = str(PORTRAITS / "obama.jpg"), str(PORTRAITS / "two_people.jpg")


class Remembering:
    """The detector, run once for each image."""

    def __init__(self):
        self.known = {}

    def detect(self, image):
        key = image.tobytes()
        if key not in self.known:
            self.known[key] = load_detector().detect(image)
        return self.known[key]


DETECTOR = Remembering()


@pytest.fixture(autouse=True)
def _one_look(monkeypatch):
    monkeypatch.setattr(crop, "load_detector", lambda device: DETECTOR)


PLAIN = ("--crop", "centre", "--size", "64")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["pack", *arguments])


def packed(output: Path, *arguments: str) -> tuple[list[Image.Image], dict]:
    """Pack, and return the images and the report."""
    done = run(*arguments, "--keep-names", "--output", str(output))
    assert done.exit_code == 0, done.output
    with zipfile.ZipFile(output) as archive:
        names = [name for name in archive.namelist() if not name.endswith(".json")]
        images = [Image.open(io.BytesIO(archive.read(name))) for name in names]
        return images, json.loads(archive.read("pack.json"))


def reasons(report: dict) -> dict[str, str]:
    return {item["file"]: item["reason"] for item in report["left out"]}


def save(folder: Path, **images: Image.Image) -> str:
    folder.mkdir(exist_ok=True)
    for name, image in images.items():
        image.save(folder / f"{name}.png")
    return str(folder)


def difference(a: Image.Image, b: Image.Image) -> float:
    return float(np.abs(np.asarray(a, dtype=float) - np.asarray(b, dtype=float)).mean())


@pytest.fixture
def wide(tmp_path: Path) -> str:
    return save(tmp_path / "wide", wide=texture(1, (240, 120)))


def test_table_and_broken_files(tmp_path):
    folder = save(tmp_path / "in", a=texture(0), b=texture(1), c=texture(1))
    (tmp_path / "in" / "d.jpg").write_text("not an image")
    done = run(folder, *PLAIN, "--output", str(tmp_path / "out.zip"))
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "photos                           4",
        "kept                             2",
        "left out: cannot be read         1",
        "left out: duplicates             1",
        f"Wrote {tmp_path / 'out.zip'}",
    ]
    assert "Left out: d.jpg: got text; expected a JPEG" in done.stderr


def test_size_and_centre(tmp_path, wide):
    (square,), _ = packed(tmp_path / "a.zip", wide, "--crop", "centre", "--size", "96")
    assert square.size == (96, 96)
    middle = texture(1, (240, 120)).crop((60, 0, 180, 120))
    expected = middle.resize((96, 96), Image.Resampling.LANCZOS)
    assert difference(square, expected) < 1  # but for the outermost pixels they are equal
    (oblong,), _ = packed(tmp_path / "b.zip", wide, "--crop", "centre", "--size", "96x64")
    assert oblong.size == (96, 64)


def test_crop_none_needs_the_aspect_ratio(tmp_path, wide):
    save(Path(wide), square=texture(2, (120, 120)), odd=texture(3, (201, 100)))
    images, report = packed(tmp_path / "a.zip", wide, "--crop", "none", "--size", "64x32")
    assert [image["file"] for image in report["kept"]] == ["wide.png"]
    assert images[0].size == (64, 32)
    assert reasons(report) == {"square.png": "shape", "odd.png": "shape"}
    assert report["left out"][1]["detail"] == ("120 x 120 px; expected the aspect ratio of 64 x 32")


@pytest.mark.parametrize("name", ["lanczos", "bicubic", "hamming", "bilinear", "box"])
def test_filter(tmp_path, name):
    source = texture(1, (160, 160))
    folder = save(tmp_path / "in", a=source)
    (image,), report = packed(tmp_path / "a.zip", folder, *PLAIN, "--filter", name)
    expected = source.resize((64, 64), getattr(Image.Resampling, name.upper()))
    assert np.array_equal(np.asarray(image), np.asarray(expected))
    assert report["resized with"].startswith(f"{name} of Pillow ")


def test_channels(tmp_path):
    image = texture(1, (128, 128)).convert("RGBA")
    alpha = np.full((128, 128), 255, np.uint8)
    alpha[:, :64] = 0
    image.putalpha(Image.fromarray(alpha))
    folder = save(tmp_path / "in", a=image)
    modes, corners = [], []
    for channels in ("grey", "rgb", "rgba"):
        options = (*PLAIN, "--channels", channels)
        (image,), _ = packed(tmp_path / f"{channels}.zip", folder, *options)
        modes.append(image.mode)
        corners.append(image.getpixel((8, 8)))
    assert modes == ["L", "RGB", "RGBA"]
    assert corners == [255, (255, 255, 255), (0, 0, 0, 0)]  # nothing hidden under transparency


def test_format_and_quality(tmp_path):
    folder = save(tmp_path / "in", a=texture(1))
    sizes = {}
    for kind, quality in (("png", "95"), ("jpeg", "95"), ("jpeg", "30"), ("webp", "95")):
        output = tmp_path / f"{kind}{quality}.zip"
        images, report = packed(output, folder, *PLAIN, "--format", kind, "--quality", quality)
        assert images[0].format == kind.upper()
        extension = "jpg" if kind == "jpeg" else kind
        assert report["kept"][0]["name"] == f"00000/img00000000.{extension}"
        sizes[kind, quality] = output.stat().st_size
        assert difference(images[0].convert("RGB"), texture(1)) < 12
    assert sizes["jpeg", "30"] < sizes["jpeg", "95"] < sizes["png", "95"]


def test_max_upscale(tmp_path):
    folder = save(tmp_path / "in", small=texture(1, (40, 40)), fits=texture(2, (50, 50)))
    save(tmp_path / "in", large=texture(3))
    _, report = packed(tmp_path / "a.zip", folder, *PLAIN)
    assert reasons(report) == {"small.png": "small"}
    assert report["left out"][0]["detail"] == "upsampled 1.60 times; expected at most 1.5"
    _, report = packed(tmp_path / "b.zip", folder, *PLAIN, "--max-upscale", "1.2")
    assert reasons(report) == {"small.png": "small", "fits.png": "small"}
    _, report = packed(tmp_path / "c.zip", folder, *PLAIN, "--max-upscale", "0")
    assert reasons(report) == {}


def test_min_sharpness(tmp_path):
    blurred = texture(2, (256, 256)).filter(ImageFilter.GaussianBlur(6))
    folder = save(tmp_path / "in", sharp=texture(1, (256, 256)), blurred=blurred)
    options = ("--crop", "centre", "--size", "256")
    _, report = packed(tmp_path / "a.zip", folder, *options)
    assert reasons(report) == {"blurred.png": "blurred"}
    _, report = packed(tmp_path / "b.zip", folder, *options, "--min-sharpness", "0")
    assert reasons(report) == {}


def test_duplicates(tmp_path):
    image = texture(1, (200, 200))
    copies = {
        "a_small": image.resize((64, 64)).resize((100, 100)),
        "b_best": image,
        "c_soft": image.filter(ImageFilter.GaussianBlur(1)),
    }
    folder = save(tmp_path / "in", **copies, other=texture(2, (200, 200)))
    options = ("--crop", "centre", "--size", "128")
    _, report = packed(tmp_path / "a.zip", folder, *options)
    assert [image["file"] for image in report["kept"]] == ["b_best.png", "other.png"]
    assert reasons(report) == {"a_small.png": "duplicate", "c_soft.png": "duplicate"}
    assert all(item["detail"].startswith("of b_best.png, ") for item in report["left out"])
    _, report = packed(tmp_path / "b.zip", folder, *options, "--duplicates", "-1")
    assert reasons(report) == {}


def test_labels_of_folders(tmp_path):
    for index, name in enumerate(["dogs", "cats"]):
        (tmp_path / "in").mkdir(exist_ok=True)
        save(tmp_path / "in" / name, a=texture(2 * index), b=texture(2 * index + 1))
    texture(9).save(tmp_path / "in" / "alone.png")
    output = tmp_path / "a.zip"
    _, report = packed(output, str(tmp_path / "in"), *PLAIN, "--labels", "folders")
    assert report["classes"] == ["cats", "dogs"]
    assert reasons(report) == {"alone.png": "no label"}
    with zipfile.ZipFile(output) as archive:
        labels = json.loads(archive.read("dataset.json"))["labels"]
    assert labels == [[f"00000/img0000000{i}.png", i // 2] for i in range(4)]
    data = ImageDataset(output, 64, use_labels=True)
    assert data.c_dim == 2
    assert data.batch([0, 3])[1].tolist() == [[1, 0], [0, 1]]


def test_labels_of_a_file(tmp_path):
    folder = save(tmp_path / "in", a=texture(0), b=texture(1))
    (tmp_path / "l.csv").write_text("name,x,y\nb.png,0.5,1\na.png,0,2\n")
    output = tmp_path / "a.zip"
    packed(output, folder, *PLAIN, "--labels", str(tmp_path / "l.csv"))
    data = ImageDataset(output, 64, use_labels=True)
    assert data.batch([0, 1])[1].tolist() == [[0, 2], [0.5, 1]]
    (tmp_path / "l.csv").write_text("in/b.png,1\n")
    done = run(folder, *PLAIN, "--labels", str(tmp_path / "l.csv"), "--output", str(output))
    assert done.exit_code == 2
    assert "got labels for 'in/b.png' and others; expected names such as 'a.png'" in done.stderr


def test_dry_run_writes_only_the_report(tmp_path, monkeypatch):
    folder = save(tmp_path / "in", a=texture(0), b=texture(0))
    output = tmp_path / "out.zip"
    done = run(folder, *PLAIN, "--dry-run", "--output", str(output))
    assert done.exit_code == 0
    assert "left out: duplicates         1" in done.stdout
    assert f"resumes from {output}.work" in done.stdout
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["in", "out.pack.json", "out.zip.work"]
    monkeypatch.setattr(workers, "cut_photo", None)  # all is done
    images, _ = packed(output, folder, *PLAIN)
    assert len(images) == 1
    assert not (tmp_path / "out.zip.work").exists()


@pytest.mark.slow
def test_workers_change_nothing_but_the_time(tmp_path, monkeypatch):
    folder = save(tmp_path / "in", a=texture(0), b=texture(1), c=texture(2))
    packed(tmp_path / "a.zip", folder, *PLAIN, "--workers", "1")
    monkeypatch.setattr(workers, "cut_photo", None)  # in this process only
    packed(tmp_path / "b.zip", folder, *PLAIN, "--workers", "2")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_device_is_used_for_face_detection(tmp_path, monkeypatch):
    seen = []

    class Blind:
        def detect(self, image):
            return []

    monkeypatch.setattr(crop, "load_detector", lambda device: seen.append(device) or Blind())
    done = run(OBAMA, "--device", "cpu", "--output", str(tmp_path / "a.zip"))
    assert done.exit_code == 2
    assert "got no image to keep from 1 photos (1 no clear face)" in done.stderr
    assert seen == ["cpu"]
    assert run(OBAMA, "--device", "abacus", "--output", str(tmp_path / "a.zip")).exit_code == 2


def test_faces_are_aligned(tmp_path):
    images, report = packed(tmp_path / "a.zip", OBAMA, TWO, "--size", "96")
    assert [(one["file"], one["face"]) for one in report["kept"]] == [
        ("obama.jpg", 1), ("two_people.jpg", 1), ("two_people.jpg", 2),
    ]  # fmt: skip
    for index, face in ((0, None), (1, 1), (2, 2)):
        expected = align_photo(
            load_image((OBAMA, TWO, TWO)[index]), FACES128, 96, face, detector=DETECTOR
        ).crop
        assert difference(images[index], expected) < 3


def test_template_and_largest_face(tmp_path):
    options = ("--template", "ffhq", "--faces", "largest", "--size", "128")
    images, report = packed(tmp_path / "a.zip", TWO, *options)
    assert [one["face"] for one in report["kept"]] == [1]
    expected = align_photo(load_image(TWO), FFHQ, 128, 1, detector=DETECTOR).crop
    assert difference(images[0], expected) < 3


def test_faces_that_are_small_or_of_one_person(tmp_path):
    """A single dry run detects the faces; the following options reuse it."""
    output = str(tmp_path / "a.zip")

    def left_out(*options: str) -> list[tuple[str, int, str]]:
        done = run(OBAMA, TWO, "--size", "96", "--dry-run", *options, "--output", output)
        assert done.exit_code == 0, done.output
        report = json.loads((tmp_path / "a.pack.json").read_text())
        return [(item["file"], item["face"], item["reason"]) for item in report["left out"]]

    cap = ("--max-per-person", "1", "--keep-names")
    assert left_out(*cap) == []  # his photos, years apart, are 0.41 apart
    assert left_out(*cap, "--same-person", "0.5") == [("two_people.jpg", 2, "person")]
    assert left_out("--max-per-person", "2", "--same-person", "0.5") == []
    assert left_out(*cap, "--min-face", "95") == [
        ("two_people.jpg", 1, "small"), ("two_people.jpg", 2, "small"),
    ]  # fmt: skip
