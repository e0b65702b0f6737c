"""Turn photos of people into avatars, with StyleGAN2-family generators.

The names below are imported on first use, so that `import stylemix` is fast and needs no torch.

>>> import stylemix
>>> images = stylemix.generate(seeds=range(2), psi=0.7)
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from stylemix.version import __version__

if TYPE_CHECKING:
    from stylemix.api import align, animate, edit, generate, mix, project
    from stylemix.avatars.drag import drag, drag_steps
    from stylemix.errors import StylemixError
    from stylemix.export.export import export_model
    from stylemix.images.marks import find_marks
    from stylemix.images.write import save_image
    from stylemix.inversion.latent import Latent
    from stylemix.model import Model, blend, load_model
    from stylemix.models.checkpoint import load_discriminator, load_generator
    from stylemix.styles.style import Style
    from stylemix.training.adapt.adapt import adapt
    from stylemix.training.snapshots import average_snapshots

__all__ = [
    "Latent",
    "Model",
    "Style",
    "StylemixError",
    "__version__",
    "adapt",
    "align",
    "animate",
    "average_snapshots",
    "blend",
    "drag",
    "drag_steps",
    "edit",
    "export_model",
    "find_marks",
    "generate",
    "load_discriminator",
    "load_generator",
    "load_model",
    "mix",
    "project",
    "save_image",
]

_MODULES = {
    "Latent": "stylemix.inversion.latent",
    "Model": "stylemix.model",
    "Style": "stylemix.styles.style",
    "StylemixError": "stylemix.errors",
    "adapt": "stylemix.training.adapt.adapt",
    "average_snapshots": "stylemix.training.snapshots",
    "blend": "stylemix.model",
    "drag": "stylemix.avatars.drag",
    "drag_steps": "stylemix.avatars.drag",
    "export_model": "stylemix.export.export",
    "find_marks": "stylemix.images.marks",
    "load_discriminator": "stylemix.models.checkpoint",
    "load_generator": "stylemix.models.checkpoint",
    "load_model": "stylemix.model",
    "save_image": "stylemix.images.write",
}

# In a source tree ops/, training/ and tools/ lie beside this folder, not in it. Looking there
# first makes the real folders the sub-packages, so that tracebacks name `ops/...`; the symbolic
# links in this folder are only for static tools (type checkers, editors).
_root = Path(__file__).resolve().parent.parent
if (_root / "ops" / "bias_act.py").is_file():
    __path__.insert(0, str(_root))


def __getattr__(name: str) -> object:
    """Imports a public name from its module at its first use."""
    if name not in __all__:
        raise AttributeError(f"module 'stylemix' has no attribute {name!r}")
    value: object = getattr(import_module(_MODULES.get(name, "stylemix.api")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Lists all public names, including those not imported yet."""
    return sorted({*globals(), *__all__})
