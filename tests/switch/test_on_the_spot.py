"""A Y for whoever calls, from a database that is slow, away or broken: the call never waits for long."""

import asyncio
import time

import pytest

from xiaohao.database.engine import DatabaseUnavailable
from xiaohao.switch.on_the_spot import OnTheSpot


class GiverDouble:
    """Gives `x` after some time, or raises."""

    def __init__(self, after_s: float = 0.0, error: Exception | None = None) -> None:
        self.after_s, self.error = after_s, error
        self.given: list[tuple[str, str]] = []

    async def give_y(self, parent_id: str, caller: str) -> str | None:
        await asyncio.sleep(self.after_s)
        if self.error is not None:
            raise self.error
        self.given.append((parent_id, caller))
        return "+8617000000001"


async def test_it_is_given() -> None:
    giver = GiverDouble()
    assert await OnTheSpot(giver, 2000).give_y("bnd_1", "+8613800000001") == "+8617000000001"
    assert giver.given == [("bnd_1", "+8613800000001")]


@pytest.mark.parametrize("error", [DatabaseUnavailable("away"), RuntimeError("a defect")])
async def test_it_is_not_given(error: Exception) -> None:
    assert await OnTheSpot(GiverDouble(error=error), 2000).give_y("bnd_1", "+8613800000001") is None


async def test_it_comes_too_late_for_this_call_and_in_time_for_the_next() -> None:
    giver = GiverDouble(after_s=0.2)
    began = time.monotonic()
    assert await OnTheSpot(giver, 100).give_y("bnd_1", "+8613800000001") is None
    assert time.monotonic() - began < 0.2
    await asyncio.sleep(0.25)
    assert giver.given == [("bnd_1", "+8613800000001")]
