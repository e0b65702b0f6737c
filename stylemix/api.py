"""The Python interface: functions of a model from photos to PIL images.

These arguments mean the same in every function:

Args:
    photo: an image in any form: a path, a PIL image, a uint8 array [H, W, C], or a tensor [C, H, W]
        in [-1, 1].
    source: a photo, "seed:7", "seed:7@2" (class 2), a `Latent` or a latent file.
    styles: a shipped style, a style file, a photo or folder of photos, a latent, a generator file
        or "seed:7", perhaps with a weight ("toon:0.8"); a `Style`; weights by name; or a list.
    model: a shipped name, a file or a `Model`. To use a model several times, load it once with
        `load_model`: its methods are these functions.
    template: alignment of photos: "faces128", "ffhq", "none" or a file; None for the model's.
    label: class of a conditional model, or its values; None to search that of each photo.
    strength: strength of all styles, times their weights; None for the recommended strengths.
    layers: layers where styles act: "coarse", "middle", "fine", "16-64px"; None: as recommended.
    size: longer side of the result in px; None for the model's, but at least 256.
    latent: the latent of the photo, from `project`, so that it is not projected again.
    face: which face of a photo with several faces, 1 for the largest.
    box: left, top, width and height in px of a photo's subject, where there is no face template;
        None for the centre.
    preset: preset of the projection: "fast", "balanced", "best", or `ProjectionSettings`.
    budget: time of the projection in seconds; None for the steps of the preset.
    encoder: file of an encoder for the initial latents; None for the model's shipped encoder.
    device: "cpu", "cuda", "cuda:1" or "auto", for a model passed by name or file.
    progress: a function of (done, total, loss), or True for a progress bar.

Unusable input raises StylemixError with one line. Threads can share a model. The caller's gradient
mode, autocast and random numbers stay as they are; PyTorch's default precision must be float32.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat

from PIL import Image

from stylemix.avatars.animation import Timing, read_animation
from stylemix.avatars.avatar import AvatarOptions
from stylemix.avatars.finish import OutputSize, check_side, finish, parse_output_size
from stylemix.avatars.inputs import (
    Several,
    Source,
    Styles,
    added,
    known_or_single,
    listed,
    named_strengths,
    single,
    style_arguments,
)
from stylemix.avatars.mixer import Mixer, direction_styles
from stylemix.avatars.strengths import parse_strength
from stylemix.devices import in_usual_modes
from stylemix.errors import StylemixError, shown
from stylemix.faces.alignment import Box, align_photo
from stylemix.faces.templates import find_template
from stylemix.images.sources import Photo, open_image
from stylemix.images.tensors import to_pil
from stylemix.inversion.encoder import chosen_encoder
from stylemix.inversion.latent import Latent
from stylemix.inversion.portraits import project_portraits, read_portrait
from stylemix.inversion.settings import ProjectionSettings, preset_settings
from stylemix.io.files import StrPath
from stylemix.models.loading import DEFAULT_MODEL, AnyModel, AnyTemplate, use_model
from stylemix.networks.labels import Label
from stylemix.networks.sampling import sample_images
from stylemix.progress import Progress

BATCH = 16  # images generated at once


@in_usual_modes
def mix(
    source: Source,
    styles: Styles,
    *,
    model: AnyModel = DEFAULT_MODEL,
    template: AnyTemplate | None = None,
    label: Label | None = None,
    strength: float | str | None = None,
    layers: str | None = None,
    min_identity: float | None = None,
    regions: StrPath | Sequence[StrPath] = (),
    keep_color: float = 0.0,
    output_size: OutputSize = None,
    latent: Latent | None = None,
    face: int | None = None,
    box: Box | None = None,
    preset: str | ProjectionSettings = "balanced",
    budget: float | None = None,
    encoder: StrPath | None = None,
    device: str = "auto",
    progress: Progress | bool = False,
) -> Image.Image:
    """Renders a person in the sum of one or more styles: a personalised avatar.

    The other arguments are described at the top of `stylemix.api`.

    Args:
        min_identity: minimum identity, 0 to 1; the strength is lowered to preserve it. It has no
            effect, with a warning, on a model without a face template.
        regions: where styles act: "face", "skin", "hair", "background", a mask file, or several.
        keep_color: 0 for the style's colours in the face, 1 for the person's.
        output_size: "photo", "portrait", "crop" or px; None as `avatars.finish` has it.

    >>> from stylemix.io.assets import ASSETS
    >>> avatar = mix(ASSETS / "portraits" / "collins.jpg", {"toon": 0.8})
    >>> avatar.size, avatar.mode
    ((1024, 1024), 'RGB')
    """
    part = parse_output_size(output_size)
    network = use_model(model, device, template, label)
    names = [os.fspath(r) if isinstance(r, os.PathLike) else str(r) for r in listed(regions)]
    options = AvatarOptions(min_identity, tuple(names), keep_color)
    options.check(network)
    if min_identity is not None and network.template.eyes is None:
        warnings.warn("min_identity has no effect on a model without a face", stacklevel=2)
    written, side = str("" if strength is None else strength), network.generator.img_resolution
    number, by_layer = parse_strength(written, side) if written else (None, None)
    settings, start = preset_settings(preset, budget), chosen_encoder(encoder, network)
    mixer = Mixer(network, layers, face, by_layer, settings, start, progress, box=box)
    (person,), inputs = mixer.read([known_or_single(latent, source)], style_arguments(styles))
    person = person if latent is None else mixer.with_photo(person, single(source))
    parts = mixer.apply_all(inputs, person, number)
    avatar = mixer.avatar(person, parts, options)
    return finish(mixer, person, avatar, parts, part).image


@in_usual_modes
def project(
    photo: Photo,
    *,
    model: AnyModel = DEFAULT_MODEL,
    template: AnyTemplate | None = None,
    label: Label | None = None,
    preset: str | ProjectionSettings = "balanced",
    budget: float | None = None,
    seed: int | None = None,
    face: int | None = None,
    box: Box | None = None,
    encoder: StrPath | None = None,
    device: str = "auto",
    progress: Progress | bool = False,
) -> Latent:
    """Projects a photo to the latent whose generated image reproduces it (GAN inversion).

    The other arguments are described at the top of `stylemix.api`.

    Args:
        seed: random seed of the optimisation; None for that of the preset, 0.

    >>> from stylemix.io.assets import ASSETS
    >>> latent = project(ASSETS / "portraits" / "collins.jpg", preset="fast")
    >>> list(latent.w.shape), latent.image().size
    ([10, 128], (64, 64))
    """
    network = use_model(model, device, template, label)
    start, settings = chosen_encoder(encoder, network), preset_settings(preset, budget, seed)
    aligned = [read_portrait(single(photo), network, face, box)]
    return project_portraits(aligned, network, settings, progress, encoder=start)[1][0]


@in_usual_modes
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
    template: AnyTemplate | None = None,
    label: Label | None = None,
    layers: str | None = None,
    output_size: OutputSize = None,
    latent: Latent | None = None,
    face: int | None = None,
    box: Box | None = None,
    preset: str | ProjectionSettings = "balanced",
    budget: float | None = None,
    encoder: StrPath | None = None,
    device: str = "auto",
    progress: Progress | bool = False,
) -> Image.Image:
    """Changes the expression, pose or light of a photo or latent.

    A photo makes the movement itself, at its own resolution, unless the edit changes too much.

    Args:
        smile: smile more, in standard deviations of the model's faces; up to 2 looks natural.
        yaw: turn the head to the viewer's right.
        pitch: lower the head.
        mouth: open the mouth.
        light: light from the viewer's right.
        directions: strengths of others by name ("sefa-0", "smile-channels", a style file).
        output_size: "photo", "portrait", "crop" or px; None as `avatars.finish` has it.

    >>> edit("seed:3", smile=2, yaw=-1).size
    (256, 256)
    """
    part = parse_output_size(output_size)
    readings = {"smile": smile, "yaw": yaw, "pitch": pitch, "mouth": mouth, "light": light}
    given = {name: value for name, value in readings.items() if value is not None}
    amounts = added(given, named_strengths(directions))
    network, settings = use_model(model, device, template, label), preset_settings(preset, budget)
    mixer = Mixer(
        network, layers, face, None, settings, chosen_encoder(encoder, network), progress, box=box
    )
    applied = direction_styles(mixer, amounts)
    person = mixer.read([known_or_single(latent, source)], [])[0][0]
    person = person if latent is None else mixer.with_photo(person, single(source))
    avatar = mixer.avatar(person, applied)
    return finish(mixer, person, avatar, applied, part).image


@in_usual_modes
def generate(
    seeds: Iterable[int],
    *,
    psi: float = 0.7,
    model: AnyModel = DEFAULT_MODEL,
    label: Label | None = None,
    noise_mode: str = "const",
    device: str = "auto",
) -> list[Image.Image]:
    """Generates an image for each seed, at the model's size.

    Args:
        seeds: integers from 0 to 2**32 - 1.
        psi: truncation, 1 for full variation, 0 for the average image.
        label: class of a conditional model, or its values.
        noise_mode: "const", "random" or "none".

    >>> [image.size for image in generate(range(2), psi=0.7)]
    [(64, 64), (64, 64)]
    """
    if isinstance(seeds, str) or not isinstance(seeds, Iterable) or getattr(seeds, "ndim", 1) != 1:
        raise StylemixError(
            f"got the seeds {shown(seeds)}; expected several, as in [7]; change them"
        )
    generator, numbers = use_model(model, device, label=label).generator, list(seeds)
    batches = [numbers[i : i + BATCH] for i in range(0, len(numbers), BATCH)]
    results = (sample_images(generator, batch, psi, noise_mode=noise_mode) for batch in batches)
    return [to_pil(image) for images in results for image in images]


@in_usual_modes
def align(
    photo: Photo,
    *,
    model: AnyModel | None = None,
    template: AnyTemplate | None = None,
    size: int | None = None,
    face: int | None = None,
    box: Box | None = None,
) -> Image.Image:
    """Crops the face of a photo, aligned to a template, as a square of `size` px.

    The template and the size are those of `model` unless given; without a model "faces128" and 256.
    Raises StylemixError without a clear face, or with several (`face` selects, 1 the largest).

    >>> from stylemix.io.assets import ASSETS
    >>> align(ASSETS / "portraits" / "collins.jpg", size=128).size
    (128, 128)
    """
    check_side(size)
    if model is not None:
        network = use_model(model, template=template)
        if size is None:
            return read_portrait(single(photo), network, face, box).alignment.crop
        template = network.template
    chosen = find_template("faces128" if template is None else template)
    return align_photo(open_image(single(photo)), chosen, size or 256, face, box=box).crop


@in_usual_modes
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
    template: AnyTemplate | None = None,
    label: Label | None = None,
    face: int | None = None,
    box: Box | None = None,
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
    check_side(size)
    network, settings = use_model(model, device, template, label), preset_settings(preset, budget)
    mixer = Mixer(
        network, layers, face, None, settings, chosen_encoder(encoder, network), progress, box=box
    )
    arguments, timing = style_arguments(styles), Timing(seconds, hold, fps, loop, easing)
    people = [single(source) for source in listed(sources)]
    animation = read_animation(
        mixer, people, arguments, named_strengths(directions), timing, strength, size
    )
    pairs = zip(animation.images(), animation.lengths, strict=True)
    return (image for image, count in pairs for image in repeat(image, count))
