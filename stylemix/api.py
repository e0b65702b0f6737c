"""The Python interface: functions of a model from photos to PIL images.

These arguments mean the same in every function:

Args:
    photo: an image in any form: a path, a PIL image, a uint8 array [H, W, C], or a tensor [C, H, W]
        in [-1, 1].
    source: a photo, "seed:7", a `Latent` or a latent file.
    styles: a shipped style, a style file, a photo or folder of photos, a latent, a generator file
        or "seed:7", perhaps with a weight ("toon:0.8"); a `Style`; weights by name; or a list.
    model: a shipped name, a file or a `Model`. To use a model several times, load it once with
        `load_model`: its methods are these functions.
    strength: strength of all styles, times their weights; None for the recommended strengths.
    layers: layers where styles act: "coarse", "middle", "fine", "16-64px"; None: as recommended.
    size: longer side of the result in px; None for the model's, but at least 256.
    face: which face of a photo with several faces, 1 for the largest.
    preset: preset of the projection: "fast", "balanced", "best", or `ProjectionSettings`.
    budget: time of the projection in seconds.
    encoder: file of an encoder for the initial latents; None for the model's shipped encoder.
    device: "cpu", "cuda", "cuda:1" or "auto", for a model passed by name or file.
    progress: a function of (done, total, loss), or True for a progress bar.

Unusable input raises StylemixError with one line.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any

import torch
from PIL import Image

from stylemix.avatars.animation import Timing, read_animation
from stylemix.avatars.avatar import AvatarOptions
from stylemix.avatars.finish import OutputSize, finish, model_image, parse_output_size
from stylemix.avatars.inputs import Several, Source, Styles, is_several, style_arguments
from stylemix.avatars.mixer import Mixer, direction_styles
from stylemix.avatars.strengths import parse_strength
from stylemix.devices import find_device
from stylemix.errors import StylemixError
from stylemix.faces.alignment import align_photo
from stylemix.faces.templates import TEMPLATES
from stylemix.images.sources import Photo, open_image
from stylemix.images.tensors import to_pil
from stylemix.inversion.encoder import Encoder, load_encoder
from stylemix.inversion.latent import Latent
from stylemix.inversion.portraits import project_portraits, read_portrait
from stylemix.inversion.settings import ProjectionSettings, preset_settings
from stylemix.models import checkpoint
from stylemix.models.model import Model as NetworkModel
from stylemix.networks.sampling import sample_images
from stylemix.progress import Progress

DEFAULT_MODEL = "faces-64"
BATCH = 16  # images generated at once

StrPath = str | os.PathLike[str]
AnyModel = StrPath | NetworkModel


class Model(NetworkModel):
    """A model with the functions of this module as methods, so that it is loaded only once.

    >>> import stylemix
    >>> model = stylemix.load_model("faces-64")
    >>> [image.size for image in model.generate(seeds=[1, 2])]
    [(64, 64), (64, 64)]
    """

    @classmethod
    def load(cls, path: StrPath = DEFAULT_MODEL, device: str = "auto") -> Model:
        """Loads a model by shipped name or file, ours or another program's, on a device."""
        loaded = checkpoint.load_model(path, find_device(device))
        return cls(**{name: getattr(loaded, name) for name in cls.__dataclass_fields__})

    def to(self, device: str | torch.device) -> Model:
        """Moves the networks to a device; returns the model itself."""
        target = find_device(str(device))
        self.generator.to(target)
        if self.discriminator is not None:
            self.discriminator.to(target)
        return self

    def mix(self, source: Source, styles: Styles, **options: Any) -> Image.Image:
        """`stylemix.mix` with this model."""
        return mix(source, styles, model=self, **options)

    def project(self, photo: Photo, **options: Any) -> Latent:
        """`stylemix.project` with this model."""
        return project(photo, model=self, **options)

    def edit(self, source: Source, **options: Any) -> Image.Image:
        """`stylemix.edit` with this model."""
        return edit(source, model=self, **options)

    def generate(self, seeds: Sequence[int], **options: Any) -> list[Image.Image]:
        """`stylemix.generate` with this model."""
        return generate(seeds, model=self, **options)

    def align(self, photo: Photo, **options: Any) -> Image.Image:
        """`stylemix.align` with this model's template and size."""
        return align(photo, model=self, **options)

    def animate(self, sources: Source | Several, **options: Any) -> Iterator[Image.Image]:
        """`stylemix.animate` with this model."""
        return animate(sources, model=self, **options)


