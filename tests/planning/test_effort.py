"""A plan may cost some seconds and no more, and nobody is kept from planning by another."""

import asyncio
from typing import Any

import pytest
from starlette.requests import Request

from xiaohao.api.presence import while_there
from xiaohao.errors import Refusal
from xiaohao.planning.effort import MOST_S, check_effort, effort_s
from xiaohao.planning.turns import Turns
from xiaohao.planning.wire import PlanRequest


def request_of(count: int, **city: Any) -> PlanRequest:
    cities = [{"city": f"c{n}", "drivers": 3000, "orders_a_day": 40_000} | city for n in range(count)]
    return PlanRequest.model_validate({"cities": cities})


def test_a_plan_that_takes_minutes_is_refused_before_it_is_begun() -> None:
    at_once = request_of(100, orders_a_day=None, orders=[40_000] + [0] * 23, orders_per_driver=18)
    with pytest.raises(Refusal) as refused:
        check_effort(at_once.demand())
    assert refused.value.status == 422
    assert refused.value.extra["errors"][0]["field"] == "cities"
    assert "100 cities" in refused.value.detail


def test_usual_plans_are_let_through() -> None:
    check_effort(request_of(10).demand())
    assert effort_s(request_of(1).demand()) < MOST_S / 5
    assert effort_s(request_of(40).demand()) > MOST_S


def test_much_of_what_cannot_be_shortened_by_fewer_cities() -> None:
    groups = [{"drivers": 10.0, "orders": 100.0}] * 200
    one = request_of(1, drivers=2000, orders_a_day=200_000.0, groups=groups)
    with pytest.raises(Refusal, match="fewer groups"):
        check_effort(one.demand())


async def test_a_customer_s_plans_do_not_keep_others_waiting() -> None:
    turns, done = Turns(), []
    over = asyncio.Event()

    async def plan(owner: str, name: str) -> None:
        async with turns.turn(owner):
            done.append(name)
            await over.wait()

    first = [asyncio.create_task(plan("a", f"a{n}")) for n in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Refusal, match="planning_busy"):
        await plan("a", "a2")
    other = asyncio.create_task(plan("b", "b0"))
    await asyncio.sleep(0.01)
    assert done == ["a0", "b0"]
    first[0].cancel()  # its client has gone: the next one of the same customer has its turn
    await asyncio.sleep(0.01)
    assert done == ["a0", "b0", "a1"]
    over.set()
    await asyncio.gather(*first[1:], other)
    async with asyncio.timeout(1), turns.turn("a"), turns.turn("b"):
        pass


async def test_the_queue_is_short() -> None:
    turns, over = Turns(), asyncio.Event()

    async def plan(owner: str) -> None:
        async with turns.turn(owner):
            await over.wait()

    tasks = [asyncio.create_task(plan(str(n))) for n in range(10)]
    await asyncio.sleep(0.01)
    with pytest.raises(Refusal, match="planning_busy") as refused:
        await plan("one more")
    assert (refused.value.status, refused.value.extra) == (503, {"retry_after_s": 5})
    over.set()
    await asyncio.gather(*tasks)


async def test_work_ends_when_the_client_leaves() -> None:
    stopped = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.01)
        return {"type": "http.disconnect"}

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    with pytest.raises(Refusal, match="client_gone"):
        await while_there(Request({"type": "http"}, receive), work())
    assert stopped.is_set()
