"""Events as they happen, for who watches: server-sent events (WHATWG HTML, section 9.2).

Each stream reads the stored events by itself, a batch at a time, when its reader has taken the batch before.
So a slow reader costs nobody anything: it holds one batch, and finds the rest in the database. All streams of
a process learn from one ticker that there is something new.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from xiaohao.database.engine import DatabaseUnavailable
from xiaohao.errors import Refusal
from xiaohao.notifications.feed import Feed, Told, Wanted

#: the extension in the ASGI scope by which `api.protocol` lets a connection be dropped: `call` does it
ABORT: Final = "xiaohao.abort"

_TICK_S: Final = 0.25
_BATCH: Final = 100
#: a reader hears something at least so often, and proxies see that the connection lives
HEARTBEAT_S: Final = 15.0
#: who takes nothing for so long is cut off, and may come back with Last-Event-ID
_STALLED_S: Final = 60.0
#: a key that was revoked ends its streams
_CHECK_KEY_S: Final = 5.0
_MOST: Final = 200
_MOST_OF_ONE: Final = 10

_encode = msgspec.json.Encoder().encode


class Streams:
    """All streams of one web process."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._open: Counter[str | None] = Counter()
        self._end = 0
        self._new = asyncio.Condition()
        self._ticker: asyncio.Task[None] | None = None
        self._stopping = False

    def stop(self) -> None:
        """End every stream soon, so that the process can end."""
        self._stopping = True

    def admit(self, customer_id: str | None) -> None:
        """Raises Refusal `too_many_streams` where a customer (None: the operator) has as many as may be."""
        if self._open[customer_id] >= _MOST_OF_ONE or self._open.total() >= _MOST:
            raise Refusal(
                "too_many_streams",
                "Too many streams",
                f"At most {_MOST_OF_ONE} streams may be open with keys of one owner.",
                429,
                {"retry_after_s": 5},
            )

    async def now(self) -> int:
        """The place behind which everything is that happens from now on. Raises DatabaseUnavailable.

        Ask before the reader hears that the stream is there, or what happens then is not told.
        """
        return await self._feed.end()

    async def read(
        self,
        customer_id: str | None,
        place: int,
        wanted: Wanted,
        cursor: Callable[[int], str],
        first: Any | None,
        key_is_good: Callable[[], Awaitable[bool]],
    ) -> AsyncIterator[bytes]:
        """The text of a stream, from behind `place` to its end.

        `first` is a document that stands at the beginning, `cursor` gives the id of a place.
        """
        with self._counted(customer_id):
            yield b": here\n\n" if first is None else _told("calls", cursor(place), first)
            checked_at = spoke_at = _now()
            while not self._stopping:
                told, place = await self._after(place, wanted, customer_id is None)
                if told:
                    yield b"".join(_told(one.kind, cursor(one.seq), one.document) for one in told)
                    spoke_at = _now()
                elif _now() - spoke_at >= HEARTBEAT_S:
                    # an id without data: the reader remembers the place and is shown nothing
                    yield f"id: {cursor(place)}\n\n".encode()
                    spoke_at = _now()
                if _now() - checked_at >= _CHECK_KEY_S:
                    if not await key_is_good():
                        return
                    checked_at = _now()
                if len(told) < _BATCH:
                    await self._something_after(place)

    async def _after(self, place: int, wanted: Wanted, for_operator: bool) -> tuple[list[Told], int]:
        try:
            return await self._feed.after(place, _BATCH, wanted, for_operator)
        except DatabaseUnavailable:
            await asyncio.sleep(1.0)
            return [], place

    async def _something_after(self, place: int) -> None:
        """Wait until there is something behind `place`, or a second."""
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0), self._new:
                await self._new.wait_for(lambda: self._end > place or self._stopping)

    @contextmanager
    def _counted(self, customer_id: str | None) -> Iterator[None]:
        self._open[customer_id] += 1
        if self._ticker is None or self._ticker.done():
            self._ticker = asyncio.create_task(self._tick())
        try:
            yield
        finally:
            self._open[customer_id] -= 1

    async def _tick(self) -> None:
        while self._open.total():
            with suppress(DatabaseUnavailable):
                self._end = await self._feed.end()
            async with self._new:
                self._new.notify_all()
            await asyncio.sleep(_TICK_S)


class StreamResponse(Response):
    """Sends a stream's text as fast as its reader takes it; cuts off one who does not."""

    media_type = "text/event-stream"

    def __init__(self, text: AsyncIterator[bytes]) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._text = text

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve it (ASGI)."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        sending = asyncio.create_task(self._send(scope, send))
        leaving = asyncio.create_task(_until_gone(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            sending.cancel()
            await asyncio.wait((sending, leaving))
        if not sending.cancelled():
            sending.result()

    async def _send(self, scope: Scope, send: Send) -> None:
        async def piece(data: bytes, more: bool) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": more})

        try:
            async for data in self._text:
                async with asyncio.timeout(_STALLED_S):
                    await piece(data, more=True)
            await piece(b"", more=False)
        except TimeoutError:
            # An orderly end would wait behind what the reader does not take.
            if (abort := scope.get("extensions", {}).get(ABORT)) is not None:
                abort["call"]()
        finally:
            await self._text.aclose()  # type: ignore[attr-defined]


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _told(kind: str, place: str, document: Any) -> bytes:
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (place.encode(), kind.encode(), _encode(document))


def _now() -> float:
    return asyncio.get_running_loop().time()
