"""What goes wrong, and when: for each part of the platform a series of mishaps, drawn from one seed.

A mishap is made good before the next one of the same part; those of different parts overlap as they like.
"""

import asyncio
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.calls.crowd import until
from tests.calls.test_outages import family_of
from tests.postgresql import Cluster
from xiaohao.runtime.processes import alive
from xiaohao.simulator.customer import CustomerEndpoint, failing, fast, flapping, hanging, slow
from xiaohao.simulator.stage import Stage

from .bucket import Bucket

#: what a mishap is: entered to break something, left to make it good
Mishap = Callable[[random.Random], AbstractAsyncContextManager[None]]
#: until the mishap is over; a process that was killed comes back by itself
_SHORTEST_S, _LONGEST_S = 0.5, 8.0
_ROOM = 2 << 30


@dataclass
class Deck:
    """The mishaps by part and name, and what has happened so far."""

    seed: int
    parts: dict[str, dict[str, Mishap]]
    happened: Counter[str] = field(default_factory=Counter)
    log: list[str] = field(default_factory=list)

    async def play(self, seconds: float, mean_gap_s: float) -> None:
        """Let things go wrong for so long; when this returns everything is whole again."""
        began = time.monotonic()
        await asyncio.gather(
            *(self._play(part, mishaps, began, seconds, mean_gap_s) for part, mishaps in self.parts.items())
        )

    async def _play(
        self, part: str, mishaps: dict[str, Mishap], began: float, seconds: float, mean_gap_s: float
    ) -> None:
        dice = random.Random(f"{self.seed} {part}")
        # each mishap of a part comes up once before one comes up again
        turn: list[str] = []
        at = dice.uniform(0.2, 1.0) * mean_gap_s
        while at < seconds:
            await asyncio.sleep(max(began + at - time.monotonic(), 0))
            turn = turn or dice.sample(sorted(mishaps), len(mishaps))
            name = turn.pop()
            lasts = min(dice.uniform(_SHORTEST_S, _LONGEST_S), mean_gap_s)
            self.happened[f"{part}: {name}"] += 1
            self.log.append(f"{time.monotonic() - began:7.1f} s  {part}: {name} for {lasts:.1f} s")
            async with mishaps[name](dice):
                await asyncio.sleep(lasts)
            at = max(time.monotonic() - began, at) + dice.uniform(0.3, 1.7) * mean_gap_s


def deck(
    seed: int,
    stage: Stage,
    endpoint: CustomerEndpoint,
    cluster: Cluster | None,
    store: "Store",
    clock: "Clock",
    bucket: Bucket | None = None,
) -> Deck:
    """Everything that can go wrong here."""
    parts: dict[str, dict[str, Mishap]] = {
        name: {"killed": _killed(stage, name), "stopped": _stopped(lambda name=name: [stage.pid(name)])}  # type: ignore[misc]
        for name in ("switch", "web", "worker")
    }
    parts["endpoint"] = {
        "away": _away(endpoint),
        **{
            name: _manner(endpoint, manner)
            for name, manner in {
                "failing": failing(),
                "hanging": hanging(),
                "slow": slow(3),
                "flapping": flapping(),
            }.items()
        },
    }
    parts["database"] = (
        {"locked": _locked(stage)}
        if cluster is None
        else {
            "crashed": _crashed(cluster),
            "backend killed": _backend_killed(cluster),
            "stopped": _stopped(lambda: family_of(cluster.pid)),
        }
    )
    away: dict[str, Mishap] = {"cut off": store.cut_off}
    if bucket is not None:
        away = {"cut off": bucket.cut_off, "killed": bucket.killed, "stopped": bucket.stopped}
    elif store.is_small:
        away["full"] = store.full
    parts["store"] = away
    if clock.can_be_set:
        parts["clock"] = {"an hour forth": clock.set_by(3600), "an hour back": clock.set_by(-3600)}
    return Deck(seed, parts)


# Processes


def _killed(stage: Stage, name: str) -> Mishap:
    @asynccontextmanager
    async def mishap(_: random.Random) -> AsyncIterator[None]:
        with suppress(OSError):  # it has just died of another mishap and is not back yet
            os.kill(stage.pid(name), signal.SIGKILL)
        yield

    return mishap


def _stopped(pids: Callable[[], list[int]]) -> Mishap:
    @asynccontextmanager
    async def mishap(_: random.Random) -> AsyncIterator[None]:
        found: list[int] = []
        with suppress(OSError):
            found = pids()
        for pid in found:
            with suppress(OSError):
                os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in found:
                with suppress(OSError):
                    os.kill(pid, signal.SIGCONT)

    return mishap


# The database


def _locked(stage: Stage) -> Mishap:
    @asynccontextmanager
    async def mishap(_: random.Random) -> AsyncIterator[None]:
        path = stage.settings.database.url.removeprefix("sqlite:///")
        connection = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
        await asyncio.to_thread(connection.execute, "BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")
            connection.close()

    return mishap


