"""Labels of folders and zips: classes, sets of classes, vectors; errors are raised early."""

import json
import zipfile

import pytest
import torch
from PIL import Image

from stylemix.errors import StylemixError
from stylemix.training.data import labels
from stylemix.training.data.dataset import ImageDataset


def _plain(value):
    return Image.new("RGB", (16, 16), (value, 0, 0))


@pytest.fixture
def folder(tmp_path):
    """Ten plain images, three of them in a folder below, the n-th with n of red."""
    path = tmp_path / "pictures"
    (path / "more").mkdir(parents=True)
    for i in range(10):
        _plain(i).save(path / (f"more/{i}.png" if i > 6 else f"{i}.png"))
    return path


def _labelled(folder, labels, **more):
    names = [f"more/{i}.png" if i > 6 else f"{i}.png" for i in range(10)]
    pairs = [list(pair) for pair in zip(names, labels, strict=False)]
    (folder / "dataset.json").write_text(json.dumps({"labels": pairs} | more))


def test_class_labels(folder):
    _labelled(folder, [i % 3 for i in range(10)])
    data = ImageDataset(folder, 8, mirror=True, use_labels=True)
    _, labels = data.batch([0, 4, 18])
    assert data.c_dim == 3
    assert labels.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert data.labels_at([18, 4]).tolist() == [[0, 0, 1], [0, 1, 0]]
    assert ImageDataset(folder, 8).c_dim == 0
    assert ImageDataset(folder, 8).labels_at([0]) is None


def test_label_vectors(folder):
    _labelled(folder, [[i, 0.5] for i in range(10)])
    data = ImageDataset(folder, 8, use_labels=True)
    assert data.c_dim == 2
    assert data.batch([7])[1].tolist() == [[7, 0.5]]
    assert data.batch([7])[1].dtype == torch.float32


def test_several_classes_at_once(folder):
    sets = [[0, 3], [], [1], [3, 1, 0]]
    _labelled(folder, [{"classes": sets[i % 4]} for i in range(10)])
    data = ImageDataset(folder, 8, use_labels=True)
    expected = [[1, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0], [1, 1, 0, 1]]
    assert data.batch(range(4))[1].tolist() == expected


def test_the_number_of_classes_may_be_given(folder):
    _labelled(folder, [i % 3 for i in range(10)], classes=5)
    assert ImageDataset(folder, 8, use_labels=True).batch([2])[1].tolist() == [[0, 0, 1, 0, 0]]


def _labelled_zip(path, labels):
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(len(labels)):
            with archive.open(f"00000/img{i:08d}.png", "w") as stream:
                _plain(i).save(stream, "png")
        pairs = [[f"00000/img{i:08d}.png", label] for i, label in enumerate(labels)]
        archive.writestr("dataset.json", json.dumps({"labels": pairs}))


def test_labels_of_a_zip(tmp_path):
    _labelled_zip(tmp_path / "data.zip", [2, 1, 0])
    data = ImageDataset(tmp_path / "data.zip", 8, use_labels=True)
    assert data.batch([0, 2])[1].tolist() == [[0, 0, 1], [1, 0, 0]]


def test_labels_of_a_folder_and_a_zip(folder, tmp_path):
    _labelled(folder, [0, 1] * 5)
    _labelled_zip(tmp_path / "data.zip", [3, 0])
    data = ImageDataset([folder, tmp_path / "data.zip"], 8, use_labels=True)
    assert data.batch([1, 10, 11])[1].tolist() == [[0, 1, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0]]


def test_a_replacement_has_its_own_label(folder):
    _labelled(folder, range(10))
    (folder / "3.png").write_text("not an image")
    data = ImageDataset(folder, 8, use_labels=True)
    images, labels = data.batch([3])
    assert images[0, 0, 0, 0] == labels.argmax() == 4
    # The labels of the dataset must not depend on earlier reads.
    assert data.labels_at([3]).argmax() == 3


