"""`kill -9` of one process in the middle of many calls: none is forgotten or told twice, all works again."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from xiaohao.simulator.behaviour import Behaviour
from xiaohao.simulator.call import CallOver

from .conftest import Theatre
from .crowd import (
    Conversation,
    Houses,
    check_new_calls_work,
    check_recordings,
    dial_several,
    gather,
    hang_up_all,
    kill,
    ledger,
    moment,
    until_another,
    until_ready,
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def houses(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Houses]:
    async with Houses.in_folder(tmp_path_factory.mktemp("houses")) as houses:
        yield houses


@pytest_asyncio.fixture(loop_scope="session")
async def house(houses: Houses) -> Theatre:
    return await houses.on("sqlite")


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_switch_killed(houses: Houses, database: str) -> None:
    """Talking calls talk on, new ones are refused at once, and afterwards every call is told completely."""
    house = await houses.on(database)
    crowd = await gather(house)
    assert await crowd.all_heard()
    stays, leaves = crowd.talking[:3], crowd.talking[3:]
    killed = kill(house.stage, "switch")
    ready = asyncio.create_task(until_ready(house.stage, killed))
    refused = await dial_several(house)
    await asyncio.gather(*(one.call.wait_ended(timeout=4) for one in refused))
    assert {one.call.final_code for one in refused} == {503}
    await hang_up_all(leaves)
    left_at = time.time()
    assert await crowd.all_heard(stays)
    await ready
    assert await crowd.all_heard(stays)
    await asyncio.gather(*(one.call.wait_answered() for one in crowd.starting))
    await hang_up_all([*stays, *crowd.ringing, *crowd.starting])

    told = await ledger(house, [*crowd.everyone, *refused])
    told.check_events()
    assert told.reasons(crowd.talking) == {("caller_hung_up", "caller")}
    assert told.reasons(crowd.ringing) == {("caller_cancelled", "caller")}
    assert told.reasons(crowd.starting) == {("caller_hung_up", "caller")}
    assert told.reasons(refused) == {("switch_unavailable", "platform")}
    for one in leaves:
        assert abs(moment(told.one(one)["ended_at"]) - left_at) < 1
    for one in crowd.starting:
        cdr = told.one(one)
        moments = [moment(cdr[name]) for name in ("ringing_at", "answered_at", "ended_at")]
        assert moments == sorted(moments)
        assert killed.at < moments[0]
    await check_recordings(house, crowd)


async def test_switch_killed_while_it_decides(house: Theatre) -> None:
    """Whoever is being set up comes through or is refused in two seconds; twice in a row, each told once."""
    pairs = await asyncio.gather(*(house.pair(Behaviour(answer_after_s=0.1)) for _ in range(16)))
    calls = [Conversation(pair, await pair.driver.call(pair.y)) for pair in pairs[:8]]
    await calls[0].call.wait_ringing()
    killed = kill(house.stage, "switch")
    await until_another(house.stage, killed)
    again = kill(house.stage, "switch")
    ready = asyncio.create_task(until_ready(house.stage, again))
    calls += [Conversation(pair, await pair.driver.call(pair.y)) for pair in pairs[8:]]
    for one in calls:
        with contextlib.suppress(CallOver):
            await one.call.wait_answered(timeout=6)
    through = [one for one in calls if one.call.state == "answered"]
    refused = [one for one in calls if one.call.state == "ended"]
    assert {one.call.final_code for one in refused} == {503}
    assert through
    await ready
    await hang_up_all(through)
    told = await ledger(house, calls)
    told.check_events()
    assert told.reasons(refused) == {("switch_unavailable", "platform")}
    assert told.reasons(through) == {("caller_hung_up", "caller")}


async def test_switch_hangs(house: Theatre) -> None:
    """A switch that stands still is as good as none: 503 after two seconds, and nothing is lost meanwhile."""
    crowd = await gather(house, ringing=2, starting=2)
    # whoever stands still in the middle of writing to SQLite keeps others from reserving
    pairs = [await house.pair() for _ in range(3)]
    pid, began = house.stage.pid("switch"), time.monotonic()
    os.kill(pid, signal.SIGSTOP)
    try:
        refused = [Conversation(pair, await pair.driver.call(pair.y)) for pair in pairs]
        await asyncio.gather(*(one.call.wait_ended(timeout=4.5) for one in refused))
        assert {one.call.final_code for one in refused} == {503}
        assert await crowd.all_heard()
        # by now the edge tells the switch nothing any more, so that nobody ever waits for it
        await asyncio.sleep(max(began + 5 - time.monotonic(), 0))
        await hang_up_all(crowd.everyone)
        left_at = time.time()
    finally:
        os.kill(pid, signal.SIGCONT)
    told = await ledger(house, [*crowd.everyone, *refused])
    told.check_events()
    assert told.reasons(refused) == {("switch_unavailable", "platform")}
    assert all(abs(moment(told.one(one)["ended_at"]) - left_at) < 1 for one in crowd.talking)
    assert house.stage.pid("switch") == pid
    await check_new_calls_work(house)


async def test_web_and_worker_killed(house: Theatre) -> None:
    """Nobody on the phone notices, and what the two owed is done when they are back."""
    crowd = await gather(house)
    killed = kill(house.stage, "web", "worker")
    ready = asyncio.create_task(until_ready(house.stage, killed))
    assert await crowd.all_heard()
    await hang_up_all(crowd.talking[:3])
    await ready
    again = kill(house.stage, "worker")
    await hang_up_all(crowd.everyone)
    await until_ready(house.stage, again)
    told = await ledger(house, crowd.everyone)
    told.check_events()
    assert told.reasons(crowd.talking) == {("caller_hung_up", "caller")}
    await check_recordings(house, crowd)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_kamailio_killed(houses: Houses, database: str) -> None:
    """The calls it took are told as lost at that moment, their media is released, new ones come through."""
    house = await houses.on(database)
    crowd = await gather(house)
    assert await crowd.all_heard()
    killed = kill(house.stage, "kamailio")
    ready = asyncio.create_task(until_ready(house.stage, killed))
    told = await ledger(house, crowd.everyone)
    told.check_events()
    assert told.reasons(crowd.everyone) == {("edge_lost", "platform")}
    for one in crowd.everyone:
        assert abs(moment(told.one(one)["ended_at"]) - killed.at) < 1
    silent = [each.wait_silence() for one in crowd.talking for each in (one.call, one.other) if each]
    assert all(await asyncio.gather(*silent))
    await ready
    await check_new_calls_work(house)
    told = await ledger(house, crowd.everyone)
    assert told.reasons(crowd.everyone) == {("edge_lost", "platform")}
    await check_recordings(house, crowd)


async def test_rtpengine_killed(house: Theatre) -> None:
    """The calls it took end on both phones and are told once; new ones come through."""
    crowd = await gather(house)
    assert await crowd.all_heard()
    killed = kill(house.stage, "rtpengine")
    ready = asyncio.create_task(until_ready(house.stage, killed))
    both = [each for one in crowd.everyone for each in (one.call, one.other) if each]
    await asyncio.gather(*(each.wait_ended(timeout=15) for each in both))
    await ready
    await check_new_calls_work(house)
    told = await ledger(house, crowd.everyone)
    told.check_events()
    assert told.reasons(crowd.everyone) == {("media_lost", "platform")}
    for one in crowd.talking:
        assert 0 < moment(told.one(one)["ended_at"]) - killed.at < 6
    await check_recordings(house, crowd)
