"""A web process to measure, and a client that costs little: HTTP/1.1 over kept connections, ready bodies.

The process is the platform's own (`xiaohao.api.main`), with one route more: `POST /v1/nothing`, which needs a
customer's key, takes a JSON object, does nothing and answers with `{}`. That is the empty POST.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

_PROGRAM = """
import sys, uvloop
from pathlib import Path
from bench.http_load import with_empty_post
from xiaohao.api import main
from xiaohao.settings import Settings
main.create_app = with_empty_post(main.create_app)
uvloop.run(main.run(Settings.load(Path(sys.argv[1]))))
"""


def with_empty_post(create_app):  # type: ignore[no-untyped-def]
    """`create_app`, with the route that does nothing."""
    from xiaohao.api.auth import CustomerKey
    from xiaohao.api.fields import Request
    from xiaohao.api.route import api_router

    class Nothing(Request):
        """An empty object."""

    routes = api_router("bench")

    @routes.post("/v1/nothing")
    async def nothing(key: CustomerKey, body: Nothing) -> Nothing:
        return body

    def create(*arguments):  # type: ignore[no-untyped-def]
        app = create_app(*arguments)
        app.include_router(routes)
        return app

    return create


@asynccontextmanager
async def web(folder: Path, database_url: str, master_key: bytes, port: int) -> AsyncIterator[int]:
    """A web process on a port of this machine; gives its pid."""
    config = folder / "xiaohao.toml"
    config.write_text(f'[database]\nurl = "{database_url}"\n[web]\nlisten = "127.0.0.1:{port}"\n')
    environment = {**os.environ, "XIAOHAO_MASTER_KEY": master_key.hex()}
    with (folder / "web.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: ASYNC220 - nothing else is going on
            [sys.executable, "-c", _PROGRAM, str(config)], env=environment, stdout=log, stderr=log
        )
    try:
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                if process.poll() is not None:
                    raise RuntimeError((folder / "web.log").read_text()) from None
                await asyncio.sleep(0.1)
            else:
                writer.close()
                break
        yield process.pid
    finally:
        process.terminate()
        process.wait()


@dataclass
class Load:
    """What came of a load. Seconds."""

    took: float
    waits: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.waits) / self.took


def post(path: str, key: str, body: bytes) -> bytes:
    """A whole request."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def all_out(port: int, requests: Iterator[bytes], connections: int, seconds: float) -> Load:
    """Each connection sends its next request when it has its answer, until the time is over."""
    began = time.perf_counter()
    load = Load(0.0)

    async def work() -> None:
        connection = await _Connection.open(port)
        while time.perf_counter() - began < seconds:
            request = next(requests, None)
            if request is None:
                break
            await connection.ask(request, time.perf_counter(), load)
        connection.close()

    await asyncio.gather(*(work() for _ in range(connections)))
    load.took = time.perf_counter() - began
    return load


async def at_rate(
    port: int, requests: Iterator[bytes], connections: int, rate: float, seconds: float
) -> Load:
    """Requests come at even distances, whether those before have been answered or not.

    A request that finds no connection free waits for one, and its wait counts.
    """
    load = Load(0.0)
    free: asyncio.Queue[_Connection] = asyncio.Queue()
    for _ in range(connections):
        free.put_nowait(await _Connection.open(port))

    async def ask(request: bytes, due: float) -> None:
        connection = await free.get()
        await connection.ask(request, due, load)
        free.put_nowait(connection)

    began, tasks = time.perf_counter(), []
    for place in range(int(rate * seconds)):
        due = began + place / rate
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(ask(next(requests), due)))
    await asyncio.gather(*tasks)
    load.took = time.perf_counter() - began
    while not free.empty():
        free.get_nowait().close()
    return load


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> "_Connection":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def close(self) -> None:
        self._writer.close()

    async def ask(self, request: bytes, due: float, load: Load) -> None:
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        at = head.index(b"content-length: ") + 16
        await self._reader.readexactly(int(head[at : head.index(b"\r", at)]))
        load.waits.append(time.perf_counter() - due)
        status = int(head[9:12])
        load.statuses[status] = load.statuses.get(status, 0) + 1


Body = Callable[[int], bytes]
