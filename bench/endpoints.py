"""Notifications to 100 endpoints of which 30 hang: how many a second, and how late at the others.

Method: a worker process over SQLite (or the database in BENCH_DATABASE) on this disk; 100 customers whose
endpoints are bare HTTP servers in a process of their own, 70 answer 204 at once and 30 take the request and
never answer. Two parts, each with 30 endpoints hanging and once more with none:

* steady: calls of all customers alternately, at a given rate in events a second; from the commit of an event
  to its arrival, at the endpoints that answer;
* backlog: events of a few thousand calls are there when the worker starts; events a second that arrive at
  the endpoints that answer, until all have.

Run: `python -m bench.endpoints [events a second] [seconds] [calls of the backlog]`
"""

import asyncio
import multiprocessing
import os
import platform
import random
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

import msgspec
import uvloop
from bench.machine import about, percentile
from tests.calls_store.lives import life

from xiaohao.calls.journal import CallJournal, Change
from xiaohao.clock import now_us
from xiaohao.database.engine import Database
from xiaohao.notifications.wake import Waker
from xiaohao.runtime.programs import command
from xiaohao.secrecy import Vault
from xiaohao.simulator.stage import free_ports
from xiaohao.tenants.service import Tenants

ENDPOINTS = 100
EVENTS = 5
_ID = re.compile(rb"webhook-id: (\S+)", re.IGNORECASE)
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


