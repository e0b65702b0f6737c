"""The restricted reader against Python's and torch's own writers, and our plain pickles."""

import argparse
import collections
import gc
import pickle

import numpy as np
import pytest
import torch

import tests.support.hostile_files as hostile
from stylemix.errors import StylemixError
from stylemix.safe_pickle import reader
from stylemix.safe_pickle.builders import Namespace, PersistentObject, TensorFlowNetwork
from stylemix.safe_pickle.machine import PickleMachine
from stylemix.safe_pickle.reader import load, loads, write_pickle
from tests.support.toy_tensorflow import Network, tensorflow_file

PLAIN = {
    "empty": [None, True, False, (), [], {}],
    "numbers": [0, 1, 255, 256, 65536, -1, -(2**40), 2**100, 2.5, float("inf"), 1 + 2j],
    "text": ["", "é", "\U0001f600", "a'b\"c\n", "x" * 300],
    "bytes": [b"", b"\0\xff", b"z" * 300],
    "nested": {"a": {"b": [({"c": 1},)]}, 3: "three"},
    "sets": [{"a", "b"}, frozenset(["c"])],
    "ordered": collections.OrderedDict([("b", 1), ("a", 2)]),
    "namespace": argparse.Namespace(lr=0.1),
}
ARRAYS = {
    "f8": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big_endian": np.arange(3, dtype=">f4"),
    "half": np.array([0.5, -2], np.float16),
    "bytes": np.arange(5, dtype=np.uint8),
    "bool": np.array([True, False]),
    "empty": np.zeros((0, 3), np.float32),
    "scalar": np.array(7, np.int64),
    "large": np.arange(5000, dtype=np.int32),
}
TENSORS = {
    "f32": torch.arange(6.0).reshape(2, 3),
    "transposed": torch.arange(6.0).reshape(2, 3).t(),
    "sliced": torch.arange(10.0)[2:8:3],
    "half": torch.tensor([0.5, -2], dtype=torch.float16),
    "bfloat16": torch.tensor([1.5], dtype=torch.bfloat16),
    "int": torch.arange(4),
    "bool": torch.tensor([True, False]),
    "scalar": torch.tensor(3.0),
    "empty": torch.zeros(0, 2),
    "parameter": torch.nn.Parameter(torch.ones(2)),
    "complex": torch.tensor([1 + 2j]),
}


def check(loaded, expected):
    """Compares loaded with written values."""
    if isinstance(expected, torch.Tensor):
        assert loaded.dtype == expected.dtype
        assert loaded.shape == expected.shape
        assert torch.equal(loaded, expected)
    elif isinstance(expected, np.ndarray):
        assert loaded.dtype == expected.dtype.newbyteorder("=")
        np.testing.assert_array_equal(loaded, expected)
    elif isinstance(expected, argparse.Namespace):
        assert isinstance(loaded, Namespace)
        assert loaded.values == vars(expected)
    elif isinstance(expected, dict):
        assert type(loaded) is dict
        assert list(loaded) == list(expected)
        for key in expected:
            check(loaded[key], expected[key])
    elif isinstance(expected, (list, tuple)):
        assert type(loaded) is type(expected)
        assert len(loaded) == len(expected)
        for item, other in zip(loaded, expected, strict=True):
            check(item, other)
    else:
        assert loaded == expected
        assert type(loaded) is type(expected)


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_every_protocol(protocol):
    content = {"plain": PLAIN, "arrays": ARRAYS, "tensors": TENSORS}
    check(loads(pickle.dumps(content, protocol=protocol)), content)


@pytest.mark.parametrize("as_zip", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_files_of_torch_save(tmp_path, as_zip, protocol):
    content = {"tensors": TENSORS, "plain": PLAIN, "size": torch.Size([2, 3]), "d": torch.float16}
    path = tmp_path / "any.name"
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=as_zip)
    loaded = load(path)
    check(loaded.pop("size"), (2, 3))
    assert loaded.pop("d") is torch.float16
    check(loaded, {"tensors": TENSORS, "plain": PLAIN})


def test_tensors_share_memory_where_they_did(tmp_path):
    whole = torch.arange(6.0)
    torch.save([whole, whole[2:4]], tmp_path / "a.pt")
    first, second = load(tmp_path / "a.pt")
    first[2] = 9.0
    assert second.tolist() == [9.0, 3.0]


