"""Packing from Python: reproducible bytes, resuming, names, and errors."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from stylemix.errors import StylemixError
from stylemix.images.sources import ImageSource
from stylemix.io.journal import open_work
from stylemix.training.curation import workers
from stylemix.training.curation.archive import write_archive
from stylemix.training.curation.crop import Crop, CropSettings, cut_photo, parse_size
from stylemix.training.curation.pack import pack
from stylemix.training.curation.report import member_name
from stylemix.training.curation.select import KeepSettings
from stylemix.training.data.dataset import ImageDataset

CENTRE = CropSettings((64, 64), crop="centre")


def texture(seed: int, size: tuple[int, int] = (64, 64)) -> Image.Image:
    """Returns an image that resembles no other: coarse colours with fine grain."""
    rng = np.random.RandomState(seed)
    coarse = Image.fromarray(rng.randint(60, 190, (6, 6, 3)).astype(np.uint8))
    fine = rng.normal(0, 12, (size[1], size[0], 1))
    pixels = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC)) + fine
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six different images."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(6):
        texture(seed).save(folder / f"{seed}.png")
    return folder


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_public_layout(photos, tmp_path):
    report = pack(photos, tmp_path / "out.zip", CENTRE, keep_names=True)
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        infos = archive.infolist()
        assert json.loads(archive.read("dataset.json")) == {"labels": None}
        assert json.loads(archive.read("pack.json")) == json.loads(
            (tmp_path / "out.pack.json").read_text()
        )
    pictures = [f"00000/img0000000{i}.png" for i in range(6)]
    assert [info.filename for info in infos] == [*pictures, "dataset.json", "pack.json"]
    assert {(info.compress_type, info.date_time) for info in infos} == {(0, (1980, 1, 1, 0, 0, 0))}
    assert [picture.file for picture in report.kept] == [f"{i}.png" for i in range(6)]
    assert member_name(12345, "jpeg") == "00012/img00012345.jpg"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "out.pack.json",
        "out.zip",
        "photos",
    ]


def test_read_back_as_a_dataset(photos, tmp_path):
    pack(photos, tmp_path / "out.zip", CENTRE)
    data = ImageDataset(tmp_path / "out.zip", 64)
    assert len(data) == 6
    images, _ = data.batch([0, 5])
    for image, seed in zip(images, (0, 5), strict=True):
        assert np.array_equal(image.permute(1, 2, 0).numpy(), np.asarray(texture(seed)))


def test_same_photos_give_the_same_bytes(photos, tmp_path):
    pack(photos, tmp_path / "a.zip", CENTRE)
    pack(photos, tmp_path / "b.zip", CENTRE)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_folder_and_zip_have_the_same_content(photos, tmp_path):
    pack(photos, tmp_path / "out.zip", CENTRE)
    (tmp_path / "out").mkdir()
    pack(photos, tmp_path / "out", CENTRE)
    files = {
        path.relative_to(tmp_path / "out").as_posix(): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    assert files == members(tmp_path / "out.zip")
    with pytest.raises(StylemixError, match=r"out: got a folder or file that exists"):
        pack(photos, tmp_path / "out", CENTRE)


def test_a_stopped_call_continues(photos, tmp_path, monkeypatch):
    seen: list[str] = []

    def cut(source, settings, device, identity):
        if len(seen) == 4:
            raise KeyboardInterrupt
        seen.append(source.name)
        return cut_photo(source, settings, device, identity)

    monkeypatch.setattr(workers, "cut_photo", cut)
    with pytest.raises(KeyboardInterrupt):
        pack(photos, tmp_path / "out.zip", CENTRE)
    assert not (tmp_path / "out.zip").exists()
    assert (tmp_path / "out.zip.work").exists()
    first, seen[:] = seen[:], []
    (photos / "0.png").rename(photos / "9.png")  # content counts, not the name
    texture(7).save(photos / "1.png")  # and new content is cropped again
    pack(photos, tmp_path / "out.zip", CENTRE)
    assert first == ["0.png", "1.png", "2.png", "3.png"]
    assert seen == ["1.png", "4.png", "5.png"]
    assert not (tmp_path / "out.zip.work").exists()
    monkeypatch.undo()
    pack(photos, tmp_path / "fresh.zip", CENTRE)
    assert (tmp_path / "fresh.zip").read_bytes() == (tmp_path / "out.zip").read_bytes()


def test_other_settings_do_not_use_former_work(photos, tmp_path):
    pack(photos, tmp_path / "out.zip", CENTRE, dry_run=True)
    pack(photos, tmp_path / "out.zip", CropSettings((32, 32), crop="centre"))
    assert len(ImageDataset(tmp_path / "out.zip", 32)) == 6
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert Image.open(archive.open("00000/img00000000.png")).size == (32, 32)


def test_work_file_that_is_none(photos, tmp_path):
    (tmp_path / "out.zip.work").write_text("my diary, which is no database at all")
    with pytest.raises(StylemixError, match=r"out.zip.work: got 'file is not a database'"):
        pack(photos, tmp_path / "out.zip", CENTRE)
    assert (tmp_path / "out.zip.work").read_text().startswith("my diary")
    with (
        open_work(tmp_path / "other.work"),
        pytest.raises(StylemixError, match="no other process"),
        open_work(tmp_path / "other.work"),
    ):
        pass


def test_names_say_nothing_about_the_machine(photos, tmp_path):
    (photos / "broken.jpg").write_bytes((photos / "0.png").read_bytes()[:300])
    (tmp_path / "more").mkdir()
    texture(8).save(tmp_path / "more" / "0.png")
    inputs = [photos, tmp_path / "more", photos / "0.png"]
    report = pack(inputs, tmp_path / "out.zip", CENTRE, keep_names=True)
    names = [picture.file for picture in report.kept]
    assert names == [*(f"photos/{i}.png" for i in range(6)), "more/0.png"]
    assert [(item.file, item.reason) for item in report.left_out] == [
        ("photos/broken.jpg", "broken"),
        ("0.png", "duplicate"),
    ]
    assert "damaged or truncated PNG" in report.left_out[0].detail
    assert report.left_out[1].detail == "of photos/0.png, 0 bits apart"
    assert str(tmp_path) not in (tmp_path / "out.pack.json").read_text()


def test_photos_have_numbers_unless_names_are_asked_for(tmp_path):
    folder = tmp_path / "smiths"
    (folder / "annika").mkdir(parents=True)
    for name, seed in (("annika/1.png", 1), ("annika/2.png", 1), ("b.png", 2)):
        texture(seed).save(folder / name)
    (folder / "c.jpg").write_bytes(b"no image")
    (folder / "labels.csv").write_text("annika/1.png,7\nannika/2.png,7\nb.png,0\n")
    labels = folder / "labels.csv"
    report = pack(folder, tmp_path / "out.zip", CENTRE, labels=labels)
    assert [image.file for image in report.kept] == ["photo 1", "photo 3"]
    assert [(item.file, item.detail) for item in report.left_out] == [
        ("photo 2", "of photo 1, 0 bits apart"),
        ("photo 4", report.left_out[1].detail),
    ]
    assert report.names["photo 4"] == "c.jpg"
    written = members(tmp_path / "out.zip")
    assert json.loads(written["dataset.json"])["labels"] == [
        ["00000/img00000000.png", 7], ["00000/img00000001.png", 0],
    ]  # fmt: skip
    everything = b"".join(written.values()) + (tmp_path / "out.pack.json").read_bytes()
    for word in (b"smiths", b"annika", b"b.png", b"c.jpg", b"csv"):
        assert word not in everything


def test_names_of_classes_may_have_half_letters(photos, tmp_path):
    table = [[path.name, f"\ud800{path.stem}"] for path in sorted(photos.rglob("*.png"))]
    (tmp_path / "labels.json").write_text(json.dumps({"labels": table}))
    report = pack(photos, tmp_path / "out.zip", CENTRE, labels=tmp_path / "labels.json")
    written = json.loads(members(tmp_path / "out.zip")["pack.json"])
    assert written["classes"] == report.classes == sorted(name for _, name in table)


@pytest.mark.parametrize("named", [True, False])
def test_classes_without_a_kept_image_count(named, tmp_path):
    """Labels stay as wide as those of the same photos with other criteria."""
    folder = tmp_path / "photos"
    for number, name in enumerate("abc"):
        (folder / name).mkdir(parents=True)
        texture(number).save(folder / name / "1.png")
    texture(2).filter(ImageFilter.GaussianBlur(8)).save(folder / "c" / "1.png")
    (tmp_path / "labels.csv").write_text("".join(f"{k}/1.png,{i}\n" for i, k in enumerate("abc")))
    labels = "folders" if named else tmp_path / "labels.csv"
    keep = KeepSettings(min_sharpness=30)
    report = pack(folder, tmp_path / "out.zip", CENTRE, keep, labels=labels)
    assert len(report.kept) == 2
    assert json.loads(members(tmp_path / "out.zip")["dataset.json"])["classes"] == 3
    assert ImageDataset(tmp_path / "out.zip", 32, use_labels=True).c_dim == 3


def test_nothing_left_is_one_line_with_the_counts(photos, tmp_path):
    keep = KeepSettings(min_sharpness=1e6)
    with pytest.raises(StylemixError) as caught:
        pack(photos, tmp_path / "out.zip", CENTRE, keep)
    assert str(caught.value).startswith("got no image to keep from 6 photos (6 blurred)")
    assert len(json.loads((tmp_path / "out.pack.json").read_text())["left out"]) == 6
    assert not (tmp_path / "out.zip").exists()


def test_metadata_stays_behind(tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "secret place"
    image = texture(0, (80, 80))
    image.save(tmp_path / "a.jpg", exif=exif, comment=b"secret words", quality=95)
    for kind in ("png", "jpeg", "webp"):
        crop = cut_photo(
            ImageSource("a.jpg", tmp_path / "a.jpg"),
            CropSettings((64, 64), crop="centre", format=kind),
        )[0]
        assert isinstance(crop, Crop)
        assert b"secret" not in crop.data
        assert b"Exif" not in crop.data


def test_an_archive_that_fails_leaves_nothing(tmp_path):
    def half():
        yield "a.txt", b"1"
        raise RuntimeError("stop")

    for name in ("out.zip", "out"):
        with pytest.raises(RuntimeError, match="stop"):
            write_archive(tmp_path / name, half())
    assert list(tmp_path.iterdir()) == []


def test_sizes():
    assert parse_size("128") == (128, 128)
    assert parse_size("128x96") == (128, 96)
    for text in ("", "a", "1x2x3", "12.5"):
        with pytest.raises(StylemixError, match="WIDTHxHEIGHT"):
            parse_size(text)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"size": (128, 96)}, "expected a square"),
        ({"size": (8, 8), "crop": "none"}, "expected sides of 16 to 4096"),
        ({"crop": "center"}, "got crop 'center'; expected one of faces, centre, none"),
        ({"channels": "rgba", "format": "jpeg"}, "with transparency"),
        ({"filter": "nearest"}, "expected one of lanczos"),
        ({"quality": 0}, "expected 1 to 100"),
    ],
)
def test_settings_that_cannot_be(settings, words):
    with pytest.raises(StylemixError, match=words):
        CropSettings(**settings)


def test_choices_that_cannot_be(photos, tmp_path):
    with pytest.raises(StylemixError, match="expected 0 to 16 bits"):
        KeepSettings(duplicates=17)
    with pytest.raises(StylemixError, match="got max_upscale -1"):
        KeepSettings(max_upscale=-1)
    with pytest.raises(StylemixError, match="use --crop faces"):
        pack(photos, tmp_path / "out.zip", CENTRE, KeepSettings(max_per_person=1))
    archive = tmp_path / "in.zip"
    write_archive(archive, [("a.png", (photos / "0.png").read_bytes())])
    with pytest.raises(StylemixError, match="as input and output"):
        pack(archive, archive, CENTRE)
