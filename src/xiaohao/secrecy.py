"""Real numbers are secrets: sealed at rest, found by a keyed hash, masked where a person must recognise one.

Sealing is AES-256-GCM with a random 12-byte nonce (NIST SP 800-38D); the blind index is the first 16 bytes
of HMAC-SHA256 (RFC 2104) under a second key; a third one signs. The keys, and the id by which a master key
is known, are derived from the master key with HKDF (RFC 5869). A sealed value is a version byte, its key's
id, nonce, text.
"""

import hmac
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from xiaohao.randomness import random_bytes

if TYPE_CHECKING:
    from xiaohao.settings import Settings

_NONCE_BYTES: Final = 12
_VERSION: Final = b"\x01"
_ID_BYTES: Final = 4
#: the first bytes of a sealed value, the same for all that one key sealed
PREFIX_BYTES: Final = len(_VERSION) + _ID_BYTES


class SecrecyError(Exception):
    """A sealed value could not be opened: another master key, or damaged bytes. Never carries the value."""


class Vault:
    """Seals, opens and indexes secrets under one master key (32 bytes or more).

    What was sealed with one of `old_keys` is still opened; nothing is sealed or indexed with them.
    """

    def __init__(self, master_key: bytes, *old_keys: bytes) -> None:
        #: tells master keys apart and nothing of what they are
        self.key_id, self.prefix, self._aead = _sealer(master_key)
        self._index_state = hmac.new(_derive(master_key, b"xiaohao index", 32), digestmod="sha256")
        self._sign_key = _derive(master_key, b"xiaohao sign", 32)
        self._openers = {prefix: aead for _, prefix, aead in map(_sealer, old_keys)} | {
            self.prefix: self._aead
        }

    def seal(self, text: str) -> bytes:
        """Encrypt `text`; two calls give two different results."""
        return self.seal_bytes(text.encode())

    def seal_bytes(self, data: bytes) -> bytes:
        """The same for what is no text, such as something compressed."""
        nonce = random_bytes(_NONCE_BYTES)
        return self.prefix + nonce + self._aead.encrypt(nonce, data, self.prefix)

    def open(self, sealed: bytes) -> str:
        """Give back what `seal` was given. Raises SecrecyError where the key or the bytes are wrong."""
        try:
            return self.open_bytes(sealed).decode()
        except UnicodeDecodeError as error:
            raise SecrecyError("a sealed value is no text") from error

    def open_bytes(self, sealed: bytes) -> bytes:
        """Give back what `seal_bytes` was given. Raises SecrecyError."""
        prefix, body = sealed[:PREFIX_BYTES], sealed[PREFIX_BYTES:]
        aead = self._openers.get(prefix)
        if aead is None:
            raise SecrecyError("a value was sealed with another master key")
        try:
            return aead.decrypt(body[:_NONCE_BYTES], body[_NONCE_BYTES:], prefix)
        except (InvalidTag, ValueError) as error:
            raise SecrecyError("a sealed value cannot be opened with this master key") from error

    def index(self, text: str) -> bytes:
        """The blind index of `text`: 16 bytes, equal for equal texts, useless without the key."""
        # hmac.digest would lend the interpreter to another thread, and wait to have it back, at every call
        state = self._index_state.copy()
        state.update(text.encode())
        return state.digest()[:16]

    def sign(self, purpose: str, facts: bytes) -> bytes:
        """32 bytes of HMAC-SHA256 by which facts that were given out are known again."""
        return hmac.digest(self._sign_key, purpose.encode() + b"\0" + facts, "sha256")


def vault_of(settings: "Settings") -> Vault:
    """The vault under the configured master key. Raises SettingsError, SecrecyError."""
    return Vault(settings.master_key(), *settings.old_master_keys())


def _sealer(master_key: bytes) -> tuple[int, bytes, AESGCM]:
    if len(master_key) < 32:
        raise SecrecyError("the master key must have at least 32 bytes")
    key_id = _derive(master_key, b"xiaohao id", _ID_BYTES)
    return int.from_bytes(key_id), _VERSION + key_id, AESGCM(_derive(master_key, b"xiaohao seal", 32))


def _derive(master_key: bytes, purpose: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=purpose).derive(master_key)


def masked(number: str | None) -> str:
    """A number as a person may see it: `138****0001`; short ones show the last two digits only."""
    if not number:
        return ""
    digits = number.removeprefix("+86")
    if len(digits) < 8:
        return "*" * max(len(digits) - 2, 0) + digits[-2:]
    return f"{digits[:3]}****{digits[-4:]}"
