"""A month measured anew by several processes, each a share of its days; it comes to what one of them finds.

What a usage costs depends on those before it only where a rent includes minutes or tiers are graduated. Such
usages another process hands over as they are, and they go into the ledger in their order, the first share
first; of all others it has counted how many are alike.
"""

import asyncio
import contextlib
import multiprocessing
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from multiprocessing.connection import Connection
from typing import Any, Final, Self

import msgspec

from xiaohao.billing import calendar, terms
from xiaohao.billing.anew import Anew, Pair
from xiaohao.billing.ledger import Aside, Counts, Ledger, counted, in_order
from xiaohao.billing.model import Usage
from xiaohao.billing.runs import Month, Progress
from xiaohao.database.engine import Database

_TOGETHER: Final = 5000

Span = tuple[int | None, int | None]


class Found(msgspec.Struct):
    """What of a month would change; the first so many of the changes are kept."""

    calls: int = 0
    changed: int = 0
    changes: list[Pair] = []

    def add(self, calls: int, changed: int, changes: list[Pair], most: int) -> None:
        """What was found next."""
        self.calls += calls
        self.changed += changed
        self.changes += changes[: max(most - len(self.changes), 0)]


class _Task(msgspec.Struct, frozen=True):
    """What another process is told."""

    url: str
    key_id: int | None
    customer_id: str
    month: int
    terms: str
    since: int | None
    until: int | None
    most: int


async def measure(month: Month, ledger: Ledger, most: int, progress: Progress, processes: int = 1) -> Found:
    """Measure the month anew into an empty ledger; `most`: so many of the changes are wanted.

    Raises ChildProcessError where another process has ended before its time.
    """
    (since, until), *others = _spans(month.month, processes)
    found = Found()
    async with contextlib.AsyncExitStack() as stack:
        shares = [stack.enter_context(_Share(_task(month, *span, most))) for span in others]
        watched = [asyncio.create_task(share.watch(progress)) for share in shares]
        stack.push_async_callback(_give_up, watched)
        async for page in month.anew(since, until):
            ledger.add(page.usages)
            found.add(sum(one.calls for one in page.usages), len(page.changes), page.changes, most)
            progress(page.rows)
            await asyncio.sleep(0)
        for share, task in zip(shares, watched, strict=True):
            theirs = await task
            found.add(theirs.calls, theirs.changed, theirs.changes, most)
            async for usages in share.usages():
                ledger.add(usages)
            async for counts in share.counts():
                ledger.add_counts(counts)
    return found


async def _give_up(tasks: list[asyncio.Task[Found]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _spans(month: int, count: int) -> list[Span]:
    start, length = calendar.start_of(month), calendar.end_of(month) - calendar.start_of(month)
    borders = [None, *(start + length * place // count for place in range(1, count)), None]
    return list(pairwise(borders))


def _task(month: Month, since: int | None, until: int | None, most: int) -> _Task:
    database = month.database
    url = database.url.render_as_string(hide_password=False)
    key_id = database.fence.key_id
    return _Task(url, key_id, month.customer_id, month.month, terms.write(month.terms), since, until, most)


class _Share:
    """Another process with its share. What it says: rows it has read, what it found, usages, counts."""

    def __init__(self, task: _Task) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, self._theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(self._theirs, _encode(task)), daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        self._theirs.close()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
        self._ours.close()

    async def watch(self, progress: Progress) -> Found:
        """Wait until all is measured; `progress` is told of the rows."""
        while isinstance(said := _said.decode(await self._read()), int):
            progress(said)
        return said

    async def usages(self) -> AsyncIterator[list[Usage]]:
        """Those whose order matters, in order."""
        while usages := _usages(await self._read()):
            yield usages

    async def counts(self) -> AsyncIterator[list[Counts]]:
        """How many of the others are alike."""
        while counts := _counts(await self._read()):
            yield counts

    async def _read(self) -> bytes:
        # who is cancelled leaves a thread behind, which ends with the process
        try:
            return await asyncio.to_thread(self._ours.recv_bytes)
        except EOFError:
            raise ChildProcessError("a process that shared the work has ended") from None


_encode: Final = msgspec.msgpack.Encoder().encode
_said: Final[msgspec.msgpack.Decoder[int | Found]] = msgspec.msgpack.Decoder(int | Found)
_usages: Final = msgspec.msgpack.Decoder(list[Usage]).decode
_counts: Final = msgspec.msgpack.Decoder(list[Counts]).decode


def _work(connection: Connection, task: bytes) -> None:
    # whoever wanted it is gone: so is the work
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        asyncio.run(_measure(connection, msgspec.msgpack.decode(task, type=_Task)))


async def _measure(connection: Connection, task: _Task) -> None:
    database, contract = Database(task.url, task.key_id), terms.read(task.terms)
    kinds, found, counts = in_order(contract), Found(), dict[Any, int]()
    with Aside(list[Usage]) as ordered, Aside(list[Counts]) as others:
        try:
            anew = Anew(database, task.customer_id, task.month, contract)
            async for page in anew.pages(task.since, task.until):
                ordered.put([one for one in page.usages if one.seconds and one.kind in kinds])
                counted((one for one in page.usages if not one.seconds or one.kind not in kinds), counts)
                others.put_if_many(counts)
                found.add(sum(one.calls for one in page.usages), len(page.changes), page.changes, task.most)
                connection.send_bytes(_encode(page.rows))
        finally:
            await database.close()
        connection.send_bytes(_encode(found))
        for usages in ordered:
            if usages:
                connection.send_bytes(_encode(usages))
        connection.send_bytes(_encode([]))
        for some in [*others, list(counts.items())]:
            for part in _parts(some):
                connection.send_bytes(_encode(part))
        connection.send_bytes(_encode([]))


def _parts(counts: list[Counts]) -> Iterator[list[Counts]]:
    for first in range(0, len(counts), _TOGETHER):
        yield counts[first : first + _TOGETHER]
