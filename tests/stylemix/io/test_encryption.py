"""Encryption at rest: what was sealed opens with its passphrase only."""

import sys

import pytest

from stylemix.errors import StylemixError
from stylemix.io import encryption
from stylemix.io.encryption import decrypt, encrypt, passphrase


@pytest.fixture
def cheap(monkeypatch):
    pytest.importorskip("cryptography")
    monkeypatch.setattr(encryption, "_COST", 2**4)


@pytest.mark.parametrize("data", [b"", b"a face", bytes(100_000)])
def test_what_is_sealed_opens(data, cheap):
    sealed = encrypt(data, "pässword \udcff")
    assert decrypt(sealed, "pässword \udcff") == data
    assert encrypt(data, "pässword \udcff") != sealed  # a salt and a nonce of its own
    assert b"a face" not in sealed


def test_any_other_bytes_do_not(cheap):
    sealed = encrypt(b"a face", "one")
    changed = [sealed[:i] + bytes([sealed[i] ^ 1]) + sealed[i + 1 :] for i in range(len(sealed))]
    for data in (*changed, sealed[:-1], sealed + b"\0", sealed[:30], b"", b"a face"):
        with pytest.raises(
            StylemixError, match="got a file that STYLEMIX_PASSPHRASE does not open"
        ):
            decrypt(data, "one")
    with pytest.raises(StylemixError, match="expected the passphrase that it was kept with"):
        decrypt(sealed, "two")


def test_the_cost_of_a_guess():
    """scrypt as RFC 7914 asks for stored data: 2^15 x 8 x 128 bytes."""
    assert encryption._COST * encryption._BLOCK * 128 == 2**25


def test_without_a_passphrase_and_without_the_package(monkeypatch):
    monkeypatch.delenv("STYLEMIX_PASSPHRASE", raising=False)
    assert passphrase() is None
    monkeypatch.setenv("STYLEMIX_PASSPHRASE", "")
    assert passphrase() is None
    monkeypatch.setenv("STYLEMIX_PASSPHRASE", "secret")
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(StylemixError, match=r"stylemix\[encryption\]") as caught:
        passphrase()
    assert "secret" not in str(caught.value)
