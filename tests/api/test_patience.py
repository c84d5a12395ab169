"""A request outlives slow work, and not a database that says nothing."""

import asyncio
import time

import pytest

from xiaohao.api import patience
from xiaohao.api.patience import patiently
from xiaohao.database.engine import Database, DatabaseUnavailable


class Silent(Database):
    """A database that answers, or keeps everybody waiting, also whoever gives up."""

    is_sqlite = False

    def __init__(self, answers: bool) -> None:
        self.answers = answers

    async def ping(self) -> None:
        if not self.answers:
            await stubborn()


async def stubborn() -> None:
    """Work that takes its time to be cancelled, as psycopg's does."""
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        await asyncio.sleep(5)
        raise


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "_SUSPICIOUS_S", 0.05)
    monkeypatch.setattr(patience, "_PATIENCE_S", 0.05)


async def test_slow_work_is_waited_for_while_the_database_answers() -> None:
    async def work() -> str:
        await asyncio.sleep(0.4)
        return "done"

    assert await patiently(Silent(answers=True), work()) == "done"


async def test_a_silent_database_is_not_waited_for() -> None:
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable):
        await patiently(Silent(answers=False), stubborn())
    assert time.monotonic() - began < 3


async def test_whoever_is_cancelled_leaves_the_work_behind() -> None:
    request = asyncio.ensure_future(patiently(Silent(answers=True), stubborn()))
    await asyncio.sleep(0.01)
    began = time.monotonic()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert time.monotonic() - began < 3


async def test_errors_come_through() -> None:
    async def work() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await patiently(Silent(answers=True), work())
