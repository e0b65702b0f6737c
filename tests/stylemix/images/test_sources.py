"""Lists of images from files, folders and zips, broken ones among them."""

import os
import pickle
import zipfile
from pathlib import Path

import pytest
from PIL import Image

import tests.support.hostile_images as hostile
from stylemix.errors import StylemixError
from stylemix.images import sources
from stylemix.images.sources import list_images, open_image


def _png(value: int) -> bytes:
    return hostile.encoded(Image.new("L", (16, 16), value), "PNG")


def _folder(root: Path) -> Path:
    names = ["b.png", "A.JPG", "c/d/e.webp", "c/a.gif", ".hidden.png", ".git/x.png", "notes.txt"]
    names += ["__MACOSX/._b.png", "c/__MACOSX/y.png", "c/.DS_Store", "Thumbs.db"]
    for index, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(_png(index))
    return root


def _zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_folder_is_listed_with_all_below_sorted_by_name(tmp_path):
    listed = list_images(_folder(tmp_path))
    assert [source.name for source in listed] == ["A.JPG", "b.png", "c/a.gif", "c/d/e.webp"]
    assert [source.stem for source in listed] == ["A", "b", "a", "e"]
    assert [source.open().getpixel((0, 0))[0] for source in listed] == [1, 0, 3, 2]
    assert str(listed[2]) == str(tmp_path / "c" / "a.gif")


def test_cyclic_links_between_folders(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(_png(1))
    try:
        (tmp_path / "in" / "up").symlink_to(tmp_path, target_is_directory=True)
    except OSError:
        pytest.skip("no links here")
    assert [source.name for source in list_images(tmp_path)] == ["in/a.png"]


def test_zip_is_listed_like_its_folder(tmp_path):
    folder = _folder(tmp_path / "folder")
    files = sorted((path for path in folder.rglob("*") if path.is_file()), reverse=True)
    members = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    archive = _zip(tmp_path / "all.zip", {"c/": b"", **members})
    listed = list_images([archive])
    assert [source.name for source in listed] == ["A.JPG", "b.png", "c/a.gif", "c/d/e.webp"]
    assert [source.open().getpixel((0, 0))[0] for source in listed] == [1, 0, 3, 2]
    assert str(listed[0]) == f"{archive}/A.JPG"


def test_files_keep_the_order_given(tmp_path):
    for name in ("z.png", "a.dat"):
        (tmp_path / name).write_bytes(_png(1))
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "m.png").write_bytes(_png(1))
    given = [tmp_path / "z.png", str(tmp_path / "dir"), tmp_path / "a.dat"]
    assert [source.name for source in list_images(given)] == ["z.png", "m.png", "a.dat"]


def test_sources_can_be_pickled(tmp_path):
    archive = _zip(tmp_path / "a.zip", {"x.png": _png(9)})
    (source,) = pickle.loads(pickle.dumps(list_images(archive)))
    assert source.open().getpixel((0, 0)) == (9, 9, 9)


def test_replaced_zip_is_read_again(tmp_path):
    archive = _zip(tmp_path / "a.zip", {"x.png": _png(9)})
    (source,) = list_images(archive)
    assert source.open().getpixel((0, 0)) == (9, 9, 9)
    _zip(archive, {"x.png": _png(8), "y.png": _png(7)})
    assert source.open().getpixel((0, 0)) == (8, 8, 8)


@pytest.mark.parametrize(
    ("member", "name"),
    [("../../x.png", "x.png"), ("/etc/x.png", "etc/x.png"), ("C:\\a\\x.png", "C_/a/x.png")],
)
def test_names_in_a_zip_stay_inside_a_folder(tmp_path, member, name):
    # ZipInfo would tidy the name; hostile files do not.
    archive = _zip(tmp_path / "a.zip", {"#" * len(member): _png(1)})
    archive.write_bytes(archive.read_bytes().replace(b"#" * len(member), member.encode()))
    (source,) = list_images(archive)
    assert source.name == name
    assert source.open().size == (16, 16)
    assert os.listdir(tmp_path) == ["a.zip"]


def test_member_of_excessive_size(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_MEMBER_BYTES", 2**20)
    (source,) = list_images(_zip(tmp_path / "a.zip", {"x.png": b"\0" * 2**22}))
    with pytest.raises(StylemixError, match=r"a.zip/x.png: got a member of over 1 MB"):
        source.open()


def test_broken_members(tmp_path):
    members = {"a.png": _png(1), "b.png": b"text", "c.png": hostile.cut(_png(2))}
    archive = _zip(tmp_path / "a.zip", members)
    listed = list_images(archive)
    assert len(listed) == 3
    with pytest.raises(StylemixError, match=r"a.zip/b.png: got text"):
        listed[1].open()
    with pytest.raises(StylemixError, match=r"a.zip/c.png: got a damaged"):
        listed[2].open()
    data = bytearray(archive.read_bytes())
    start = data.index(b"a.png") + 5
    data[start : start + 12] = b"\xff" * 12
    archive.write_bytes(data)
    with pytest.raises(StylemixError, match=r"a.zip/a.png: got a member that cannot be read"):
        list_images(archive)[0].open()


def test_member_with_a_password(tmp_path):
    archive = _zip(tmp_path / "a.zip", {"x.png": _png(1)})
    data = bytearray(archive.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # the flag alone is enough to be refused
    data[data.index(b"PK\x03\x04") + 6] |= 1
    archive.write_bytes(data)
    with pytest.raises(StylemixError, match=r"cannot be read \(a password is set\)"):
        list_images(archive)[0].open()


def test_checksum_of_a_file_that_is_too_long_for_an_image(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_BYTES", 2**21)
    with (tmp_path / "a.png").open("wb") as stream:
        stream.truncate(2**40)
    with pytest.raises(StylemixError, match="got a file of more than 2 MB; expected a smaller one"):
        list_images(tmp_path)[0].checksum()


def test_nothing_to_list(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_bytes(b"1")
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 and no more")
    _zip(tmp_path / "none.zip", {"notes.txt": b"1", ".x.png": b"2"})
    for path, message in (
        (tmp_path / "empty", "empty: got a folder without images; expected .jpg, .png"),
        (tmp_path / "none.zip", "none.zip: got a zip without images"),
        (tmp_path / "bad.zip", "bad.zip: got a damaged zip"),
        (tmp_path / "gone", "gone: got no such file or folder; expected images; check"),
        ([], "got no images; expected files, folders or zips"),
    ):
        with pytest.raises(StylemixError, match=message):
            list_images(path)


def test_pictures_of_stereo_cameras_are_images_of_a_folder(tmp_path):
    """The first of an MPO file is taken, as by its name."""
    red, blue = (Image.new("RGB", (32, 32), color) for color in ("red", "blue"))
    red.save(tmp_path / "a.mpo", "MPO", save_all=True, append_images=[blue])
    (source,) = list_images([tmp_path])
    assert source.open().getpixel((16, 16))[0] > 200


def test_the_callers_image_stays_as_it_is():
    image = Image.new("RGB", (16, 16))
    image.info["transparency"] = (0, 65535, 0)  # of a PNG of 16 bits
    assert open_image(image, "RGBA").mode == "RGBA"
    assert image.info == {"transparency": (0, 65535, 0)}
