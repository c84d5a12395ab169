"""Identifiers of things: a prefix that says what it is, and a part that nobody can guess."""

import time
import uuid

from xiaohao.randomness import random_bytes


def new_id(prefix: str) -> str:
    """A fresh identifier such as `bnd_` and 32 hex digits of a random UUID (RFC 9562 version 4)."""
    return f"{prefix}_{uuid.uuid4().hex}"


def ordered_id(prefix: str) -> str:
    """The same for things that there are millions of: a UUID of version 7, which begins with the time.

    Neighbours in time lie beside one another in every index, so that a disk writes few pages. 74 bits are
    random: the time, which is no secret, is all that can be guessed.
    """
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(random_bytes(10))
    low = (random & 0x3FFF_FFFF_FFFF_FFFF) | 0x8000_0000_0000_0000
    return f"{prefix}_{milliseconds << 16 | 0x7000 | random >> 68:016x}{low:016x}"
