"""Comparing calls with the edge's, and knowing until when it lived."""

import asyncio
import os
from pathlib import Path

from xiaohao.calls.journal import CallEnded
from xiaohao.calls.model import Call, Reason
from xiaohao.clock import SECOND, now_us
from xiaohao.edge import wire
from xiaohao.switch.custody import Custody, Pulse

from .doubles import OURS, EdgeDouble, JournalDouble, LookupDouble, switchboard


class Scene:
    """A switchboard with calls that an earlier switch left, received so many seconds ago."""

    def __init__(self, *ages_s: float) -> None:
        self.sent: list[str] = []
        self.released: list[str] = []
        self.journal = JournalDouble()
        self.now = now_us()
        self.board, _ = switchboard(LookupDouble(), self.journal, EdgeDouble())
        ids = [f"call-{age_s}" for age_s in ages_s]
        received = [self.now - round(age_s * SECOND) for age_s in ages_s]
        self.board.adopt([Call(i, "edge1", at, OURS) for i, at in zip(ids, received, strict=True)])
        self.custody = Custody(self.board, self.sent.append, self.released.extend)

    async def asked(self, times: int) -> None:
        while len(self.sent) < times:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_calls_that_the_edge_does_not_name_are_lost() -> None:
    scene = Scene(60, 30, 1)
    comparison = asyncio.create_task(scene.custody.compare(scene.now - 3 * SECOND, scene.now - SECOND))
    await scene.asked(1)
    assert scene.sent == ["S|1"]
    scene.board.signal(wire.Live("call-60", None, None, ""))
    scene.custody.told(wire.Told(1))
    assert await comparison
    # the youngest may be on its way into the edge's memory
    assert list(scene.board.calls) == ["call-60", "call-1"]
    assert scene.released == ["call-30"]
    [end] = [change.call for change in scene.journal.changes if isinstance(change, CallEnded)]
    assert (end.id, end.reason, end.ended_at) == ("call-30", Reason.EDGE_LOST, scene.now - SECOND)


async def test_a_second_comparison_waits_for_the_first() -> None:
    scene = Scene(60)
    first = asyncio.create_task(scene.custody.compare(scene.now))
    second = asyncio.create_task(scene.custody.compare(scene.now))
    await scene.asked(1)
    await asyncio.sleep(0.01)
    assert scene.sent == ["S|1"]
    scene.board.signal(wire.Live("call-60", None, None, ""))
    scene.custody.told(wire.Told(1))
    await scene.asked(2)
    # a late answer to the first question is none to the second
    scene.custody.told(wire.Told(1))
    await asyncio.sleep(0.01)
    assert not second.done()
    scene.board.signal(wire.Live("call-60", None, None, ""))
    scene.custody.told(wire.Told(2))
    assert await first
    assert await second
    assert list(scene.board.calls) == ["call-60"]


async def test_no_call_is_lost_where_the_edge_goes_away_in_the_middle() -> None:
    scene = Scene(60)
    comparison = asyncio.create_task(scene.custody.compare(scene.now))
    await scene.asked(1)
    scene.custody.edge_is_gone()
    assert not await comparison
    assert list(scene.board.calls) == ["call-60"]


async def test_calls_of_another_edge_are_left_alone() -> None:
    scene = Scene()
    scene.board.adopt([Call("far", "edge2", scene.now, OURS)])
    assert not scene.board.calls


def test_pulse(tmp_path: Path) -> None:
    pulse = Pulse(tmp_path / "alive")
    assert pulse.last() is None
    before = now_us()
    pulse.beat()
    assert before - SECOND < (pulse.last() or 0) < now_us() + SECOND
    os.utime(tmp_path / "alive", ns=(0, 1_700_000_000_000_000_000))
    assert pulse.last() == 1_700_000_000_000_000
    pulse.beat()
    assert (pulse.last() or 0) > before - SECOND
