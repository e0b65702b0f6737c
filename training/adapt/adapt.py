"""Learns a style from example images, by the method that suits them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path

import torch
from torch import Tensor

from stylemix.avatars.inputs import listed
from stylemix.devices import in_usual_modes, search_dtype
from stylemix.errors import StylemixError, check_choice, check_range, check_seed, shown
from stylemix.images.hands import PLAIN
from stylemix.images.sources import Photo
from stylemix.inversion.latent import NOT_RECORDED
from stylemix.io.atomic import Json
from stylemix.io.files import StrPath, user_path
from stylemix.metrics.style_distance import image_statistics
from stylemix.models.loading import DEFAULT_MODEL, AnyModel, AnyTemplate, use_model
from stylemix.models.model import Model
from stylemix.networks.labels import Label
from stylemix.networks.latents import parse_layers
from stylemix.progress import Progress, report_to
from stylemix.styles.style import Style, check_strength, check_style, load_style
from stylemix.training.adapt.base_style import rebased, with_style
from stylemix.training.adapt.draw_kit import is_kit, read_kit, read_pairs
from stylemix.training.adapt.finetune import TransferSettings, learn_transfer
from stylemix.training.adapt.jojogan import STEPS as JOJOGAN_STEPS
from stylemix.training.adapt.jojogan import learn_jojogan
from stylemix.training.adapt.look import learn_look
from stylemix.training.adapt.look_loss import LookSettings
from stylemix.training.adapt.method import (
    MIN_FOR_TRANSFER,
    AdaptationPlan,
    choose_images,
    choose_layers,
    judged_statistics,
    read_examples,
)
from stylemix.training.adapt.pairs import PairSettings, learn_pairs, usual_part
from stylemix.training.adapt.personal import STEPS as PERSONAL_STEPS
from stylemix.training.adapt.personal import check_one_person, learn_personal
from stylemix.training.adapt.scores import score_style
from stylemix.training.adapt.student_pairs import generated_faces, to_bytes
from stylemix.training.adapt.student_training import PRECISIONS
from stylemix.training.adapt.trainable import PARTS
from stylemix.training.adapt.unpaired import FACES, START, UnpairedSettings, learn_unpaired
from stylemix.training.data.dataset import ImageDataset
from stylemix.version import __version__

# Chosen by eye on the portraits: at 1 eyes and mouths are distorted, at .5 identities collapse.
TRANSFER_PSI = 0.85
METHODS = ("auto", "look", "drawing", "transfer", "pairs", "personal", "jojogan")
# The methods that each option applies to.
OPTION_METHODS = {
    "steps": ("look", "drawing", "pairs", "personal", "jojogan"),
    "sparse": ("look",),
    "kimg": ("transfer",),
    "learn": ("look", "transfer", "pairs"),
    "start": ("look", "transfer"),
}


@dataclass(frozen=True)
class AdaptSettings:
    """How a style is learned; None chooses a value that suits the images or the method.

    Attributes:
        method: "look" (light, colour, make-up from a few photos), "drawing" (a drawn style from a
            few drawings: a student redraws photos like them), "transfer" (the generator learns
            shapes, too, from many drawings), "pairs" (a drawn style from faces and their drawings:
            a drawing kit, or a folder of photos and one of drawings), "personal" (one person,
            MyStyle), "jojogan" as published, or "auto": look or drawing, by the distance of the
            images from the model's faces.
        learn: parameters that a look or transfer trains: "offsets", "affine" or "all".
        start: the style that a look or transfer is initialized from, or "none".
        align: whether faces are cropped and aligned.
        steps: training steps of all methods but transfer.
        sparse: share of the offsets that a look keeps, the largest, above 0 to 1.
        kimg: length of a transfer in thousands of images.
        precision: "fp32" or "bf16"; None for bf16 where the device has it in a drawing, and fp32
            in a transfer.
        several_people: whether a personal style may be learned from photos of several people.
        seed: seed of all random numbers.
    """

    method: str = "auto"
    learn: str | None = None
    start: str | None = None
    align: bool | None = None
    steps: int | None = None
    sparse: float | None = None
    kimg: float | None = None
    precision: str | None = None
    seed: int = 0
    several_people: bool = False

    def __post_init__(self) -> None:
        choices = {"method": METHODS, "learn": (None, *PARTS), "precision": (None, *PRECISIONS)}
        for name, known in choices.items():
            check_choice(name, getattr(self, name), known)
        if self.steps is not None and not (isinstance(self.steps, Integral) and self.steps > 0):
            raise StylemixError(f"got steps {self.steps!r}; expected a number from 1; change it")
        for name, low, high in (("sparse", 1e-6, 1), ("kimg", 0.001, 1e9)):
            if getattr(self, name) is not None:
                check_range(name, getattr(self, name), low, high)
        object.__setattr__(self, "seed", check_seed(self.seed))  # of NumPy, too

    def check(self, method: str, consent: str) -> None:
        """Raises StylemixError for a setting of another method, or a missing consent."""
        for name, methods in OPTION_METHODS.items():
            if getattr(self, name) is not None and method not in methods:
                raise StylemixError(
                    f"got --{name} for the method {method}; expected it with "
                    f"{' or '.join(methods)} only; leave it out, or change --method"
                )
        if self.several_people and method != "personal":
            raise StylemixError(
                f"got --several-people for the method {method}; expected it with personal only; "
                "leave it out, or change --method"
            )
        if self.start not in (None, "none"):
            check_style(str(self.start))
        if method == "personal" and consent == NOT_RECORDED:
            raise StylemixError(
                "got no --consent; expected how the person agreed, since a personal style "
                "generates that person; ask, and add it"
            )


@dataclass(frozen=True)
class StyleCard:
    """Metadata of a style file about its images: licence, credit, and consent of the person."""

    name: str = "style"
    licence: str = "unknown"
    credit: str = ""
    consent: str = NOT_RECORDED

    def info(self) -> dict[str, Json]:
        """The entries of the style's header."""
        return {
            "name": self.name, "licence": self.licence, "credit": self.credit,
            "consent": self.consent,
        }  # fmt: skip


