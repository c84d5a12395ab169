"""Turns captures into recordings, on the machine where the captures are.

A row of the table `recordings` is written when a recorded call ends. Its capture is complete within moments;
a worker converts it, puts the file into the store, tells the customer in the same transaction that marks the
row, and only then deletes the capture. Dying at any point in between costs time and nothing else.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from xiaohao.clock import SECOND, now_us
from xiaohao.database.engine import Database
from xiaohao.notifications.model import Kind
from xiaohao.notifications.service import announce_recording
from xiaohao.recordings import capture, store, strays
from xiaohao.recordings.capture import Capture
from xiaohao.recordings.converter import ConversionFailed, Converter, Job, announcements_of
from xiaohao.recordings.files import RecordingFiles, path_of
from xiaohao.recordings.gate import StoreGate
from xiaohao.recordings.locks import CallLock
from xiaohao.recordings.model import AudioFile, Backlog, Failure, PendingRecording, StoreAway
from xiaohao.recordings.seal import new_key
from xiaohao.recordings.wire import recording_document
from xiaohao.runtime.peak import Peak
from xiaohao.secrecy import Vault
from xiaohao.settings import Settings

_log = structlog.get_logger(__name__)

#: a capture that is not complete so long after the call's end never will be: rtpengine was killed
_PATIENCE_US: Final = 10 * SECOND
_LOOK_AGAIN_S: Final = 0.3
_LOOKED_AT: Final = 500
_MOST_TRIES: Final = 8
_FIRST_RETRY_US: Final = 2 * SECOND
_LONGEST_RETRY_US: Final = 300 * SECOND
#: a conversion that takes longer has gone wrong: so much, and so much of the call's length
_LONGEST_S: Final = 60.0
_LONGEST_PART: Final = 0.1
_SWEEP_S: Final = 600.0
_SWEEP_AT_ONCE: Final = 500
_AT_MOST: Final = 4
#: how long a peak of calls may put recordings off
_PUT_OFF_S: Final = 300.0
#: recordings that are written down together, where so many wait; the first of them waits for the last
_TOGETHER: Final = 8


@dataclass(frozen=True)
class _Task:
    row: PendingRecording
    captures: list[Capture]
    lock: CallLock


@dataclass
class _Made:
    """Audio that was made, before it is stored: the draft's place and the place in the store."""

    task: _Task
    audio: AudioFile
    draft: Path
    key: bytes

    @property
    def path(self) -> str:
        """Where in the store it belongs."""
        return path_of(self.task.row.call_id, self.task.row.received_at, self.audio.format)


