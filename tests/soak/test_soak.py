"""The chaos run in small: the code of `make soak` for half a minute on each database."""

import asyncio
import os
import random
import signal
from pathlib import Path
from typing import Literal

import pytest

from tests.calls.crowd import until
from xiaohao.edge.rpc import Rpc
from xiaohao.simulator.stage import Stage

from .faults import Clock
from .run import Plan, run


@pytest.mark.parametrize(("database", "store"), [("sqlite", "folder"), ("postgresql", "s3")])
async def test_calls_cdrs_events_and_recordings_agree(
    database: Literal["sqlite", "postgresql"], store: Literal["folder", "s3"], tmp_path: Path
) -> None:
    """Nothing is missing, nothing comes twice, and all of a call is told in order."""
    plan = Plan(16, seed=5, database=database, store=store, calls_per_second=10, mean_gap_s=6, recorded=0.3)
    report = await run(plan, tmp_path / "platform")
    print(report.text())
    assert report.account.faults == []
    assert report.account.talks_off == 0
    assert len(report.account.made) >= 150
    assert sum(one.talked_s is not None for one in report.account.made) >= 30
    assert {name.partition(":")[0] for name in report.deck.happened} == {
        *("database", "endpoint", "store", "switch", "web", "worker")
    }


async def test_a_switch_begins_anew_on_a_clock_that_was_set_back(tmp_path: Path) -> None:
    """Kamailio refuses to read trunks again then: calls do not wait for that, trunks that changed do."""
    clock = Clock(tmp_path, can_be_set=True)
    stage = Stage(tmp_path / "platform", host="127.0.1.6", announcements={"on": False})
    with clock.in_environment():
        await stage.start()
    rpc = Rpc(stage.settings.edge.rpc)

    async def sources() -> list[str]:
        return [entry["item"]["ip"] for entry in await rpc.call("permissions.addressDump")]

    async def in_force(*addresses: str) -> None:
        for _ in range(200):
            if sorted(await sources()) == list(addresses):
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"not in force: {addresses}")

    def times_ready() -> int:
        return stage.log("switch").count("switch_ready")

    try:
        await stage.add_trunk("first", ("127.0.1.7", 5060))
        await in_force("127.0.1.7")
        async with clock.set_by(-3600)(random.Random(1)):
            os.kill(stage.pid("switch"), signal.SIGKILL)
            await until(lambda: times_ready() == 2, "the next switch")
            await stage.add_trunk("second", ("127.0.1.8", 5060))
            await until(lambda: "_change_trunks" in stage.log("switch"), "a refusal")
            os.kill(stage.pid("switch"), signal.SIGKILL)
            await until(lambda: times_ready() == 3, "the third switch")
            assert await sources() == ["127.0.1.7"]
        await in_force("127.0.1.7", "127.0.1.8")
    finally:
        rpc.close()
        await stage.stop()
