"""What the switch tells the database: a call began, moved on, ended. Nothing is lost, nothing is told twice.

Changes of many calls are written in one transaction (group commit) together with the events that tell the
customer of them (transactional outbox). Writing a change again changes nothing, so that whoever is not sure
that a batch was committed writes it once more.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Final

import msgspec
import structlog

from xiaohao.bindings.lookup_store import remember_last_caller
from xiaohao.bindings.model import Mode, Role
from xiaohao.calls import store
from xiaohao.calls.model import Call, State
from xiaohao.calls.wire import cdr_of_call
from xiaohao.clock import now_us
from xiaohao.database.direct import Direct, Row
from xiaohao.database.engine import CHECKPOINT_PAGES, Database, DatabaseUnavailable
from xiaohao.notifications.model import Kind
from xiaohao.notifications.store import event_insert, event_row
from xiaohao.secrecy import Vault
from xiaohao.trace.store import path_insert, path_row

_log = structlog.get_logger(__name__)

_BATCH_LIMIT: Final = 500
#: after a commit the writer rests this many times as long as the commit took, so that changes gather
_REST: Final = 3.0
_LONGEST_REST_S: Final = 0.05
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 2.0


class CallBegan(msgspec.Struct, frozen=True):
    """An INVITE arrived. Event: call.received."""

    call: Call


class CallMoved(msgspec.Struct, frozen=True):
    """A live call changed. Events: call.ringing, call.answered, at the first change that shows that state."""

    call: Call


class CallEnded(msgspec.Struct, frozen=True):
    """A call is over (`ended_at`, `ended_by`, `reason` are set). Events: call.ended, cdr.created.

    `record` says that there is a capture, of which the worker has to make a recording.
    """

    call: Call
    record: bool


class CallTraced(msgspec.Struct, frozen=True):
    """Of a call that is over nothing more will be known: its path is written. It comes after CallEnded.

    `media` is what rtpengine said when it let the call go, as it came; empty where it said nothing.
    """

    call: Call
    media: bytes = b""


Change = CallBegan | CallMoved | CallEnded | CallTraced


class CallJournal:
    """Writes changes of calls. One per process."""

    def __init__(self, db: Database, vault: Vault) -> None:
        self._db = db
        self._vault = vault
        # The worker writes all the time too: as long as it lives, tidying SQLite's log up is its work.
        self._direct = Direct(db.url, checkpoint_pages=CHECKPOINT_PAGES, fence=db.fence)
        self._statements = store.JournalStatements(self._direct.dialect)
        self._put_events = event_insert(self._direct.dialect)
        self._remember_last_caller = remember_last_caller(self._direct.dialect)
        self._put_paths = path_insert(self._direct.dialect)
        self._lock = threading.Lock()

    async def write(self, batch: Sequence[Change]) -> None:
        """Write a batch in one transaction. Raises DatabaseUnavailable: nothing of it was written, or all."""
        await asyncio.to_thread(self.write_now, batch)

    def write_now(self, batch: Sequence[Change]) -> bool:
        """The same for a thread that may wait. Tells whether there was an event among it."""
        rows = _Rows(batch, self._vault)
        statements = self._statements
        with self._lock, self._direct.write() as cursor:
            # A call that has its CDR is closed: whatever comes late must not open it again.
            known = statements.ended_calls.fetch(cursor, rows.call_ids)
            if known:
                rows.forget({call_id for (call_id,) in known})
            statements.announce(cursor)
            statements.put_calls.run(cursor, rows.calls)
            self._put_events.run(cursor, rows.events)
            statements.put_cdrs.run(cursor, rows.cdrs)
            statements.put_recordings.run(cursor, rows.recordings)
            statements.delete_calls.run(cursor, rows.ended)
            self._put_paths.run(cursor, rows.paths)
            for last_caller in rows.last_callers():
                self._remember_last_caller.run(cursor, **last_caller)
        return bool(rows.events)

    async def live(self) -> list[Call]:
        """Calls without a CDR, oldest first: those in progress, and those that a dead switch left behind."""
        async with self._db.read() as connection:
            return await store.live_calls(connection, self._vault)

    async def take_commands(self) -> list[tuple[str, str]]:
        """What the API asked for since the last time: (call id, command). Each is given out once."""
        async with self._db.begin() as connection:
            return await store.take_commands(connection)

    def close(self) -> None:
        """Give the connection back."""
        with self._lock:
            self._direct.close()


class _Rows:
    """A batch as rows of the tables. A call's row is written once, as its last change shows it."""

    def __init__(self, batch: Sequence[Change], vault: Vault) -> None:
        self.events: list[Row] = []
        self.cdrs: list[Row] = []
        self.recordings: list[Row] = []
        self.paths: list[Row] = []
        self._vault = vault
        self._now = now_us()
        #: by A and X: the newest call to each
        self._to_ax: dict[tuple[str, str], Call] = {}
        latest: dict[str, Call | None] = {}
        for change in batch:
            call = change.call
            if isinstance(change, CallTraced):
                self.paths.append(path_row(call, change.media, vault))
                continue
            if call.id in latest and latest[call.id] is None:
                continue  # it ended earlier in this batch
            if isinstance(change, CallEnded):
                latest[call.id] = None
                self._end(call, change.record)
            else:
                latest[call.id] = call
                self._go_on(call, isinstance(change, CallBegan))
        self.call_ids = list(latest)
        self.calls = [store.call_row(call, vault) for call in latest.values() if call is not None]
        self.ended = [call_id for call_id, call in latest.items() if call is None]

    def forget(self, call_ids: set[str]) -> None:
        """Drop everything of these calls but their removal from the calls in progress."""
        self.calls = [row for row in self.calls if row[0] not in call_ids]
        self.cdrs = [row for row in self.cdrs if row[0] not in call_ids]
        self.recordings = [row for row in self.recordings if row[0] not in call_ids]
        self.events = [row for row in self.events if row[2] not in call_ids]
        self.ended = list({*self.ended, *call_ids})
        self._to_ax = {key: call for key, call in self._to_ax.items() if call.id not in call_ids}

    def last_callers(self) -> list[dict[str, object]]:
        """Who is called back by whom, in the order in which every writer locks them."""
        found: list[dict[str, object]] = [
            {
                "a_key": self._vault.index(a),
                "x": x,
                "binding": call.binding_id,
                "caller_sealed": None if call.caller is None else self._vault.seal(call.caller),
            }
            for (a, x), call in self._to_ax.items()
        ]
        return sorted(found, key=lambda row: (row["a_key"], row["x"]))

    def _go_on(self, call: Call, began: bool) -> None:
        if call.routing is not None and call.routing.is_told:
            self._tell(Kind.ROUTING_ANSWER_REFUSED, call, self._now)  # once a call, as every kind
        if began:
            self._tell(Kind.RECEIVED, call, call.received_at)
            if call.mode == Mode.AX and call.role == Role.B and call.callee and call.trunk_out:
                self._to_ax[call.callee, call.dialled] = call  # it was let through: A will see it
        elif call.state is State.RINGING:
            self._tell(Kind.RINGING, call, call.ringing_at)
        elif call.state is State.ANSWERED:
            self._tell(Kind.ANSWERED, call, call.answered_at)

    def _end(self, call: Call, record: bool) -> None:
        self.cdrs.append(store.cdr_row(call, record, self._vault))
        if record or call.unrecorded:
            self.recordings.append(store.recording_row(call, self._now))
        if call.customer_id is not None:
            self._tell(Kind.ENDED, call, call.ended_at)
            self._tell(Kind.CDR_CREATED, call, call.ended_at, {"cdr": cdr_of_call(call, record)})

    def _tell(
        self,
        kind: Kind,
        call: Call,
        occurred_at: int | None,
        extra: dict[str, dict[str, object]] | None = None,
    ) -> None:
        if call.customer_id is not None:
            at = self._now if occurred_at is None else occurred_at
            self.events.append(event_row(self._vault, kind, call, at, self._now, extra=extra))