def load_model(path: StrPath = DEFAULT_MODEL, device: str = "auto") -> Model:
    """Loads a model by shipped name or file; no code of the file is executed."""
    return Model.load(path, device)


def use_model(model: AnyModel, device: str = "auto") -> NetworkModel:
    """Loads a model by name or file; a loaded model is returned as it is, on its device."""
    return model if isinstance(model, NetworkModel) else load_model(model, device)


def mix(
    source: Source,
    styles: Styles,
    *,
    model: AnyModel = DEFAULT_MODEL,
    strength: float | str | None = None,
    layers: str | None = None,
    min_identity: float | None = None,
    regions: Sequence[str] = (),
    keep_color: float = 0.0,
    output_size: OutputSize = None,
    face: int | None = None,
    preset: str | ProjectionSettings = "balanced",
    budget: float | None = None,
    encoder: StrPath | None = None,
    device: str = "auto",
    progress: Progress | bool = False,
) -> Image.Image:
    """Renders a person in the sum of one or more styles: a personalised avatar.

    The other arguments are described at the top of `stylemix.api`.

    Args:
        min_identity: minimum identity, 0 to 1; the strength is lowered to preserve it.
        regions: where styles act: "face", "hair", "background", or mask files.
        keep_color: 0 for the style's colours in the face, 1 for the person's.
        output_size: "photo", "portrait", "crop" or px; None as `avatars.finish` has it.

    >>> from stylemix.io.assets import ASSETS
    >>> avatar = mix(ASSETS / "portraits" / "collins.jpg", {"toon": 0.8})
    >>> avatar.size, avatar.mode
    ((1024, 1024), 'RGB')
    """
    network = use_model(model, device)
    options = AvatarOptions(min_identity, tuple(regions), keep_color)
    options.check(network)
    written, side = str("" if strength is None else strength), network.generator.img_resolution
    number, by_layer = parse_strength(written, side) if written else (None, None)
    settings, start = preset_settings(preset, budget), _start(encoder, network)
    mixer = Mixer(network, layers, face, by_layer, settings, start, progress)
    (person,), inputs = mixer.read([_single(source)], style_arguments(styles))
    parts = mixer.apply_all(inputs, person, number)
    avatar = mixer.avatar(person, parts, options)
    return finish(mixer, person, avatar, parts, parse_output_size(output_size)).image


def project(
    photo: Photo,
    *,
    model: AnyModel = DEFAULT_MODEL,
    preset: str | ProjectionSettings = "balanced",
    budget: float | None = None,
    seed: int = 0,
    face: int | None = None,
    encoder: StrPath | None = None,
    device: str = "auto",
    progress: Progress | bool = False,
) -> Latent:
    """Projects a photo to the latent whose generated image reproduces it (GAN inversion).

    The other arguments are described at the top of `stylemix.api`.

    Args:
        seed: random seed of the optimisation.

    >>> from stylemix.io.assets import ASSETS
    >>> latent = project(ASSETS / "portraits" / "collins.jpg", preset="fast")
    >>> list(latent.w.shape), latent.image().size
    ([10, 128], (64, 64))
    """
    network = use_model(model, device)
    start, settings = _start(encoder, network), preset_settings(preset, budget, seed)
    aligned = [read_portrait(_single(photo), network, face)]
    return project_portraits(aligned, network, settings, progress, encoder=start)[1][0]


def edit(
    source: Source,
    *,
    smile: float | None = None,
    yaw: float | None = None,
    pitch: float | None = None,
    mouth: float | None = None,
    light: float | None = None,
    directions: Mapping[str, float] | None = None,
    model: AnyModel = DEFAULT_MODEL,
    layers: str | None = None,
    size: int | None = None,
    face: int | None = None,
    preset: str | ProjectionSettings = "balanced",
    budget: float | None = None,
    encoder: StrPath | None = None,
    device: str = "auto",
    progress: Progress | bool = False,
) -> Image.Image:
    """Changes the expression, pose or light of a photo or latent.

    Args:
        smile: smile more, in standard deviations of the model's faces; up to 3 looks natural.
        yaw: turn the head to the viewer's right.
        pitch: lower the head.
        mouth: open the mouth.
        light: light from the viewer's right.
        directions: strengths of others by name ("sefa-0", "smile-channels", a style file).

    >>> edit("seed:3", smile=2, yaw=-1).size
    (256, 256)
    """
    readings = {"smile": smile, "yaw": yaw, "pitch": pitch, "mouth": mouth, "light": light}
    amounts = {k: v for k, v in {**readings, **(directions or {})}.items() if v is not None}
    network, settings = use_model(model, device), preset_settings(preset, budget)
    mixer = Mixer(network, layers, face, None, settings, _start(encoder, network), progress)
    applied = direction_styles(mixer, amounts)
    person = mixer.read([_single(source)], [])[0][0]
    return model_image(mixer.draw(person, applied), network.template, size)