class Conversions:
    """Turns captures into recordings, on the machine where the captures are."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        settings: Settings,
        clock: Callable[[], int] = now_us,
    ) -> None:
        self._database = database
        self._vault = vault
        self._edge_id = settings.edge.id
        self._captures = settings.captures_folder
        self._drafts = Path(settings.runtime_folder) / "conversions"
        self._files = RecordingFiles(settings)
        self.gate = StoreGate(self._files, settings.edge.id)
        self._format, self._keep_days = settings.recording.format, settings.recording.keep_days
        self._clock = clock
        count = max(1, min((os.cpu_count() or 1) // 2, _AT_MOST))
        self._idle = [Converter() for _ in range(count)]
        self._all = list(self._idle)
        #: what the last look found and nobody has taken yet
        self._found: deque[tuple[PendingRecording, list[Capture]]] = deque()
        self._next_sweep = 0.0
        self._peak = Peak(settings)
        self._put_off_since: float | None = None
        #: recordings given up by this process, and those made in part
        self.failed = self.cut_off = 0
        #: calls that the last look found captures of, and that nobody knows
        self.strays: frozenset[str] = frozenset()

    async def convert_due(self) -> int:
        """Convert everything that is due, what becomes due meanwhile too; gives back how many got ready.

        Raises DatabaseUnavailable: what was under way is begun anew; OSError where the capture folder is
        away, which is no recording's fault.
        """
        await self._sweep()
        running: set[asyncio.Task[int]] = set()
        ready = 0
        try:
            while True:
                while self._idle and await self._may_begin() and (tasks := await self._claim()):
                    running.add(asyncio.create_task(self._convert(tasks, self._idle.pop())))
                if not running:
                    return ready
                done, running = await asyncio.wait(
                    running, timeout=_LOOK_AGAIN_S, return_when=asyncio.FIRST_COMPLETED
                )
                ready += sum(one.result() for one in done)
        finally:
            for one in running:
                one.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def pull_in(self) -> int:
        """After the clock was set back: let be due now what is due later than anything is put off."""
        now = self._clock()
        async with self._database.begin() as connection:
            return await store.pull_in(connection, now + 2 * _LONGEST_RETRY_US, now)

    async def backlog(self) -> Backlog:
        """What waits on this machine, and what failed. Raises DatabaseUnavailable."""
        async with self._database.read() as connection:
            return await store.backlog(connection, self._edge_id)

    async def close(self) -> None:
        """End the converting processes; what they were at becomes due again by itself."""
        for converter in self._all:
            await converter.close()

    async def _may_begin(self) -> bool:
        # What cannot be stored need not be made: the captures are safe where they are.
        return not self._is_put_off() and await self.gate.is_open()

    def _is_put_off(self) -> bool:
        """Whether calls need the whole machine: what recordings cost would turn calls away."""
        if not self._peak.is_now():
            self._put_off_since = None
            return False
        if self._put_off_since is None:
            self._put_off_since = time.monotonic()
        return time.monotonic() - self._put_off_since < _PUT_OFF_S

    async def _claim(self) -> list[_Task]:
        """Tasks for one converter: due, the capture complete or past waiting for, and ours."""
        if not self._found:
            await self._look()
        if not self._found:
            return []
        tasks = await asyncio.to_thread(self._take)
        if not tasks:
            return []
        try:
            async with self._database.read() as connection:
                # Another worker may have had the lock, and done the work, after the row was read.
                rows = await store.unchanged(connection, [task.row for task in tasks])
        except BaseException:
            for task in tasks:
                task.lock.release()
            raise
        for task in tasks:
            if task.row not in rows:
                task.lock.release()
        return [task for task in tasks if task.row in rows]

    async def _look(self) -> None:
        """Find what can be converted now. A look costs nearly as much for one call as for hundreds."""
        now = self._clock()
        async with self._database.read() as connection:
            rows = await store.due(connection, self._edge_id, now, _LOOKED_AT)
        if rows:
            captures = await asyncio.to_thread(capture.scan, self._captures)
            for row in rows:
                found = captures.get(row.call_id, [])
                if all(one.complete for one in found) or now - row.ended_at >= _PATIENCE_US:
                    self._found.append((row, found))

    def _take(self) -> list[_Task]:
        self._drafts.mkdir(parents=True, exist_ok=True, mode=0o700)
        tasks: list[_Task] = []
        # what waits is shared between the converters
        share = min(max(len(self._found) // len(self._all), 1), _TOGETHER)
        while self._found and len(tasks) < share:
            row, captures = self._found.popleft()
            if lock := CallLock.take(self._drafts, row.call_id):
                tasks.append(_Task(row, captures, lock))
        return tasks

    async def _convert(self, tasks: list[_Task], converter: Converter) -> int:
        """Make some recordings; gives how many got ready. Writing down several costs little more than one."""
        try:
            made = [one for task in tasks if (one := await self._make(task, converter))]
            stored = await self._keep(made)
            ready = await self._tell(stored)
            await self._remove([(one.task.row.call_id, one.task.captures) for one in ready])
        finally:
            for task in tasks:
                task.lock.release()
            self._idle.append(converter)
        for one in ready:
            call_id, audio = one.task.row.call_id, one.audio
            if audio.cut_off:
                self.cut_off += 1
                _log.warning("recording_cut_off", call_id=call_id)
            _log.info("recording_ready", call_id=call_id, bytes=audio.bytes, ms=audio.duration_ms)
        return len(ready)

    async def _make(self, task: _Task, converter: Converter) -> _Made | None:
        """The audio of one call; None where that failed, which is noted."""
        row, key = task.row, new_key()
        if row.failure == Failure.DISK_FULL:
            await self._give_up(row, "the disk was full: the call was not recorded", Failure.DISK_FULL)
            return None
        try:
            draft = await asyncio.to_thread(self._draft, row)
            told = announcements_of(row.announcements) if row.announcements else []
            moments = (row.received_at, row.ended_at)
            job = Job(task.captures, *moments, self._format, str(draft), key, told)
            length_s = (row.ended_at - row.received_at) / SECOND
            audio = await converter.convert(job, _LONGEST_S + length_s * _LONGEST_PART)
        except ConversionFailed as failure:
            await self._note_failure(row, str(failure), lasting=failure.lasting)
        except OSError as error:
            await self._note_failure(row, _told(error), lasting=False)
        else:
            return _Made(task, audio, draft, key)
        return None

    def _draft(self, row: PendingRecording) -> Path:
        """Where to convert to; what a dead process left of this call is removed."""
        self._discard(row.call_id)
        return self._drafts / f"{row.call_id}-{os.getpid()}.{self._format}"

    def _discard(self, call_id: str) -> None:
        for left in self._drafts.glob(f"{call_id}-*"):
            left.unlink(missing_ok=True)

    def _tidy(self) -> None:
        for path in self._drafts.glob("*.lock"):
            if lock := CallLock.take(self._drafts, path.stem):  # nobody is at it
                self._discard(path.stem)
                lock.release()

    async def _keep(self, made: list[_Made]) -> list[_Made]:
        """Put the files into the store; gives those that are in it. The others stay due."""
        stored = []
        for one in made:
            try:
                await self._files.put(one.path, one.draft)
            except StoreAway as error:
                self.gate.shut(str(error))
                await self._put_off(one.task.row, str(error))
            else:
                stored.append(one)
            one.draft.unlink(missing_ok=True)
        return stored

    async def _tell(self, stored: list[_Made]) -> list[_Made]:
        """Mark the rows and tell the customers; gives those whose captures may go now."""
        if not stored:
            return []
        now, ready = self._clock(), []
        async with self._database.begin() as connection:
            for one in stored:
                call_id = one.task.row.call_id
                row, audio = one.task.row, one.audio
                if not one.task.captures and await store.was_answered(connection, call_id):
                    audio = one.audio = replace(audio, cut_off=True)  # rtpengine could write nothing at all
                if not await store.put_ready(connection, self._vault, row, audio, one.key, one.path, now):
                    continue
                ready.append(one)
                await self._announce(connection, Kind.RECORDING_READY, call_id, now)
        return ready

    async def _announce(self, connection: AsyncConnection, kind: Kind, call_id: str, now: int) -> None:
        recording = await store.find(connection, call_id, None)
        if recording is not None:
            document = recording_document(recording, self._keep_days)
            await announce_recording(connection, self._vault, kind, call_id, document, now)

    async def _remove(self, finished: list[tuple[str, list[Capture]]]) -> None:
        def remove() -> None:
            for call_id, captures in finished:
                try:
                    capture.remove(self._captures, captures)
                except OSError as error:  # the next sweep tries again
                    _log.warning("capture_not_removed", call_id=call_id, error=error.strerror)

        await asyncio.to_thread(remove)

    async def _note_failure(self, row: PendingRecording, error: str, *, lasting: bool) -> None:
        """Try again later; after many tries of what will not get better, leave it to the operator.

        A full disk is no reason to give a recording up: those tries do not end.
        """
        if lasting and row.tries + 1 >= _MOST_TRIES:
            await self._give_up(row, error, Failure.CAPTURE)
        else:
            await self._put_off(row, error)

    async def _put_off(self, row: PendingRecording, error: str) -> None:
        pause = min(_FIRST_RETRY_US << min(row.tries, 20), _LONGEST_RETRY_US)
        async with self._database.begin() as connection:
            await store.put_off(connection, row, error, self._clock() + pause)
        _log.warning("recording_put_off", call_id=row.call_id, error=error, tries=row.tries + 1)

    async def _give_up(self, row: PendingRecording, error: str, failure: Failure) -> None:
        """Mark it as failed and tell the customer; what was captured stays."""
        now = self._clock()
        async with self._database.begin() as connection:
            if not await store.put_failed(connection, row, error, failure):
                return
            await self._announce(connection, Kind.RECORDING_FAILED, row.call_id, now)
        self.failed += 1
        _log.error("recording_failed", call_id=row.call_id, error=error, failure=failure.value)

    async def _sweep(self) -> None:
        """Delete what a worker that died would have deleted: captures of ready recordings, locks, drafts."""
        if time.monotonic() < self._next_sweep:
            return
        self._next_sweep = time.monotonic() + _SWEEP_S
        await asyncio.to_thread(self._tidy)
        try:
            found = await asyncio.to_thread(capture.scan, self._captures)
        except OSError:
            return  # no capture was ever made
        call_ids = list(found)
        for first in range(0, len(call_ids), _SWEEP_AT_ONCE):
            async with self._database.read() as connection:
                ready = await store.finished_of(connection, call_ids[first : first + _SWEEP_AT_ONCE])
            await self._remove([(call_id, found[call_id]) for call_id in ready])
        lost = {stray.call_id: stray for stray in await strays.find(self._database, self._captures)}
        for call_id in lost.keys() - self.strays:
            _log.error("capture_of_no_call", call_id=call_id, bytes=lost[call_id].bytes)
        self.strays = frozenset(lost)


def _told(error: OSError) -> str:
    return f"a file cannot be read or written: {error.strerror or type(error).__name__}"
