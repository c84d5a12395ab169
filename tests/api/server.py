"""The web process as it really runs, on a free port of its own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import httpx

_PROGRAM = """
import sys, uvloop
from pathlib import Path
from xiaohao.api.main import run
from xiaohao.log import configure
from xiaohao.planning import service as planning
from xiaohao.settings import Settings
# plans are made at a low priority, and the machine may have much else to do
planning._TIMEOUT_S = 120.0
configure("debug")
uvloop.run(run(Settings.load(Path(sys.argv[1]))))
"""


class Server:
    """A running web process."""

    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self.process = process
        self.url = url


def start(
    folder: Path, database_url: str, master_key: bytes, address: str, log: IO[bytes] | None = None
) -> subprocess.Popen[bytes]:
    """Start `xiaohao.api.main.run` with the platform's own logging."""
    config = folder / "xiaohao.toml"
    config.write_text(f'[database]\nurl = "{database_url}"\n[web]\nlisten = "{address}"\n')
    environment = {**os.environ, "XIAOHAO_MASTER_KEY": master_key.hex()}
    command = ["setpriv", "--pdeathsig=KILL", sys.executable, "-c", _PROGRAM, str(config)]
    return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


@contextmanager
def serving(
    folder: Path, database_url: str, master_key: bytes, log: IO[bytes] | None = None
) -> Iterator[Server]:
    """The same, once it answers; it is stopped at the end."""
    address = f"127.0.0.1:{_free_port()}"
    process = start(folder, database_url, master_key, address, log)
    server = Server(process, f"http://{address}")
    try:
        _wait(server)
        yield server
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _wait(server: Server) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if httpx.get(f"{server.url}/healthz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert server.process.poll() is None, "the web process ended"
        assert time.monotonic() < deadline, "the web process does not answer"
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
