"""What an announcement costs, and whether many at once keep time: `python -m bench.announcements [calls]`.

So many callers whom no binding knows call at the same moment, hear the default set's prompt in early media,
and are let go. The kernel stamps the arrival of every packet. CPU is that of the process trees, less what
they take when nothing happens; for comparison the same calls are refused without a word.
"""

import asyncio
import itertools
import os
import socket
import statistics
import struct
import sys
import tempfile
from pathlib import Path

from bench.cost import Cost
from bench.machine import about, percentile, tree_cpu

from xiaohao.simulator.carrier import Carrier
from xiaohao.simulator.outgoing import OutgoingCall
from xiaohao.simulator.rtp import RtpSession
from xiaohao.simulator.stage import Stage, StageCustomer

_SO_TIMESTAMPNS = 35  # asm-generic/socket.h
_PROCESSES = ("kamailio", "rtpengine", "switch")
_Y = "+861062000001"
_ROUNDS = 3


class Arrivals:
    """When RTP arrived at each phone's socket, in seconds of the kernel's clock."""

    def __init__(self) -> None:
        self.by_session: dict[int, list[float]] = {}
        take = self._take

        def receive(session: RtpSession) -> None:
            take(id(session), session._rtp)

        RtpSession._on_rtp = receive  # type: ignore[method-assign]

    def _take(self, session: int, own: socket.socket) -> None:
        own.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        try:
            _, ancillary, _, _ = own.recvmsg(2048, 64)
        except OSError:
            return
        for _, kind, data in ancillary:
            if kind == _SO_TIMESTAMPNS:
                seconds, nanoseconds = struct.unpack("qq", data)
                self.by_session.setdefault(session, []).append(seconds + nanoseconds / 1e9)

    def gaps_ms(self) -> list[float]:
        """From each packet to the next of the same call."""
        return [
            (later - earlier) * 1000
            for moments in self.by_session.values()
            for earlier, later in itertools.pairwise(moments)
        ]


async def _burst(carrier: Carrier, calls: int) -> list[OutgoingCall]:
    phones = [carrier.phones[f"+86137{n:08}"] for n in range(calls)]
    made = [await phone.call(_Y) for phone in phones]
    for call in made:
        await call.wait_ended(60)
    return made


async def _cost(stage: Stage, carrier: Carrier, calls: int) -> tuple[Cost, float]:
    """CPU milliseconds a call, and how long the calls took altogether."""
    loop = asyncio.get_running_loop()

    def used() -> Cost:
        return {name: tree_cpu(stage.pid(name)) for name in _PROCESSES}

    before = used()
    await asyncio.sleep(5)
    rest = {name: (now - before[name]) / 5 for name, now in used().items()}
    before, began = used(), loop.time()
    made = await _burst(carrier, calls)
    assert all(call.final_code == 403 for call in made), "not every call was refused as it should be"
    took = loop.time() - began
    cost = {name: (now - before[name] - rest[name] * took) / calls * 1000 for name, now in used().items()}
    return cost, took


async def _furnished(stage: Stage, carrier: Carrier, treatment: str) -> StageCustomer:
    trunk = await stage.add_trunk("bench", carrier.address)
    customer = await stage.add_customer("bench")
    pool = await stage.add_pool("y", customer)
    await stage.add_numbers([_Y], trunk, pool)
    await customer.request("PUT", "/v1/unknown-callers", {"treatment": treatment})
    await asyncio.sleep(3)
    return customer


async def _measure(folder: Path, calls: int, treatment: str) -> None:
    arrivals = Arrivals()
    async with Stage(folder) as stage, Carrier("127.0.0.2", edge=stage.sip) as carrier:
        await _furnished(stage, carrier, treatment)
        for n in range(calls):
            carrier.add_phone(f"+86137{n:08}", 1000)
        await _burst(carrier, 2)
        for _ in range(_ROUNDS):
            arrivals.by_session.clear()
            cost, took = await _cost(stage, carrier, calls)
            told = ", ".join(f"{name} {value:.2f}" for name, value in cost.items())
            print(f"  {treatment}: {took:.1f} s; CPU a call: {told}, together {sum(cost.values()):.2f} ms")
            if gaps := arrivals.gaps_ms():
                heard = statistics.median(len(moments) for moments in arrivals.by_session.values()) / 50
                print(
                    f"    {len(arrivals.by_session)} heard {heard:.1f} s each; from packet to packet, ms: "
                    f"median {statistics.median(gaps):.1f}, 99.9 % {percentile(gaps, 0.999):.1f}, longest "
                    f"{max(gaps):.1f}; {sum(gap > 40 for gap in gaps)} of {len(gaps)} over 40"
                )


def main() -> None:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    print(about())
    print(f"\n{calls} callers at once are refused, with and without an announcement, {_ROUNDS} rounds")
    for treatment in ("announce", "refuse"):
        place = os.environ.get("BENCH_FOLDER", ".")
        with tempfile.TemporaryDirectory(prefix="bench-", dir=place, ignore_cleanup_errors=True) as folder:
            asyncio.run(_measure(Path(folder).resolve(), calls, treatment))


if __name__ == "__main__":
    main()
