"""Writing many requests in one transaction: they queue, a thread carries out all that wait and commits once.

A job is decided on and written by plain blocking code (`carry_out`), so that no statement hops between
threads, and a set of jobs needs hardly more statements than one of them. What `do` has given back is on
the disk.
"""

import asyncio
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any, Final, Protocol

import psycopg
from sqlalchemy import URL

from xiaohao.database.direct import Cursor, Direct
from xiaohao.database.engine import CHECKPOINT_PAGES, DatabaseUnavailable, TransactionLost
from xiaohao.database.fence import Fence

#: Two, so that one decides while the other one waits for the server's disk. SQLite has one writer anyway.
_POSTGRESQL_THREADS: Final = 2
#: Tries of one job. A race is lost only to somebody who won it, so that more mean a machine out of breath.
ATTEMPTS: Final = 20
_LONGEST_PAUSE_S: Final = 0.02
#: While more jobs come a writer rests as long as it has worked: some gather, and a group costs hardly more
#: than one; and other processes, which ask for SQLite's lock again and again, find it free now and then.
_LONGEST_REST_S: Final = 0.01
#: Many indexes are written at random places: what does not fit into SQLite's memory is read again and again.
_CACHE_KIB: Final = 65_536


class LostRace(Exception):
    """What was decided on has changed meanwhile: decide again."""


#: errors after which the same job is tried again
LOST: Final = (LostRace, TransactionLost, sqlite3.IntegrityError, psycopg.IntegrityError)


class Job(Protocol):
    """Something that `carry_out` knows how to do."""

    @property
    def weight(self) -> int:
        """How much work it is; an ordinary request is 1."""


#: Does jobs over a cursor inside a transaction; gives back for each its result, or the exception to raise. Is
#: told how often that was in vain.
CarryOut = Callable[[Cursor, Sequence[Any], int], Sequence[Any]]
#: Cuts a group into what may share a transaction.
Cut = Callable[[Sequence[Any]], Iterable[Sequence[Any]]]


@dataclass(slots=True)
class _Entry:
    job: Job
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"


class Writer:
    """The writing threads of one process; they start with the first job."""

    def __init__(
        self,
        url: URL,
        carry_out: CarryOut,
        group_weight: int,
        fence: Fence | None = None,
        durable: bool = True,
        cut: Cut | None = None,
    ) -> None:
        """`group_weight`: so much work goes into one transaction, or one job if that is more.

        `fence`: that of the `Database` beside which it writes. `durable`: see `Direct`. `cut` None: whatever
        waits may share a transaction.
        """
        self._cut = cut
        self._durable = durable
        self._url = url
        self._fence = fence
        self._carry_out = carry_out
        self._group_weight = group_weight
        self._is_sqlite = url.get_backend_name() == "sqlite"
        self._queue: SimpleQueue[_Entry | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    async def do(self, job: Job) -> Any:
        """Carry out a job; durable on return. Raises DatabaseUnavailable, and what `carry_out` says."""
        loop = asyncio.get_running_loop()
        entry = _Entry(job, loop, loop.create_future())
        self._queue.put(entry)
        if not self._threads:
            self._start()
        return await entry.future

    async def close(self) -> None:
        """Carry out what waits and stop."""
        threads, self._threads = self._threads, []
        for _ in threads:
            self._queue.put(None)
        for thread in threads:
            await asyncio.to_thread(thread.join, 2.0)

    def _start(self) -> None:
        for _ in range(1 if self._is_sqlite else _POSTGRESQL_THREADS):
            thread = threading.Thread(target=self._run, name="writer", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self) -> None:
        direct = Direct(self._url, CHECKPOINT_PAGES, _CACHE_KIB, self._fence, self._durable, True)
        while (group := self._group()) is not None:
            began = time.monotonic()
            # Who does not wait any more has gone, or was told that the database is away.
            waiting = [entry for entry in group if not entry.future.cancelled()]
            for part in self._apart(waiting):
                _tell(part, self._outcomes(direct, [entry.job for entry in part]))
            if not self._queue.empty():
                time.sleep(min(time.monotonic() - began, _LONGEST_REST_S))
        direct.close()

    def _group(self) -> list[_Entry] | None:
        """What waits, or the next that comes; None: the end."""
        entry = self._queue.get()
        if entry is None:
            return None
        group, weight = [entry], entry.job.weight
        while weight < self._group_weight:
            try:
                entry = self._queue.get_nowait()
            except Empty:
                break
            if entry is None:
                self._queue.put(None)  # ours, or another thread's, after this group
                break
            group.append(entry)
            weight += entry.job.weight
        return group

    def _apart(self, group: list[_Entry]) -> Iterator[Sequence[_Entry]]:
        if self._cut is None:
            yield group
            return
        entries = iter(group)
        for part in self._cut([entry.job for entry in group]):
            yield list(islice(entries, len(part)))

    def _outcomes(self, direct: Direct, jobs: Sequence[Job]) -> Sequence[Any]:
        if not jobs:
            return []
        try:
            with direct.write() as cursor:
                return self._carry_out(cursor, jobs, 0)
        except LOST as lost:
            error: Exception = lost
        except DatabaseUnavailable as away:
            return [away] * len(jobs)
        except Exception as defect:  # noqa: BLE001 - whatever one job holds must not stop all others
            if len(jobs) == 1:
                return [defect]
            error = defect
        if len(jobs) > 1:
            return [outcome for job in jobs for outcome in self._outcomes(direct, [job])]
        return [self._again(direct, jobs[0], error)]

    def _again(self, direct: Direct, job: Job, error: Exception) -> Any:
        for attempt in range(1, ATTEMPTS):
            time.sleep(pause_s(attempt))
            try:
                with direct.write() as cursor:
                    return self._carry_out(cursor, [job], attempt)[0]
            except LOST as lost:
                error = lost
            except Exception as other:  # noqa: BLE001 - told to who asked
                return other
        return out_of_breath(error)


def pause_s(attempt: int) -> float:
    """How long who lost so many races waits before the next one; another time each time."""
    return random.uniform(0, min(0.001 * attempt, _LONGEST_PAUSE_S))  # noqa: S311 - no secret


def out_of_breath(error: Exception) -> Exception:
    """What is said when a race was lost too often."""
    return DatabaseUnavailable(f"too many changes of the same things at once ({type(error).__name__})")


def _tell(entries: Sequence[_Entry], outcomes: Sequence[Any]) -> None:
    """Give each its outcome, with one wake-up for each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for entry, outcome in zip(entries, outcomes, strict=True):
        by_loop.setdefault(entry.loop, []).append((entry.future, outcome))
    for loop, told in by_loop.items():
        with suppress(RuntimeError):  # the loop that waited is gone
            loop.call_soon_threadsafe(_settle, told)


def _settle(told: list[tuple["asyncio.Future[Any]", Any]]) -> None:
    for future, outcome in told:
        if future.done():
            continue
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
