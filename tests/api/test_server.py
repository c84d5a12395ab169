"""The web process itself: it serves, ends in order, and its page opens without the internet."""

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.api.server import Server, serving, start

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
    """A browser that can reach nothing but the server shows every operation."""
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
    shown = set(re.findall(r'data-path="([^"]+)"', result.stdout))
    assert set(paths) <= shown
    complaints = [line for line in result.stderr.splitlines() if ":CONSOLE" in line]
    assert not complaints


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
