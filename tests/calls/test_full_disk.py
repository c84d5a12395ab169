"""The captures' disk is full while people talk: they talk on, and the recording says that it is not whole."""

import asyncio
from pathlib import Path

from tests.recordings.disk import fill, small_disk
from xiaohao.simulator.outgoing import OutgoingCall

from .conftest import Pair
from .crowd import theatre_in


async def _talking(pair: Pair) -> OutgoingCall:
    call = await pair.driver.call(pair.y)
    await pair.passenger.next_call()
    await call.wait_answered()
    assert await call.wait_heard(pair.passenger.tone_hz)
    return call


async def test_calls_on_a_full_disk(tmp_path: Path) -> None:
    """One that was being recorded, one that comes meanwhile, and one after there is room again."""
    folder = tmp_path / "platform"
    with small_disk(folder / "run" / "captures", "6m") as disk:
        async with theatre_in(folder, recording={"least_free_mb": 1}) as theatre:
            pairs = [await theatre.pair() for _ in range(3)]
            cut_off = await _talking(pairs[0])
            filler = fill(disk)
            await asyncio.sleep(2.5)  # the switch looks once a second
            assert await cut_off.wait_heard(pairs[0].passenger.tone_hz, seconds=2.0)
            unrecorded = await _talking(pairs[1])
            await unrecorded.hang_up()
            await cut_off.hang_up()
            ids = [(await pair.cdr())["call_id"] for pair in pairs[:2]]
            told = await theatre.endpoint.wait_for("recording.ready", ids[0], timeout=60)
            assert told.document["data"]["recording"]["cut_off"] is True
            told = await theatre.endpoint.wait_for("recording.failed", ids[1], timeout=60)
            assert told.document["data"]["recording"]["failure"] == "disk_full"
            assert "recording_cut_off" in theatre.stage.log("worker")
            filler.unlink()
            await asyncio.sleep(1.1)
            whole = await _talking(pairs[2])
            await asyncio.sleep(0.5)
            await whole.hang_up()
            told = await theatre.endpoint.wait_for("recording.ready", (await pairs[2].cdr())["call_id"])
            assert told.document["data"]["recording"]["cut_off"] is False
            assert not [path for path in disk.rglob("*") if path.is_file()]
