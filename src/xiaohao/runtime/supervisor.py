"""Keeps the platform's processes running: starts, watches, starts again, stops in order, leaves none behind.

What others see of it stands in the runtime folder: `pids/NAME.pid`, `logs/NAME.log`, and `status.json`, which
says of each process its pid, since when it runs, how often it was started and how it ended last.
"""

import asyncio
import contextlib
import fcntl
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from xiaohao.runtime.errors import SupervisorError
from xiaohao.runtime.logfile import BoundedLog, NumberVeil, tail
from xiaohao.runtime.processes import (
    Child,
    Guard,
    ProcessStatus,
    Program,
    adopt_orphans,
    kill_leftovers,
    search_path,
)

_MOST_FILES: Final = 262_144


@dataclass(frozen=True)
class Policy:
    """How patient the supervisor is; all in seconds."""

    first_wait_s: float = 0.2
    longest_wait_s: float = 5.0
    #: a process that ran so long is good again: its next death is waited for like a first one
    good_after_s: float = 60.0
    #: a process asked to stop is killed after that
    stop_patience_s: float = 5.0
    ready_patience_s: float = 60.0
    #: how long is waited for those who let go of something before everything is stopped
    parting_patience_s: float = 5.0
    #: how often a process is asked whether it lives, and after how long a silence it is killed
    look_every_s: float = 5.0
    stuck_after_s: float = 30.0