def test_names_may_be_those_of_windows_and_find(folder):
    (folder / "cat").mkdir()
    (folder / "0.png").rename(folder / "cat" / "0.png")
    names = ["cat\\0.png", *(f"./{'more/' * (i > 6)}{i}.png" for i in range(1, 10))]
    table = {"labels": [[name, i % 2] for i, name in enumerate(names)]}
    (folder / "dataset.json").write_text(json.dumps(table))
    data = ImageDataset(folder, 8, use_labels=True)
    by_name = {data.name(i).rpartition("/")[2]: int(data.labels[i].argmax()) for i in range(10)}
    assert by_name == {f"{i}.png": i % 2 for i in range(10)}


def test_a_first_class_without_images_gets_a_word(folder, capsys):
    _labelled(folder, [1, 2] * 5)
    assert ImageDataset(folder, 8, use_labels=True).c_dim == 3
    assert "Class 0 has no image, while classes 1 to 2 have" in capsys.readouterr().err
    _labelled(folder, [0, 2] * 5)
    assert ImageDataset(folder, 8, use_labels=True).c_dim == 3
    assert capsys.readouterr().err == ""


def test_labels_that_do_not_fit_into_memory_are_refused(folder, monkeypatch):
    monkeypatch.setattr(labels, "MAX_VALUES", 99)
    _labelled(folder, [0, 9] * 5)
    with pytest.raises(StylemixError, match="got 10 labels of 10 classes; expected at most 99"):
        ImageDataset(folder, 8, use_labels=True)


NAN = float("nan")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, r"pictures: got no dataset\.json"),
        ("{", "got no table of labels"),
        ("[" * 10**5, "got no table of labels"),
        ('{"labels": [["0.png", 1], ["./0.png", 2]]}', "got two labels for 0.png, 1 and 2"),
        ('{"labels": [["x/0.png", 1]]}', "the first is 0.png, while it names x/0.png"),
        ([[1], [[1, [2, [3] * 9]]]] * 5, "1.png: got .* in its label"),
        ('{"labels": null}', "got a dataset without labels; .* leave out --conditional"),
        ("[1]", "got no table of labels"),
        ('{"labels": [["0.png", 1]]}', "got no label for 9 of 10 images, the first is 1.png"),
        ('{"labels": [], "classes": "3"}', "got '3' classes"),
        ([0, -1] * 5, "1.png: got the class -1; expected a whole number from 0 on"),
        (["smile"] * 10, "0.png: got the class 'smile'"),
        ([True] * 10, "0.png: got the class True"),
        ([0.5] * 10, "0.png: got the class 0.5"),
        ([None] * 10, "0.png: got the class None"),
        ([10**9] * 10, "0.png: got class 1000000000 of 1000000001 classes"),
        ([0, [1, 2]] * 5, r"1.png: got the label \[1, 2\], while others are of another kind"),
        ([{"classes": [0]}, {"class": 1}] * 5, "1.png: got the label {'class': 1}"),
        ([[1, 2], [1, 2, 3]] * 5, "1.png: got a label of 3 numbers; expected as many as .*0.png"),
        ([[]] * 10, "0.png: got a label of 0 numbers"),
        ([[1.0], [NAN]] * 5, "1.png: got nan in its label; expected finite numbers"),
        ([[1.0], [1e300]] * 5, r"1.png: got 1e\+300 in its label"),
        ([[1.0], ["x"]] * 5, "1.png: got 'x' in its label"),
    ],
)
def test_wrong_labels(folder, labels, message):
    if isinstance(labels, list):
        _labelled(folder, labels)
    elif labels is not None:
        (folder / "dataset.json").write_text(labels)
    with pytest.raises(StylemixError, match=message) as caught:
        ImageDataset(folder, 8, use_labels=True)
    assert str(caught.value).count(";") == 2


def test_classes_beyond_the_given_number(folder):
    _labelled(folder, range(10), classes=9)
    with pytest.raises(StylemixError, match=r"9\.png: got class 9 of 9 classes"):
        ImageDataset(folder, 8, use_labels=True)


def test_a_single_picture_has_no_labels(folder):
    with pytest.raises(StylemixError, match=r"1.png: got no dataset\.json"):
        ImageDataset(folder / "1.png", 8, use_labels=True)
