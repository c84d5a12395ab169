"""Identifiers of things: a prefix that says what it is, and a part that nobody can guess."""

import uuid


def new_id(prefix: str) -> str:
    """A fresh identifier such as `bnd_` and 32 hex digits of a random UUID (RFC 9562 version 4)."""
    return f"{prefix}_{uuid.uuid4().hex}"
