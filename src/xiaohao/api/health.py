"""Is this process alive, is it of use, and who else is there."""

import asyncio
from collections.abc import Coroutine
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from xiaohao.api.patience import leave_behind
from xiaohao.database.engine import Database
from xiaohao.settings import Settings, host_port

_PATIENCE_S: Final = 1.0
_OK: Final = "ok"
_UNREACHABLE: Final = "unreachable"


async def alive(_request: Request) -> Response:
    """`GET /healthz`: 200 while the process serves requests at all."""
    return _report(200, {"status": _OK})


async def ready(request: Request) -> Response:
    """`GET /readyz`: 200 while the database answers, else 503.

    The other processes are named for a person to see. They do not count: the API does its work without them.
    """
    settings: Settings = request.app.state.settings
    names = ("database", "switch", "worker", "edge")
    states = await asyncio.gather(
        _database(request.app.state.database),
        _bounded(_http(settings.switch.listen)),
        _bounded(_http(settings.worker.listen)),
        _bounded(_kamailio(settings.edge.rpc)),
    )
    parts = dict(zip(names, states, strict=True))
    useful = parts["database"] == _OK
    return _report(200 if useful else 503, {"status": _OK if useful else "unavailable", "parts": parts})


def _report(status: int, document: object) -> Response:
    return Response(msgspec.json.encode(document), status, media_type="application/json")


async def _bounded(check: Coroutine[None, None, str]) -> str:
    try:
        return await asyncio.wait_for(check, _PATIENCE_S)
    except (OSError, TimeoutError):
        return _UNREACHABLE


async def _database(database: Database) -> str:
    question = asyncio.ensure_future(database.ping())
    await asyncio.wait({question}, timeout=_PATIENCE_S)
    fine = question.done() and question.exception() is None
    leave_behind(question)
    return _OK if fine else _UNREACHABLE


async def _http(address: str) -> str:
    reader, writer = await asyncio.open_connection(*host_port(address))
    try:
        writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
        status = await reader.readline()
        return _OK if b" 200" in status else "unwell"
    finally:
        writer.close()


async def _kamailio(address: str) -> str:
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[str] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Answer(answered), remote_addr=host_port(address)
    )
    try:
        transport.sendto(b'{"jsonrpc":"2.0","method":"core.version","id":1}')
        return await answered
    finally:
        transport.close()


class _Answer(asyncio.DatagramProtocol):
    def __init__(self, answered: asyncio.Future[str]) -> None:
        self._answered = answered

    def datagram_received(self, data: bytes, addr: object) -> None:
        if not self._answered.done():
            self._answered.set_result(_OK if b'"result"' in data else "unwell")

    def error_received(self, exc: Exception) -> None:
        if not self._answered.done():
            self._answered.set_exception(exc)
