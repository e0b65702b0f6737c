"""Turn photos of people into avatars, with StyleGAN2-family generators.

The names below load on first use, so that `import stylemix` stays quick and imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from stylemix.version import __version__

if TYPE_CHECKING:
    from stylemix.errors import StylemixError
    from stylemix.models.checkpoint import load_discriminator, load_generator, load_model

__all__ = [
    "StylemixError",
    "__version__",
    "load_discriminator",
    "load_generator",
    "load_model",
]

_HOMES = {
    "StylemixError": "stylemix.errors",
    "load_discriminator": "stylemix.models.checkpoint",
    "load_generator": "stylemix.models.checkpoint",
    "load_model": "stylemix.models.checkpoint",
}

# In a source tree ops/, training/ and tools/ lie beside this folder, not in it. Looking there
# first makes the real folders the sub-packages, so tracebacks name `ops/...`; the symbolic links
# in this folder are only for programs that read code (type checkers, editors).
_root = Path(__file__).resolve().parent.parent
if (_root / "ops" / "bias_act.py").is_file():
    __path__.insert(0, str(_root))


def __getattr__(name: str) -> object:
    """Import a public name from its module, the first time that it is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'stylemix' has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names too that are not loaded yet."""
    return sorted({*globals(), *__all__})
