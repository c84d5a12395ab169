"""How long a request waits for a database that keeps its connections and says nothing.

A statement that is cancelled is waited for by the driver for many seconds, so that no time limit around it
would be kept. Here the work is left behind instead, and the client gets its answer.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from xiaohao.database.engine import Database, DatabaseUnavailable

#: work that takes longer makes us ask whether the database is there at all
_SUSPICIOUS_S: Final = 3.0
_PATIENCE_S: Final = 2.0

_T = TypeVar("_T")
_left_behind: set[asyncio.Task[Any]] = set()


async def patiently(database: Database, work: Coroutine[Any, Any, _T]) -> _T:
    """The result of `work`, however long it takes while the database answers others.

    Raises DatabaseUnavailable where it does not: whether `work` has changed anything is not known then.
    """
    if database.is_sqlite:  # never waits longer than its busy timeout
        return await work
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({task}, timeout=_SUSPICIOUS_S))[0]:
            if not await answers(database, _PATIENCE_S):
                raise DatabaseUnavailable("the database says nothing")
    finally:
        if not task.done():
            leave_behind(task)
    return task.result()


async def answers(database: Database, within_s: float) -> bool:
    """Whether the database answers a question, be it with an error."""
    question = asyncio.ensure_future(database.ping())
    try:
        answered, _ = await asyncio.wait({question}, timeout=within_s)
    finally:
        leave_behind(question)
    return bool(answered)


def leave_behind(task: asyncio.Task[Any]) -> None:
    """Cancel a task and do not wait for its end."""
    task.cancel()
    _left_behind.add(task)
    task.add_done_callback(_forget)


def _forget(task: asyncio.Task[Any]) -> None:
    _left_behind.discard(task)
    if not task.cancelled():
        task.exception()  # nobody else asks for it