def generate(
    seeds: Sequence[int],
    *,
    psi: float = 0.7,
    model: AnyModel = DEFAULT_MODEL,
    label: int | None = None,
    noise_mode: str = "const",
    device: str = "auto",
) -> list[Image.Image]:
    """Generates an image for each seed, at the model's size.

    Args:
        seeds: integers from 0 to 2**32 - 1.
        psi: truncation, 1 for full variation, 0 for the average image.
        label: class of a conditional model.
        noise_mode: "const", "random" or "none".

    >>> [image.size for image in generate(range(2), psi=0.7)]
    [(64, 64), (64, 64)]
    """
    generator, numbers = use_model(model, device).generator, list(seeds)
    batches = [numbers[i : i + BATCH] for i in range(0, len(numbers), BATCH)]
    results = (sample_images(generator, batch, psi, label, noise_mode) for batch in batches)
    return [to_pil(image) for images in results for image in images]


def align(
    photo: Photo,
    *,
    model: AnyModel | None = None,
    template: str = "faces128",
    size: int = 256,
    face: int | None = None,
) -> Image.Image:
    """Crops the face of a photo, aligned to a template, as a square of `size` px.

    With `model` its template and size are used; else `template` is "faces128", "ffhq" or "none".
    Raises StylemixError without a clear face, or with several (`face` selects, 1 the largest).

    >>> from stylemix.io.assets import ASSETS
    >>> align(ASSETS / "portraits" / "collins.jpg", size=128).size
    (128, 128)
    """
    if model is not None:
        return read_portrait(_single(photo), use_model(model), face).alignment.crop
    if template not in TEMPLATES:
        raise StylemixError(f"got template {template!r}; expected one of {', '.join(TEMPLATES)}")
    return align_photo(open_image(_single(photo)), TEMPLATES[template], size, face).crop


def animate(
    sources: Source | Several,
    styles: Styles = (),
    *,
    directions: Mapping[str, float] | None = None,
    seconds: float = 2.0,
    hold: float = 0.5,
    fps: int = 25,
    loop: bool = True,
    easing: str = "smooth",
    strength: float | None = None,
    layers: str | None = None,
    size: int | None = None,
    model: AnyModel = DEFAULT_MODEL,
    face: int | None = None,
    preset: str | ProjectionSettings = "balanced",
    budget: float | None = None,
    encoder: StrPath | None = None,
    device: str = "auto",
    progress: Progress | bool = False,
) -> Iterator[Image.Image]:
    """Renders frames that change from person to person, style to style, and along directions.

    The k-th keyframe shows the k-th source in the k-th style; the shorter list repeats. A single
    source in a single style fades between no style and full strength.

    Args:
        sources: a source, or a list of sources, as for `mix`.
        directions: strengths by name; keyframes alternate between minus and plus the strength.
        seconds: seconds from each keyframe to the next.
        hold: seconds that each keyframe is held.
        fps: frames per second.
        loop: return to the first keyframe at the end.
        easing: "smooth" or "linear".

    >>> frames = list(animate("seed:1", "toon", seconds=0.2, hold=0, fps=10))
    >>> len(frames), frames[0].size
    (4, (512, 512))
    """
    several = sources if isinstance(sources, list | tuple) else [sources]
    network, settings = use_model(model, device), preset_settings(preset, budget)
    mixer = Mixer(network, layers, face, None, settings, _start(encoder, network), progress)
    arguments, timing = style_arguments(styles), Timing(seconds, hold, fps, loop, easing)
    people = [_single(source) for source in several]
    animation = read_animation(mixer, people, arguments, directions or {}, timing, strength, size)
    pairs = zip(animation.images(), animation.lengths, strict=True)
    return (image for image, count in pairs for image in repeat(image, count))


def _start(encoder: StrPath | None, model: NetworkModel) -> Encoder | None:
    return None if encoder is None else load_encoder(encoder, model)


def _single(source: Any) -> Any:
    """Returns a source unchanged; raises StylemixError for a folder or zip of several."""
    if is_several(source):
        raise StylemixError(f"got {source}, a folder or zip; expected a single source; name a file")
    return source
