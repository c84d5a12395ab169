"""Watches rtpengine: a restarted one has forgotten its calls, and they must end."""

import asyncio
import time
from collections.abc import Callable, Iterable

import structlog

from xiaohao.edge.ng import Ng, NgError
from xiaohao.switch import metrics

_log = structlog.get_logger()
_PAUSE_S = 1.0
#: rtpengine tells its age in whole seconds; a start that seems to move by more is another start
_TOLERANCE_S = 3.0


class MediaWatch:
    """Finds the calls that a restarted rtpengine no longer knows."""

    def __init__(self, ng: Ng, calls: Callable[[], Iterable[str]], lost: Callable[[str], None]) -> None:
        self._ng, self._calls, self._lost = ng, calls, lost
        self._started: float | None = None

    async def run(self) -> None:
        """Look once a second, for ever."""
        while True:
            try:
                await self.look()
                metrics.MEDIA_CONNECTED.set(1)
            except NgError:
                metrics.MEDIA_CONNECTED.set(0)
            await asyncio.sleep(_PAUSE_S)

    async def look(self) -> None:
        """One look. Raises NgError where rtpengine does not answer."""
        answer = await self._ng.command("statistics")
        started = time.monotonic() - float(answer["statistics"]["totalstatistics"]["uptime"])
        if self._started is not None and started - self._started > _TOLERANCE_S:
            _log.warning("media_engine_restarted")
            await self._check_all()
        if self._started is None or abs(started - self._started) > _TOLERANCE_S:
            self._started = started

    async def _check_all(self) -> None:
        for call_id in list(self._calls()):
            answer = await self._ng.command("query", call_id=call_id)
            if answer.get("result") == "error":
                self._lost(call_id)

    async def forget(self, call_id: str) -> None:
        """Stop relaying for a call that went down with Kamailio."""
        try:
            await self._ng.command("delete", call_id=call_id)
        except NgError:
            _log.warning("media_not_released", call_id=call_id)
