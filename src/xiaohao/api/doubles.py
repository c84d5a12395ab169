"""Names that come twice in one JSON object (RFC 8259 section 4): which of the two is meant nobody can say."""

import json
from collections.abc import Sequence
from typing import Any


class _Twice(Exception):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


def name_given_twice(body: bytes, document: Any) -> str | None:
    """The first such name; None where there is none. `document` is what the decoder made of `body`.

    Raises RecursionError.
    """
    # Each name has a colon behind it: no more colons than names that were kept, so none was lost.
    if body.count(b":") == _names(document):
        return None
    try:
        # what is counted are names: the values may stay as they stand
        json.loads(body, object_pairs_hook=_checked, parse_int=str, parse_float=str)
    except _Twice as twice:
        return twice.name
    return None


def _names(document: Any) -> int:
    if isinstance(document, dict):
        return len(document) + sum(map(_names, document.values()))
    if isinstance(document, list):
        return sum(map(_names, document))
    return 0


def _checked(pairs: Sequence[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise _Twice(name)
        seen.add(name)
