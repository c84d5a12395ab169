"""Several processes die at once, one after the other, or all: every call that was stored gets its one CDR."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from xiaohao.runtime.processes import alive, family
from xiaohao.simulator.stage import Stage

from .conftest import Theatre
from .crowd import (
    NAMES,
    Crowd,
    Houses,
    check_new_calls_work,
    check_recordings,
    connect,
    gather,
    kill,
    ledger,
    moment,
    until,
    until_another,
    until_ready,
    until_stored,
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def houses(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Houses]:
    async with Houses.in_folder(tmp_path_factory.mktemp("houses")) as houses:
        yield houses


@pytest_asyncio.fixture(loop_scope="session")
async def house(houses: Houses) -> Theatre:
    return await houses.on("sqlite")


async def check_lost_with_the_edge(house: Theatre, crowd: Crowd, at: float) -> None:
    told = await ledger(house, crowd.everyone)
    told.check_events()
    assert told.reasons(crowd.everyone) == {("edge_lost", "platform")}
    for one in crowd.everyone:
        # the switch notes once a second that the edge lives
        assert -2 < moment(told.one(one)["ended_at"]) - at < 1


async def test_kamailio_and_switch_killed(house: Theatre) -> None:
    """The next switch knows of the calls from the database, and until when they lived."""
    crowd = await gather(house)
    await until_stored(house, crowd)
    killed = kill(house.stage, "kamailio", "switch")
    await until_ready(house.stage, killed)
    await check_lost_with_the_edge(house, crowd, killed.at)
    await check_new_calls_work(house)


async def test_rtpengine_and_switch_killed(house: Theatre) -> None:
    """The next switch never saw the rtpengine that had the calls; it ends them all the same."""
    crowd = await gather(house, ringing=2, starting=2)
    killed = kill(house.stage, "rtpengine", "switch")
    await until_ready(house.stage, killed)
    talking = [each for one in crowd.talking for each in (one.call, one.other) if each]
    await asyncio.gather(*(each.wait_ended(timeout=20) for each in talking))
    # those that rang end when they are answered
    for one in crowd.ringing:
        assert one.other is not None
        await one.other.answer()
    await asyncio.gather(*(one.call.wait_ended(timeout=20) for one in crowd.everyone))
    told = await ledger(house, crowd.everyone)
    told.check_events()
    assert told.reasons(crowd.everyone) == {("media_lost", "platform")}


async def test_kamailio_killed_again_at_once(house: Theatre) -> None:
    """The second Kamailio dies before the switch is done with the death of the first."""
    crowd = await gather(house)
    first = kill(house.stage, "kamailio")
    await until_another(house.stage, first)
    await asyncio.sleep(0.3)
    second = kill(house.stage, "kamailio")
    await until_ready(house.stage, second)
    await check_lost_with_the_edge(house, crowd, first.at)
    await check_new_calls_work(house)


async def test_rtpengine_killed_again_at_once(house: Theatre) -> None:
    """A call that came between two deaths of rtpengine ends with the second."""
    crowd = await gather(house, starting=0)
    await until_ready(house.stage, kill(house.stage, "rtpengine"))
    between = await connect(house)
    await until_ready(house.stage, kill(house.stage, "rtpengine"))
    calls = [*crowd.everyone, between]
    both = [each for one in calls for each in (one.call, one.other) if each]
    await asyncio.gather(*(each.wait_ended(timeout=20) for each in both))
    told = await ledger(house, calls)
    told.check_events()
    assert told.reasons(calls) == {("media_lost", "platform")}
    await check_new_calls_work(house)


async def test_stopped_in_good_order(house: Theatre) -> None:
    """Whoever talks, rings or is about to is told, before anything stops; the CDRs say why."""
    crowd = await gather(house)
    assert await crowd.all_heard()
    at = await end_supervisor(house.stage, signal.SIGTERM)
    everybody = [each for one in crowd.everyone for each in (one.call, one.other) if each]
    assert {each.state for each in everybody} == {"ended"}
    assert {one.call.final_code for one in [*crowd.ringing, *crowd.starting]} == {480}
    await house.stage.up()
    told = await ledger(house, crowd.everyone)
    told.check_events()
    assert told.reasons(crowd.everyone) == {("platform_stopped", "platform")}
    for one in crowd.everyone:
        assert moment(told.one(one)["ended_at"]) < at
    await check_recordings(house, crowd)


async def test_supervisor_killed(house: Theatre) -> None:
    """Nothing is left running; started again in the same folder, the platform tells the calls it lost."""
    crowd = await gather(house)
    await until_stored(house, crowd)
    at = await end_supervisor(house.stage, signal.SIGKILL)
    await house.stage.up()
    print(f"up again {time.time() - at:.1f} s after the supervisor was killed")
    await check_lost_with_the_edge(house, crowd, at)
    await check_new_calls_work(house)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_everything_killed(houses: Houses, database: str) -> None:
    """The machine stops at once, and starts again."""
    house = await houses.on(database)
    crowd = await gather(house)
    await until_stored(house, crowd)
    kill(house.stage, *NAMES)
    at = await end_supervisor(house.stage, signal.SIGKILL)
    await house.stage.up()
    await check_lost_with_the_edge(house, crowd, at)
    await check_new_calls_work(house)


async def end_supervisor(stage: Stage, number: signal.Signals) -> float:
    """Send it this signal and wait until nothing of its platform is left; gives the moment of its end."""
    folder = Path(stage.settings.runtime_folder)
    supervisor = int((folder / "supervisor.pid").read_text())
    os.kill(supervisor, number)
    at = time.time()
    await until(lambda: not alive(supervisor) and not family(folder), "an end of all processes", 10)
    return at if number is signal.SIGKILL else time.time()
