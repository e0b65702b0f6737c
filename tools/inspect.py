"""`stylemix inspect`: what files are, and what a model takes on this machine."""

from __future__ import annotations

import json
import os
import tarfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from stylemix.devices import find_device
from stylemix.errors import StylemixError, did_you_mean, printable, similar_file
from stylemix.faces.detector import load_detector
from stylemix.images.marks import find_marks, video_size
from stylemix.images.read import load_image
from stylemix.images.sources import EXTENSIONS, list_images, read_beside
from stylemix.inversion.forecast import duration, forecast_image, forecast_projection
from stylemix.inversion.latent import load_latent
from stylemix.inversion.settings import PRESETS
from stylemix.io.assets import ASSETS
from stylemix.io.files import open_file
from stylemix.io.json_text import parse_json
from stylemix.io.outputs import LATENT_SUFFIX
from stylemix.io.remote import fetch, is_address
from stylemix.io.tensor_files import read_tensors
from stylemix.messages import result, say, say_table
from stylemix.models.checkpoint import find_model, load_model, shipped_models
from stylemix.models.container import ENCODER, LATENT, MODEL, STYLE, read
from stylemix.models.header import parse_header
from stylemix.models.model import count_parameters
from stylemix.networks.batches import image_bytes
from stylemix.styles.directions import face_count
from stylemix.styles.style import find_style, load_style, shipped_directions, shipped_styles
from stylemix.tools.options import device_option
from stylemix.training.adapt.draw_kit import FORMAT as KIT
from stylemix.training.adapt.draw_kit import is_kit
from stylemix.training.adapt.look_loss import LookSettings
from stylemix.training.data.packed import packed_template
from stylemix.training.data.shard_store import expand, is_remote
from stylemix.training.data.shards import is_shards
from stylemix.training.snapshots import list_snapshots
from stylemix.training.state_files import FORMAT as STATE
from stylemix.training.state_files import state_files

GIB = 2**30
LOOK_COST = 5  # images' time of a face in a step of `adapt`: with and without style, gradients
COMPARED_SECONDS = 0.01  # beside that, of a face in the networks of the loss
MAX_SIZES = 50  # images of a dataset whose size is read
Lines = list[tuple[str, str]]


def describe(name: str, device: str = "auto") -> Lines:
    """(label, text) lines about a file, folder, address or shipped name; the first says what it is.

    Raises StylemixError for what is missing, damaged or of no known kind. No code of a file runs.
    """
    if is_address(name) and ".tar" not in name:  # shards are not fetched, but listed
        name = str(fetch(name))
    path = _find(name)
    if path.is_dir():
        return _folder(path)
    if is_shards(name):
        return _shards(expand([name]))
    suffix = path.suffix.lower()
    if suffix in EXTENSIONS:
        return _image(path, device)
    if suffix == ".mp4":
        return _video(path)
    if suffix == ".zip":
        return _dataset(path)
    return _weights(path, device)


def _find(name: str) -> Path:
    """The file of a path, or of a shipped model, style, direction or start."""
    path = Path(os.path.expanduser(name))
    if os.path.exists(path) or is_shards(name):
        return path
    for found in (find_style(name), ASSETS / f"{name}.safetensors"):
        if os.path.exists(found):
            return found
    known = [label.split()[1] for label, _ in shipped()]
    raise StylemixError(
        f"got {name}; expected a file, a folder, or the name of a shipped model or style; check "
        f"the name{did_you_mean(name, known) or similar_file(name)}"
    )


def _weights(path: Path, device: str) -> Lines:
    content = read(path)
    kinds: dict[str, Callable[[], Lines]] = {
        MODEL: lambda: _model(path, device),
        STYLE: lambda: _style(path),
        LATENT: lambda: _latent(path),
        ENCODER: lambda: _encoder(path),
        STATE: lambda: _state(path),
        KIT: lambda: [("drawing kit", f"{_size(path)}; name its folder for stylemix adapt")],
    }
    if content.format in kinds:
        return kinds[content.format]()
    if content.kind in ("npz", "npy"):
        return _latent(path)
    if content.foreign is None:
        raise StylemixError(
            f"{path}: got weights of the format {content.format or 'unknown'!a}; expected a model, "
            "style, latent, encoder or training state; see the program that wrote it"
        )
    try:
        return _model(path, device)
    except StylemixError as error:  # a latent of another projector, perhaps
        try:
            return _latent(path)
        except StylemixError:
            raise error from None


