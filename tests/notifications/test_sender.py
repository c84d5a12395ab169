"""One POST and what is made of its answer."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from tests.notifications.conftest import SECRET
from xiaohao.notifications.sender import Endpoint, EndpointError, Failure, Sender

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def sender() -> AsyncIterator[Sender]:
    sender = Sender(timeout_s=1.0)
    yield sender
    await sender.close()


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/hook", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    yield f"http{'s' if tls else ''}://127.0.0.1:{runner.addresses[0][1]}/hook"
    await runner.cleanup()


async def answered(sender: Sender, status: int, headers: dict[str, str] | None = None) -> Failure | None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers=headers)

    async with serving(handler) as url:
        return await sender.post(Endpoint(url, SECRET), "evt_1", "{}")


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_2xx_is_a_delivery(sender: Sender, status: int) -> None:
    assert await answered(sender, status) is None


@pytest.mark.parametrize(
    ("status", "at_fault"), [(400, False), (404, False), (408, True), (429, True), (500, True), (503, True)]
)
async def test_every_other_status_is_a_failure(sender: Sender, status: int, at_fault: bool) -> None:
    assert await answered(sender, status) == Failure(f"HTTP {status}", at_fault)


async def test_redirects_are_not_followed(sender: Sender) -> None:
    asked = []

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return web.Response(status=204)

    async with serving(elsewhere) as url:
        failure = await answered(sender, 307, {"Location": url})
    assert failure == Failure("HTTP 307, and redirects are not followed", endpoint_at_fault=False)
    assert asked == []


async def test_no_answer_in_time(sender: Sender) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(10)
        return web.Response()

    async with serving(handler) as url:
        failure = await sender.post(Endpoint(url, SECRET), "evt_1", "{}")
    assert failure == Failure("no answer in time", endpoint_at_fault=True)


async def test_nobody_listens(sender: Sender) -> None:
    async with serving(answer_nothing) as url:
        pass
    failure = await sender.post(Endpoint(url, SECRET), "evt_1", "{}")
    assert failure == Failure("no connection", endpoint_at_fault=True)


async def answer_nothing(request: web.Request) -> web.StreamResponse:
    return web.Response()


async def test_no_such_host(sender: Sender) -> None:
    failure = await sender.post(Endpoint("http://no-such-host.invalid/", SECRET), "evt_1", "{}")
    assert failure == Failure("the host name is not known", endpoint_at_fault=True)


async def test_a_certificate_that_nobody_vouches_for(sender: Sender, tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(status=204)

    async with serving(handler, self_signed(tmp_path)) as url:
        failure = await sender.post(Endpoint(url, SECRET), "evt_1", "{}")
    wrong = "TLS: the certificate is not valid or the handshake failed"
    assert failure == Failure(wrong, endpoint_at_fault=True)


def self_signed(folder: Path) -> ssl.SSLContext:
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


async def raw_server(answers: list[bytes]) -> tuple[asyncio.Server, list[bytes]]:
    """Answers each request with the next of `answers` and then closes the connection; b"" closes at once."""
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        requests.append(head + await reader.readexactly(2))
        writer.write(answers[min(len(requests), len(answers)) - 1])
        await writer.drain()
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0), requests


async def test_an_answer_that_is_not_http(sender: Sender) -> None:
    server, _ = await raw_server([b"220 mail.example.com ESMTP\r\n\r\n"])
    async with server:
        port = server.sockets[0].getsockname()[1]
        failure = await sender.post(Endpoint(f"http://127.0.0.1:{port}/", SECRET), "evt_1", "{}")
    assert failure == Failure("the answer is not HTTP", endpoint_at_fault=True)


async def test_a_connection_that_closes_without_an_answer_is_tried_once_more(sender: Sender) -> None:
    server, requests = await raw_server([b"", b"HTTP/1.1 204 No Content\r\n\r\n"])
    async with server:
        port = server.sockets[0].getsockname()[1]
        failure = await sender.post(Endpoint(f"http://127.0.0.1:{port}/", SECRET), "evt_1", "{}")
    assert (failure, len(requests)) == (None, 2)
    assert requests[0] == requests[1]


async def test_connections_are_kept(sender: Sender) -> None:
    peers = set()

    async def handler(request: web.Request) -> web.StreamResponse:
        peers.add(request.transport.get_extra_info("peername") if request.transport else None)
        return web.Response(text="thank you")

    async with serving(handler) as url:
        for _ in range(5):
            assert await sender.post(Endpoint(url, SECRET), "evt_1", "{}") is None
    assert len(peers) == 1


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("ftp://example.com/", SECRET),
        ("file:///etc/passwd", SECRET),
        ("example.com/hook", SECRET),
        ("http://", SECRET),
        ("http://[::1", SECRET),
        ("https://example.com/", "whsec_"),
        ("https://example.com/", "whsec_not base64"),
    ],
)
def test_an_unusable_endpoint_is_refused_without_its_words(url: str, secret: str) -> None:
    with pytest.raises(EndpointError) as refused:
        Endpoint(url, secret)
    assert url not in str(refused.value) and secret not in str(refused.value)
