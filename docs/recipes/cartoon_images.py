"""Render thousands of cartoon faces in one drawn style, cropped like the photos of a model.

A generator that is fine-tuned on these images needs eyes, nose and mouth where its photos had
them. So each drawing is cropped by its own eyes to the template of the 64- and 128-px face models
(fractions of the side: eyes at (.317, .302) and (.682, .302), mouth corners at y = .70).

The components come from DiceBear; this recipe adds a population: as many women as men, realistic
frequencies of skin, hair and beards, soft backgrounds. Needs `pip install stylemix[recipes]`.

    python docs/recipes/cartoon_images.py --style toon-head --count 2500 --output toon-head.zip

The drawings are adapted from works under CC BY 4.0; name the artist wherever you publish a model
or images made with them. The credit line is in the zip's comment.
"""

from __future__ import annotations

import colorsys
import importlib
import io
import json
import os
import random
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import click
from PIL import Image

OVERSAMPLING = 4
EYE_DISTANCE, EYE_MIDDLE, EYE_HEIGHT = 0.365, 0.4995, 0.302  # of the template, in sides

Choices = dict[str, float]
Options = dict[str, Any]


def table(text: str) -> dict[str, str]:
    """Reads "bob cut 3, curly 1" as {"bob cut": "3", "curly": "1"}."""
    return {name: value for name, _, value in (e.rpartition(" ") for e in text.split(", "))}


def weights(text: str) -> Choices:
    """Reads "bob cut 3, curly 1" as {"bob cut": 3, "curly": 1}."""
    return {name: float(value) for name, value in table(text).items()}


# Light, medium and dark skin differ in their hair colours.
SKIN = {
    "light": weights("f9dcc8 9, f4cdb3 10, f1c3a5 14, e9b48f 12, dca57f 9"),
    "medium": weights("c68e7a 6, cb9a70 9, b98e6a 9, a9784f 7"),
    "dark": weights("a36b4f 5, 8a5a3c 5, 6f4530 5, 5c3829 5, 4a2c20 2"),
}
HAIR_BY_SKIN = {
    "light": weights(
        "black 26, dark brown 24, brown 14, chestnut 7, light brown 8, "
        "blond 9, red 3, grey 6, white 3"
    ),
    "medium": weights("black 46, dark brown 32, brown 8, chestnut 3, grey 8, white 3"),
    "dark": weights("black 66, dark brown 20, brown 4, blond 1, grey 7, white 2"),
}
HAIR = table(
    "black 201a1a, dark brown 3a2620, brown 5f3c2b, chestnut 7d4b32, light brown a5764c, "
    "blond d6b370, red a55728, grey 98938f, white dad7d2"
)
CLOTHES = weights(
    "151613 12, 545454 8, e8e9e6 14, 0b3286 7, 3b5b8c 8, 8fb0cf 7, 147f3c 4, 5f7d5a 4, b11f1f 7, "
    "c96f4a 5, ec4899 4, d8a7b1 6, 731ac3 3, 6b4f7d 4, eab308 4, c8b48a 6"
)


@dataclass(frozen=True)
class Person:
    """The attributes of a person that do not depend on the style."""

    woman: bool
    tone: str
    skin: str
    hair: str
    old: bool
    clothes: str
    bearded: bool


@dataclass(frozen=True)
class DrawnStyle:
    """One illustrator's style: DiceBear's options for a person, and the eyes in canvas units.

    `eyes` is the point between them. `stretch` scales the face vertically and `lower` translates
    components down, so that mouth and hairline fit the template and the crop better.
    """

    options: Callable[[Person, random.Random], Options]
    eyes: tuple[float, float]
    eye_distance: float
    stretch: float = 1.0
    lower: Mapping[str, float] = field(default_factory=dict)

    def crop(self) -> tuple[float, float, float, float]:
        """The box (x, y, width, height) on the canvas that puts the eyes on the template."""
        width = self.eye_distance / EYE_DISTANCE
        height = width / self.stretch
        left, top = self.eyes[0] - EYE_MIDDLE * width, self.eyes[1] - EYE_HEIGHT * height
        return left, top, width, height