@in_usual_modes
def adapt(
    images: Photo | Sequence[Photo],
    settings: AdaptSettings | None = None,
    *,
    model: AnyModel = DEFAULT_MODEL,
    template: AnyTemplate | None = None,
    label: Label | None = None,
    card: StyleCard | None = None,
    strength: float = 1.0,
    layers: str | None = None,
    state: StrPath | None = None,
    device: str = "auto",
    progress: Progress | bool = False,
    on_plan: Callable[[AdaptationPlan], None] | None = None,
) -> Style:
    """Learns a style from example images; StylemixError where images or settings do not fit.

    Args:
        images: in any form, or folders and zips; for pairs a kit, or two folders of equal names.
        settings: how it is learned; None chooses by the images.
        model: the base model: a shipped name, a file or a `Model`.
        template: as for `stylemix.mix`.
        label: as for `stylemix.mix`; without one the style is learned on all classes.
        card: name, licence and credit, stored in the style file.
        strength: recommended strength.
        layers: recommended layers ("fine", "16-64px"); None for those that score best.
        state: file that a stopped drawing or transfer resumes from; remove it with the style saved.
        device: as for `stylemix.mix`.
        progress: a function of (done, total, loss), or True for a progress bar.
        on_plan: called with the plan before the training starts.
    """
    (settings, card), clock = _checked(settings, card), time.monotonic()
    check_strength(strength)
    base = use_model(model, device, template, label)
    if layers is not None:
        parse_layers(layers, base.generator.img_resolution)
    sources = listed(images)
    if settings.method == "pairs" or (len(sources) == 1 and is_kit(sources[0])):
        settings.check("pairs", card.consent)
        style, record, examples, target = _learn_pairs(base, sources, settings, progress)
        method, count, scored = "pairs", len(examples), True
    else:
        plan, dataset = choose_images(settings.method, sources, base, settings.align)
        settings.check(plan.method, card.consent)
        plan = replace(plan, part=settings.learn or plan.part, start=settings.start or plan.start)
        if on_plan is not None:
            on_plan(plan)
        examples, target = read_examples(plan, dataset), judged_statistics(dataset, base)
        style, record = _learn(plan, base, dataset, examples, settings, state, progress)
        method, count = plan.method, len(dataset) - len(dataset.broken)
        scored = method in ("look", "transfer") and (plan.part != "offsets" or "start" in record)
    if layers is not None:
        style.layers = layers
    elif scored:
        style = choose_layers(base, style, examples)
    style.strength, style.statistics = strength, target
    scores = score_style(base, style, examples, show=progress is True)
    about = {"method": method, "pictures": count, **card.info(), "seed": settings.seed}
    style.info = about | _signature(clock) | {"scores": dict(scores), **record}
    return style


def _checked(
    settings: AdaptSettings | None, card: StyleCard | None
) -> tuple[AdaptSettings, StyleCard]:
    """Returns both, those of their defaults for None; StylemixError for other types."""
    settings = AdaptSettings() if settings is None else settings
    card = StyleCard() if card is None else card
    for given, kind in ((settings, AdaptSettings), (card, StyleCard)):
        if not isinstance(given, kind):
            raise StylemixError(
                f"got {shown(given)}; expected {kind.__name__} of {kind.__module__}; make one"
            )
    return settings, card


def _signature(started: float) -> dict[str, Json]:
    """The seconds since `time.monotonic()` was `started`, and the tool."""
    return {"seconds": round(time.monotonic() - started), "tool": f"stylemix {__version__}"}


