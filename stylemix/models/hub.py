"""Folders as the Hugging Face Hub has them: weights, config.json, and a model card as README.md."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from stylemix.errors import StylemixError, shown
from stylemix.io.atomic import Json, write_json, write_text
from stylemix.io.files import StrPath, user_path
from stylemix.io.remote import HUB_DEFAULT, is_address
from stylemix.version import __version__

MODEL_FILE = HUB_DEFAULT
STYLE_FILE = "style.safetensors"
CONFIG_FILE, CARD_FILE = "config.json", "README.md"
OWNER_AND_NAME = re.compile(r"[\w.-]+/[\w.-]+")
SPDX = re.compile(r"[\w.+-]+")  # what a licence's short name looks like
MODEL_EXAMPLE = (
    'model = stylemix.Model.from_pretrained("{name}")\nimages = model.generate(range(4))'
)
STYLE_EXAMPLE = 'style = stylemix.Style.from_pretrained("{name}")\nstylemix.mix("me.jpg", style)'


@dataclass(frozen=True)
class Pretrained:
    """What a folder is made of: a file, how it is written, and what its card says."""

    file: str
    save: Callable[[Path], None]
    config: Mapping[str, Json]
    card: Mapping[str, Json]  # of which "licence" is known to the Hub
    task: str  # "unconditional-image-generation" or "image-to-image"
    example: str

    def write(self, folder: StrPath, name: str = "") -> None:
        """Writes the folder; `name` is that of its repository."""
        folder = user_path(folder)
        self.save(folder / self.file)
        write_json(folder / CONFIG_FILE, {"stylemix": __version__, **self.config})
        write_text(folder / CARD_FILE, self.readme(name or folder.name))

    def push(self, name: str, private: bool = True) -> str:
        """Uploads the folder to the Hub as OWNER/NAME; returns its address there."""
        if not OWNER_AND_NAME.fullmatch(str(name)):
            raise StylemixError(f"got the repository {shown(name)}; expected OWNER/NAME; change it")
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        try:
            from huggingface_hub import HfApi  # an extra
        except ImportError as error:
            raise StylemixError(
                "got no huggingface_hub; expected it for the Hub; pip install 'stylemix[hub]'"
            ) from error
        with tempfile.TemporaryDirectory() as folder:
            self.write(folder, name)
            try:
                HfApi().create_repo(name, private=private, exist_ok=True)
                HfApi().upload_folder(repo_id=name, folder_path=folder)
            except (OSError, ValueError) as error:  # the bases of all errors of the library
                raise StylemixError(
                    f"got no upload to {name} ({str(error).splitlines()[0][:200]}); expected the "
                    "Hub and a token of yours that may write; run hf auth login"
                ) from error
        return f"hf://{name}/{self.file}"

    def readme(self, name: str) -> str:
        """The card: what the Hub reads, an example, and what the file says about itself."""
        licence = str(self.card.get("licence", ""))
        known = (
            [licence.lower()] if SPDX.fullmatch(licence) else ["other", "license_name: see below"]
        )
        head = ["---", f"license: {known[0]}", *known[1:], "library_name: stylemix"]
        head += [f"pipeline_tag: {self.task}", "tags: [stylemix, stylegan2, gan]", "---", ""]
        body = [f"# {name}", "", "```python", "import stylemix", ""]
        body += [self.example.format(name=name), "```", ""]
        facts = {**self.card, **self.config}
        rows = [f"| {_cell(key)} | {_cell(value)} |" for key, value in facts.items()]
        return "\n".join([*head, *body, "| | |", "| --- | --- |", *rows, ""])


class Shared:
    """Methods of what can be saved as such a folder, and uploaded."""

    def pretrained(self) -> Pretrained:
        """What its folder is made of."""
        raise NotImplementedError

    def __repr__(self) -> str:
        """What its config says; the values of the tensors are too many to be read."""
        made = self.pretrained()
        named = {"name": made.card["name"]} if "name" in made.card else {}
        rows = [f"{key}={value!r}" for key, value in {**named, **made.config}.items()]
        return f"{type(self).__name__}({', '.join(rows)})"

    def save_pretrained(self, folder: StrPath) -> None:
        """Writes a folder with the weights, config.json and a model card."""
        self.pretrained().write(folder)

    def push_to_hub(self, name: str, private: bool = True) -> str:
        """Uploads such a folder to the Hugging Face Hub as OWNER/NAME; returns its address.

        Nobody else can see it unless `private` is False. It needs the extra `hub` and a token
        (`hf auth login`). Raises StylemixError where the Hub cannot be reached or refuses.
        """
        return self.pretrained().push(name, private)


def _cell(value: Json) -> str:
    return " ".join(str(value).replace("|", "\\|").split())


def pretrained_file(name: StrPath, file: str = MODEL_FILE) -> StrPath:
    """What a `from_pretrained` loads: the file of a folder, of OWNER/NAME on the Hub, or `name`."""
    if is_address(name):
        return name
    path = user_path(name)
    if os.path.isdir(path):
        return path / file
    if not os.path.exists(path) and OWNER_AND_NAME.fullmatch(str(name)):
        return f"hf://{name}/{file}"
    return name
