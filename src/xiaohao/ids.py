"""Identifiers of things: a prefix that says what it is, and a part that nobody can guess."""

import uuid

import uuid_utils


def new_id(prefix: str) -> str:
    """A fresh identifier such as `bnd_` and 32 hex digits of a random UUID (RFC 9562 version 4)."""
    return f"{prefix}_{uuid.uuid4().hex}"


def new_call_id() -> str:
    """A fresh call id for tests: a UUID version 7 (RFC 9562). The edge's own are in order of time, too."""
    return str(uuid_utils.uuid7())
