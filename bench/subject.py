"""What is measured: the platform, and the floor it is compared with, behind one face.

Both serve the same carriers on loopback: one whose side calls, one whose side is called; and a second pair of
carriers for the calls that talk (bench/talk.py). Of each pair of people is kept who calls and what is
dialled.
"""

import asyncio
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.machine import own_cpu, pss_kib, tree_cpu
from bench.sink import Sink

from xiaohao.edge import kamailio, rtpengine
from xiaohao.settings import Settings
from xiaohao.simulator.stage import Stage, StageCustomer, configuration, free_ports

CALLER_HOST, CALLEE_HOST = "127.0.0.2", "127.0.0.3"
TALKER_HOST, LISTENER_HOST = "127.0.0.4", "127.0.0.5"
PAIRS = 50
#: below the system's own port range; four ports a call
MEDIA = {"port_min": 16_000, "port_max": 31_998}
FLOOR_MEDIA = {"port_min": 2_000, "port_max": 15_998}


@dataclass(frozen=True)
class Pair:
    """Two people: the first dials this number and the second's phone rings."""

    caller: str
    callee: str
    dialled: str


class Subject(Protocol):
    """One of the two."""

    name: str
    caller_port: int
    callee_port: int
    listener_port: int

    @property
    def sip(self) -> tuple[str, int]: ...

    @property
    def pairs(self) -> list[Pair]: ...

    @property
    def talkers(self) -> list[Pair]: ...

    def cpu(self) -> dict[str, float]:
        """Seconds of CPU by kind of process, since they started."""

    def memory(self) -> dict[str, int]:
        """KiB (PSS) by kind of process."""

    def trouble(self) -> list[str]:
        """What the processes complained about, and how often."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


def _people(start: int, count: int) -> list[tuple[str, str]]:
    return [(f"138{start + i:08d}", f"139{start + i:08d}") for i in range(count)]


class Ours:
    """The whole platform, with a customer whose endpoint gets every event."""

    def __init__(self, folder: Path, *, pairs: int = PAIRS, **changes: object) -> None:
        self.name = "ours"
        media = {"dead_after_s": 600} | MEDIA
        self.sink = Sink()
        self.stage = Stage(folder, media=media, **changes)
        self._count = pairs
        self._pools: dict[str, tuple[str, str]] = {}
        self.pairs: list[Pair] = []
        self.talkers: list[Pair] = []
        #: more people for the first pair of carriers, whose calls leave no recording
        self.unrecorded: list[Pair] = []
        self.customer: StageCustomer | None = None

    @property
    def sip(self) -> tuple[str, int]:
        return self.stage.sip

    async def start(self) -> None:
        self.caller_port, self.callee_port = _port(CALLER_HOST), _port(CALLEE_HOST)
        self.listener_port = _port(LISTENER_HOST)
        await self.sink.start()
        await self.stage.start()
        self.customer = await self.stage.add_customer("bench", self.sink.url)
        self.pairs = await self._reserve(1, CALLER_HOST, CALLEE_HOST, self.callee_port, self._count)
        self.talkers = await self._reserve(2, TALKER_HOST, LISTENER_HOST, self.listener_port, self._count)
        self.unrecorded = await self._unrecorded()
        await asyncio.sleep(2.5)  # the edge learns its trunks

    async def _reserve(self, line: int, source: str, host: str, port: int, count: int) -> list[Pair]:
        assert self.customer is not None
        trunk = await self.stage.add_trunk(f"out{line}", (host, port), probe=False)
        await self.stage.add_trunk(f"in{line}", (source, 5060), probe=False, sources=[source])
        x_pool = await self.stage.add_pool(f"x{line}", self.customer)
        y_pool = await self.stage.add_pool(f"y{line}", self.customer)
        self._pools.setdefault(host, (x_pool, y_pool))
        # the first line's people without recordings need an X each, too
        await self.stage.add_numbers([f"+8617{line:02d}{i:07d}" for i in range(2 * count)], trunk, x_pool)
        await self.stage.add_numbers([f"+86106200000{line}"], trunk, y_pool)
        return [await self._bind(a, b, host, record=True) for a, b in _people(line * 1000, count)]

    async def _unrecorded(self) -> list[Pair]:
        people = _people(3000, self._count)
        return [await self._bind(a, b, CALLEE_HOST, record=False) for a, b in people]

    async def _bind(self, a: str, b: str, host: str, *, record: bool) -> Pair:
        assert self.customer is not None
        binding = await self.customer.reserve(a, b, *self._pools[host], record=record)
        return Pair(a, b, binding["dial"])

    async def quiet(self) -> None:
        """Wait, for some minutes at most, until no more events come: recordings are made, all is told."""
        count = -1
        for _ in range(60):
            if self.sink.count == count:
                break
            count = self.sink.count
            await asyncio.sleep(3)

    def cpu(self) -> dict[str, float]:
        pid = self.stage.pid
        found = {name: tree_cpu(pid(name)) for name in ("kamailio", "rtpengine", "switch", "web")}
        found["worker"] = own_cpu(pid("worker"))
        # audio is made by the worker's children
        found["conversion"] = tree_cpu(pid("worker")) - found["worker"]
        return found

    def memory(self) -> dict[str, int]:
        names = ("kamailio", "rtpengine", "switch", "web", "worker")
        return {name: pss_kib(self.stage.pid(name)) for name in names}

    def trouble(self) -> list[str]:
        found = [
            f"{name}: {line}" for name in ("kamailio",) for line in _worst(self.stage.log(name), "ERROR")
        ]
        return found + [f"switch: {line}" for line in _worst(self.stage.log("switch"), '"level":"error"')]

    async def stop(self) -> None:
        await self.stage.stop()
        self.sink.stop()


class Floor:
    """The same Kamailio and rtpengine with a static look-up (bench/floor.cfg)."""

    def __init__(self, folder: Path, *, workers: int = 4, pairs: int = PAIRS) -> None:
        self.name = "floor"
        self._folder, self._workers = folder, workers
        self.pairs = [Pair(a, b, "+861062000001") for a, b in _people(1000, pairs)]
        self.talkers = [Pair(a, b, "+861062000002") for a, b in _people(2000, pairs)]
        self._processes: list[asyncio.subprocess.Process] = []

    @property
    def sip(self) -> tuple[str, int]:
        host, port = self._settings.edge.listen[0].split(":", 1)[1].rsplit(":", 1)
        return host, int(port)

    async def start(self) -> None:
        self.caller_port, self.callee_port = _port(CALLER_HOST), _port(CALLEE_HOST)
        self.listener_port = _port(LISTENER_HOST)
        self._settings = settings = _floor_settings(self._folder, self._workers)
        sources = "\n".join(f"1 {host}" for host in _ALL_HOSTS)
        edge = kamailio.folder(settings)
        edge.mkdir(parents=True, exist_ok=True)
        (edge / "sources.txt").write_text(sources + "\n")
        (edge / "kamailio.cfg").write_text(self._configuration())
        for name, command in (
            ("rtpengine", rtpengine.command(settings)),
            ("kamailio", kamailio.command(settings)),
        ):
            with (self._folder / f"{name}.log").open("wb") as log:
                process = await asyncio.create_subprocess_exec(
                    *command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
                )
            self._processes.append(process)
            await asyncio.sleep(1.0)
            if process.returncode is not None:
                raise RuntimeError(f"the floor's {name} ended: {self._log(name)[-500:]}")

    def _configuration(self) -> str:
        rows = []
        for pairs, shown, target in (
            (self.pairs, "+8617010000001", f"{CALLEE_HOST}:{self.callee_port}"),
            (self.talkers, "+8617020000001", f"{LISTENER_HOST}:{self.listener_port}"),
        ):
            rows += [
                f'    $sht(static=>{p.caller}:{p.dialled}) = "+86{p.callee}^{shown}^{target}";' for p in pairs
            ]
        text = (Path(__file__).parent / "floor.cfg").read_text()
        values = {
            "WORKERS": str(self._workers),
            "LISTEN": self._settings.edge.listen[0],
            "MODULES": kamailio.modules_folder(),
            "NG": self._settings.media.ng,
            "FOLDER": str(kamailio.folder(self._settings)),
            "STATIC": "\n".join(rows),
        }
        for name, value in values.items():
            text = text.replace(f"@{name}@", value)
        return text

    def _log(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text(errors="replace")

    def cpu(self) -> dict[str, float]:
        return {
            name: tree_cpu(process.pid)
            for name, process in zip(("rtpengine", "kamailio"), self._processes, strict=True)
        }

    def memory(self) -> dict[str, int]:
        return {
            name: pss_kib(process.pid)
            for name, process in zip(("rtpengine", "kamailio"), self._processes, strict=True)
        }

    def trouble(self) -> list[str]:
        return [f"kamailio: {line}" for line in _worst(self._log("kamailio"), "ERROR")]

    async def stop(self) -> None:
        for process in reversed(self._processes):
            if process.returncode is None:
                process.terminate()
                await process.wait()
        self._processes = []
        shutil.rmtree(self._settings.captures_folder, ignore_errors=True)


_ALL_HOSTS = (CALLER_HOST, CALLEE_HOST, TALKER_HOST, LISTENER_HOST)


def _floor_settings(folder: Path, workers: int) -> Settings:
    """The platform's own settings, so that both get the same command lines."""
    audio = FLOOR_MEDIA["port_min"], FLOOR_MEDIA["port_max"]
    values = configuration("127.0.0.1", free_ports("127.0.0.1", 12), audio, {"media": {"dead_after_s": 600}})
    settings = Settings()
    settings.runtime_folder = str(folder / "run")
    settings.edge.listen, settings.edge.workers = [values["edge"]["listen"][0]], workers
    settings.edge.shared_memory_mb = values["edge"]["shared_memory_mb"]
    for name in ("interface", "ng", "port_min", "port_max", "dead_after_s"):
        setattr(settings.media, name, values["media"][name])
    return settings


def _port(host: str) -> int:
    return free_ports(host, 1)[0]


def _worst(log: str, mark: str) -> list[str]:
    """Lines with the mark, cut short and counted, the most frequent first."""
    counts: dict[str, int] = {}
    for line in log.splitlines():
        if mark in line:
            text = line.split(mark, 1)[1][:110]
            counts[text] = counts.get(text, 0) + 1
    return [f"{n} × {text}" for text, n in sorted(counts.items(), key=lambda one: -one[1])[:5]]


def environment() -> dict[str, str]:
    return os.environ | {"TERM": "xterm"}
