"""Opens an object of the store as its format is described, without the product's own code."""

import zlib
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY = bytes(range(100, 132))


def unsealed(sealed: bytes, key: bytes = KEY) -> bytes:
    """The audio and what is behind it."""
    header, body = sealed[:8], sealed[8:]
    assert header[:4] == b"XHR1"
    step = int.from_bytes(header[4:]) + 16
    chunks = [body[at : at + step] for at in range(0, len(body), step)]
    return b"".join(
        AESGCM(key).decrypt(place.to_bytes(11) + bytes([chunk is chunks[-1]]), chunk, header)
        for place, chunk in enumerate(chunks)
    )


def open_file(sealed: Path, size: int, plain: Path, key: bytes = KEY) -> dict[str, Any]:
    """Write the audio of an object to `plain`; gives what is behind it."""
    body = unsealed(sealed.read_bytes(), key)
    plain.write_bytes(body[:size])
    return dict(msgspec.msgpack.decode(zlib.decompress(body[size:])))
