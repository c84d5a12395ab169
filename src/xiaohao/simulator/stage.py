"""A whole platform on loopback in a folder of its own, ports and all: for the demo, tests and benchmarks.

It is the real thing: `xiaohao up` with a configuration file, driven over its HTTP API only.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import aiohttp

from xiaohao.edge.addresses import every_listener, listeners
from xiaohao.numbers.model import Kind, kind_of
from xiaohao.settings import Settings

#: where the ports of a stage may begin, for audio (four a call) and to listen at: below and above what Linux
#: gives out (net.ipv4.ip_local_port_range), and apart from where a platform listens by itself
_AUDIO: Final = range(10_000, 30_000, 2_000)
_LISTENERS: Final = range(61_000, 65_500, 20)


class StageError(Exception):
    """The platform did not start, or its API refused a request; the text says what it answered."""


def free_ports(host: str, count: int) -> list[int]:
    """Ports that are free for TCP and UDP at this moment."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    kept: list[socket.socket] = []
    ports: list[int] = []
    while len(ports) < count:
        stream = socket.socket(family, socket.SOCK_STREAM)
        stream.bind((host, 0))
        port = stream.getsockname()[1]
        datagram = socket.socket(family, socket.SOCK_DGRAM)
        kept += [stream, datagram]
        try:
            datagram.bind((host, port))
        except OSError:
            continue
        ports.append(port)
    for item in kept:
        item.close()
    return ports


class OwnPorts:
    """A range of ports that nobody else has until `release`, also while who listens there is started again.

    A port that Linux gives out may be another's by then. rtpengine takes even a port that another rtpengine
    has, or Kamailio (all bind with SO_REUSEADDR), and one of them hears nothing then. The range's last port,
    which is given to nobody, is held as the sign that it is taken.
    """

    def __init__(self, host: str, starts: range = _LISTENERS) -> None:
        """Raises StageError where all of the ranges that begin at `starts` are taken."""
        self._sign = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for start in starts:
            try:
                self._sign.bind((host, start + starts.step - 1))
            except OSError:
                continue
            self.ports = range(start, start + starts.step - 2)
            return
        self._sign.close()
        raise StageError(f"too many platforms on {host}: no ports are left")

    def release(self) -> None:
        """Let others have them."""
        self._sign.close()


def _toml(values: dict[str, Any]) -> str:
    def literal(value: Any) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, list):
            return "[" + ", ".join(literal(item) for item in value) + "]"
        return f'"{value}"' if isinstance(value, str) else str(value)

    plain = [f"{k} = {literal(v)}" for k, v in values.items() if not isinstance(v, dict)]
    tables = [
        "\n".join([f"\n[{name}]", *(f"{k} = {literal(v)}" for k, v in table.items())])
        for name, table in values.items()
        if isinstance(table, dict)
    ]
    return "\n".join([*plain, *tables]) + "\n"


def configuration(
    host: str, ports: Sequence[int], audio: tuple[int, int], changes: dict[str, Any]
) -> dict[str, Any]:
    """A configuration with twelve `ports` on `host`, and those for `audio` (first, last).

    `changes` are laid over it, table by table.
    """
    sip, evapi, rpc, ng, web, worker, wake, switch, announcer, inside, keys, hep = ports[:12]
    values: dict[str, Any] = {
        "runtime_folder": "run",
        "log_level": "info",
        "database": {},
        "edge": {
            "listen": [f"udp:{host}:{sip}", f"tcp:{host}:{sip}"],
            "evapi": f"{host}:{evapi}",
            "rpc": f"{host}:{rpc}",
            "workers": 4,
            "shared_memory_mb": 512,
            "probe_s": 2,
        },
        "media": {"interface": host, "ng": f"{host}:{ng}", "port_min": audio[0], "port_max": audio[1]},
        "calls": {},
        "announcements": {
            "listen": f"{host}:{announcer}",
            "edge": f"{host}:{inside}",
            "keys": f"{host}:{keys}",
        },
        "recording": {},
        "web": {"listen": f"{host}:{web}"},
        "worker": {"listen": f"{host}:{worker}", "wake": f"{host}:{wake}"},
        # the simulated customers listen on this machine
        "notifications": {"allow_private_urls": True},
        "switch": {"listen": f"{host}:{switch}"},
        "trace": {"listen": f"{host}:{hep}"},
    }
    for name, change in changes.items():
        values[name] = values.get(name, {}) | change if isinstance(change, dict) else change
    return values


