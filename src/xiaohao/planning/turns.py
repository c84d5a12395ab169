"""Whose turn it is to have a plan computed: one at a time for each customer, all customers in turn."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from xiaohao.errors import Refusal

#: plans of different customers that are computed at once
_AT_ONCE: Final = 2
#: plans of one customer, the one that is being computed among them, and those that wait, of all
_EACH: Final = 2
_WAITING: Final = 8


def busy(detail: str) -> Refusal:
    """Planning has to wait (`planning_busy`)."""
    return Refusal("planning_busy", "Planning takes too long", detail, 503, {"retry_after_s": 5})


class Turns:
    """A short queue. Who is not being served comes before who is, in the order of coming."""

    def __init__(self) -> None:
        self._served: set[str] = set()
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def turn(self, owner: str) -> AsyncIterator[None]:
        """Wait for this owner's turn and have it. Raises Refusal: `planning_busy`."""
        own = (owner in self._served) + sum(name == owner for name, _ in self._waiting)
        if own >= _EACH:
            raise busy("Your other plans are being computed: try again when they are done.")
        if len(self._waiting) >= _WAITING:
            raise busy("Others are planning: try again in a moment.")
        mine = asyncio.get_running_loop().create_future()
        self._waiting.append((owner, mine))
        self._next()
        try:
            await mine
            yield
        finally:
            if (owner, mine) in self._waiting:
                self._waiting.remove((owner, mine))
            else:
                self._served.discard(owner)
            self._next()

    def _next(self) -> None:
        for owner, mine in list(self._waiting):
            if len(self._served) >= _AT_ONCE:
                return
            if owner not in self._served:
                self._waiting.remove((owner, mine))
                self._served.add(owner)
                if not mine.done():
                    mine.set_result(None)
