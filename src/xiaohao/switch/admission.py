"""How many calls a second may come in: as many as the machine can carry without keeping SIP waiting.

Requests that wait in the edge's socket for longer than half a second are sent again by their senders
(RFC 3261 timer T1), and soon most of what the edge reads has been answered before. So the edge is asked all
the time how long a request waits. When it takes too long, hardly a call is let in until the queue is gone,
then fewer than came through a moment ago, and then slowly more again (additive increase, multiplicative
decrease: Chiu and Jain, 1989), carefully where it was too much the last time.
"""

import asyncio
import contextlib
import itertools
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from xiaohao.edge.addresses import in_uri

#: a request that waits longer than this so many times in a row shows that too many come
_TOO_LONG_S: Final = 0.1
_TIMES: Final = 3
#: a request that waits no longer than this shows that the queue is gone
_SHORT_S: Final = 0.04
_LESS: Final = 0.9
#: a queue that is not gone after so long shows that the limit is still too high
_DRAINED_IN_S: Final = 0.5
#: growth a second, far from what was too much the last time and near to it
_FAST: Final = 0.16
_CAREFUL: Final = 0.03
_NEAR: Final = 0.05
#: so many calls a second are always let in: what keeps the edge waiting then is not calls
_LEAST: Final = 10.0
#: a limit so far above what comes is none
_FAR_ABOVE: Final = 4.0
_MEASURED_OVER_S: Final = 0.8
#: a machine that stood still for a moment can carry what it carried before
_MEASURES_KEPT: Final = 4
#: between two probes: of an edge that answers at once, and of one that has to be watched
_CALM_PAUSE_S: Final = 0.2
_PROBE_PAUSE_S: Final = 0.05
_AT_ONCE_S: Final = 0.02
#: what has not been answered after so long was lost
_PROBE_PATIENCE_S: Final = 0.5


class Governor:
    """Makes a limit out of how long requests wait and how many calls are let in."""

    def __init__(self) -> None:
        self._rates: deque[float] = deque(maxlen=_MEASURES_KEPT)
        self.forget()

    def forget(self) -> None:
        """The edge is another one, or is not there: nothing is known of it."""
        self._limit: float | None = None
        self._too_much: float | None = None
        self._braking_since: float | None = None
        self._admitted, self._slow = 0, 0
        self._since: float | None = None
        self._last: float | None = None
        self._rates.clear()

    @property
    def limit(self) -> float | None:
        """Calls a second; None: as many as come."""
        return self._limit if self._braking_since is None else _LEAST

    def admitted(self) -> None:
        """A call was let in."""
        self._admitted += 1

    def waited(self, delay_s: float, now_s: float) -> float | None:
        """A request waited so long in the edge, or waits since then; gives the limit from now on."""
        self._measure(now_s)
        passed = 0.0 if self._last is None else min(now_s - self._last, _MEASURED_OVER_S)
        self._last = now_s
        self._slow = self._slow + 1 if delay_s > _TOO_LONG_S else 0
        if self._braking_since is not None:
            if delay_s <= _SHORT_S:
                self._braking_since = None
            elif now_s - self._braking_since >= _DRAINED_IN_S:
                self._brake(now_s)
        elif self._slow >= _TIMES:
            self._brake(now_s)
        elif self._limit is not None and delay_s <= _TOO_LONG_S:
            self._grow(self._limit, passed)
        return self.limit

    def _brake(self, now_s: float) -> None:
        carried = max(self._rates, default=0.0)
        if self._since is not None and (passed := now_s - self._since) >= _MEASURED_OVER_S / 4:
            carried = max(carried, self._admitted / passed)
        self._too_much = max(carried if self._limit is None else min(self._limit, carried), _LEAST)
        self._limit = max(self._too_much * _LESS, _LEAST)
        self._braking_since = now_s

    def _grow(self, limit: float, passed_s: float) -> None:
        near = self._too_much is not None and abs(limit / self._too_much - 1) <= _NEAR
        limit += limit * (_CAREFUL if near else _FAST) * passed_s + passed_s
        unlimited = limit > max(self._rates, default=0.0) * _FAR_ABOVE + _LEAST
        self._limit = None if unlimited else limit

    def _measure(self, now_s: float) -> None:
        if self._since is None:
            self._since = now_s
        elif (passed := now_s - self._since) >= _MEASURED_OVER_S:
            self._rates.append(self._admitted / passed)
            self._admitted, self._since = 0, now_s


