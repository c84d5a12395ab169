"""One POST and what is made of its answer."""

import asyncio
import contextlib
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from tests.notifications.conftest import SECRET
from xiaohao.notifications.sender import Failure, Subscription
from xiaohao.outgoing.network import Network
from xiaohao.outgoing.signed import Unusable

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def subscribed(url: str) -> AsyncIterator[Subscription]:
    """A customer who listens there."""
    subscription = Subscription(url, [SECRET], Network(allow_private=True))
    yield subscription
    subscription.close()


async def post(url: str, timeout_s: float = 1.0) -> Failure | None:
    """Deliver one event there."""
    async with subscribed(url) as subscription:
        return await subscription.post("evt_1", "{}", timeout_s)


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


async def answered(status: int, headers: dict[str, str] | None = None) -> Failure | None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers=headers)

    async with serving(handler) as url:
        return await post(url)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_2xx_is_a_delivery(status: int) -> None:
    assert await answered(status) is None


@pytest.mark.parametrize(
    ("status", "at_fault"), [(400, False), (404, False), (408, True), (429, True), (500, True), (503, True)]
)
async def test_every_other_status_is_a_failure(status: int, at_fault: bool) -> None:
    assert await answered(status) == Failure(f"HTTP {status}", at_fault)


async def test_redirects_are_not_followed() -> None:
    asked = []

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return web.Response(status=204)

    async with serving(elsewhere) as url:
        failure = await answered(307, {"Location": url})
    assert failure == Failure("HTTP 307, and redirects are not followed", endpoint_at_fault=False)
    assert asked == []


async def test_no_answer_in_time() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(10)
        return web.Response()

    async with serving(handler) as url:
        failure = await post(url)
    assert failure == Failure("no answer in time", endpoint_at_fault=True)


async def test_a_try_that_took_too_long_leaves_no_connection() -> None:
    closed = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        closed.set()

    async with raw_server(silent) as url:
        assert await post(url, timeout_s=0.1) == Failure("no answer in time", endpoint_at_fault=True)
        await asyncio.wait_for(closed.wait(), 5)


async def test_nobody_listens() -> None:
    async with serving(answer_nothing) as url:
        pass
    failure = await post(url)
    assert failure == Failure("no connection", endpoint_at_fault=True)


async def answer_nothing(request: web.Request) -> web.StreamResponse:
    return web.Response()


async def test_no_such_host() -> None:
    failure = await post("http://no-such-host.invalid/")
    assert failure == Failure("the host name is not known", endpoint_at_fault=True)


async def test_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(status=204)

    async with serving(handler, self_signed(tmp_path)) as url:
        failure = await post(url)
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


Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


@asynccontextmanager
async def raw_server(script: Script) -> AsyncIterator[str]:
    """A server that does what `script` says with each connection, and closes it then."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await script(reader, writer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def request(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(2)


def says(*pieces: bytes) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.005)

    return script


@pytest.mark.parametrize(
    "pieces",
    [
        [NO_CONTENT[:9], NO_CONTENT[9:14], NO_CONTENT[14:]],
        [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"2\r\nok\r\n0\r\n\r\n"],
        [b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", NO_CONTENT],
        [b"HTTP/1.1 200 OK\r\n\r\nthis ends with the connection"],
        [b"HTTP/1.0 200 OK\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", *([b"x" * 20_000] * 4)],
    ],
    ids=["pieces", "chunked", "early hints", "no length", "old", "too long"],
)
async def test_answers_in_every_form(pieces: list[bytes]) -> None:
    async with raw_server(says(*pieces)) as url:
        assert await post(url) is None


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"220 mail.example.com ESMTP\r\n\r\n", "the answer is not HTTP"),
        (b"", "the connection broke"),
        (b"HTTP/1.1 200 O", "the connection broke"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", "the connection broke"),
    ],
)
async def test_answers_in_no_form(said: bytes, error: str) -> None:
    async with raw_server(says(said)) as url:
        assert await post(url) == Failure(error, endpoint_at_fault=True)


async def test_a_kept_connection_that_closes_without_an_answer_is_replaced() -> None:
    requests: list[bytes] = []

    async def one_answer_a_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await request(reader))
        writer.write(NO_CONTENT)
        requests.append(await request(reader))

    async with raw_server(one_answer_a_connection) as url, subscribed(url) as subscription:
        assert await subscription.post("evt_1", "{}", 1.0) is None
        assert await subscription.post("evt_2", "{}", 1.0) is None
    assert [b"evt_1" in one for one in requests] == [True, False, False]
    assert requests[1] == requests[2]


async def test_a_late_answer_is_not_taken_for_the_next_one() -> None:
    answers = iter([(0.3, NO_CONTENT), (0.0, b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n")])

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        pause, answer = next(answers)
        await asyncio.sleep(pause)
        writer.write(answer)

    async with raw_server(script) as url, subscribed(url) as subscription:
        assert await subscription.post("evt_1", "{}", 0.1) == Failure("no answer in time", True)
        await asyncio.sleep(0.3)
        assert await subscription.post("evt_2", "{}", 1.0) == Failure("HTTP 500", True)


async def test_what_nobody_asked_for_closes_the_connection() -> None:
    connections = 0

    async def talkative(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await request(reader)
        writer.write(NO_CONTENT)
        await asyncio.sleep(0.05)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await reader.read()

    async with raw_server(talkative) as url, subscribed(url) as subscription:
        assert await subscription.post("evt_1", "{}", 1.0) is None
        await asyncio.sleep(0.2)
        assert await subscription.post("evt_2", "{}", 1.0) is None
    assert connections == 2


async def test_connections_are_kept_and_as_many_as_needed() -> None:
    peers = set()

    async def handler(request: web.Request) -> web.StreamResponse:
        peers.add(request.transport.get_extra_info("peername") if request.transport else None)
        await asyncio.sleep(0.01)
        return web.Response(text="thank you")

    async with serving(handler) as url, subscribed(url) as subscription:
        for _ in range(5):
            together = [subscription.post("evt_1", "{}", 1.0) for _ in range(3)]
            assert await asyncio.gather(*together) == [None, None, None]
    assert len(peers) == 3


async def test_the_request_is_complete() -> None:
    seen: list[web.Request] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        assert await request.text() == "{}"
        return web.Response(status=204)

    async with serving(handler) as url:
        with_secrets = url.replace("//", "//user:p%40ss@") + "?a=1&b=%20"
        assert await post(with_secrets) is None
    (arrived,) = seen
    assert arrived.raw_path == "/hook?a=1&b=%20"
    assert arrived.host == with_secrets.split("@")[1].split("/")[0]
    assert arrived.headers["authorization"] == "Basic dXNlcjpwQHNz"
    assert arrived.headers["content-type"] == "application/json"
    assert arrived.headers["webhook-id"] == "evt_1"


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
    with pytest.raises(Unusable) as refused:
        Subscription(url, [secret], Network(allow_private=True))
    assert url not in str(refused.value) and secret not in str(refused.value)
