"""From what happens on the phone to the POST at the customer's endpoint.

An event's `timestamp` is the edge's own clock, cut to milliseconds: half a millisecond too early on average.
"""

import asyncio
import statistics
from pathlib import Path

from bench.machine import percentile
from bench.sipp import call, callee
from bench.subject import Ours

_OF_A_CALL = 5


async def report(ours: Ours, folder: Path, rate: float, seconds: float) -> None:
    print(f"\nEvent to HTTP POST: {rate:g} calls/s for {seconds:g} s, ms")
    ours.sink.take()
    async with callee(ours, folder):
        outcome = await call(ours, folder, rate, seconds)
    await asyncio.sleep(2)
    arrivals = ours.sink.take()
    kinds: dict[str, list[float]] = {}
    for one in arrivals:
        kinds.setdefault(one.kind, []).append(one.delay_ms)
    # a recording's event happens when it is ready, long after the call
    kinds.pop("recording.ready", None)
    delays = [delay for found in kinds.values() for delay in found]
    for kind, found in [*kinds.items(), ("all", delays)]:
        print(
            f"  {kind:>14}: {len(found)} events, median {statistics.median(found):.1f}, "
            f"p99 {percentile(found, 0.99):.1f}, longest {max(found):.1f}"
        )
    print(
        f"  calls: {outcome.completed} of {outcome.offered}; events expected {outcome.completed * _OF_A_CALL}"
    )
