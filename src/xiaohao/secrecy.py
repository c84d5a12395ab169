"""Real numbers are secrets: sealed at rest, found by a keyed hash, masked where a person must recognise one.

Sealing is AES-256-GCM with a random 12-byte nonce (NIST SP 800-38D); the blind index is the first 16 bytes
of HMAC-SHA256 (RFC 2104) under a second key. Both keys are derived from one master key with HKDF (RFC 5869).
"""

import hmac
import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE_BYTES: Final = 12
_VERSION: Final = b"\x01"


class SecrecyError(Exception):
    """A sealed value could not be opened: another master key, or damaged bytes. Never carries the value."""


class Vault:
    """Seals, opens and indexes secrets under one master key (32 bytes or more)."""

    def __init__(self, master_key: bytes) -> None:
        if len(master_key) < 32:
            raise SecrecyError("the master key must have at least 32 bytes")
        self._aead = AESGCM(self._derive(master_key, b"xiaohao seal"))
        self._index_key = self._derive(master_key, b"xiaohao index")

    @staticmethod
    def _derive(master_key: bytes, purpose: bytes) -> bytes:
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(master_key)

    def seal(self, text: str) -> bytes:
        """Encrypt `text`; two calls give two different results."""
        nonce = os.urandom(_NONCE_BYTES)
        return _VERSION + nonce + self._aead.encrypt(nonce, text.encode(), _VERSION)

    def open(self, sealed: bytes) -> str:
        """Give back what `seal` was given. Raises SecrecyError where the key or the bytes are wrong."""
        nonce, body = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            return self._aead.decrypt(nonce, body, _VERSION).decode()
        except (InvalidTag, ValueError) as error:
            raise SecrecyError("a sealed value cannot be opened with this master key") from error

    def index(self, text: str) -> bytes:
        """The blind index of `text`: 16 bytes, equal for equal texts, useless without the key."""
        return hmac.digest(self._index_key, text.encode(), "sha256")[:16]


def masked(number: str | None) -> str:
    """A number as a person may see it: `138****0001`; short ones show the last two digits only."""
    if not number:
        return ""
    digits = number.removeprefix("+86")
    if len(digits) < 8:
        return "*" * max(len(digits) - 2, 0) + digits[-2:]
    return f"{digits[:3]}****{digits[-4:]}"