def _model(path: Path, device: str) -> Lines:
    """The sizes of a model, and what its tasks are expected to take here."""
    model = load_model(path, find_device(device))
    sizes, generator = model.generator.config, model.generator
    millions = count_parameters(generator) / 1e6
    networks = "generator and discriminator" if model.discriminator else "generator"
    licence = model.card.get("licence", "not recorded")
    image = forecast_image(model)
    lines = [
        ("model", f"{sizes.size_text}, {sizes.colors}, {networks}, {millions:.1f} M weights"),
        ("origin", f"{model.origin}, licence: {licence}, fingerprint {model.fingerprint}"),
        ("template", model.template.name),
        ("classes", str(sizes.c_dim or "none")),
        ("generate", f"{image} an image"),
    ]
    for preset, settings in PRESETS.items():
        text = f"{forecast_projection(model, settings)} a photo"
        lines.append((f"project {preset}", text))
    lines.append(("mix, edit", f"about {duration(image.seconds)} an image after a projection"))
    if model.template.eyes is not None:
        count = face_count(generator)
        text = f"about {duration(count * image.seconds)}, once, for edits such as smile"
        lines.append(("directions", f"{text} (kept in the cache)"))
    if sizes.img_channels != 3:  # there are looks for colour images only
        return lines
    look = LookSettings()
    seconds = look.steps * look.batch * (LOOK_COST * image.seconds + COMPARED_SECONDS)
    batch = look.batch * image_bytes(generator, gradients=True) / GIB
    lines.append(("adapt", f"about {duration(seconds)}, {batch + 1:.1f} GiB for a look"))
    return lines


def _style(path: Path) -> Lines:
    style = load_style(path)
    info = style.info
    has = [("a shift of w", style.shift is not None), ("offsets", bool(style.offsets)),
           ("weights", bool(style.weights)), ("a student", style.student is not None)]  # fmt: skip
    parts = ", ".join(name for name, there in has if there) or "nothing"
    base = "every model of faces" if style.is_student else f"the base {style.base}"
    lines = [
        ("style", f"{info.get('name', path.stem)}, for {base}, {_size(path)}"),
        ("made by", _making(info)),
        ("parts", parts),
        ("recommended", f"strength {style.strength:g}, layers {style.layers}"),
    ]
    if info.get("biometric"):
        lines.append(("biometric data", "of a person"))
    for key in ("licence", "credit", "consent", "scores"):
        if info.get(key):
            value = info[key]
            text = value if isinstance(value, str) else json.dumps(value)
            lines.append((key, text[:200]))
    return lines


def _making(info: Mapping[str, Any]) -> str:
    """The method of a style, and what it was learned from."""
    student = info.get("student")
    pairs = (student if isinstance(student, dict) else info).get("pairs")
    counts = [(info.get("pictures"), "images"), (pairs, "pairs")]
    learned = [f"{count} {what}" for count, what in counts if count is not None]
    return " from ".join([str(info.get("method", "?")), *learned[:1]])


def _latent(path: Path) -> Lines:
    latent = load_latent(path)
    layers, width = latent.w.shape
    more = "with" if latent.detail is not None else "without"
    lines = [
        ("latent", f"w of {layers} x {width}, {more} refinement, {_size(path)}"),
        ("model", latent.base or "not recorded"),
    ]
    if latent.consent is not None:
        lines.append(("biometric data", f"of a person, consent: {latent.consent}"))
    if latent.template is not None:
        lines.append(("template", latent.template.name))
    values = [f"{name} {value:.4g}" for name, value in latent.metrics.items()]
    return [*lines, ("metrics", ", ".join(values))] if values else lines


def _encoder(path: Path) -> Lines:
    header = read(path).expect(ENCODER).header
    base = header.get("base") if isinstance(header, dict) else "?"
    return [("encoder", f"{_size(path)}, for the model {str(base)[:40]}")]


