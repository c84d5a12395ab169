"""Whole calls whose customers decide: what asking adds to their set-up, and what dead customers do to it.

Method: the whole platform over SQLite, SIPp as both carriers; ten customers with five callers each. At 50
calls a second every call is asked about at an endpoint in a process of its own that answers after 20 ms and
notes how long it really took. In turns all customers answer, or two of the ten take the question and say
nothing, so that their calls wait for the deadline of 800 ms, or for nothing once the breaker is open, and go
to their default destination. What counts are the calls of the other eight: milliseconds from INVITE to
INVITE, and the same without what their endpoint took for that call.

Run: `python -m bench.scheme2 [SECONDS [TURNS]]`
"""

import asyncio
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from bench.latency import OF_CALLEE, OF_CALLER, invites
from bench.machine import about, percentile
from bench.sipp import Outcome, call, callee
from bench.subject import CALLEE_HOST, CALLER_HOST, MEDIA, Pair

from xiaohao.simulator.stage import Stage, StageCustomer, free_ports

_RATE: Final = 50
_CUSTOMERS, _DEAD, _EACH = 10, 2, 5
_ANSWER_S: Final = 0.020


def _endpoint(port: int, pipe: Connection) -> None:
    """The process of the customers' endpoints; what it took for each caller is given when asked for."""
    took: dict[str, list[float]] = {}

    async def answer(request: web.Request) -> web.Response:
        began = time.perf_counter()
        question = (await request.json())["data"]
        await asyncio.sleep(3600 if request.match_info["manner"] == "dead" else _ANSWER_S)
        caller = question["caller"].removeprefix("+86")
        x = "+8617010000" + question["dialled"][-3:]
        body = {"action": "connect", "callee": _callee_of(caller), "display": x, "record": False}
        response = web.json_response(body)
        await response.prepare(request)
        await response.write_eof()
        took.setdefault(caller, []).append((time.perf_counter() - began) * 1000)
        return response

    async def serve() -> None:
        app = web.Application()
        app.router.add_post("/{manner}/{customer}", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        pipe.send("ready")
        while await asyncio.to_thread(pipe.recv):
            pipe.send(dict(took))
            took.clear()

    asyncio.run(serve())


def _callee_of(caller: str) -> str:
    return caller.replace("138", "139", 1)


@dataclass
class House:
    """The platform with its customers, as SIPp's carriers see it."""

    stage: Stage
    port: int
    name: str = "ours"
    pairs: list[Pair] = field(default_factory=list)
    caller_port: int = 0
    callee_port: int = 0
    customers: list[StageCustomer] = field(default_factory=list)
    ys: list[str] = field(default_factory=list)

    @property
    def sip(self) -> tuple[str, int]:
        return self.stage.sip

    async def furnish(self) -> None:
        self.callee_port = free_ports(CALLEE_HOST, 1)[0]
        out = await self.stage.add_trunk("out", (CALLEE_HOST, self.callee_port), probe=False)
        await self.stage.add_trunk("in", (CALLER_HOST, 5060), probe=False, sources=[CALLER_HOST])
        for serial in range(_CUSTOMERS):
            customer = await self.stage.add_customer(f"customer {serial}")
            pool = await self.stage.add_pool(f"numbers {serial}", customer)
            y = f"+861062000{serial:03}"
            await self.stage.add_numbers([y, f"+8617010000{serial:03}"], out, pool)
            self.customers.append(customer)
            self.ys.append(y)

    def people(self, customers: range) -> "House":
        """The same with the callers of these customers only, for a SIPp of their own."""
        pairs = [
            Pair(caller := f"138{serial:04}{place:04}", _callee_of(caller), self.ys[serial])
            for place in range(_EACH)
            for serial in customers
        ]
        port = free_ports(CALLER_HOST, 1)[0]
        return House(self.stage, self.port, pairs=pairs, caller_port=port, callee_port=self.callee_port)

    async def plan(self, dead: int) -> None:
        """Have so many customers hang; a URL of its own begins with a closed breaker."""
        for serial, customer in enumerate(self.customers):
            manner = "dead" if serial < dead else "alive"
            url = f"http://127.0.0.1:{self.port}/{manner}/{serial}"
            there = {"callee": "13900009999", "record": False}
            plan = {"url": url, "everything": True, "fallbacks": ["default"], "default": there}
            await customer.request("PUT", "/v1/routing", plan)
        await asyncio.sleep(2)


def _times(house: House, folder: Path, took: dict[str, list[float]]) -> tuple[list[float], list[float]]:
    """From INVITE to INVITE, and the same beyond the endpoint's own answer. Raises RuntimeError."""
    out = invites(folder / "others" / "caller.msg", OF_CALLER)
    into = invites(folder / "callee.msg", OF_CALLEE)
    whole, beyond = [], []
    for pair in house.pairs:
        left, arrived, asked = (
            found.get(name, [])
            for found, name in ((out, pair.caller), (into, pair.callee), (took, pair.caller))
        )
        if not len(left) == len(arrived) == len(asked):
            raise RuntimeError(f"{len(left)} INVITEs, {len(asked)} questions, {len(arrived)} INVITEs")
        for before, after, own in zip(left, arrived, asked, strict=True):
            whole.append((after - before) * 1000)
            beyond.append(whole[-1] - own)
    return whole, beyond


async def _turn(
    house: House, folder: Path, seconds: float, pipe: Connection
) -> tuple[list[float], list[float]]:
    for name in ("others", "few"):
        (folder / name).mkdir(exist_ok=True)
    for old in ("others/caller.msg", "callee.msg"):
        (folder / old).unlink(missing_ok=True)
    others, few = house.people(range(_DEAD, _CUSTOMERS)), house.people(range(_DEAD))
    pipe.send(True)
    pipe.recv()
    async with callee(others, folder, folder / "callee.msg"):  # type: ignore[arg-type]
        outcomes: list[Outcome] = await asyncio.gather(
            call(
                others,  # type: ignore[arg-type]
                folder / "others",
                _RATE * (_CUSTOMERS - _DEAD) / _CUSTOMERS,
                seconds,
                trace=folder / "others" / "caller.msg",
            ),
            call(few, folder / "few", _RATE * _DEAD / _CUSTOMERS, seconds),  # type: ignore[arg-type]
        )
    pipe.send(True)
    took: dict[str, list[float]] = pipe.recv()
    if not all(outcome.clean for outcome in outcomes):
        raise RuntimeError(f"not every call went through: {outcomes}")
    return _times(others, folder, took)


def _say(what: str, times: list[float]) -> None:
    print(
        f"    {what}: p50 {statistics.median(times):.1f} ms, p99 {percentile(times, 0.99):.1f} ms,"
        f" longest {max(times):.1f} ms"
    )


async def _measure(folder: Path, seconds: float, turns: int, port: int, pipe: Connection) -> None:
    changes: dict[str, Any] = {"media": {"dead_after_s": 600} | MEDIA}
    async with Stage(folder / "stage", **changes) as stage:
        house = House(stage, port)
        await house.furnish()
        await house.plan(0)
        await _turn(house, folder, 3, pipe)  # connections are made, and caches are filled
        everything: dict[int, tuple[list[float], list[float]]] = {0: ([], []), _DEAD: ([], [])}
        for turn in range(turns):
            for dead, kept in everything.items():
                await house.plan(dead)
                for kind, times in zip(kept, await _turn(house, folder, seconds, pipe), strict=True):
                    kind += times
                print(f"  turn {turn + 1}, {dead} of {_CUSTOMERS} are dead: load {os.getloadavg()[0]:.1f}")
                _say("INVITE to INVITE so far", kept[0])
        for dead, (whole, beyond) in everything.items():
            print(f"  {dead} of {_CUSTOMERS} customers are dead, {len(whole)} calls of the others")
            _say("INVITE in to INVITE out", whole)
            _say("beyond the endpoint's own answer", beyond)


def main() -> None:
    """Measure and print."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    turns = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    print(about())
    ours, theirs = multiprocessing.Pipe()
    port = free_ports("127.0.0.1", 1)[0]
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_endpoint, args=(port, theirs), daemon=True)
    process.start()
    try:
        assert ours.recv() == "ready"
        place = os.environ.get("BENCH_FOLDER", ".")
        with tempfile.TemporaryDirectory(prefix="bench-", dir=place, ignore_cleanup_errors=True) as folder:
            asyncio.run(_measure(Path(folder).resolve(), seconds, turns, port, ours))
    finally:
        process.kill()  # its hanging requests would each have a last word
        process.join()


if __name__ == "__main__":
    main()
