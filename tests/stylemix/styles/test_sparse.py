"""Sparse offsets: smaller files, the same styles, and one-line errors for damaged ones."""

import numpy as np
import pytest
import torch

from stylemix.errors import StylemixError
from stylemix.models.container import STYLE, read, write
from stylemix.styles.sparse import INDICES, VALUES, pack_offsets, unpack_offsets
from stylemix.styles.style import Style, load_style, save_style


def offsets(share: float, channels: int = 512) -> dict[str, torch.Tensor]:
    """Offsets of which a share is not zero."""
    rng = torch.Generator().manual_seed(0)
    out = {}
    for px in (16, 32, 64):
        for kind in ("conv0", "conv1", "torgb"):
            mask = torch.rand([channels], generator=rng) < share
            out[f"b{px}.{kind}"] = torch.randn([channels], generator=rng) * mask
    return out


@pytest.mark.parametrize("suffix", [".pkl", ".stylemix", ".safetensors"])
def test_a_sparse_style_is_a_smaller_file_and_the_same_style(suffix, tmp_path):
    sizes = {}
    for share in (1.0, 0.2):
        style = Style("base", offsets=offsets(share), weights={"b16.torgb.bias": torch.ones([3])})
        path = tmp_path / f"{share}{suffix}"
        save_style(path, style)
        sizes[share] = path.stat().st_size
        loaded = load_style(path)
        assert list(loaded.offsets) == list(style.offsets)
        for name, value in style.tensors().items():
            assert torch.equal(loaded.tensors()[name], value.half().float()), name
    # 9 layers of 512 channels are 9.2 KB in fp16; a fifth of them, with positions, 3.7 KB.
    assert sizes[1.0] - sizes[0.2] > 5000
    assert sizes[0.2] < 0.5 * sizes[1.0]


def test_only_sparse_styles_have_the_new_version(tmp_path):
    for share, version in ((1.0, "1"), (0.6, "1"), (0.4, "2")):
        save_style(tmp_path / "a.pkl", Style("base", offsets=offsets(share)))
        assert read(tmp_path / "a.pkl").version == version
    save_style(tmp_path / "a.pkl", Style("base"))
    assert read(tmp_path / "a.pkl").version == "1"


def test_values_and_positions():
    given = {"b8.conv0": torch.tensor([0.0, 0.5, 0.0, 0.0]), "b8.conv1": torch.tensor([0.0, -2.0])}
    packed = pack_offsets({name: value.half() for name, value in given.items()})
    assert packed is not None
    channels, tensors = packed
    assert channels == {"b8.conv0": 4, "b8.conv1": 2}
    assert tensors[VALUES].tolist() == [0.5, -2]
    assert (tensors[INDICES].tolist(), tensors[INDICES].dtype) == ([1, 5], torch.int16)
    again = unpack_offsets(channels, tensors, "a.pkl")
    assert {name: value.tolist() for name, value in again.items()} == {
        name: value.tolist() for name, value in given.items()
    }


def test_offsets_of_zero_and_offsets_of_many_channels(tmp_path):
    save_style(tmp_path / "a.pkl", Style("base", offsets={"b8.conv0": torch.zeros([40])}))
    assert torch.equal(load_style(tmp_path / "a.pkl").offsets["b8.conv0"], torch.zeros([40]))
    assert pack_offsets({"b8.conv0": torch.zeros([2**15])}) is not None
    assert pack_offsets({"b8.conv0": torch.zeros([2**15 + 1])}) is None


@pytest.mark.parametrize(
    ("channels", "values", "indices"),
    [
        (None, [1.0], [0]),
        ({"b8.conv0": "4"}, [1.0], [0]),
        ({"b8.conv0": -4, "b8.conv1": 8}, [1.0], [0]),
        ({"b8.conv0": 2**40}, [1.0], [0]),
        ({"b8.conv0": 4}, [1.0], [4]),
        ({"b8.conv0": 4}, [1.0], [-1]),
        ({"b8.conv0": 4}, [1.0, 2.0], [0]),
        ({"b8.conv0": 4}, [1.0, 2.0], [1, 1]),
        ({"b8.conv0": 4}, [[1.0]], [[1]]),
        ({"b8.conv0": 4}, 1.0, 1),
        ({"b8.conv0": 4}, [1.0], [1.0]),
        ({"b8.conv0": 4}, [1.0], None),
        ({"b8.conv0": 4}, None, [1]),
    ],
)
@pytest.mark.parametrize("suffix", [".pkl", ".safetensors"])
def test_damaged_offsets_are_refused(channels, values, indices, suffix, tmp_path):
    arrays = {VALUES: (values, np.float16), INDICES: (indices, np.int16)}
    tensors = {
        name: torch.tensor(value, dtype=torch.float16)
        if isinstance(np.array(value).flat[0], float) else torch.from_numpy(np.array(value, kind))
        for name, (value, kind) in arrays.items()
        if value is not None
    }  # fmt: skip
    write(tmp_path / f"a{suffix}", STYLE, 2, {"base": "x", "sparse": channels}, tensors)
    with pytest.raises(StylemixError, match="got damaged sparse offsets; expected channels"):
        load_style(tmp_path / f"a{suffix}")


def test_values_that_are_not_finite_are_refused(tmp_path):
    with pytest.raises(StylemixError, match="not finite"):
        save_style(tmp_path / "a.pkl", Style("x", offsets={"b8.conv0": torch.eye(9)[0] * 1e6}))
    path = tmp_path / "b.pkl"
    save_style(path, Style("x", offsets={"b8.conv0": torch.eye(9)[0]}))
    path.write_bytes(path.read_bytes().replace(b"\x00\x3c", b"\x00\x7e"))  # 1 becomes NaN
    with pytest.raises(StylemixError, match="NaN or infinite values in the damaged part 'sparse"):
        load_style(path)