def _learn_pairs(
    base: Model, sources: Sequence[Photo], settings: AdaptSettings, progress: Progress | bool
) -> tuple[Style, dict[str, Json], Tensor, Tensor]:
    """Returns the style, its metadata, the drawings [N, C, H, W] and their mean statistics [S]."""
    folders = [Path(path) for path in sources if isinstance(path, str | os.PathLike)]
    if len(sources) == len(folders) == 1 and is_kit(folders[0]):
        ws, drawings, large = read_kit(base, folders[0])
    elif len(sources) == len(folders) == 2:
        ws, drawings, large = read_pairs(base, folders[0], folders[1], progress)
    else:
        raise StylemixError(
            f"got {len(sources)} inputs for pairs; expected a drawing kit, or a folder of photos "
            "and one of drawings; name them"
        )
    target = image_statistics(large).mean(dim=0)
    own = PairSettings(settings.steps, settings.learn, seed=settings.seed)
    with report_to(progress, "Learning (pairs)", "step") as report:
        style = learn_pairs(base, ws, drawings, own, report)
    return style, {"learned": settings.learn or usual_part(len(ws))}, drawings, target


def _learn(
    plan: AdaptationPlan,
    base: Model,
    dataset: ImageDataset,
    examples: Tensor,
    settings: AdaptSettings,
    state: StrPath | None,
    progress: Progress | bool,
) -> tuple[Style, dict[str, Json]]:
    """Returns the style, and the metadata of its training for the style file."""
    file = None if state is None else user_path(state)
    if plan.start in (None, "none"):
        return _learn_from(plan, base, dataset, examples, settings, file, progress)
    start = load_style(str(plan.start), base)
    started = with_style(base, start)
    style, record = _learn_from(plan, started, dataset, examples, settings, file, progress)
    record["start"] = {key: start.info.get(key) for key in ("name", "licence", "credit")}
    return rebased(base, started, style, start.psi), record


def _learn_from(
    plan: AdaptationPlan,
    base: Model,
    dataset: ImageDataset,
    examples: Tensor,
    settings: AdaptSettings,
    state: Path | None,
    progress: Progress | bool,
) -> tuple[Style, dict[str, Json]]:
    unit = "img" if plan.method == "transfer" else "step"
    with report_to(progress, f"Learning ({plan.method})", unit) as report:
        if plan.method == "drawing":
            return _drawing(base, examples, settings, state, report)
        if plan.method == "transfer":
            return _transfer(plan, base, dataset, settings, state, report)
        seed = settings.seed
        if plan.method == "jojogan":
            count = settings.steps or JOJOGAN_STEPS
            return learn_jojogan(base, examples, count, seed, report), {"steps": count}
        if plan.method == "personal":
            if not settings.several_people:
                check_one_person(base, dataset)
            count = settings.steps or PERSONAL_STEPS
            record: dict[str, Json] = {"steps": count, "biometric": True}
            return learn_personal(base, examples, count, seed, report), record
        look = LookSettings(seed=seed, part=plan.part)
        steps, sparse = settings.steps or look.steps, settings.sparse or look.sparse
        style = learn_look(base, examples, replace(look, steps=steps, sparse=sparse), report)
        return style, {"steps": steps, "learned": plan.part}


def _drawing(
    base: Model,
    drawings: Tensor,
    settings: AdaptSettings,
    state: Path | None,
    progress: Progress | None,
) -> tuple[Style, dict[str, Json]]:
    device = base.generator.device
    fast = "bf16" if search_dtype(device) == torch.bfloat16 else "fp32"
    own = UnpairedSettings(precision=settings.precision or fast, seed=settings.seed)
    own = replace(own, steps=settings.steps or own.steps)
    faces = generated_faces(FACES, settings.seed, device)
    start = load_style(START).student
    student = learn_unpaired(faces, to_bytes(drawings), own, start, state, device, progress)
    return Style(base.fingerprint, student=student, hand=PLAIN), {"steps": own.steps}


def _transfer(
    plan: AdaptationPlan,
    base: Model,
    dataset: ImageDataset,
    settings: AdaptSettings,
    state: Path | None,
    progress: Progress | None,
) -> tuple[Style, dict[str, Json]]:
    if len(dataset) < MIN_FOR_TRANSFER:
        raise StylemixError(
            f"got {len(dataset)} images; expected {MIN_FOR_TRANSFER} or more for a transfer; "
            "use --method look"
        )
    transfer = TransferSettings(seed=settings.seed, part=plan.part)
    transfer = replace(
        transfer,
        kimg=settings.kimg or transfer.kimg,
        precision=settings.precision or transfer.precision,
    )
    style = learn_transfer(base, dataset, transfer, state, progress)
    style.psi = TRANSFER_PSI
    return style, {"kimg": transfer.kimg, "learned": plan.part}
