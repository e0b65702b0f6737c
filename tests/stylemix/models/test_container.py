"""One container for models, styles, latents and encoders: two file types, one set of errors."""

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from stylemix.errors import StylemixError
from stylemix.io.tensor_files import Damaged, read_tensors
from stylemix.models import container
from stylemix.models.container import (
    ENCODER,
    LATENT,
    MODEL,
    STYLE,
    read,
    to_float,
    write,
    write_safetensors,
)

SUFFIXES = (".pkl", ".safetensors", ".stylemix")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("form", [MODEL, STYLE, LATENT, ENCODER])
def test_both_file_types_have_the_same_content(tmp_path, suffix, form):
    path = tmp_path / f"a{suffix}"
    tensors = {"a": torch.ones(2, 3).half().t(), "b": torch.tensor(1 / 3, dtype=torch.float64)}
    write(path, form, 1, {"base": "é", "list": [1, None]}, tensors)
    content = read(path).expect(form)
    assert (content.format, content.version, content.foreign) == (form, "1", None)
    assert content.header == {"base": "é", "list": [1, None]}
    assert content.tensors.keys() == tensors.keys()
    for key, value in tensors.items():
        assert torch.equal(content.tensors[key], value)
        assert content.tensors[key].dtype == value.dtype


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_half_letters_of_a_text_are_kept(tmp_path, suffix):
    header = {"name": "\ud800 \udcff", "path": "\\\udcff"}  # of JSON, and of a file's name
    write(tmp_path / f"a{suffix}", MODEL, 1, header, {"a": torch.ones(1)})
    assert read(tmp_path / f"a{suffix}").header == header


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_depth_of_a_header_has_one_limit(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"

    def nested(depth):
        value = []
        for number in range(depth):
            value = {"a": value} if number % 2 else [value]
        return value

    write(path, MODEL, 1, {"card": nested(30)}, {"a": torch.ones(1)})
    assert read(path).header == {"card": nested(30)}
    write(path, MODEL, 1, {"card": nested(40)}, {"a": torch.ones(1)})
    with pytest.raises(StylemixError, match=r"in the header|a header that is not readable"):
        _ = read(path).header


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_error_for_another_format_has_advice(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    for form, message in [
        (MODEL, "got a model file; expected a latent file; pass it as --model"),
        (STYLE, "got a style file; expected a latent file; pass it as --style, with its base"),
        (ENCODER, "got an encoder file; expected a latent file; pass it as --encoder"),
    ]:
        write(path, form, 1, {}, {})
        with pytest.raises(StylemixError, match=message) as caught:
            read(path).expect(LATENT)
        assert str(caught.value).startswith(f"{path}: ")
    np.save(tmp_path / "w.npy", np.zeros(2))
    with pytest.raises(StylemixError, match="got a latent file; expected a model file"):
        read(tmp_path / "w.npy").expect(MODEL)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_newer_version_is_refused_before_its_header_is_read(tmp_path, suffix, monkeypatch):
    write(tmp_path / f"a{suffix}", LATENT, 3, {}, {})
    for parse in ("parse_json", "copy_json", "read_tensors"):
        monkeypatch.setattr(container, parse, None)
    with pytest.raises(
        StylemixError, match="got version '3' of the latent format; expected 1 or 2; a newer"
    ):
        read(tmp_path / f"a{suffix}").expect(LATENT)


def test_pickles_of_other_programs_are_unchanged(tmp_path):
    path = tmp_path / "a.pkl"
    for data in ([1, 2], {"format": "other", "w": 3.0}, {"format": [MODEL]}):
        path.write_bytes(pickle.dumps(data))
        content = read(path)
        assert (content.format, content.foreign) == ("", data)
        with pytest.raises(StylemixError, match="got a file of another program; expected a style"):
            content.expect(STYLE)


def huge_tree() -> object:
    many: object = "ha"
    for _ in range(25):  # 2 ** 25 entries by reference
        many = [many, many]
    return many


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": huge_tree()}, "got version '' of the style format"),
        ({"version": True}, "got version ''"),
        ({"config": huge_tree()}, "too many values in the header"),
        ({"config": {"a": b"x"}}, "got a bytes in the header"),
        ({"tensors": huge_tree()}, "damaged part 'tensors'"),
        ({"tensors": {"a": huge_tree()}}, "damaged part 'a'"),
        ({"tensors": {7: np.ones(1)}}, "damaged part 'int'"),
    ],
)
def test_invalid_pickles_raise_a_short_message(tmp_path, change, message):
    data = {"format": STYLE, "version": 1, "config": {}, "tensors": {}}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({**data, **change}))

    def everything():
        content = read(tmp_path / "a.pkl").expect(STYLE)
        return content.header, content.tensors

    with pytest.raises(StylemixError, match=message) as caught:
        everything()
    assert len(str(caught.value)) < 400


def test_values_that_are_not_finite_are_refused(tmp_path):
    for suffix in SUFFIXES:
        with pytest.raises(StylemixError, match=r"cannot save a: .* not finite as float16"):
            write(tmp_path / f"a{suffix}", STYLE, 1, {}, {"a": torch.tensor(1e6).half()})
    assert list(tmp_path.iterdir()) == []
    value = torch.ones(2, dtype=torch.float16)
    converted = to_float(value, "a", "m")
    assert converted.dtype == torch.float32
    assert torch.equal(converted, torch.ones(2))
    with pytest.raises(StylemixError, match="m: got NaN or infinite values in the damaged part 'a"):
        to_float(value / 0, "a" * 999, "m")
    with pytest.raises(StylemixError, match=r"m: got int64 values .* expected floating point"):
        to_float(torch.ones(2).long(), "a", "m")


def test_safetensors_of_any_format(tmp_path):
    path = tmp_path / "a.state"
    write_safetensors(path, {"format": "a state", "seen": "5"}, {"a": torch.tensor([1, 2])})
    metadata, tensors = read_tensors(path)
    assert metadata == {"format": "a state", "seen": "5"}
    assert tensors["a"].tolist() == [1, 2]
    path.write_bytes(path.read_bytes()[:-1])
    for file in (path, tmp_path / "none.state"):
        with pytest.raises(Damaged, match="truncated or damaged"):
            read_tensors(file)
    save_file({"a": torch.ones(1)}, tmp_path / "bare.safetensors")
    assert read_tensors(tmp_path / "bare.safetensors")[0] == {}
    assert read(tmp_path / "bare.safetensors").format == ""
