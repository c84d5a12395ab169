"""The supervisor over the real processes: Kamailio, rtpengine, switch, worker and web."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from xiaohao.runtime import status
from xiaohao.runtime.processes import alive, family
from xiaohao.simulator.stage import Stage, StageError

pytestmark = pytest.mark.calls

NAMES = {"kamailio", "rtpengine", "switch", "worker", "web"}


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with Stage(tmp_path) as stage:
        yield stage


def runtime(stage: Stage) -> Path:
    return Path(stage.settings.runtime_folder)


def supervisor(stage: Stage) -> int:
    return int((runtime(stage) / "supervisor.pid").read_text())


async def eventually(condition: Callable[[], bool], what: str, within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}"
        await asyncio.sleep(0.05)


async def ready(stage: Stage) -> set[str]:
    return {line.name for line in await status.look(stage.settings) if line.ready}


async def kill_each(stage: Stage) -> None:
    """Kill one process after the other, each as soon as the one before is there again."""
    for name in NAMES:
        first = stage.pid(name)
        os.kill(first, signal.SIGKILL)

        def another(name: str = name, first: int = first) -> bool:
            try:
                return stage.pid(name) != first
            except FileNotFoundError:  # between the one and the other
                return False

        await eventually(another, f"another {name}")


async def test_each_process_is_started_again_and_stopping_leaves_none(stage: Stage) -> None:
    table = await stage.command("status")
    assert {line.split()[0] for line in table.splitlines()[1:]} == NAMES
    assert str(stage.pid("switch")) in table

    await kill_each(stage)
    deadline = time.monotonic() + 60
    while await ready(stage) != NAMES:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    told = json.loads((runtime(stage) / "status.json").read_text())
    assert {name: facts["starts"] for name, facts in told.items()} == dict.fromkeys(NAMES, 2)
    assert {facts["last_exit"] for facts in told.values()} == {"signal SIGKILL"}

    await stage.stop()
    assert family(runtime(stage)) == []
    with pytest.raises(StageError):
        await stage.command("status")


async def test_a_killed_supervisor_leaves_no_process_and_the_next_one_starts(stage: Stage) -> None:
    everyone = family(runtime(stage))
    assert len(everyone) > len(NAMES), "Kamailio has children"
    os.kill(supervisor(stage), signal.SIGKILL)
    await eventually(lambda: not any(alive(pid) for pid in everyone), "every process gone")

    await stage.up()
    assert await ready(stage) == NAMES