class Stage:
    """Starts, serves and stops one platform. `changes` alter its configuration file."""

    def __init__(self, folder: Path, *, host: str = "127.0.0.1", **changes: Any) -> None:
        self.folder, self.host = folder, host
        self.config = folder / "xiaohao.toml"
        self._changes = changes
        self._process: asyncio.subprocess.Process | None = None
        self._session: aiohttp.ClientSession | None = None
        self._ports: list[OwnPorts] = []
        self._operator_key = ""
        self.settings = Settings()

    @property
    def sip(self) -> tuple[str, int]:
        """Where carriers send calls."""
        return every_listener(self.settings.edge)[0].here

    @property
    def sip_over_ipv6(self) -> tuple[str, int]:
        """Where carriers with IPv6 send calls. Raises KeyError where the edge does not listen there."""
        return listeners(self.settings.edge)["udp6"].here

    @property
    def url(self) -> str:
        """The API's address."""
        return f"http://{self.settings.web.listen}"

    async def start(self) -> None:
        """Write the configuration and start everything. Raises StageError with its last words."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._ports = [OwnPorts(self.host, starts) for starts in (_LISTENERS, _AUDIO)]
        ports, audio = (own.ports for own in self._ports)
        values = configuration(self.host, ports, (audio[0], audio[-1]), self._changes)
        self.config.write_text(_toml(values))
        self.settings = Settings.load(self.config)
        await self.up()
        # a kept connection may be closed by the other side at the moment of the next request
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))
        self._operator_key = (await self.command("key", "create", "--operator")).strip().splitlines()[-1]

    async def up(self) -> None:
        """Start the processes (again) and wait until they are ready. Raises StageError."""
        self._process = await asyncio.create_subprocess_exec(
            # nobody else ends the platform of a process that was killed
            *("setpriv", "--pdeathsig=TERM"),
            *(sys.executable, "-m", "xiaohao.cli", "up", "--config", str(self.config)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        said: list[str] = []
        try:
            async with asyncio.timeout(60):
                await self._until_ready(self._process, said)
        except TimeoutError:
            await self.stop()
            raise StageError("the platform did not get ready:\n" + "".join(said[-20:])) from None

    async def _until_ready(self, process: asyncio.subprocess.Process, said: list[str]) -> None:
        assert process.stdout is not None  # noqa: S101 – opened as a pipe
        while line := (await process.stdout.readline()).decode():
            said.append(line)
            if line.startswith("xiaohao is ready"):
                return
        raise StageError("the platform ended at once:\n" + "".join(said[-20:]))

    async def stop(self) -> None:
        """Stop everything and wait for it."""
        if self._session is not None:
            await self._session.close()
            self._session = None
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.terminate()
            await process.communicate()

    async def __aenter__(self) -> "Stage":
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        for own in self._ports:
            own.release()

    async def command(self, *arguments: str) -> str:
        """What `xiaohao ARGUMENTS --config …` prints. Raises StageError."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "xiaohao.cli", *arguments, "--config", str(self.config)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, error = await process.communicate()
        if process.returncode:
            raise StageError(f"xiaohao {arguments[0]}: {error.decode()[-500:]}")
        return out.decode()

    def pid(self, name: str) -> int:
        """The process id of kamailio, rtpengine, switch, web or worker."""
        return int((Path(self.settings.runtime_folder) / "pids" / f"{name}.pid").read_text())

    def log(self, name: str) -> str:
        """What a process has written so far."""
        folder = Path(self.settings.runtime_folder) / "logs"
        return "".join(path.read_text(errors="replace") for path in sorted(folder.glob(f"{name}*")))

    async def request(self, method: str, path: str, body: Any = None, *, key: str | None = None) -> Any:
        """The JSON that the API answers; the operator's key unless `key` is given. Raises StageError."""
        status, answer = await self.attempt(method, path, body, key=key)
        if status >= 400:
            raise StageError(f"{method} {path}: {status} {answer}")
        return answer

    async def attempt(
        self, method: str, path: str, body: Any = None, *, key: str | None = None
    ) -> tuple[int, Any]:
        """Status and JSON, refusals too."""
        assert self._session is not None  # noqa: S101 – start() opens it
        headers = {"Authorization": f"Bearer {key or self._operator_key}"}
        async with self._session.request(method, self.url + path, json=body, headers=headers) as response:
            text = await response.read()
            if response.content_type.endswith("json"):
                return response.status, await response.json(content_type=None)
            return response.status, text

    # What an operator sets up

    async def add_trunk(self, name: str, address: tuple[str, int], **spec: Any) -> str:
        """A trunk to a simulated carrier at this address; gives its id."""
        host, port = address
        target = {"host": host, "port": port, "transport": spec.pop("transport", "udp")}
        body = {"carrier": name, "targets": [target], "sources": [host]} | spec
        return str((await self.request("POST", "/v1/trunks", {"name": name, "spec": body}))["id"])

    async def add_customer(self, name: str, webhook_url: str | None = None) -> "StageCustomer":
        """A customer with an API key."""
        made = await self.request("POST", "/v1/customers", {"name": name, "webhook_url": webhook_url})
        key = await self.request("POST", f"/v1/customers/{made['id']}/keys", {"label": "stage"})
        return StageCustomer(self, str(made["id"]), str(key["key"]))

    async def add_pool(self, name: str, customer: "StageCustomer", recycle_s: int = 60) -> str:
        """A pool of the customer's; gives its id."""
        body = {"name": name, "recycle_s": recycle_s, "customer_id": customer.id}
        return str((await self.request("POST", "/v1/pools", body))["id"])

    async def add_numbers(self, numbers: list[str], trunk_id: str, pool_id: str) -> None:
        """Put numbers of this trunk into a pool, the mobile ones verified."""
        proof = {"verification": {"documents": ["stage"]}}
        entries = [
            {"number": number, "pool_id": pool_id, "trunk_id": trunk_id}
            | (proof if kind_of(number) is Kind.MOBILE else {})
            for number in numbers
        ]
        await self.request("POST", "/v1/numbers", {"numbers": entries})


class StageCustomer:
    """A customer of a stage, and what its back end asks for."""

    def __init__(self, stage: Stage, customer_id: str, key: str) -> None:
        self._stage, self.id, self.key = stage, customer_id, key

    async def request(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON that the API answers to this customer. Raises StageError."""
        return await self._stage.request(method, path, body, key=self.key)

    async def secret(self) -> str:
        """What signs the customer's notifications."""
        return str((await self.request("GET", "/v1/webhook"))["secret"])

    async def reserve(self, a: str, b: str, x_pool: str, y_pool: str, **terms: Any) -> dict[str, Any]:
        """Reserve a call between A and B; the answer says which number A dials."""
        body = {"a": a, "b": b, "x_pool": x_pool, "y_pool": y_pool} | terms
        made: dict[str, Any] = await self.request("POST", "/v1/bindings", body)
        return made
