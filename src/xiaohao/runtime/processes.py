"""A child process as the supervisor sees it: in its own session, killed with its parent, found if left."""

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from xiaohao.runtime import guard
from xiaohao.runtime.probes import Probe

#: Every child carries this variable; its value is the runtime folder, so that leftovers are known for ours.
MARK: Final = "XIAOHAO_RUNTIME"

# Debian keeps kamailio here, which an ordinary user's PATH leaves out.
_SYSTEM_FOLDERS: Final = ("/usr/sbin", "/sbin")

# linux/prctl.h
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Program:
    """What the supervisor keeps running.

    Parameters:
        name: of the process, its pid file and its log.
        command: the program and its arguments; it must stay in the foreground.
        ready: says whether the process does its work.
        environment: variables added to the supervisor's own.
        quotes_phones: its log may hold what phones have sent; long numbers in it are masked.
        lives: says whether the process answers at all. A process that has answered and then does not for
            `Policy.stuck_after_s` is killed, and so started again; None leaves it alone.
        parts: asked again and again before anything is stopped, until it says that the process has let go of
            what it holds, or `Policy.parting_patience_s` is over.
    """

    name: str
    command: Sequence[str]
    ready: Probe
    environment: dict[str, str] = field(default_factory=dict)
    quotes_phones: bool = False
    lives: Probe | None = None
    parts: Probe | None = None


class ProcessStatus(msgspec.Struct, frozen=True):
    """What the supervisor knows of one process. `since` is RFC 3339 in UTC."""

    pid: int | None = None
    since: str | None = None
    starts: int = 0
    last_exit: str | None = None


def search_path() -> str:
    """PATH with the folders of system programs."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), *_SYSTEM_FOLDERS])


def adopt_orphans() -> None:
    """Become the parent of grandchildren whose parent dies, so that none stays behind as a zombie."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Child:
    """One running process and everything in its process group."""

    def __init__(self, program: Program, runtime_folder: Path, output: Callable[[bytes], None]) -> None:
        """Start it. Raises OSError where the program cannot be run."""
        self._loop = asyncio.get_running_loop()
        self._output = output
        parent = os.getpid()

        def die_with_parent() -> None:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:  # it died before the line above
                os._exit(1)

        self._process = subprocess.Popen(  # noqa: S603 - our own commands
            list(program.command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - one thread forks here
            env={**os.environ, **program.environment, "PATH": search_path(), MARK: str(runtime_folder)},
        )
        self.pid: Final = self._process.pid
        self.started_at: Final = time.time()
        self._exited = self._loop.create_future()
        self._pidfd = os.pidfd_open(self.pid)
        self._loop.add_reader(self._pidfd, self._on_exit)
        assert self._process.stdout is not None  # noqa: S101 - PIPE was asked for
        self._pipe = self._process.stdout.fileno()
        os.set_blocking(self._pipe, False)
        self._loop.add_reader(self._pipe, self._on_output)

    async def wait(self) -> int:
        """The exit status of the process, negative for the signal that killed it."""
        return await asyncio.shield(self._exited)

    def terminate(self) -> None:
        """Ask the process to stop."""
        if not self._exited.done():
            self._process.terminate()

    def kill(self) -> None:
        """Kill whatever is left of the group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    async def bury(self) -> None:
        """Kill the group and wait until nothing of it is left. Called once."""
        self.kill()
        await self.wait()
        while _group_lives(self.pid):  # noqa: ASYNC110 - the kernel has no event for it
            await asyncio.sleep(0.01)
        while self._on_output():
            pass
        self._loop.remove_reader(self._pipe)
        assert self._process.stdout is not None  # noqa: S101 - PIPE was asked for
        self._process.stdout.close()

    def _on_exit(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._exited.set_result(self._process.wait())

    def _on_output(self) -> bool:
        """Pass on a piece of output; says whether there was one, so that one chatterbox stops nobody else."""
        try:
            data = os.read(self._pipe, 65_536)
        except BlockingIOError:
            return False
        if data:
            self._output(data)
        else:
            self._loop.remove_reader(self._pipe)
        return bool(data)


def _group_lives(group: int) -> bool:
    """Whether a group has a member; members that we adopted are reaped on the way."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-group, os.WNOHANG)[0]:
            pass
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


class Guard:
    """The process that kills our groups when we are gone; started again when it dies itself."""

    def __init__(self) -> None:
        self._groups: set[int] = set()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The guard's process id."""
        return self._process.pid if self._process else None

    def add(self, group: int) -> None:
        """This group must not outlive us."""
        self._groups.add(group)
        self._tell(b"+%d\n" % group)

    def remove(self, group: int) -> None:
        """This group is gone."""
        self._groups.discard(group)
        self._tell(b"-%d\n" % group)

    def check(self) -> None:
        """Start the guard if it is not there."""
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(  # noqa: S603 - our own script
                [sys.executable, "-I", "-S", guard.__file__, *map(str, sorted(self._groups))],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                bufsize=0,
            )

    def close(self) -> None:
        """Let the guard end. It kills the groups that were not removed."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            self._process.wait()

    def _tell(self, lines: bytes) -> None:
        if self._process is None or self._process.stdin is None:
            return
        try:
            self._process.stdin.write(lines)
        except BrokenPipeError:
            self._process.wait()
            self.check()


def family(runtime_folder: Path) -> list[int]:
    """The processes that run for this runtime folder, their children included; not the supervisor itself.

    Told by our mark in their environment, whatever their parent, group or pid file say.
    """
    mark = f"{MARK}={runtime_folder}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with contextlib.suppress(OSError):  # gone meanwhile, or another user's
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
    return found


def kill_leftovers(runtime_folder: Path, patience_s: float = 5.0) -> list[int]:
    """Kill what an earlier supervisor of this runtime folder left behind; says which process ids.

    Waits up to `patience_s` seconds until they are gone and their ports are free.
    """
    killed = family(runtime_folder)
    for pid in killed:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + patience_s
    while any(alive(pid) for pid in killed) and time.monotonic() < deadline:
        time.sleep(0.02)
    return killed


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead but not yet reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