class RecipeError(click.ClickException):
    """An error that the caller can fix: one line, exit status 2."""

    exit_code = 2


def pick(rng: random.Random, choices: Choices) -> str:
    """Samples one key in proportion to its weight."""
    return rng.choices(list(choices), list(choices.values()))[0]


def _channels(color: str) -> tuple[int, int, int]:
    return int(color[0:2], 16), int(color[2:4], 16), int(color[4:6], 16)


def _hex(channels: Iterable[float]) -> str:
    return "".join(f"{min(255, max(0, round(c))):02x}" for c in channels)


def vary(rng: random.Random, color: str, amount: float) -> str:
    """Jitters the lightness of a colour by up to `amount` (of 255), and its hue slightly."""
    shift = rng.uniform(-amount, amount)
    return _hex(c + shift + rng.uniform(-amount / 3, amount / 3) for c in _channels(color))


def blend(color: str, mode: str, under: str) -> str:
    """The result of CSS's `multiply`, or of `overlay` of pure white or black, on `under`."""
    top, below = _channels(color), _channels(under)
    if mode == "overlay":
        return _hex(2 * b if t else 2 * b - 255 for t, b in zip(top, below, strict=True))
    return _hex(t * b / 255 for t, b in zip(top, below, strict=True))


def sample_person(rng: random.Random) -> Person:
    """Samples sex, skin, hair and clothes colours; dark skin makes dark hair more likely."""
    woman = rng.random() < 0.5
    tones = {(tone, c): w for tone, colors in SKIN.items() for c, w in colors.items()}
    tone, skin = rng.choices(list(tones), list(tones.values()))[0]
    hair_name = pick(rng, HAIR_BY_SKIN[tone])
    return Person(
        woman=woman,
        tone=tone,
        skin=vary(rng, skin, 7),
        hair=vary(rng, HAIR[hair_name], 9),
        old=hair_name in ("grey", "white"),
        clothes=vary(rng, pick(rng, CLOTHES), 10),
        bearded=not woman and rng.random() < 0.42,
    )


def sample_background(rng: random.Random) -> Options:
    """A plain background or a faint gradient, from dim to bright, rarely saturated."""
    hue, saturation, colors = rng.random(), 0.5 * rng.random() ** 1.5, []
    lightness = 0.22 + 0.72 * rng.betavariate(3.0, 1.7)
    step = rng.choice((0.0, 0.0, rng.uniform(-0.12, 0.12)))
    for light in (lightness, lightness + step):
        rgb = colorsys.hls_to_rgb(hue, min(0.96, max(0.15, light)), saturation)
        colors.append(_hex(255 * c for c in rgb))
    graded = {"backgroundColorFill": "linear", "backgroundColorAngle": rng.randrange(360)}
    return {"backgroundColor": colors, **graded} if step else {"backgroundColor": colors[:1]}


def variants(rng: random.Random, parts: Mapping[str, str]) -> Options:
    """Samples one variant of each component."""
    return {f"{part}Variant": pick(rng, weights(text)) for part, text in parts.items()}


def toon_head_options(person: Person, rng: random.Random) -> Options:
    """Options of Johan Melin's ToonHead; hair has a front and often a rear component."""
    hair = (
        "undercut 38, sideComed 33, spiky 19, sideComed neckHigh 3, sideComed shoulderHigh 2, "
        "spiky shoulderHigh 2, bun longStraight 2, bun 1"
    )
    clothes = "shirt 32, tShirt 34, openJacket 18, turtleNeck 16"
    if person.woman:
        hair = (
            "bun longStraight 15, bun longWavy 17, bun shoulderHigh 11, bun neckHigh 6, bun 10, "
            "sideComed longStraight 9, sideComed longWavy 11, sideComed shoulderHigh 9, "
            "sideComed neckHigh 7, sideComed 3, spiky 2"
        )
        clothes = "shirt 16, tShirt 26, openJacket 16, turtleNeck 20, dress 22"
    parts = {
        "beard": "fullBeard 48, chinMoustache 22, longBeard 14, moustacheTwirl 12, chin 4",
        "eyes": "wide 48, happy 40, bow 6, humble 4, wink 2",
        "eyebrows": "neutral 48, happy 27, raised 13, sad 6, angry 6",
        "mouth": "smile 46, laugh 36, sad 8, agape 6, angry 4",
        "clothes": clothes,
    }
    colors = {"skinColor": person.skin, "hairColor": person.hair, "clothesColor": person.clothes}
    front, _, rear = pick(rng, weights(hair)).partition(" ")
    return {
        **variants(rng, parts),
        **colors,
        "beardProbability": 100 * person.bearded,
        "hairVariant": front,
        "rearHairVariant": rear or "neckHigh",
        "rearHairProbability": 100 * bool(rear),
    }