def test_state_dicts_keep_their_order_and_drop_their_metadata():
    state = torch.nn.Linear(2, 1).state_dict()
    assert state._metadata
    loaded = loads(pickle.dumps(state, protocol=4))
    check(loaded, dict(state))


def test_numpy_scalars_become_python_numbers():
    loaded = loads(pickle.dumps([np.float64(1.5), np.int32(-3), np.bool_(True)], protocol=2))
    assert loaded == [1.5, -3, True]
    assert [type(value) for value in loaded] == [float, int, bool]


def test_old_numpy_module_names():
    raw = pickle.dumps(np.arange(3.0), protocol=2)
    old = raw.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    check(loads(old), np.arange(3.0))


def test_network_modules_keep_class_and_attributes_only():
    source = "raise SystemExit('this text is never run')"
    meta = {"type": "class", "version": 6, "module_src": source, "class_name": "Generator"}
    meta["state"] = {"z_dim": 512, "_parameters": {}}
    body = pickle.dumps(meta, protocol=2)[2:-1]
    call = b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n"
    loaded = loads(b"\x80\x02" + call + body + b"\x85R.")
    assert loaded == PersistentObject("Generator", {"z_dim": 512, "_parameters": {}})
    assert source not in repr(loaded)


def test_storages_inside_pickles():
    elements = np.arange(6, dtype=np.float32)
    block = hostile.nested(hostile.storage(elements.tobytes()))
    loaded = loads(hostile.tensor(block, 1, (2, 2), (2, 1)))
    assert loaded.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_lists_may_hold_themselves():
    ring = []
    ring.append(ring)
    loaded = loads(pickle.dumps(ring))
    assert loaded[0] is loaded


def test_plain_pickles_need_no_stylemix(tmp_path):
    content = {"a": [1, 2.5, "text", None, True], "w": np.arange(4, dtype=np.float16).reshape(2, 2)}
    write_pickle(tmp_path / "a.pkl", content)
    check(pickle.loads((tmp_path / "a.pkl").read_bytes()), content)
    check(load(tmp_path / "a.pkl"), content)
    assert b"stylemix" not in (tmp_path / "a.pkl").read_bytes()


@pytest.mark.parametrize(
    "value", [torch.ones(1), object(), {1: 2}, np.array([None]), np.float32(1), len, {"a"}]
)
def test_only_plain_values_can_be_written(tmp_path, value):
    with pytest.raises(StylemixError, match="expected"):
        write_pickle(tmp_path / "a.pkl", {"a": [value]})
    assert list(tmp_path.iterdir()) == []


def test_other_kinds_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", w=np.ones(2))
    with pytest.raises(StylemixError, match="got a npz file; expected a pickle"):
        load(tmp_path / "a.npz")


def test_enormous_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "MAX_FILE_BYTES", 100)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(b"x" * 200, protocol=4))
    with pytest.raises(StylemixError, match="larger than"):
        load(tmp_path / "a.pkl")


@pytest.mark.slow
def test_a_file_is_not_kept_in_memory(tmp_path):
    # A machine that referred to itself would keep the whole file until the next full collection.
    path = tmp_path / "array.pkl"
    path.write_bytes(pickle.dumps(ARRAYS["large"], 4))
    gc.collect()
    gc.disable()
    try:
        check(load(path), ARRAYS["large"])
        assert not [thing for thing in gc.get_objects() if type(thing) is PickleMachine]
    finally:
        gc.enable()


@pytest.mark.parametrize("protocol", range(6))
def test_tensorflow_networks_are_their_state(tmp_path, protocol):
    inner = Network({"resolution": 8}, {"a": np.float32(2), "b": np.ones((2, 3), np.float32)}, {})
    file = tensorflow_file(tmp_path / "net.pkl", (Network({}, {}, {"part": inner}),), protocol)
    (network,) = load(file)
    assert isinstance(network, TensorFlowNetwork)
    state = network.values["components"]["part"].values
    assert state["static_kwargs"] == {"resolution": 8}
    assert state["version"] == 4
    check(state["variables"], [("a", 2.0), ("b", np.ones((2, 3), np.float32))])
