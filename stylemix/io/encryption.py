"""Encryption of what is kept at rest, with a passphrase from the environment.

A key is derived by scrypt (RFC 7914) with a salt of the file's own, and data is sealed by AES-256
in GCM (NIST SP 800-38D), so that a changed file is noticed as a wrong passphrase is.
"""

from __future__ import annotations

import os
import secrets
from typing import Any

from stylemix.errors import StylemixError

VARIABLE = "STYLEMIX_PASSPHRASE"  # never an option: other users see the words of a command
_MAGIC = b"stylemix-encrypted-1\n"
_SALT, _NONCE = 16, 12  # bytes
_COST, _BLOCK, _PARALLEL = 2**15, 8, 1  # of scrypt: 32 MiB and about a tenth of a second


def passphrase() -> str | None:
    """The passphrase of the environment; None without one.

    Raises StylemixError where there is one, but no package to encrypt with.
    """
    phrase = os.environ.get(VARIABLE) or None
    if phrase is not None:
        try:
            import cryptography  # noqa: F401
        except ImportError as error:
            raise StylemixError(
                f"got {VARIABLE}, but no package that encrypts; expected cryptography; "
                "pip install 'stylemix[encryption]', or unset it"
            ) from error
    return phrase


def encrypt(data: bytes, phrase: str) -> bytes:
    """Seals data with a passphrase; the same data never gives the same bytes."""
    salt, nonce = secrets.token_bytes(_SALT), secrets.token_bytes(_NONCE)
    sealed: bytes = _cipher(phrase, salt).encrypt(nonce, data, _MAGIC)
    return _MAGIC + salt + nonce + sealed


def decrypt(data: bytes, phrase: str) -> bytes:
    """Opens what `encrypt` sealed; StylemixError for a wrong passphrase and for changed bytes."""
    from cryptography.exceptions import InvalidTag

    start = len(_MAGIC)
    salt, nonce = data[start : start + _SALT], data[start + _SALT : start + _SALT + _NONCE]
    sealed = data[start + _SALT + _NONCE :]
    try:
        if not data.startswith(_MAGIC) or len(nonce) < _NONCE:
            raise InvalidTag
        opened: bytes = _cipher(phrase, salt).decrypt(nonce, sealed, _MAGIC)
    except InvalidTag as error:
        raise StylemixError(
            f"got a file that {VARIABLE} does not open; expected the passphrase that it was kept "
            "with, and a file that nobody changed; set it, or leave it for a new file"
        ) from error
    return opened


def _cipher(phrase: str, salt: bytes) -> Any:
    """AES-GCM with the key of a passphrase."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    secret = phrase.encode("utf-8", "surrogateescape")
    return AESGCM(Scrypt(salt, 32, _COST, _BLOCK, _PARALLEL).derive(secret))