def personas_options(person: Person, rng: random.Random) -> Options:
    """Options of Draftbit's Personas; its blends are given as colours, see `plain_blends`."""
    hair = "shortCombover 32, shortComboverChops 13, balding 6, bald 8, beanie 2, cap 2, curly 1, "
    dark = person.tone == "dark"
    hair += f"fade 22, buzzcut {18 if dark else 10}, curlyHighTop {22 if dark else 5}"
    mouth = "smile 46, bigSmile 36, smirk 8, frown 7, surprise 3"
    if person.woman:
        hair = "long 24, extraLong 22, bobCut 20, bobBangs 12, sideShave 4, "
        hair += "curly 36, curlyBun 6" if dark else "curly 10"
        mouth = "lips 34, smile 30, bigSmile 27, smirk 4, frown 3, surprise 2"
    parts = {
        "hair": hair,
        "mouth": mouth,
        "facialHair": "beardMustache 40, shadow 28, goatee 13, walrus 7, pyramid 6, soulPatch 6",
        "eyes": "open 62, glasses 20, happy 8, sunglasses 5, sleep 3, wink 2",
        "nose": f"mediumRound 50, smallRound 50, wrinkles {50 if person.old else 3}",
        "clothes": "checkered 15, rounded 40, small 10, squared 35",
    }
    colors = {"skin": person.skin, "hair": person.hair, "clothing": person.clothes}
    return {
        **variants(rng, parts),
        **{f"{name}Color": color for name, color in colors.items()},
        **{f"{name}LightColor": blend("ffffff", "overlay", c) for name, c in colors.items()},
        "skinDarkColor": blend("000000", "overlay", person.skin),
        "shavedColor": blend(person.hair, "multiply", person.skin),
        "facialHairColor": person.hair,
        "facialHairProbability": 100 * person.bearded,
    }


LOWER = weights("hair 36, eyebrows 6, mouth 16, beard 6")
STYLES = {
    "toon-head": DrawnStyle(toon_head_options, (383.6, 409.5), 139.3, 1.06, LOWER),
    "personas": DrawnStyle(personas_options, (32.0, 28.5), 13.0),
}


def plain_blends(node: Any, place: str) -> None:
    """Replaces blend modes, which the rasteriser ignores, by equivalent colours, in place.

    Each blend in Personas lies on one known colour (`place` says which), so the resulting colour
    can be computed for each person and painted at the same opacity.
    """
    for child in node if isinstance(node, list) else node.get("children", []):
        plain_blends(child, place)
    attributes = {} if isinstance(node, list) else node.get("attributes", {})
    mode = str(attributes.get("style", "")).removeprefix("mix-blend-mode:")
    name = {"overlay": "skinDark" if place == "skin" else "", "multiply": "shaved"}.get(mode)
    if mode == "overlay" and attributes["fill"] == "white":
        name = f"{place}Light"
    if name:
        attributes["fill"] = {"type": "color", "name": name}


