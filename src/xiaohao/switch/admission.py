"""How many calls a second may come in: as many as the machine can carry without keeping SIP waiting.

Requests that wait in the edge's socket for longer than half a second are sent again by their senders
(RFC 3261 timer T1), and soon most of what the edge reads has been answered before. So the edge is asked all
the time how long a request waits; when it takes too long, fewer calls are let in than came through a moment
ago, and then slowly more again (additive increase, multiplicative decrease: Chiu and Jain, 1989).
"""

import asyncio
import contextlib
import itertools
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from xiaohao.edge.datagram import Exchange

#: a request that waits longer than this twice in a row shows that too many come
_TOO_LONG_S: Final = 0.2
_SHORT_S: Final = 0.06
_LESS: Final = 0.85
_MORE: Final = 1.03
#: so many calls a second are always let in: what keeps the edge waiting then is not calls
_LEAST: Final = 10.0
#: a limit so far above what comes is none
_FAR_ABOVE: Final = 4.0
_MEASURED_OVER_S: Final = 0.8
#: a machine that stood still for a moment can carry what it carried before
_MEASURES_KEPT: Final = 4
_PROBE_PAUSE_S: Final = 0.2
_PROBE_PATIENCE_S: Final = 0.5


class Governor:
    """Makes a limit out of how long requests wait and how many calls are let in."""

    def __init__(self) -> None:
        #: calls a second; None: as many as come
        self.limit: float | None = None
        self._rates: deque[float] = deque(maxlen=_MEASURES_KEPT)
        self._admitted = 0
        self._since: float | None = None
        self._slow = 0

    def forget(self) -> None:
        """The edge is another one, or is not there: nothing is known of it."""
        self.limit, self._admitted, self._since, self._slow = None, 0, None, 0
        self._rates.clear()

    def admitted(self) -> None:
        """A call was let in."""
        self._admitted += 1

    def waited(self, delay_s: float, now_s: float) -> float | None:
        """A request waited so long in the edge; gives the limit from now on."""
        self._measure(now_s)
        if delay_s > _TOO_LONG_S:
            self._slow += 1
            if self._slow >= 2:
                self._slow = 0
                carried = max(self._rates, default=0.0)
                base = carried if self.limit is None else min(self.limit, carried)
                self.limit = max(base * _LESS, _LEAST)
        else:
            self._slow = 0
            if self.limit is not None and delay_s < _SHORT_S:
                self.limit = self.limit * _MORE + 0.2
                if self.limit > max(self._rates, default=0.0) * _FAR_ABOVE + _LEAST:
                    self.limit = None
        return self.limit

    def _measure(self, now_s: float) -> None:
        if self._since is None:
            self._since = now_s
        elif (passed := now_s - self._since) >= _MEASURED_OVER_S:
            self._rates.append(self._admitted / passed)
            self._admitted, self._since = 0, now_s


class Watch:
    """Asks the edge over SIP, as a carrier would, how long a request waits there."""

    def __init__(
        self,
        address: tuple[str, int],
        user: str,
        governor: Governor,
        is_up: Callable[[], bool],
        on_limit: Callable[[float | None], None],
    ) -> None:
        """`user` is what the edge knows us by; `is_up` tells whether it is there; `on_limit` hears each new
        limit, in calls a second.
        """
        self._address, self._user = address, user
        self._governor, self._is_up, self._on_limit = governor, is_up, on_limit
        self._numbers = itertools.count(1)
        self._exchange = Exchange("{}:{}".format(*address), _call_id, _PROBE_PATIENCE_S)

    async def run(self) -> None:
        """Ask for ever."""
        told: float | None = None
        while True:
            if self._is_up():
                began = time.monotonic()
                # having waited in vain counts as having waited so long
                with contextlib.suppress(TimeoutError, OSError):
                    await self._ask()
                now = time.monotonic()
                limit = self._governor.waited(now - began, now)
                if limit != told and self._is_up():
                    self._on_limit(limit)
                    told = limit
            else:
                self._governor.forget()
                told = None
            await asyncio.sleep(_PROBE_PAUSE_S)

    async def _ask(self) -> None:
        key = f"probe{next(self._numbers)}"
        host, port = self._address
        request = (
            f"OPTIONS sip:{self._user}@{host}:{port} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {host};rport;branch=z9hG4bK{key}\r\n"
            f"From: <sip:switch@{host}>;tag={key}\r\nTo: <sip:{host}:{port}>\r\nCall-ID: {key}\r\n"
            "CSeq: 1 OPTIONS\r\nMax-Forwards: 1\r\nContent-Length: 0\r\n\r\n"
        )
        await self._exchange.ask(key, request.encode())

    def close(self) -> None:
        """Give the socket back."""
        self._exchange.close()


def _call_id(data: bytes) -> str | None:
    for line in data.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"call-id":
            return value.strip().decode("latin-1")
    return None
