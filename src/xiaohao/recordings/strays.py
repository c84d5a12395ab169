"""Captures that belong to no call that the database knows: nobody converts them, and nobody deletes them.

They are what is left where a database was restored from an older copy, or a switch died before it wrote.
"""

import asyncio
import time
from pathlib import Path
from typing import Final

import msgspec

from xiaohao.database.engine import Database
from xiaohao.recordings import capture, store
from xiaohao.recordings.capture import Capture

#: the switch may have to wait so long until it can write down that a call has ended
_PATIENCE_S: Final = 600
_AT_ONCE: Final = 500


class Stray(msgspec.Struct, frozen=True):
    """One call's captures; `written_at` is when something was last added (s since the epoch)."""

    call_id: str
    bytes: int
    written_at: float
    files: list[str]


async def find(database: Database, folder: Path) -> list[Stray]:
    """The strays of a capture folder, the oldest first. Raises DatabaseUnavailable."""
    try:
        found = await asyncio.to_thread(_old, folder)
    except OSError:
        return []  # no capture was ever made
    call_ids = list(found)
    known: set[str] = set()
    for first in range(0, len(call_ids), _AT_ONCE):
        async with database.read() as connection:
            known |= await store.known_among(connection, call_ids[first : first + _AT_ONCE])
    return sorted(
        (stray for call_id, stray in found.items() if call_id not in known),
        key=lambda stray: stray.written_at,
    )


def _old(folder: Path) -> dict[str, Stray]:
    """What was captured in calls that have said nothing for long."""
    now, found = time.time(), {}
    for call_id, captures in capture.scan(folder).items():
        stray = _of(call_id, captures)
        if stray is not None and now - stray.written_at >= _PATIENCE_S:
            found[call_id] = stray
    return found


def _of(call_id: str, captures: list[Capture]) -> Stray | None:
    paths = [path for one in captures for path in (one.pcap, one.metadata) if path is not None]
    try:
        facts = [Path(path).stat() for path in paths]
    except FileNotFoundError:  # converted, or moved, just now
        return None
    written_at = max(fact.st_mtime for fact in facts)
    return Stray(call_id, sum(fact.st_size for fact in facts), written_at, paths)
