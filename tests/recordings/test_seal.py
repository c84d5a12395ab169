"""What lies in the store: opened by hand as its format is described, in parts, and never when touched."""

import hashlib
import random
from pathlib import Path

import pytest

from tests.recordings.unseal import KEY, unsealed
from xiaohao.recordings.seal import CHUNK_BYTES, Opener, SealBroken, new_key, seal

BEHIND = b"what is drawn" * 300
STEP = CHUNK_BYTES + 16


def sealed(folder: Path, size: int, key: bytes = KEY) -> tuple[bytes, bytes]:
    """Random plain text of so many bytes with what is behind it, and what lies in the store."""
    plain = random.Random(size).randbytes(size)
    (folder / "plain").write_bytes(plain)
    stored = seal(folder / "plain", BEHIND, folder / "sealed", key)
    body = (folder / "sealed").read_bytes()
    assert (stored.bytes, stored.sha256) == (len(body), hashlib.sha256(body).hexdigest())
    return plain + BEHIND, body


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - len(BEHIND), CHUNK_BYTES, 3 * CHUNK_BYTES, 200_001])
def test_any_part_is_read_without_the_rest(tmp_path: Path, size: int) -> None:
    plain, body = sealed(tmp_path, size)
    assert unsealed(body) == plain
    opener, chance = Opener(KEY, len(plain)), random.Random(1)
    parts = [(0, len(plain)), (len(plain) - 1, 1), (0, 1)]
    for _ in range(40):
        at = chance.randrange(len(plain))
        parts.append((at, chance.randint(1, len(plain) - at)))
    for at, length in parts:
        part = opener.part(at, length)
        assert part.length <= length + 2 * STEP
        assert opener.open(part, body[part.at : part.at + part.length]) == plain[at : at + length]


def test_what_was_touched_does_not_open(tmp_path: Path) -> None:
    plain, body = sealed(tmp_path, 200_000)
    opener = Opener(KEY, len(plain))
    whole = opener.part(0, len(plain))
    head, chunks = body[:8], [body[at : at + STEP] for at in range(8, len(body), STEP)]
    flipped = bytearray(body)
    flipped[100_000] ^= 1
    for other in (
        bytes(flipped),
        head + b"".join([chunks[1], chunks[0], *chunks[2:]]),
        head + b"".join([chunks[0], chunks[0], *chunks[2:]]),
        body[:-1],
        body[: 8 + STEP],
        b"",
    ):
        with pytest.raises(SealBroken):
            opener.open(whole, other[whole.at : whole.at + whole.length])
    with pytest.raises(SealBroken):
        Opener(new_key(), len(plain)).open(whole, body[8:])
    # cut off at a chunk's end, and taken for a shorter one: the last chunk is marked as the last
    shorter = Opener(KEY, 2 * CHUNK_BYTES)
    part = shorter.part(0, 2 * CHUNK_BYTES)
    with pytest.raises(SealBroken):
        shorter.open(part, body[part.at : part.at + part.length])
