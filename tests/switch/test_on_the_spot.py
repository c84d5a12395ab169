"""A Y for whoever calls, from a database that is slow, away or broken: the call never waits for long."""

import asyncio

import pytest

from xiaohao.database.engine import DatabaseUnavailable
from xiaohao.switch.on_the_spot import OnTheSpot


class GiverDouble:
    """Gives an X as soon as it may, or raises."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.may_give = asyncio.Event()
        self.may_give.set()
        self.given: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    async def give_y(self, parent_id: str, caller: str) -> str | None:
        await self.may_give.wait()
        if self.error is not None:
            raise self.error
        self.given.put_nowait((parent_id, caller))
        return "+8617000000001"


async def test_it_is_given() -> None:
    giver = GiverDouble()
    assert await OnTheSpot(giver, 2000).give_y("bnd_1", "+8613800000001") == "+8617000000001"
    assert giver.given.get_nowait() == ("bnd_1", "+8613800000001")


@pytest.mark.parametrize("error", [DatabaseUnavailable("away"), RuntimeError("a defect")])
async def test_it_is_not_given(error: Exception) -> None:
    assert await OnTheSpot(GiverDouble(error=error), 2000).give_y("bnd_1", "+8613800000001") is None


async def test_it_comes_too_late_for_this_call_and_in_time_for_the_next() -> None:
    giver = GiverDouble()
    giver.may_give.clear()
    assert await OnTheSpot(giver, 100).give_y("bnd_1", "+8613800000001") is None
    assert giver.given.empty()
    giver.may_give.set()
    assert await asyncio.wait_for(giver.given.get(), 30) == ("bnd_1", "+8613800000001")