def _crashed(cluster: Cluster) -> Mishap:
    @asynccontextmanager
    async def mishap(_: random.Random) -> AsyncIterator[None]:
        pid = cluster.pid
        os.kill(pid, signal.SIGQUIT)
        await until(lambda: not alive(pid), "the server's end")
        try:
            yield
        finally:
            await asyncio.to_thread(cluster.serve)

    return mishap


def _backend_killed(cluster: Cluster) -> Mishap:
    @asynccontextmanager
    async def mishap(dice: random.Random) -> AsyncIterator[None]:
        # the server then throws everybody out and recovers
        with suppress(OSError):
            os.kill(dice.choice(family_of(cluster.pid)[1:]), signal.SIGKILL)
        yield

    return mishap


# The customer


def _manner(endpoint: CustomerEndpoint, manner: object) -> Mishap:
    @asynccontextmanager
    async def mishap(_: random.Random) -> AsyncIterator[None]:
        endpoint.manner = manner  # type: ignore[assignment]
        try:
            yield
        finally:
            endpoint.manner = fast()

    return mishap


def _away(endpoint: CustomerEndpoint) -> Mishap:
    @asynccontextmanager
    async def mishap(_: random.Random) -> AsyncIterator[None]:
        await endpoint.stop()
        try:
            yield
        finally:
            await endpoint.start()

    return mishap


# The machine's clock


class Clock:
    """The clock that the platform's processes see: `clock.c`, preloaded into each of them.

    The clock that cannot be set stays as it is; so does that of PostgreSQL, and of all who call.
    """

    def __init__(self, folder: Path, can_be_set: bool) -> None:
        self.can_be_set = can_be_set
        self._file = folder / "clock"
        self._library = folder / "clock.so"
        self._file.write_bytes(bytes(8))

    def _set(self, seconds: int) -> None:
        # in place: the processes have it mapped
        with self._file.open("r+b") as file:
            file.write(seconds.to_bytes(8, sys.byteorder, signed=True))

    @contextmanager
    def in_environment(self) -> Iterator[None]:
        """What is started inside goes by this clock."""
        if not self.can_be_set:
            yield
            return
        source = Path(__file__).with_name("clock.c")
        made = ("gcc", "-O2", "-Wall", "-shared", "-fPIC", "-o", str(self._library), str(source))
        subprocess.run(made, check=True)
        changes = {"LD_PRELOAD": str(self._library), "XIAOHAO_CLOCK": str(self._file)}
        os.environ.update(changes)
        try:
            yield
        finally:
            for name in changes:
                del os.environ[name]

    def set_by(self, seconds: int) -> Mishap:
        """Wrong by so much, and then right again."""

        @asynccontextmanager
        async def mishap(_: random.Random) -> AsyncIterator[None]:
            self._set(seconds)
            try:
                yield
            finally:
                self._set(0)

        return mishap


# The store of recordings


class Store:
    """The recordings' folder, on a file system of its own where that is allowed, so that it can be full."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.folder = place / "recordings"
        self.is_small = False

    @classmethod
    @contextmanager
    def at(cls, place: Path) -> Iterator["Store"]:
        """Make it; a file system of its own needs the rights of root."""
        store = cls(place)
        place.mkdir(parents=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={_ROOM}", "recordings", str(place)]
        store.is_small = subprocess.run(mount, check=False, capture_output=True).returncode == 0
        try:
            yield store
        finally:
            if store.is_small:
                subprocess.run(["umount", "--lazy", str(place)], check=True)

    async def _resize(self, size: Callable[[], int]) -> None:
        """Give it so much room; while it is being written to that may need another try."""
        for _ in range(100):
            command = ["mount", "-o", f"remount,size={size()}", str(self.place)]
            if (await asyncio.to_thread(subprocess.run, command, capture_output=True)).returncode == 0:
                return
            await asyncio.sleep(0.05)
        raise RuntimeError("the store's file system cannot be resized")

    @asynccontextmanager
    async def full(self, _: random.Random) -> AsyncIterator[None]:
        """Not a byte more goes in."""
        # a size of 0 would be none at all
        await self._resize(lambda: max(shutil.disk_usage(self.place).used, 4096))
        try:
            yield
        finally:
            await self._resize(lambda: _ROOM)

    @asynccontextmanager
    async def cut_off(self, _: random.Random) -> AsyncIterator[None]:
        """Something else lies where the folder was."""
        away = self.folder.with_name("away")
        with suppress(FileNotFoundError):  # nothing was ever stored
            self.folder.rename(away)
        self.folder.touch()
        try:
            yield
        finally:
            self.folder.unlink()
            if away.exists():
                away.rename(self.folder)
