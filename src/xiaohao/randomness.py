"""Random bytes of the operating system, drawn many at a time.

Asking for them lends the interpreter to another thread, and waits to have it back: of all that a binding of a
batch cost beside a busy event loop, a twelfth was that.
"""

import os
from typing import Final

#: the most that anybody may want at once
_PIECE_BYTES: Final = 16
_PIECES: Final = 256

_drawn: list[bytes] = []
# A process that came about by a fork would have the same ones.
os.register_at_fork(after_in_child=_drawn.clear)


def random_bytes(count: int) -> bytes:
    """So many bytes, at most 16, that nobody else is given and nobody can guess. For any thread."""
    while True:
        try:
            return _drawn.pop()[:count]  # at once, whatever other threads do
        except IndexError:
            drawn = os.urandom(_PIECES * _PIECE_BYTES)
            _drawn.extend(drawn[start : start + _PIECE_BYTES] for start in range(0, len(drawn), _PIECE_BYTES))
