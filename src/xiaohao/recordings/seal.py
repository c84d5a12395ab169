"""A recording at rest: encrypted in chunks, so that any part of it can be read without the rest.

Each object has a key of its own and begins with the header `XHR1` and the size of a chunk. Then come the
chunks, each AES-256-GCM (NIST SP 800-38D) with its number as nonce and a mark on the last one: the STREAM
construction (Hoang, Reyhanitabar, Rogaway, Vizár 2015). A chunk that was changed, moved, left out or cut off
at the end does not open. The audio comes first; what belongs to it (`picture.py`) is sealed behind it.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from xiaohao.recordings.model import Stored

KEY_BYTES: Final = 32
CHUNK_BYTES: Final = 1 << 16
_TAG_BYTES: Final = 16
_HEADER: Final = b"XHR1" + CHUNK_BYTES.to_bytes(4)


class SealBroken(Exception):
    """What the store gave back is not what was put into it. Carries nothing of either."""


def new_key() -> bytes:
    """A key for one object. It must never seal another one: chunks are numbered from 0 in each."""
    return os.urandom(KEY_BYTES)


def seal(source: Path, behind: bytes, target: Path, key: bytes) -> Stored:
    """Write `source` and then `behind`, sealed, to `target`, which is then on the disk. Raises OSError."""
    aead, digest, size = AESGCM(key), hashlib.sha256(_HEADER), len(_HEADER)
    with target.open("wb") as file:
        file.write(_HEADER)
        for number, (chunk, is_last) in enumerate(_chunks(source, behind)):
            sealed = aead.encrypt(_nonce(number, is_last), chunk, _HEADER)
            digest.update(sealed)
            size += file.write(sealed)
        file.flush()
        os.fsync(file.fileno())
    return Stored(size, digest.hexdigest())


def _chunks(source: Path, behind: bytes) -> Iterator[tuple[bytes, bool]]:
    """The pieces in order, and whether each is the last; there is always one."""
    with source.open("rb") as file:
        left, held = b"", b""
        while block := file.read(CHUNK_BYTES):
            left += block
            while len(left) > CHUNK_BYTES:
                yield left[:CHUNK_BYTES], False
                left = left[CHUNK_BYTES:]
        held = left + behind
    while len(held) > CHUNK_BYTES:
        yield held[:CHUNK_BYTES], False
        held = held[CHUNK_BYTES:]
    yield held, True


def _nonce(number: int, is_last: bool) -> bytes:
    return number.to_bytes(11) + bytes([is_last])


@dataclass(frozen=True)
class Part:
    """Whole chunks of an object: where they lie in the store, and how their plain text is cut."""

    first: int
    at: int
    length: int
    skip: int
    wanted: int


class Opener:
    """Opens one object, whose plain text is `size` bytes long."""

    def __init__(self, key: bytes, size: int) -> None:
        self._aead, self._size = AESGCM(key), size
        self._last = max(-(-size // CHUNK_BYTES), 1) - 1

    def part(self, at: int, length: int) -> Part:
        """Where the bytes from `at` on are; `at` and `length` lie within the plain text."""
        first, last = at // CHUNK_BYTES, max(at + length - 1, at) // CHUNK_BYTES
        last = min(last, self._last)
        begin = len(_HEADER) + first * (CHUNK_BYTES + _TAG_BYTES)
        end = min((last + 1) * CHUNK_BYTES, self._size) + len(_HEADER) + (last + 1) * _TAG_BYTES
        return Part(first, begin, end - begin, at - first * CHUNK_BYTES, length)

    def open(self, part: Part, sealed: bytes) -> bytes:
        """The plain text of a part. Raises SealBroken."""
        if len(sealed) != part.length:
            raise SealBroken("the store gave back less than was put into it")
        step, plain = CHUNK_BYTES + _TAG_BYTES, bytearray()
        try:
            for place, at in enumerate(range(0, len(sealed), step)):
                number = part.first + place
                nonce = _nonce(number, number == self._last)
                plain += self._aead.decrypt(nonce, sealed[at : at + step], _HEADER)
        except InvalidTag:
            raise SealBroken("what lies in the store was changed, or is another recording") from None
        return bytes(plain[part.skip : part.skip + part.wanted])
