"""Labels from folders, JSON and CSV."""

import json

import pytest

from stylemix.errors import StylemixError
from stylemix.training.curation.label_files import folder_labels, read_labels


def test_folders_are_classes():
    names = ["dogs/1.png", "cats/old/1.png", "cats/2.png", "alone.png"]
    labels, classes = folder_labels(names)
    assert classes == ["cats", "dogs"]
    assert labels == {"dogs/1.png": 1, "cats/old/1.png": 0, "cats/2.png": 0}


@pytest.mark.parametrize(
    ("name", "text", "labels", "classes"),
    [
        ("a.json", '{"x.png": 3, "y.png": 0}', {"x.png": 3, "y.png": 0}, None),
        ("a.json", '{"labels": [["x.png", 1]]}', {"x.png": 1}, None),
        ("a.json", '{"x": "old", "y": "new"}', {"x": 1, "y": 0}, ["new", "old"]),
        ("a.json", '{"x": [0, 1], "y": [0.5, 1]}', {"x": [0.0, 1.0], "y": [0.5, 1.0]}, None),
        ("a.csv", "x.png,2\ny.png,0\n", {"x.png": 2, "y.png": 0}, None),
        ("a.csv", "name,label\nx.png, cat\n\ny.png,dog", {"x.png": 0, "y.png": 1}, ["cat", "dog"]),
        ("a.csv", 'file,a,b\n"x,1.png",0.5,1', {"x,1.png": [0.5, 1.0]}, None),
    ],
)
def test_files(tmp_path, name, text, labels, classes):
    (tmp_path / name).write_text(text)
    assert read_labels(tmp_path / name) == (labels, classes)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", "[1, 2"),
        ("a.json", "{}"),
        ("a.json", json.dumps({"x": [1, 2], "y": [1]})),
        ("a.json", json.dumps({"x": [1], "y": 0})),
        ("a.json", '{"x": [NaN]}'),
        ("a.json", '{"x": null}'),
        ("a.csv", ""),
        ("a.csv", "x.png\n"),
        ("a.csv", "x,1,2\ny,a,b"),
    ],
)
def test_files_without_usable_labels(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(StylemixError, match=r"got no labels \(.+\); expected JSON with"):
        read_labels(tmp_path / name)
    with pytest.raises(StylemixError, match="No such file"):
        read_labels(tmp_path / "nosuch.csv")


@pytest.mark.parametrize("line", ["a,1\n", "a,1\r", "\n", "a" + ",1" * 99 + "\n"])
def test_more_lines_than_fit_into_memory(tmp_path, line):
    """They are counted before any is read."""
    path = tmp_path / "a.csv"
    path.write_text(line * (6_000_000 // line.count(",") if "," in line else 1_000_000))
    with pytest.raises(StylemixError, match=r"got no labels \(it has far too many lines\)"):
        read_labels(path)
