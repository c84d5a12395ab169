"""CPU that the events of a call cost the worker, and the time from the fact to the POST at the customer.

Method: a worker process over SQLite on this disk; calls begin at random moments at a given rate, each
begins, rings after 0.2 s, is answered after 0.4 and ends after 0.8; this process journals them as the switch
does, and is the customer too: a bare HTTP server which answers 204 at once. CPU is the worker process' user
and system time, less what it takes when it has nothing to do. A call has five events.

Run: `python -m bench.deliveries [calls a second] [seconds]`
"""

import asyncio
import os
import platform
import random
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import cast

import msgspec
import uvloop
from tests.calls_store.lives import NOON, life

from xiaohao.calls.journal import CallEnded, CallJournal, JournalWriter
from xiaohao.database.engine import Database
from xiaohao.notifications.model import Kind, event_id
from xiaohao.notifications.wake import Waker
from xiaohao.runtime.programs import command
from xiaohao.secrecy import Vault
from xiaohao.simulator.stage import free_ports
from xiaohao.tenants.service import Tenants

KINDS = (Kind.RECEIVED, Kind.RINGING, Kind.ANSWERED, Kind.ENDED)
PAUSES = (0.2, 0.2, 0.4, 0.0)
EVENTS = 5
_ID = re.compile(rb"webhook-id: (\S+)", re.IGNORECASE)
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


class Customer(asyncio.Protocol):
    """Answers 204 to every POST and notes when it came."""

    arrived: dict[str, float]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.buffer = cast(asyncio.Transport, transport), b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        length, name = _LENGTH.search(head), _ID.search(head)
        if found and length and name and len(body) >= int(length[1]):
            self.arrived.setdefault(name[1].decode(), time.perf_counter())
            self.buffer = b""
            self.transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")


def main() -> None:
    rate = float(sys.argv[1]) if len(sys.argv) > 1 else 50.0
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 10.0
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        uvloop.run(measure(Path(folder), rate, seconds))


async def measure(folder: Path, rate: float, seconds: float) -> None:
    http, wake, port = free_ports("127.0.0.1", 3)
    (folder / "master.key").write_text(bytes(32).hex())
    config = folder / "xiaohao.toml"
    config.write_text(
        f'[database]\nurl = "sqlite:///{folder}/x.db"\n[secrets]\nmaster_key_file = "master.key"\n'
        f'[worker]\nlisten = "127.0.0.1:{http}"\nwake = "127.0.0.1:{wake}"\n'
        "[notifications]\nallow_private_urls = true\n"
    )
    database, vault = Database(f"sqlite:///{folder}/x.db"), Vault(bytes(32))
    await database.migrate()
    customer = await Tenants(database, vault).create_customer("bench", f"http://127.0.0.1:{port}/")
    Customer.arrived = {}
    server = await asyncio.get_running_loop().create_server(Customer, "127.0.0.1", port)
    journal = CallJournal(database, vault)
    writer = JournalWriter(journal, after_commit=Waker(f"127.0.0.1:{wake}"))
    worker = await asyncio.create_subprocess_exec(
        *command("worker", config), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await play(writer, customer.id, rate, 2.0)
        idle = await idle_cpu(worker.pid)
        before, started = cpu(worker.pid), time.perf_counter()
        told = await play(writer, customer.id, rate, seconds)
        spent = cpu(worker.pid) - before - idle * (time.perf_counter() - started)
    finally:
        worker.terminate()
        await worker.wait()
        server.close()
        await writer.close()
        await database.close()
    waits = sorted(Customer.arrived[name] - at for name, at in told.items())
    each = spent / len(told) * 1e6
    print(
        f"{rate:g} calls a second: worker {each * EVENTS:.0f} µs a call, {each:.0f} an event; idle "
        f"{idle * 1e3:.0f} ms a second; fact to POST: median {statistics.median(waits) * 1e3:.1f} ms, "
        f"p99 {waits[int(len(waits) * 0.99)] * 1e3:.1f} ms"
    )


async def idle_cpu(pid: int) -> float:
    """CPU seconds a second of a worker that has nothing to do."""
    await asyncio.sleep(0.5)
    before = cpu(pid)
    await asyncio.sleep(3)
    return (cpu(pid) - before) / 3


async def play(writer: JournalWriter, customer_id: str, rate: float, seconds: float) -> dict[str, float]:
    """Let calls come, at random, until all their events have arrived; gives when each was told."""
    told: dict[str, float] = {}
    end, tasks, at = time.perf_counter() + seconds, [], time.perf_counter()
    while at < end:
        at += random.expovariate(rate)
        await asyncio.sleep(at - time.perf_counter())
        tasks.append(asyncio.create_task(live(writer, customer_id, NOON + len(tasks), told)))
    await asyncio.gather(*tasks)
    async with asyncio.timeout(60):
        while not told.keys() <= Customer.arrived.keys():  # noqa: ASYNC110 - nobody tells the last one
            await asyncio.sleep(0.05)
    return told


async def live(writer: JournalWriter, customer_id: str, at: int, told: dict[str, float]) -> None:
    for change, kind, pause in zip(life(received_at=at, record=False), KINDS, PAUSES, strict=True):
        call = msgspec.structs.replace(change.call, customer_id=customer_id)
        told[event_id(call.id, kind)] = time.perf_counter()
        if isinstance(change, CallEnded):
            told[event_id(call.id, Kind.CDR_CREATED)] = time.perf_counter()
        writer.put(msgspec.structs.replace(change, call=call))
        await asyncio.sleep(pause)


def cpu(pid: int) -> float:
    """CPU seconds of a process and its threads, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