class Delay:
    """How long the edge's requests wait, from probes that are sent without waiting for the last one's answer.

    Times in seconds of one clock that never goes back.
    """

    def __init__(self) -> None:
        self._unanswered: dict[str, float] = {}
        self._last_s = 0.0

    def sent(self, key: str, at_s: float) -> None:
        """A probe was sent."""
        self._unanswered[key] = at_s

    def answered(self, key: str, at_s: float) -> None:
        """A probe's answer came: those sent before it are lost, or just being answered by another process."""
        if key not in self._unanswered:
            return
        sent_s = self._unanswered[key]
        self._last_s = at_s - sent_s
        self._unanswered = {key: at for key, at in self._unanswered.items() if at > sent_s}

    def now(self, at_s: float) -> float:
        """So long took the last answer, or waits the oldest probe without one, whatever is more."""
        waiting = max((at_s - sent for sent in self._unanswered.values()), default=0.0)
        lost = [key for key, sent in self._unanswered.items() if at_s - sent > _PROBE_PATIENCE_S]
        for key in lost:
            del self._unanswered[key]
        return max(self._last_s, waiting)

    def forget(self) -> None:
        """What was sent went to another edge."""
        self._unanswered.clear()
        self._last_s = 0.0


class Watch(asyncio.DatagramProtocol):
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
        self._delay = Delay()
        self._transport: asyncio.DatagramTransport | None = None

    def datagram_received(self, data: bytes, addr: object) -> None:
        """asyncio: an answer."""
        self._delay.answered(_call_id(data) or "", time.monotonic())

    def error_received(self, exc: Exception) -> None:
        """asyncio: nobody listens there; the probe stays unanswered."""

    async def run(self) -> None:
        """Ask for ever."""
        told: float | None = None
        while True:
            pause = _CALM_PAUSE_S
            if self._is_up():
                with contextlib.suppress(OSError):
                    await self._ask()
                now = time.monotonic()
                delay = self._delay.now(now)
                limit = self._governor.waited(delay, now)
                if limit is not None or delay > _AT_ONCE_S:
                    pause = _PROBE_PAUSE_S
                if limit != told and self._is_up():
                    self._on_limit(limit)
                    told = limit
            else:
                self._governor.forget()
                self._delay.forget()
                told = None
            await asyncio.sleep(pause)

    async def _ask(self) -> None:
        loop = asyncio.get_running_loop()
        if self._transport is None or self._transport.is_closing():
            self._transport, _ = await loop.create_datagram_endpoint(lambda: self, remote_addr=self._address)
        key = f"probe{next(self._numbers)}"
        host, port = in_uri(self._address[0]), self._address[1]
        request = (
            f"OPTIONS sip:{self._user}@{host}:{port} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {host};rport;branch=z9hG4bK{key}\r\n"
            f"From: <sip:switch@{host}>;tag={key}\r\nTo: <sip:{host}:{port}>\r\nCall-ID: {key}\r\n"
            "CSeq: 1 OPTIONS\r\nMax-Forwards: 1\r\nContent-Length: 0\r\n\r\n"
        )
        self._delay.sent(key, time.monotonic())
        self._transport.sendto(request.encode())

    def close(self) -> None:
        """Give the socket back."""
        if self._transport is not None:
            self._transport.close()


def _call_id(data: bytes) -> str | None:
    for line in data.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"call-id":
            return value.strip().decode("latin-1")
    return None