class _Mark(msgspec.Struct, frozen=True):
    """Stands in the queue behind the changes that somebody waits for."""

    reached: Callable[[], None]
    stop: bool = False


class JournalWriter:
    """Takes changes without waiting and writes them in order, in groups, however long the database is away.

    It has a thread of its own, so that neither SQL nor the disk delays a call.
    """

    def __init__(
        self, journal: CallJournal, spacing_s: float = 0.04, after_commit: Callable[[], None] | None = None
    ) -> None:
        """`spacing_s` is the least time from one commit to the next; `after_commit` is called, in the
        writer's thread, after each group that holds an event.
        """
        self._journal = journal
        self._spacing_s = spacing_s
        self._after_commit = after_commit
        self._queue: SimpleQueue[Change | _Mark] = SimpleQueue()
        #: out of the queue and not written yet
        self._taken: list[Change | _Mark] = []
        self._earliest = 0.0
        self._put = 0
        self._closing = threading.Event()
        #: changes written, and changes that could not be written because of what they hold
        self.written = 0
        self.rejected = 0
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    @property
    def depth(self) -> int:
        """Changes that are not yet in the database."""
        return self._put - self.written - self.rejected

    def put(self, change: Change) -> None:
        """Take a change as the call is now; the call may be altered afterwards. Never waits, never fails."""
        call = change.call
        self._put += 1
        snapshot = msgspec.structs.replace(
            call, tries=list(call.tries), announcements=list(call.announcements)
        )
        self._queue.put(msgspec.structs.replace(change, call=snapshot))

    async def drain(self) -> None:
        """Wait until everything put so far is in the database."""
        await self._pass_through(stop=False)

    async def close(self, patience_s: float = 10.0) -> int:
        """Write what is left, for `patience_s` seconds at most, and stop. Gives the number not written."""
        try:
            await asyncio.wait_for(self._pass_through(stop=True), patience_s)
        except TimeoutError:
            self._closing.set()
            _log.error("journal_closed_with_changes_unwritten", changes=self.depth)
        return self.depth

    async def _pass_through(self, stop: bool) -> None:
        loop = asyncio.get_running_loop()
        reached = asyncio.Event()

        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # the loop that waited is gone
                loop.call_soon_threadsafe(reached.set)

        self._queue.put(_Mark(tell, stop))
        await reached.wait()

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                if self._step():
                    return
            except Exception as error:  # noqa: BLE001 - without this thread no call would be written any more
                _log.error("journal_stumbled", error=type(error).__name__, depth=self.depth)
                self._closing.wait(_FIRST_PAUSE_S)

    def _step(self) -> bool:
        """Write the next group; True when that was the last one. After an error it begins with the same."""
        if not self._taken:
            self._taken = [self._queue.get()]
        if (wait := self._earliest - time.monotonic()) > 0:
            time.sleep(wait)
        began = time.monotonic()
        self._taken += [self._queue.get() for _ in range(min(self._queue.qsize(), _BATCH_LIMIT))]
        changes: list[Change] = [item for item in self._taken if not isinstance(item, _Mark)]
        marks = [item for item in self._taken if isinstance(item, _Mark)]
        if changes and not self._write(changes):
            return True
        self._taken = []
        # A commit costs much the same for one change and for ten: when they come fast, let some gather.
        took = time.monotonic() - began
        self._earliest = began + took + min(max(self._spacing_s, _REST * took), _LONGEST_REST_S)
        for mark in marks:
            mark.reached()
        return any(mark.stop for mark in marks)

    def _write(self, changes: list[Change]) -> bool:
        """Write a group, for ever if need be. False when the writer was closed before it was written."""
        pause, failing_since = _FIRST_PAUSE_S, 0.0
        while True:
            try:
                events = self._journal.write_now(changes)
            except DatabaseUnavailable as error:
                if not failing_since:
                    failing_since = time.monotonic()
                    _log.warning("journal_waits_for_database", error=str(error), depth=self.depth)
                if self._closing.wait(pause):
                    return False
                pause = min(pause * 2, _LONGEST_PAUSE_S)
            except Exception as error:  # noqa: BLE001 - whatever one change holds must not stop all others
                return self._write_one_by_one(changes, error)
            else:
                break
        if failing_since:
            _log.info(
                "journal_caught_up", away_s=round(time.monotonic() - failing_since, 1), depth=self.depth
            )
        self.written += len(changes)
        if events:
            self._tell()
        return True

    def _tell(self) -> None:
        if self._after_commit is None:
            return
        try:
            self._after_commit()
        except Exception as error:  # noqa: BLE001 - a hook must not end the writing
            _log.warning("journal_hook_failed", error=type(error).__name__)

    def _write_one_by_one(self, changes: list[Change], error: Exception) -> bool:
        if len(changes) > 1:
            return all(self._write([change]) for change in changes)
        self.rejected += 1
        # The exception's text may quote numbers: its kind and the call's id must do.
        _log.error(
            "journal_rejected_change",
            call_id=changes[0].call.id,
            change=type(changes[0]).__name__,
            error=type(error).__name__,
        )
        return True
