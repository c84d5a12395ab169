"""Whether the calls that we believe to live are those that live in the edge: nobody's call is forgotten.

After every (re)connection, and now and then, the edge names the calls that live in it. One that it does not
name has gone down with it and gets its CDR. A call is asked for only when it is older than any decision can
take: a younger one may be on its way into the edge's memory at this very moment.
"""

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from xiaohao.calls.model import Reason
from xiaohao.clock import now_us
from xiaohao.edge import wire
from xiaohao.switch.switchboard import Switchboard

_log = structlog.get_logger()

_TELLING_S: Final = 10.0


class Pulse:
    """A file whose time of change says until when the edge is known to have lived, also after `kill -9`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def beat(self) -> None:
        """The edge lives now."""
        self._path.touch()

    def last(self) -> int | None:
        """Microseconds since the epoch; None where it never lived."""
        try:
            return self._path.stat().st_mtime_ns // 1000
        except FileNotFoundError:
            return None


class Custody:
    """Compares the switchboard's calls with the edge's."""

    def __init__(
        self, board: Switchboard, send: Callable[[str], None], release_media: Callable[[list[str]], None]
    ) -> None:
        """`release_media` is given the calls that are lost: nobody else will tell rtpengine."""
        self._board, self._send, self._release_media = board, send, release_media
        self._asked: dict[int, asyncio.Future[bool]] = {}
        self._numbers = itertools.count(1)
        self._one_at_a_time = asyncio.Lock()

    def told(self, signal: wire.Told) -> None:
        """The edge has named all its calls."""
        self._answer(signal.number, True)

    def edge_is_gone(self) -> None:
        """Nothing that was asked will be answered."""
        for number in list(self._asked):
            self._answer(number, False)

    def _answer(self, number: int, answer: bool) -> None:
        asked = self._asked.get(number)
        if asked is not None and not asked.done():
            asked.set_result(answer)

    async def compare(self, before: int, ended_at: int | None = None) -> bool:
        """Close the calls received before `before` that the edge does not know, as of `ended_at` (None: now).

        False where the edge did not tell which it knows.
        """
        async with self._one_at_a_time:
            number = next(self._numbers)
            asked = self._asked[number] = asyncio.get_running_loop().create_future()
            self._board.forget_named()
            self._send(wire.tell_all(number))
            try:
                if not await asyncio.wait_for(asked, _TELLING_S):
                    return False
            except TimeoutError:
                _log.warning("edge_did_not_tell")
                return False
            finally:
                del self._asked[number]
            lost = self._board.lost_calls(before)
        for call_id in lost:
            self._board.lose(call_id, ended_at or now_us(), Reason.EDGE_LOST)
        if lost:
            _log.warning("calls_lost_with_the_edge", calls=len(lost))
            self._release_media(lost)
        return True
