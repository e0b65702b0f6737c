"""C2PA Content Credentials: a signed manifest in the file that says how an image was made.

Written where the package c2pa-python is installed (the extra `c2pa`). The certificate is made on
this machine at its first use and signed by nobody else, so that it shows whether a file was changed
and not who wrote it: verifiers call it unknown. Nothing uses the network, and nothing that a
manifest says is about a person: no names of files, users or machines, and no time stamp.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from stylemix.errors import StylemixError
from stylemix.images.provenance import SOURCE_TYPE_KEY
from stylemix.io.atomic import atomic_write
from stylemix.io.cache import cache_folder
from stylemix.io.files import StrPath, open_file, read_file
from stylemix.messages import note
from stylemix.version import __version__

if TYPE_CHECKING:
    from cryptography import x509

FOLDER, FILE = "credentials", "signer.pem"  # in the user's cache: the key and its certificates
PARTS = (b"PRIVATE KEY-----", b"-----END CERTIFICATE-----")
ISSUER = "stylemix local certificate (self-made)"
TYPES = {
    ".png": "image/png", ".apng": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg",
    ".webp": "image/webp", ".gif": "image/gif", ".avif": "image/avif", ".mp4": "video/mp4",
}  # fmt: skip
_YEARS = 10
_SETTINGS = {
    "builder": {"thumbnail": {"enabled": False}},  # of half a megabyte
    "verify": {"ocsp_fetch": False, "remote_manifest_fetch": False},
}


class Credentials(NamedTuple):
    """What the manifest of a file says: whether file and signature fit, who signed, what it is."""

    valid: bool
    issuer: str
    generator: str
    source_type: str


def sign_file(path: Path, marks: dict[str, str]) -> None:
    """Adds a manifest with these marks to an image or video, where the package for it is here.

    A failure leaves the file as it is and prints a line: an image is never lost over its marks.
    """
    kind = TYPES.get(path.suffix.lower())
    if kind is None or not marks or not has_package():
        return
    try:
        with hold_signals():
            _sign(path, kind, marks[SOURCE_TYPE_KEY])
    except Exception as error:  # the library raises several kinds, also for want of a home folder
        cause = error.__cause__ or error
        reason = str(getattr(cause, "strerror", None) or error) or type(error).__name__
        _tell(reason.splitlines()[0][:100])


def has_package() -> bool:
    """Whether the extra `c2pa` is installed."""
    try:
        import c2pa  # noqa: F401
    except Exception:  # it is not there, or its library does not run on this machine
        return False
    return True


def read_credentials(path: StrPath) -> Credentials | None:
    """The newest manifest of a file; None where there is none, or none that can be read.

    Needs the extra `c2pa`. Manifests elsewhere on the network are not fetched.
    """
    import c2pa

    kind = TYPES.get(Path(path).suffix.lower())
    if kind is None:
        return None
    try:
        with hold_signals():
            content, state = _read(path, kind)
        store = json.loads(content)
        manifest = store["manifests"][store["active_manifest"]]
        signature = manifest.get("signature_info", {})
        generator = manifest.get("claim_generator_info", [{}])[0]
        return Credentials(
            state in ("Valid", "Trusted"),
            str(signature.get("issuer", "")),
            f"{generator.get('name', '')} {generator.get('version', '')}".strip(),
            _source_type_of(manifest),
        )
    except (c2pa.C2paError, KeyError, TypeError, ValueError, IndexError, AttributeError):
        return None


def _read(path: StrPath, kind: str) -> tuple[str, str | None]:
    """The manifests of a file as JSON, and whether the newest is valid."""
    import c2pa

    with open_file(path) as stream, c2pa.Reader(kind, stream, None, _context()) as reader:
        return reader.json(), reader.get_validation_state()


@contextmanager
def hold_signals() -> Iterator[None]:
    """Lets Ctrl-C and other signals wait until the block has ended.

    The library calls back into Python, where an exception aborts the process, and its objects free
    themselves in `__del__`, where one is lost and the command goes on: call a function in the
    block, whose objects end with it.
    """
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    if threading.current_thread() is not threading.main_thread():
        handlers = {}  # they are run in the main thread only
    came: list[int] = []
    held = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in held:
        signal.signal(number, lambda got, _frame: came.append(got))
    try:
        yield
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)
        for got in came[:1]:
            signal.raise_signal(got)


def _source_type_of(manifest: dict[str, Any]) -> str:
    for assertion in manifest.get("assertions", []):
        if assertion.get("label", "").startswith("c2pa.actions"):
            for action in assertion["data"]["actions"]:
                if action.get("digitalSourceType"):
                    return str(action["digitalSourceType"]).split("/")[-1]
    return ""


@lru_cache(maxsize=16)
def _tell(reason: str) -> None:
    """Says once why there are no Content Credentials."""
    note(f"Note: written without Content Credentials, which could not be signed: {reason}")


def _context() -> Any:
    import c2pa

    return c2pa.Context(settings=c2pa.Settings.from_dict(_SETTINGS))


def _sign(path: Path, kind: str, source_type: str) -> None:
    import c2pa

    agent = {"name": "stylemix", "version": __version__}
    action = {
        "action": "c2pa.created", "digitalSourceType": source_type, "softwareAgent": agent,
    }  # fmt: skip
    manifest = {
        "claim_generator_info": [agent],
        "format": kind,
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [action]}}],
    }
    key, certificates = _signer()
    info = c2pa.C2paSignerInfo(c2pa.C2paSigningAlg.ES256, certificates, key, None)  # no time stamp
    with (
        tempfile.TemporaryFile() as signed,
        c2pa.Signer.from_info(info) as signer,
        c2pa.Builder(manifest, _context()) as builder,
    ):
        with path.open("rb") as stream:
            builder.sign(signer, kind, stream, signed)
        signed.seek(0)
        # Beside the picture, which stays whole where there is no room for the manifest.
        with atomic_write(path) as whole, whole.open("wb") as stream:
            shutil.copyfileobj(signed, stream)


def _signer() -> tuple[bytes, bytes]:
    """The private key of this machine and its certificates as PEM; made at the first use."""
    folder = cache_folder(FOLDER)
    if folder is None:
        raise OSError("no home folder to keep a key in")
    path = folder / FILE
    with suppress(OSError, StylemixError):
        content = read_file(path)
        if all(part in content for part in PARTS):  # else it is damaged, and made again
            return _split(content)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    content = _new_signer()
    temporary = folder / f".{secrets.token_hex(6)}.tmp"
    # Not `atomic_write`, whose file others may read until it is complete.
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)  # else it can be empty after a loss of power
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return _split(content)


def _split(content: bytes) -> tuple[bytes, bytes]:
    key, mark, rest = content.partition(b"-----BEGIN CERTIFICATE-----")
    return key, mark + rest


def _new_signer() -> bytes:
    """A new key, its certificate, and that of the authority that signed it, as PEM.

    The specification of C2PA allows no certificate that is signed by its own key; so there is an
    authority of one signature, whose key is thrown away.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())
    root = (
        _certificate("stylemix local root", root_key.public_key(), is_authority=True)
        .sign(root_key, hashes.SHA256())
    )  # fmt: skip
    purpose = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.EMAIL_PROTECTION])
    leaf = (
        _certificate("stylemix local signer", key.public_key(), is_authority=False)
        .add_extension(purpose, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority),
            critical=False,
        )
        .sign(root_key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private + b"".join(
        certificate.public_bytes(serialization.Encoding.PEM) for certificate in (leaf, root)
    )


def _certificate(name: str, public_key: Any, is_authority: bool) -> x509.CertificateBuilder:
    """A certificate to be signed by the root, for an authority or for signatures of files."""
    from cryptography import x509

    def subject(common: str) -> x509.Name:
        oid = x509.oid.NameOID
        return x509.Name([
            x509.NameAttribute(oid.ORGANIZATION_NAME, ISSUER),
            x509.NameAttribute(oid.COMMON_NAME, common),
        ])  # fmt: skip

    usages = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
         "encipher_only", "decipher_only"), False,
    )  # fmt: skip
    usage = x509.KeyUsage(
        digital_signature=not is_authority, key_cert_sign=is_authority, crl_sign=is_authority,
        **usages,
    )  # fmt: skip
    start = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    return (
        x509.CertificateBuilder()
        .subject_name(subject(name))
        .issuer_name(subject("stylemix local root"))
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - timedelta(days=1))
        .not_valid_after(start + timedelta(days=365 * _YEARS))
        .add_extension(x509.BasicConstraints(is_authority, 0 if is_authority else None), True)
        .add_extension(usage, True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), False)
    )