class Endpoint(asyncio.Protocol):
    """Notes when each POST came; answers 204, or never."""

    def __init__(self, arrived: dict[str, int], hangs: bool) -> None:
        self.arrived, self.hangs, self.buffer = arrived, hangs, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        length, name = _LENGTH.search(head), _ID.search(head)
        if found and length and name and len(body) >= int(length[1]):
            self.arrived.setdefault(name[1].decode(), time.time_ns() // 1000)
            self.buffer = b""
            if not self.hangs:
                self.transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")


def endpoints(ports: list[int], hanging: int, pipe: Connection) -> None:
    """The process of the endpoints: answers each question on the pipe with what has arrived since."""

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        good: dict[str, int] = {}
        bad: dict[str, int] = {}
        for place, port in enumerate(ports):
            hangs = place < hanging
            arrived = bad if hangs else good
            await loop.create_server(lambda a=arrived, h=hangs: Endpoint(a, h), "127.0.0.1", port)  # type: ignore[misc]
        pipe.send("ready")
        while await asyncio.to_thread(pipe.recv):
            pipe.send((dict(good), len(bad)))
            good.clear()

    uvloop.run(serve())


@contextmanager
def listening(hanging: int) -> Iterator[tuple[list[int], Connection]]:
    ours, theirs = multiprocessing.Pipe()
    ports = free_ports("127.0.0.1", ENDPOINTS)
    process = multiprocessing.get_context("spawn").Process(target=endpoints, args=(ports, hanging, theirs))
    process.start()
    try:
        assert ours.recv() == "ready"
        yield ports, ours
    finally:
        process.kill()
        process.join()


class House:
    """A database, 100 customers and the journal that tells of their calls."""

    def __init__(self, folder: Path) -> None:
        self.http, self.wake = free_ports("127.0.0.1", 2)
        self.url = os.environ.get("BENCH_DATABASE") or f"sqlite:///{folder}/x.db"
        (folder / "master.key").write_text(bytes(32).hex())
        self.config = folder / "xiaohao.toml"
        self.config.write_text(
            f'[database]\nurl = "{self.url}"\n[secrets]\nmaster_key_file = "master.key"\n'
            f'[worker]\nlisten = "127.0.0.1:{self.http}"\nwake = "127.0.0.1:{self.wake}"\n'
            "[notifications]\nallow_private_urls = true\n"
        )
        self.database, self.vault = Database(self.url), Vault(bytes(32))
        self.journal = CallJournal(self.database, self.vault)
        self.waker = Waker(f"127.0.0.1:{self.wake}")
        self.customers: list[str] = []

    async def open(self, ports: list[int]) -> None:
        await self.database.migrate()
        tenants = Tenants(self.database, self.vault)
        for port in ports:
            made = await tenants.create_customer("bench", f"http://127.0.0.1:{port}/")
            self.customers.append(made.id)

    async def close(self) -> None:
        self.journal.close()
        self.waker.close()
        await self.database.close()

    async def tell(self, customers: list[str]) -> dict[str, int]:
        """A whole call of each of these customers in one commit; gives the ids and when they were there."""
        batch: list[Change] = []
        ids = []
        for customer_id in customers:
            for change in life(received_at=now_us() - 65_000_000, record=False):
                call = msgspec.structs.replace(change.call, customer_id=customer_id)
                batch.append(msgspec.structs.replace(change, call=call))
            ids.append(batch[-1].call.id.replace("-", ""))
        await self.journal.write(batch)
        self.waker()
        at = now_us()
        return {f"evt_{name}{sequence:02d}": at for name in ids for sequence in range(1, EVENTS + 1)}

    async def worker(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *command("worker", self.config), stderr=asyncio.subprocess.DEVNULL
        )


def collect(pipe: Connection) -> tuple[dict[str, int], int]:
    pipe.send(True)
    good, bad = pipe.recv()
    return good, bad


async def wait_for(pipe: Connection, names: set[str], within_s: float) -> dict[str, int]:
    arrived: dict[str, int] = {}
    async with asyncio.timeout(within_s):
        while not names <= arrived.keys():
            await asyncio.sleep(0.1)
            arrived |= collect(pipe)[0]
    return arrived


async def steady(folder: Path, hanging: int, rate: float, seconds: float) -> None:
    with listening(hanging) as (ports, pipe):
        house = House(folder)
        await house.open(ports)
        worker = await house.worker()
        try:
            await wait_for(pipe, set(await house.tell(house.customers[hanging:])), 60)
            # the endpoints that hang have been found out after the first time-outs
            await house.tell(house.customers[:hanging] * 4)
            await asyncio.sleep(12)
            told: dict[str, int] = {}
            end = at = time.perf_counter()
            end += seconds
            while at < end:
                at += random.expovariate(rate / EVENTS / 4)
                await asyncio.sleep(max(at - time.perf_counter(), 0))
                chosen = random.sample(house.customers, 4)
                made = await house.tell(chosen)
                good = [customer for customer in chosen if house.customers.index(customer) >= hanging]
                names = list(made)
                for place, customer in enumerate(chosen):
                    if customer in good:
                        told |= {name: made[name] for name in names[place * EVENTS : (place + 1) * EVENTS]}
            arrived = await wait_for(pipe, set(told), 60)
            tries = collect(pipe)[1]
        finally:
            worker.kill()
            await worker.wait()
            await house.close()
    delays = [(arrived[name] - at) / 1000 for name, at in told.items()]
    print(
        f"  steady, {hanging:>2} hang: {len(told) / seconds:.0f} events a second to those that answer; "
        f"event to delivery p50 {percentile(delays, 0.5):.1f} ms, p99 {percentile(delays, 0.99):.1f} ms, "
        f"longest {max(delays):.0f} ms; events that ever reached one that hangs: {tries}"
    )


async def backlog(folder: Path, hanging: int, calls: int) -> None:
    with listening(hanging) as (ports, pipe):
        house = House(folder)
        await house.open(ports)
        names: set[str] = set()
        for _ in range(calls // ENDPOINTS):
            made = list(await house.tell(house.customers))
            names |= set(made[hanging * EVENTS :])
        worker = await house.worker()
        try:
            arrived = await wait_for(pipe, names, 300)
        finally:
            worker.kill()
            await worker.wait()
            await house.close()
    first, last = min(arrived.values()), max(arrived.values())
    print(
        f"  backlog, {hanging:>2} hang: {len(names)} events in {(last - first) / 1e6:.1f} s, "
        f"{len(names) / ((last - first) / 1e6):.0f} a second to those that answer"
    )


def main() -> None:
    rate, seconds, calls = (
        float(one) for one in (*sys.argv[1:], *("200", "20", "3000")[len(sys.argv) - 1 :])
    )
    print(about())
    print(f"{platform.python_implementation()}, {ENDPOINTS} endpoints, steady part {rate:g} events a second")
    for hanging in (0, 30):
        for part in ("steady", "backlog"):
            with tempfile.TemporaryDirectory(prefix="bench-", dir=Path.cwd()) as folder:
                if part == "steady":
                    uvloop.run(steady(Path(folder), hanging, rate, seconds))
                else:
                    uvloop.run(backlog(Path(folder), hanging, int(calls)))


if __name__ == "__main__":
    main()