def prepare(name: str, definition: dict[str, Any]) -> None:
    """Translates components of a style definition and resolves its blend modes, in place."""
    for element in definition["canvas"]["elements"]:
        down, attributes = STYLES[name].lower.get(element["name"]), element.get("attributes")
        if down:
            attributes["transform"] = f"translate(0 {down}) {attributes['transform']}"
    if name == "personas":
        plain_blends(definition["canvas"]["elements"], "skin")
        places = {"hair": "hair", "facialHair": "hair", "clothes": "clothing"}
        for part, component in definition["components"].items():
            for variant, drawing in component["variants"].items():
                place = places.get(part, "skin")
                plain_blends(drawing["elements"], "skin" if "bald" in variant else place)
        for color in ("skinLight", "skinDark", "hairLight", "shaved", "clothingLight"):
            definition["colors"][color] = {"values": ["#000000"]}


class Illustrator:
    """Renders numbered people in one style: the same seed and number give the same image."""

    def __init__(self, name: str) -> None:
        try:
            self._dicebear: Any = importlib.import_module("dicebear")
            importlib.import_module("pillow_lunasvg")  # registers SVG with Pillow
            source = resources.files("dicebear_styles").joinpath(f"{name}.json")
            definition = json.loads(source.read_text("utf-8"))
        except ImportError as error:
            message = f"got no {error.name}; expected it; do `pip install stylemix[recipes]`"
            raise RecipeError(message) from None
        self.drawn_style, meta = STYLES[name], definition["meta"]
        prepare(name, definition)
        self.style = self._dicebear.Style(definition)
        self.credit = (
            f'Drawn with parts of "{meta["source"]["name"]}" ({meta["source"]["url"]}) by '
            f"{meta['creator']['name']}, {meta['license']['name']} ({meta['license']['url']}), "
            "by way of DiceBear (https://www.dicebear.com); adapted: cropped, recoloured."
        )

    def png(self, seed: int, number: int, size: int) -> bytes:
        """Person `number` as an RGB image of `size` x `size` px, in PNG bytes."""
        rng = random.Random(f"{seed}/{number}")
        options = {"seed": f"{seed}/{number}", **sample_background(rng)}
        options |= self.drawn_style.options(sample_person(rng), rng)
        svg = self._dicebear.Avatar(self.style, options).to_string()
        box = " ".join(f"{v:.4f}" for v in self.drawn_style.crop())
        side = size * OVERSAMPLING
        root = f'viewBox="{box}" preserveAspectRatio="none" width="{side}" height="{side}"'
        svg, stream = re.sub(r'viewBox="[^"]*"', root, svg, count=1), io.BytesIO()
        with Image.open(io.BytesIO(svg.encode())) as drawing:
            drawing.convert("RGB").reduce(OVERSAMPLING).save(stream, "PNG")
        return stream.getvalue()


def write_zip(output: Path, images: Iterable[tuple[str, bytes]], credit: str) -> None:
    """Writes (name, PNG bytes) into a stored zip with fixed dates, whole or not at all."""
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
            archive.comment = credit.encode()
            for name, data in images:
                archive.writestr(zipfile.ZipInfo(name), data)
        os.replace(partial, output)
    finally:
        partial.unlink(missing_ok=True)


@click.command(help=(__doc__ or "").split("\n\n")[0])
@click.option("--style", type=click.Choice(sorted(STYLES)), default="toon-head", show_default=True)
@click.option("--count", type=click.IntRange(min=1), default=2500, show_default=True)
@click.option("--size", type=click.IntRange(16, 1024), default=64, show_default=True, help="px")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), required=True, help="A .zip")
def main(style: str, count: int, size: int, seed: int, output: Path) -> None:
    """Write the images and print the credit line."""
    if output.suffix != ".zip" or output.is_dir():
        raise RecipeError(f"got --output {output}; expected a name with .zip; add the extension")
    illustrator = Illustrator(style)
    with click.progressbar(range(count), label=f"{style} {size} px") as bar:
        images = ((f"{style}-{n:05d}.png", illustrator.png(seed, n, size)) for n in bar)
        write_zip(output, images, illustrator.credit)
    click.echo(f"{count} images in {output}\n{illustrator.credit}")


if __name__ == "__main__":
    main()
