"""The web process itself: it serves, ends in order, and its page opens without the internet."""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from tests.api.server import Server, serving, start
from uvicorn.server import ServerState

from xiaohao.api.protocol import BoundedProtocol
from xiaohao.database.engine import Database
from xiaohao.secrecy import Vault
from xiaohao.tenants.service import Tenants

MASTER_KEY = bytes(range(32))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("web")
    with serving(folder, f"sqlite:///{folder}/xiaohao.db", MASTER_KEY) as server:
        yield server


def test_metrics_name_routes_and_nothing_else(server: Server) -> None:
    httpx.get(f"{server.url}/v1/customers/cus_13800138000")
    httpx.get(f"{server.url}/13800138000")
    httpx.request("PROPFIND", f"{server.url}/v1/customers")
    text = httpx.get(f"{server.url}/metrics").text
    counted = 'xiaohao_http_requests_total{method="%s",route="%s",status="%s"} '
    assert counted % ("GET", "/v1/customers/{customer_id}", "401") in text
    assert counted % ("GET", "unmatched", "404") in text
    assert 'method="other"' in text
    assert "xiaohao_http_request_seconds_bucket" in text
    assert "13800138000" not in text


def test_readiness_names_the_others(server: Server) -> None:
    response = httpx.get(f"{server.url}/readyz")
    assert response.status_code == 200
    assert set(response.json()["parts"]) == {"database", "switch", "worker", "edge"}
    assert response.json()["parts"]["database"] == "ok"


def test_the_page_of_the_api(server: Server, tmp_path: Path) -> None:
    """A browser that can reach nothing but the server shows every group of operations."""
    browser = shutil.which("chromium")
    assert browser, "chromium is missing: make install-test"
    command = [
        *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *(f"--user-data-dir={tmp_path}", "--no-first-run", "--disable-background-networking"),
        # No name is resolved and no other address reached.
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        *("--enable-logging=stderr", "--virtual-time-budget=20000", "--dump-dom"),
        f"{server.url}/docs",
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    paths = httpx.get(f"{server.url}/openapi.json").json()["paths"]
    groups = {tag for path in paths.values() for operation in path.values() for tag in operation["tags"]}
    shown = set(re.findall(r'data-tag="([^"]+)"', result.stdout))
    assert groups <= shown
    said = [line for line in result.stderr.splitlines() if ":CONSOLE" in line]
    complaints = [line for line in said if "chrome://" not in line]  # of the browser's own pages
    assert not complaints


def spoken(server: Server, *parts: bytes) -> bytes:
    """What comes back on a connection that says just this."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        for part in parts:
            connection.sendall(part)
            # A connection that is closed with something unread is reset, and the answer with it.
            time.sleep(0.1)
        answer = b""
        while chunk := connection.recv(65_536):
            answer += chunk
        return answer


@pytest.mark.parametrize(
    ("parts", "status", "code"),
    [
        ([b"\x16\x03\x01 this is TLS\r\n\r\n"], 400, "http_malformed"),
        ([b"GET /13800138000 SIP/2.0\r\n\r\n"], 400, "http_malformed"),
        ([b"GET /healthz HTTP/1.1\r\nX: ", b"x" * 66_000], 431, "head_too_large"),
        ([b"GET /", b"x" * 66_000], 431, "head_too_large"),
        ([b"GET /healthz HTTP/1.1\r\n", b"A: b\r\n" * 11_000], 431, "head_too_large"),
    ],
)
def test_what_is_no_request(server: Server, parts: list[bytes], status: int, code: str) -> None:
    head, _, body = spoken(server, *parts).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"content-type: application/problem+json" in head
    assert json.loads(body)["code"] == code
    assert httpx.get(f"{server.url}/healthz").status_code == 200


@pytest.mark.parametrize("said", [b"", b"GET /healthz HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET"])
async def test_a_head_that_never_ends(monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.5)  # longer than the patience, which is with the client and not with us
        await PlainTextResponse("done")(scope, receive, send)

    monkeypatch.setattr("xiaohao.api.protocol.HEAD_PATIENCE_S", 0.2)
    config = uvicorn.Config(app, lifespan="off", log_config=None)
    config.load()

    def protocol() -> BoundedProtocol:
        return BoundedProtocol(config=config, server_state=ServerState(), app_state={})

    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(said)
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
    assert answer.count(b"done") == said.count(b"\r\n\r\n")
    assert b"HTTP/1.1 408" in answer
    assert b"head_too_slow" in answer


def test_many_requests_on_one_connection(server: Server) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 1000 + b"\r\n\r\n"
    last = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert spoken(server, request * 200, last).count(b"HTTP/1.1 200") == 201


def test_urls_are_not_written_down(tmp_path: Path) -> None:
    with (
        (tmp_path / "log").open("wb") as log,
        serving(tmp_path, f"sqlite:///{tmp_path}/xiaohao.db", MASTER_KEY, log) as server,
    ):
        for path in ("/13800138000", "/v1/customers?a=13800138000", "/docs"):
            httpx.get(server.url + path)
        spoken(server, b"GET /13800138000 SIP/2.0\r\n\r\n")
        spoken(
            server, b"GET /13800138000 HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade, close\r\n\r\n"
        )
    written = (tmp_path / "log").read_text()
    assert "web starts" in written
    assert "13800138000" not in written


async def test_sigterm_lets_requests_end(database_url: str, tmp_path: Path) -> None:
    database = Database(database_url)
    key = await Tenants(database, Vault(MASTER_KEY)).bootstrap_operator_key()
    await database.close()
    with serving(tmp_path, database_url, MASTER_KEY) as server:
        host, port = server.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = (
            f"POST /v1/customers HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
            "Content-Type: application/json\r\nContent-Length: 12\r\n\r\n"
        )
        writer.write(head.encode())
        await writer.drain()
        await asyncio.sleep(0.3)
        os.kill(server.process.pid, signal.SIGTERM)
        await asyncio.sleep(0.3)
        writer.write(b'{"name":"x"}')
        await writer.drain()
        assert (await reader.readline()).startswith(b"HTTP/1.1 201")
        writer.close()
        assert await asyncio.to_thread(server.process.wait, 20) == 0


def test_a_taken_address_is_an_error(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        process = start(tmp_path, f"sqlite:///{tmp_path}/xiaohao.db", MASTER_KEY, address)
        assert process.wait(timeout=30) != 0
