"""Host names whose addresses are remembered, for what cannot wait for a name server."""

import asyncio
import socket
import time
from dataclasses import dataclass
from typing import Any, Final

from xiaohao.outgoing.network import Network

#: after so long a name is looked up again, beside those who use what is known of it
_FRESH_S: Final = 20.0
#: what is known is used for so long, where name servers say nothing new
_KEPT_S: Final = 3600.0
#: a name that was not found is not looked up again for so long
_UNKNOWN_S: Final = 2.0


@dataclass(slots=True)
class _Known:
    """What was found, and when (monotonic seconds); `asked_at` is when it was last looked for."""

    addresses: list[str]
    found_at: float
    asked_at: float


class RememberingNetwork(Network):
    """A network that waits for a name server only for a name that it has not met yet.

    What is remembered is judged each time it is used, and connected to as it was judged.
    """

    def __init__(self, *args: Any, fresh_s: float = _FRESH_S, **options: Any) -> None:
        """See Network. `fresh_s`: after so long a name is looked up again."""
        super().__init__(*args, **options)
        self._fresh_s = fresh_s
        self._known: dict[tuple[str, int], _Known] = {}
        self._tasks: set[asyncio.Task[list[str]]] = set()

    async def _looked_up(self, host: str, port: int) -> list[str]:
        place, now = (host, port), time.monotonic()
        known = self._known.get(place)
        if known is None:
            return await self._find(host, port)
        if now - known.asked_at >= (self._fresh_s if known.addresses else _UNKNOWN_S):
            known.asked_at = now
            task = asyncio.ensure_future(self._find(host, port))
            self._tasks.add(task)
            task.add_done_callback(self._forget)
            if not known.addresses:
                return await asyncio.shield(task)
        if not known.addresses or now - known.found_at > _KEPT_S:
            raise socket.gaierror
        return known.addresses

    async def _find(self, host: str, port: int) -> list[str]:
        place = (host, port)
        try:
            found = await super()._looked_up(host, port)
        except OSError:
            self._known.setdefault(place, _Known([], 0.0, time.monotonic()))
            raise
        now = time.monotonic()
        self._known[place] = _Known(found, now, now)
        return found

    def _forget(self, task: "asyncio.Task[list[str]]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # what is known goes on being used
