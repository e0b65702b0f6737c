"""Style files: round trips, and one-line errors for damaged or foreign files."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from stylemix.errors import StylemixError
from stylemix.faces.caricature import Shape
from stylemix.inversion.latent import Latent, save_latent
from stylemix.models.checkpoint import save_model
from stylemix.models.container import STYLE, read, write
from stylemix.models.model import Model
from stylemix.networks.latents import flatten_styles
from stylemix.networks.student import Student, StudentConfig
from stylemix.styles import style as module
from stylemix.styles.style import Style, format_of, load_style, save_style, shipped_styles
from tests.support.models import tiny_model

SUFFIXES = (".pkl", ".stylemix", ".safetensors")


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny_model()


def a_style(model: Model) -> Style:
    rng = torch.Generator().manual_seed(0)

    def random_like(like: torch.Tensor) -> torch.Tensor:
        return torch.randn(like.shape, generator=rng)

    generator = model.generator
    ws = generator.mapping.w_avg.expand(1, generator.num_ws, -1)
    styles = flatten_styles(generator.synthesis.styles(ws))
    parameters = dict(generator.synthesis.named_parameters())
    return Style(
        model.fingerprint,
        strength=0.8,
        layers="16-32px",
        shift=random_like(torch.zeros([generator.num_ws, generator.w_dim])),
        offsets={name: random_like(styles[name][0]) for name in ("b8.conv0", "b32.torgb")},
        weights={
            name: random_like(parameters[name]) for name in ("b4.const", "b16.conv1.affine.bias")
        },
        info={"name": "gold", "credit": "Zoë", "pictures": 3, "scores": {"style accuracy": 0.5}},
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_round_trip_in_half_precision(model, suffix, tmp_path):
    style, path = a_style(model), tmp_path / f"gold{suffix}"
    save_style(path, style)
    read = load_style(path, model)
    assert (read.base, read.strength, read.layers) == (model.fingerprint, 0.8, "16-32px")
    assert read.info == style.info
    assert sorted(read.tensors()) == sorted(style.tensors())
    for name, value in style.tensors().items():
        assert torch.equal(read.tensors()[name], value.half().float())
    assert format_of(path) == "stylemix-style"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_empty_style_is_valid(model, suffix, tmp_path):
    save_style(tmp_path / f"none{suffix}", Style(model.fingerprint))
    read = load_style(tmp_path / f"none{suffix}", model)
    assert (read.tensors(), read.strength, read.layers, read.info) == ({}, 1.0, "all", {})


def test_any_python_with_numpy_reads_the_pickle(model, tmp_path):
    save_style(tmp_path / "gold.pkl", a_style(model))
    code = (
        "import pickle, sys\n"
        f"data = pickle.load(open({str(tmp_path / 'gold.pkl')!r}, 'rb'))\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'stylemix'}))\n"
        "print(sorted(data), data['format'], data['version'], data['config']['info']['credit'])\n"
        "print(type(data['tensors']['shift']), data['tensors']['shift'].dtype)\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "[]",
        "['config', 'format', 'tensors', 'version'] stylemix-style 1 Zoë",
        "<class 'numpy.ndarray'> float16",
    ]


def test_another_base_is_refused_with_both_fingerprints(model, tmp_path):
    save_style(tmp_path / "gold.pkl", a_style(model))
    other = tiny_model(seed=7)
    with pytest.raises(StylemixError) as caught:
        load_style(tmp_path / "gold.pkl", other)
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'gold.pkl'}: got a style of the base {model.fingerprint};")
    assert f"expected the base {other.fingerprint};" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shift": torch.zeros([3, 16])}, "got 'shift' of shape [3, 16]; expected (8, 16)"),
        ({"offsets": {"b8.conv0": torch.zeros([5])}}, "got 'offset.b8.conv0' of shape [5]"),
        ({"offsets": {"b64.conv0": torch.zeros([5])}}, "expected no such part"),
        ({"weights": {"b8.conv9.weight": torch.zeros([5])}}, "expected no such part"),
        ({"layers": "64-128px"}, "gold: got layers '64-128px'; expected pixels from 4 to 32"),
        ({"layers": "everything"}, "gold: got layers 'everything'"),
    ],
)
def test_parts_that_do_not_fit_the_model(model, change, message):
    style = Style(model.fingerprint, **change)
    with pytest.raises(StylemixError) as caught:
        style.check(model, "gold")
    assert message in str(caught.value)


def _write(path: Path, config: object, tensors: dict[str, object], **more: object) -> Path:
    content = {"format": "stylemix-style", "version": 1, "config": config, "tensors": tensors}
    path.write_bytes(pickle.dumps({**content, **more}))
    return path


@pytest.mark.parametrize(
    ("config", "tensors", "message"),
    [
        ({}, {}, "a style without a readable base"),
        ({"base": 5}, {}, "a style without a readable base"),
        ({"base": "x", "layers": ["all"]}, {}, "a style without a readable base"),
        ({"base": "x", "strength": float("nan")}, {}, "a style without a readable base"),
        ({"base": "x", "strength": 10**30}, {}, "a style without a readable base"),
        ({"base": "x", "strength": True}, {}, "a style without a readable base"),
        ({"base": "x", "strength": "1"}, {}, "a style without a readable base"),
        ("text", {}, "a style without a readable base"),
        ({"base": "x"}, {"shift": np.array([np.inf], np.float32)}, "damaged part 'shift'"),
        ({"base": "x"}, {"shift": np.array([1, 2])}, "damaged part 'shift'"),
        ({"base": "x"}, {"shift": "many"}, "damaged part 'shift'"),
        ({"base": "x"}, {"shifty": np.ones(2)}, "damaged part 'shifty'"),
        ({"base": "x"}, {"offset": np.ones(2)}, "damaged part 'offset'"),
        ({"base": "x"}, {"code.b4": np.ones(2)}, "damaged part 'code.b4'"),
    ],
)
def test_odd_pickles_are_refused(config, tensors, message, tmp_path):
    with pytest.raises(StylemixError, match=message):
        load_style(_write(tmp_path / "odd.pkl", config, tensors))


def test_odd_safetensors_are_refused(tmp_path):
    path = tmp_path / "odd.safetensors"
    good = {"format": "stylemix-style", "version": "1", "config": '{"base": "x"}'}
    for metadata, tensor, message in [
        ({**good, "config": "{"}, torch.ones(2), "not readable JSON"),
        ({**good, "config": '{"base": "x", "strength": 1e999}'}, torch.ones(2), "readable base"),
        ({**good, "version": "9"}, torch.ones(2), "got version '9' of the style format"),
        (good, torch.tensor([float("nan")]), "damaged part 'shift'"),
        (good, torch.tensor([1]), "damaged part 'shift'"),
        ({}, torch.ones(2), "got a file of another program; expected a style"),
    ]:
        save_file({"shift": tensor}, path, metadata)
        with pytest.raises(StylemixError, match=message):
            load_style(path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(StylemixError, match="truncated or damaged"):
        load_style(path)


@pytest.mark.parametrize("length", [384, 640, 896, 1152, 1408])
def test_a_header_whose_length_looks_like_a_pickle(length, tmp_path):
    path = tmp_path / "some.stylemix"
    save_style(path, Style("x", info={"note": ""}))
    missing = length - int.from_bytes(path.read_bytes()[:8], "little")
    save_style(path, Style("x", info={"note": "n" * missing}))
    assert path.read_bytes()[:3] == bytes([0x80, length >> 8, 0])
    assert load_style(path).base == "x"


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("exploded",)


def test_a_pickle_with_code_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = _write(tmp_path / "bomb.pkl", {"base": "x"}, {}, more=Bomb())
    with pytest.raises(StylemixError):
        load_style(path)
    assert not (tmp_path / "exploded").exists()


def test_other_files_are_named_by_their_format(model, tmp_path):
    save_model(tmp_path / "model.pkl", model)
    save_model(tmp_path / "model.safetensors", model)
    save_latent(tmp_path / "me.latent.safetensors", Latent(torch.zeros([8, 16])))
    kinds = {"model.pkl": "model", "model.safetensors": "model", "me.latent.safetensors": "latent"}
    for name, kind in kinds.items():
        assert format_of(tmp_path / name) == f"stylemix-{kind}"
        with pytest.raises(StylemixError, match=f"got a {kind} file; expected a style"):
            load_style(tmp_path / name)
    np.save(tmp_path / "w.npy", np.zeros([8, 16], np.float32))
    assert format_of(tmp_path / "w.npy") == ""
    (tmp_path / "list.pkl").write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(StylemixError, match="a file of another program"):
        load_style(tmp_path / "list.pkl")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("a.json", {}, "expected .pkl, .stylemix or .safetensors"),
        ("a.pkl", {"shift": torch.tensor([[float("nan")]])}, "values of shift that are not finite"),
        ("a.pkl", {"offsets": {"b8.conv0": torch.tensor([1e6])}}, "b8.conv0 that are not finite"),
        ("a.pkl", {"strength": float("nan")}, "got strength nan; expected -100 to 100"),
        ("a.stylemix", {"strength": float("inf")}, "got strength inf"),
    ],
)
def test_a_failed_save_leaves_no_file(model, name, change, message, tmp_path):
    with pytest.raises(StylemixError, match=message):
        save_style(tmp_path / name, Style(model.fingerprint, **change))
    assert list(tmp_path.iterdir()) == []


def test_shipped_styles_are_found_by_name(model, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "STYLES", tmp_path / "styles")
    save_style(tmp_path / "styles" / "noir.pkl", Style("a"))
    save_style(tmp_path / "styles" / "gold.pkl", Style("b"))
    monkeypatch.chdir(tmp_path)
    assert shipped_styles() == ["gold", "noir"]
    assert load_style("noir").base == "a"
    with pytest.raises(
        StylemixError, match=r"got the style nor; .* \(gold, noir\); check the name"
    ):
        load_style("nor")
    for odd in ("styles/noir", "../styles/noir", "noir.pkl"):
        with pytest.raises(StylemixError, match="expected a file or a shipped style"):
            load_style(odd)
    save_style(tmp_path / "mine.pkl", Style("c"))
    (tmp_path / "mine.pkl").rename(tmp_path / "noir")
    assert load_style("noir").base == "c"  # a file of that name comes first


def test_header_is_plain_json(model, tmp_path):
    save_style(tmp_path / "gold.stylemix", a_style(model))
    raw = (tmp_path / "gold.stylemix").read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    metadata = header["__metadata__"]
    assert (metadata["format"], metadata["version"]) == ("stylemix-style", "1")
    assert json.loads(metadata["config"])["base"] == model.fingerprint
    assert header["shift"]["dtype"] == "F16"


def test_a_student_is_saved_and_read(model, tmp_path):
    torch.manual_seed(0)
    student = Student(StudentConfig((8, 12, 16)))
    style = Style("a", student=student, shape=Shape(0.25, 0.5), statistics=torch.rand(3))
    for suffix in ("safetensors", "pkl", "stylemix"):
        style.save(tmp_path / f"drawn.{suffix}")
        again = load_style(tmp_path / f"drawn.{suffix}")
        assert again.is_student
        assert again.shape == Shape(0.25, 0.5)
        assert again.student.config == StudentConfig((8, 12, 16))
        for key, value in again.student.state_dict().items():
            assert torch.equal(value, student.state_dict()[key].half().float())
        assert not any(parameter.requires_grad for parameter in again.student.parameters())
    style.shift = torch.zeros(1)
    assert not style.is_student


def test_a_student_is_read_whatever_the_default_device_is():
    with torch.device("meta"):
        style = load_style("toon")
    assert {value.device.type for value in style.student.parameters()} == {"cpu"}


@pytest.mark.parametrize(
    "change",
    [
        {"channels": "many"}, {"channels": [8]}, {"channels": [8, 12, 17]}, {"channels": [8, 1e9]},
        {"eyes": 7}, {"jaw": "x"}, None,
    ],
)  # fmt: skip
def test_a_damaged_student_is_refused(tmp_path, change):
    student = Student(StudentConfig((8, 12, 16)))
    Style("a", student=student).save(tmp_path / "a.safetensors")
    content = read(tmp_path / "a.safetensors")
    header = dict(content.header)
    header["student"] = None if change is None else {**header["student"], **change}
    write(tmp_path / "b.safetensors", STYLE, 1, header, content.tensors)
    with pytest.raises(StylemixError, match="damaged student"):
        load_style(tmp_path / "b.safetensors")