def _state(path: Path) -> Lines:
    header, tensors = read_tensors(path)
    try:
        counters, config = parse_json(header["counters"]), parse_json(header["config"])
        kimg, target = counters["cur_nimg"] / 1000, float(config["kimg"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise StylemixError(
            f"{path}: got a damaged training state; expected one of stylemix train; delete it"
        ) from error
    text = f"{kimg:g} of {target:g} kimg, {len(tensors)} tensors, {_size(path)}"
    return [("training state", text), ("resume", "stylemix train with the options of the run")]


def _image(path: Path, device: str) -> Lines:
    image = load_image(path)
    kind = path.suffix.lower().lstrip(".")
    lines = [("image", f"{image.width} x {image.height} px, {kind}, {_size(path)}")]
    faces = load_detector(str(find_device(device))).detect(image)
    for number, face in enumerate(faces, 1):
        left, top, right, bottom = (round(float(value)) for value in face.box)
        clear = "" if face.clear else ", unclear"
        where = f"{right - left} x {bottom - top} px at {left},{top}"
        lines.append((f"face {number}", f"{where}, score {face.score:.2f}{clear}"))
    lines += [] if faces else [("faces", "none found")]
    image.close()  # before it is read once more
    return [*lines, *find_marks(path).lines()]


def _video(path: Path) -> Lines:
    width, height = video_size(path)
    text = f"{width} x {height} px, {_size(path)}"
    return [("video", text), *find_marks(path).lines()]


def _folder(path: Path) -> Lines:
    snapshots, states = list_snapshots(path), state_files(path)
    if snapshots or states:
        text = f"{len(snapshots)} snapshots, {len(states)} states"
        return [("training run", text), *([("last", str(snapshots[-1]))] if snapshots else [])]
    if is_kit(path):
        return [("drawing kit", "faces to draw on, for stylemix adapt")]
    latents = sorted(path.rglob(f"*{LATENT_SUFFIX}"))
    if latents:
        return [("latents", f"{len(latents)} of stylemix project, for stylemix mix")]
    return _dataset(path)


def _shards(urls: list[str]) -> Lines:
    """The number of shards; of those on this machine, the first block is read."""
    for url in urls:
        if is_remote(url):
            continue
        try:
            with open_file(url) as stream:
                tarfile.TarInfo.frombuf(stream.read(tarfile.BLOCKSIZE), "utf-8", "replace")
        except (OSError, ValueError, tarfile.HeaderError) as error:
            raise StylemixError(
                f"{url}: got no shard ({getattr(error, 'strerror', None) or error}); expected a "
                "tar file of images; check the name, or copy it again"
            ) from error
    return [("dataset", f"{len(urls)} shards")]


def _dataset(path: Path) -> Lines:
    """The number of images in a folder or zip, their sizes, labels and alignment."""
    sources = list_images(path)
    sizes: Counter[str] = Counter()
    for source in sources[:: max(1, len(sources) // MAX_SIZES)]:
        try:
            image = source.open()
            sizes[f"{image.width}x{image.height}"] += 1
        except StylemixError:
            sizes["unreadable"] += 1
    common = ", ".join(name for name, _ in sizes.most_common(3))
    more = f" and {len(sizes) - 3} other sizes" if len(sizes) > 3 else ""
    labelled = "yes" if read_beside(path, "dataset.json") is not None else "none"
    return [
        ("dataset", f"{len(sources):,} images"),
        ("sizes", f"{common}{more} (px, of {sum(sizes.values())} images)"),
        ("labels", labelled),
        ("template", packed_template([path]).name),
    ]


def shipped() -> Lines:
    """(label, text) lines about the models and styles that come with the package."""
    lines = [(f"model {name}", _model_line(find_model(name))) for name in shipped_models()]
    groups = {"style": shipped_styles, "direction": shipped_directions}
    for kind, names in groups.items():
        lines += [(f"{kind} {name}", _style_line(name)) for name in names()]
    return lines


def _style_line(name: str) -> str:
    style = load_style(name)
    method = style.info.get("method", "?")
    base = "for every model of faces" if style.is_student else f"for the base {style.base}"
    return f"{method}, {_size(find_style(name))}, {base}"


def _model_line(file: Path) -> str:
    header = parse_header(read(file).expect(MODEL).header, str(file))
    networks = "generator and discriminator" if header.discriminator else "generator"
    sizes = header.generator
    colors = "" if sizes.colors == "RGB" else f", {sizes.colors}"
    return f"{sizes.size_text}{colors}, {networks}, {_size(file)}, {header.fingerprint}"


def _size(file: Path) -> str:
    size = file.stat().st_size
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


@click.command("inspect")
@click.argument("names", nargs=-1, metavar="[FILE]...")
@device_option
def inspect_command(names: tuple[str, ...], device: str) -> None:
    """Say what each FILE is: a model, style, latent, dataset, image, video or training state.

    FILE may be a folder, a shipped name or an address, too. Of a model it also shows the time and
    the memory that its tasks are expected to take on this machine; of an image the faces in it; of
    images and videos the marks that say that they were generated. Without FILE it lists the shipped
    models and styles. No code of a file is executed.

    \b
    Examples:
      stylemix inspect
      stylemix inspect faces-64 comic
      stylemix inspect network.pkl
      stylemix inspect me.jpg me.latent.safetensors photos/
    """
    if not names:
        lines = shipped()
        say_table(lines)
        result(**dict(lines))
        return
    described = {}
    for number, name in enumerate(names):
        lines = describe(name, device)
        described[name] = {"kind": lines[0][0], **dict(lines)}
        if len(names) > 1:
            say(("\n" if number else "") + printable(f"{name}:"))
        say_table(lines)
    result(files=described)
