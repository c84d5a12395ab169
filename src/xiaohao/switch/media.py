"""Watches rtpengine: a restarted one has forgotten its calls, and they must end."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Final

import structlog

from xiaohao.clock import SECOND, now_us
from xiaohao.edge.ng import Ng, NgError
from xiaohao.switch import metrics

_log = structlog.get_logger()
_PAUSE_S: Final = 1.0
#: an answered call may be this new without rtpengine knowing it yet: the answer is just on its way through
_NEW_S: Final = 1


def identity_of(pid_file: Path) -> str:
    """What differs from one life of rtpengine to the next; "" while it has not begun one."""
    try:
        return f"{pid_file.read_text().strip()} {pid_file.stat().st_mtime_ns}"
    except FileNotFoundError:
        return ""


class MediaWatch:
    """Finds the calls that rtpengine no longer knows."""

    def __init__(
        self,
        ng: Ng,
        identity: Callable[[], str],
        calls: Callable[[int | None], Iterable[str]],
        lost: Callable[[str], None],
    ) -> None:
        """`calls` gives the live calls, or those answered before a moment (µs); `lost` ends one of them."""
        self._ng, self._identity, self._calls, self._lost = ng, identity, calls, lost
        self._known = ""

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
        """One look at whether it is the same rtpengine. Raises NgError where it does not answer."""
        identity = self._identity()
        await self._ng.command("ping")
        if identity == self._known:
            return
        if self._known:
            _log.warning("media_engine_restarted")
            # one that rings has its caller's side in there already
            await self._check(self._calls(None))
        self._known = identity

    async def check_answered(self) -> None:
        """Look for answered calls without media, whatever the reason. Raises NgError."""
        await self._check(self._calls(now_us() - _NEW_S * SECOND))

    async def check(self, call_id: str) -> bool:
        """Look for one call; says whether rtpengine knows it. Raises NgError."""
        answer = await self._ng.command("query", call_id=call_id)
        known = answer.get("result") != "error"
        if not known:
            self._lost(call_id)
        return known

    async def _check(self, call_ids: Iterable[str]) -> None:
        for call_id in list(call_ids):
            await self.check(call_id)

    async def release(self, call_ids: Iterable[str]) -> None:
        """Stop relaying for calls that went down with Kamailio."""
        for call_id in call_ids:
            try:
                await self._ng.command("delete", call_id=call_id)
            except NgError:
                _log.warning("media_not_released", call_id=call_id)


async def or_later(question: Awaitable[None]) -> None:
    """Ask rtpengine; where it does not answer, the next look at it will."""
    with contextlib.suppress(NgError):
        await question