class Backoff:
    """How long to wait before a dead process is started again: doubling, forgotten after a good run."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._wait_s = policy.first_wait_s

    def after(self, ran_s: float) -> float:
        """The wait after a run of `ran_s` seconds, in seconds."""
        if ran_s >= self._policy.good_after_s:
            self._wait_s = self._policy.first_wait_s
        wait_s = self._wait_s
        self._wait_s = min(self._wait_s * 2, self._policy.longest_wait_s)
        return wait_s


class Keeper:
    """Keeps one program running until it is told to stop."""

    def __init__(self, program: Program, house: "Supervisor") -> None:
        self.program = program
        self.starts = 0
        self.last_exit: int | None = None
        self.child: Child | None = None
        self._house = house
        self._stopping = asyncio.Event()
        self._gone = asyncio.Event()
        self._log = BoundedLog(house.folder / "logs" / f"{program.name}.log")
        self._veil = NumberVeil() if program.quotes_phones else None
        self._pid_file = house.folder / "pids" / f"{program.name}.pid"

    async def run(self) -> None:
        """Start the program, and again each time it ends, until `stop`."""
        backoff = Backoff(self._house.policy)
        try:
            while not self._stopping.is_set():
                began = time.monotonic()
                await self._run_once()
                if self._stopping.is_set():
                    break
                wait_s = backoff.after(time.monotonic() - began)
                self._house.say(
                    f"{self.program.name} ended ({_how(self.last_exit)}), again in {wait_s:.1f} s"
                )
                await _happens(self._stopping, wait_s)
        finally:
            self._gone.set()
            self._log.close()

    async def _run_once(self) -> None:
        try:
            child = Child(self.program, self._house.folder, self._output)
        except OSError as error:
            self._output(f"{error}\n".encode())
            self.last_exit = 127
            return
        self._house.guard.add(child.pid)
        self.child = child
        self.starts += 1
        _write_whole(self._pid_file, f"{child.pid}\n")
        self._house.write_status()
        watch = asyncio.create_task(self._kill_when_stuck(child))
        try:
            self.last_exit = await child.wait()
        finally:
            watch.cancel()
            await child.bury()
            self._house.guard.remove(child.pid)
            self.child = None
            self._pid_file.unlink(missing_ok=True)
            self._house.write_status()

    async def _kill_when_stuck(self, child: Child) -> None:
        policy, heard_at = self._house.policy, None
        while self.program.lives is not None:
            await asyncio.sleep(policy.look_every_s)
            if await self.program.lives():
                heard_at = time.monotonic()
            elif heard_at is not None and time.monotonic() - heard_at > policy.stuck_after_s:
                self._house.say(f"{self.program.name} answers nothing any more and is killed")
                child.kill()
                return

    async def stop(self) -> None:
        """Ask the program to stop, kill it when it does not, and come back when nothing of it is left."""
        self._stopping.set()
        if (child := self.child) is not None:
            child.terminate()
            if not await _happens(self._gone, self._house.policy.stop_patience_s):
                self._house.say(f"{self.program.name} did not stop in time and is killed")
                child.kill()
        await self._gone.wait()

    async def until_ready(self) -> None:
        """Wait until the program runs and its probe is content."""
        while not (self.child and await self.program.ready()):  # noqa: ASYNC110 - it is asked, it does not tell
            await asyncio.sleep(0.1)

    def status(self) -> ProcessStatus:
        """What `status.json` says of it."""
        child = self.child
        return ProcessStatus(
            pid=child.pid if child else None,
            since=datetime.fromtimestamp(child.started_at, UTC).isoformat(timespec="seconds")
            if child
            else None,
            starts=self.starts,
            last_exit=None if self.last_exit is None else _how(self.last_exit),
        )

    def _output(self, data: bytes) -> None:
        if self._veil is not None:
            data = self._veil.veil(data)
        self._log.write(data)
        if self._house.verbose:
            for line in data.decode(errors="replace").splitlines():
                _show(f"{self.program.name:>9} | {line}")


class Supervisor:
    """Runs programs from one runtime folder.

    Parameters:
        programs: in the order in which they are to be stopped; they are started together.
        folder: the runtime folder; a second supervisor for the same folder is refused.
        verbose: show the programs' output on standard error, too.
    """

    def __init__(
        self, programs: Sequence[Program], folder: Path, policy: Policy | None = None, verbose: bool = False
    ) -> None:
        self.folder = folder.resolve()
        self.policy = policy or Policy()
        self.verbose = verbose
        self.guard = Guard()
        self._programs = programs
        self._keepers: list[Keeper] = []
        self._stop = asyncio.Event()

    async def run(self, prepare: Callable[[], None], when_ready: Callable[[], None]) -> None:
        """Run everything until SIGTERM or SIGINT. A second signal kills everything at once.

        Parameters:
            prepare: called when nothing of an earlier run is left and before anything is started.
            when_ready: called once, when every program is ready.

        Raises SupervisorError where the platform does not come up.
        """
        for program in self._programs:
            if shutil.which(program.command[0], path=search_path()) is None:
                raise SupervisorError(f"{program.command[0]} is not installed")
        (self.folder / "pids").mkdir(parents=True, exist_ok=True)
        with self._only_one():
            self._log = BoundedLog(self.folder / "logs" / "supervisor.log")
            if leftovers := kill_leftovers(self.folder):
                self.say(f"killed {len(leftovers)} processes that an earlier run left behind")
            prepare()
            adopt_orphans()
            _set_limits()
            self.guard.check()
            await self._watch(when_ready)

    def say(self, text: str) -> None:
        """One line for the operator: to the supervisor's log and to standard error."""
        self._log.write(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {text}\n".encode())
        _show(text)

    def write_status(self) -> None:
        """Write `status.json`."""
        document = {keeper.program.name: keeper.status() for keeper in self._keepers}
        _write_whole(self.folder / "status.json", msgspec.json.encode(document).decode())

    async def _watch(self, when_ready: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            under_nohup = number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN
            if not under_nohup:
                loop.add_signal_handler(number, self._on_signal)
        self._keepers = [Keeper(program, self) for program in self._programs]
        tasks = [asyncio.create_task(keeper.run()) for keeper in self._keepers]
        try:
            await self._until_ready(when_ready)
            while not await _happens(self._stop, 1.0) and not any(task.done() for task in tasks):
                self.guard.check()
        finally:
            if self._stop.is_set():
                await self._part()
            for keeper in self._keepers:
                await keeper.stop()
            self.guard.close()
        await asyncio.gather(*tasks)  # a keeper ends by itself only with an error

    async def _part(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.policy.parting_patience_s):
                for keeper in self._keepers:
                    parts = keeper.program.parts
                    while parts and keeper.child and not await parts():  # noqa: ASYNC110 - as in until_ready
                        await asyncio.sleep(0.2)

    async def _until_ready(self, when_ready: Callable[[], None]) -> None:
        waits = {asyncio.create_task(keeper.until_ready()): keeper for keeper in self._keepers}
        stop: asyncio.Task[Any] = asyncio.create_task(self._stop.wait())
        everyone: asyncio.Task[Any] = asyncio.create_task(asyncio.wait(waits))
        patience_s = self.policy.ready_patience_s
        await asyncio.wait({everyone, stop}, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
        late = [keeper for task, keeper in waits.items() if not task.done()]
        tasks = [stop, everyone, *waits]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if not late:
            when_ready()
        elif not self._stop.is_set():
            raise SupervisorError(self._why_late(late))

    def _why_late(self, late: list[Keeper]) -> str:
        text = [
            f"not ready after {self.policy.ready_patience_s:g} s: {', '.join(k.program.name for k in late)}"
        ]
        for keeper in late:
            path = self.folder / "logs" / f"{keeper.program.name}.log"
            text += [f"  {keeper.program.name}: {line}" for line in tail(path)]
        return "\n".join(text)

    def _on_signal(self) -> None:
        if self._stop.is_set():
            self.say("killed at once on a second signal")
            os._exit(1)  # the guard takes the children
        self.say("stopping")
        self._stop.set()

    def _only_one(self) -> IO[str]:
        file = (self.folder / "supervisor.pid").open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            pid = file.read().strip()
            file.close()
            raise SupervisorError(f"already running with this runtime folder (process {pid})") from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        return file


async def _happens(event: asyncio.Event, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            return await event.wait()
    except TimeoutError:
        return False


def _show(line: str) -> None:
    with contextlib.suppress(OSError):  # a terminal that was closed
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def _how(code: int | None) -> str:
    if code is None:
        return "never started"
    if code >= 0:
        return f"exit status {code}"
    names = {number.value: number.name for number in signal.Signals}
    return f"signal {names.get(-code, -code)}"


def _write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old or the new one, never a half. A full disk stops nobody."""
    part = path.with_name(path.name + ".new")
    with contextlib.suppress(OSError):
        part.write_text(text)
        part.replace(path)


def _set_limits() -> None:
    """Limits that the children inherit."""
    # rtpengine opens some ten sockets and files a call.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    # The memory of a process that crashed holds real numbers and the master key.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
