"""What ends recordings: somebody's wish or the end of their time; and what keeps them: a legal hold.

A deletion has two steps. The first destroys the recording's key and writes down who wanted it, why and what
there was: from then on nobody can read any copy of it. The second, of the worker on the machine that recorded
the call, removes the object and what is left of the capture, looks whether they are gone, and says so.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import RowMapping

from xiaohao.audit.model import Action
from xiaohao.audit.service import Audit
from xiaohao.clock import DAY, now_us
from xiaohao.database.engine import Database
from xiaohao.errors import conflict, not_found
from xiaohao.recordings import capture, keeping_store, store
from xiaohao.recordings.files import RecordingFiles
from xiaohao.recordings.model import Recording, RecordingState, StoreAway
from xiaohao.secrecy import Vault
from xiaohao.settings import Settings
from xiaohao.tenants.model import Principal

_log = structlog.get_logger(__name__)

LONGEST_DAYS: Final = 36_500
_AT_ONCE: Final = 500


class Cause(StrEnum):
    """Why a recording was deleted."""

    REQUEST = "request"
    RETENTION = "retention"


@dataclass(frozen=True)
class Deletion:
    """The proof of a deletion; moments in µs since the epoch. `gone_at` None: remains are being removed."""

    call_id: str
    asked_at: int
    cause: Cause
    key_id: str | None
    asked_by: str | None
    reason: str | None
    size: int | None
    sha256: str | None
    stored_bytes: int | None
    stored_sha256: str | None
    gone_at: int | None


@dataclass(frozen=True)
class Rule:
    """For how many days the recordings of a customer or pool are kept; 0: for ever."""

    scope_id: str
    keep_days: int
    changed_at: int
    is_applied: bool


class Keeping:
    """What can be asked for. Where `customer_id` is None, the operator asks."""

    def __init__(
        self, database: Database, vault: Vault, audit: Audit, clock: Callable[[], int] = now_us
    ) -> None:
        self._database, self._vault, self._audit, self._clock = database, vault, audit, clock

    async def delete(self, principal: Principal, call_id: str, reason: str) -> Deletion:
        """Delete a recording for good.

        Raises Refusal: `not_found`, `recording_held`, `recording_not_ready`, `recording_deleted`.
        """
        async with self._database.begin() as connection:
            found = await store.find(connection, call_id, principal.customer_id, lock=True)
            _check_deletable(found)
            values = {
                "asked_at": self._clock(),
                "cause": Cause.REQUEST.value,
                "key_id": principal.key_id,
                "asked_by": principal.customer_id,
                "reason_sealed": self._vault.seal(reason),
            }
            row = await keeping_store.row_of(connection, call_id)
            await keeping_store.begin_deletion(connection, [row], values)
            said = {"reason": reason}
            await self._audit.record(
                connection, principal, Action.RECORDING_DELETE, thing=call_id, details=said
            )
        return await self.deletion(principal.customer_id, call_id)

    async def deletion(self, customer_id: str | None, call_id: str) -> Deletion:
        """The proof of a deletion. Raises Refusal: `not_found`."""
        async with self._database.read() as connection:
            row = await keeping_store.deletion(connection, call_id, customer_id)
        if row is None:
            raise not_found("deletion of a recording")
        return self._deletion(row)

    async def hold(self, principal: Principal, call_id: str, reason: str) -> None:
        """Put a recording under a legal hold. Raises Refusal as `delete`: a second hold finds it held."""
        await self._hold(principal, call_id, reason, held=True)

    async def release(self, principal: Principal, call_id: str, reason: str) -> None:
        """Take a legal hold off. Raises Refusal: `not_found`, `recording_not_held`, and as `delete`."""
        await self._hold(principal, call_id, reason, held=False)

    async def _hold(self, principal: Principal, call_id: str, reason: str, *, held: bool) -> None:
        async with self._database.begin() as connection:
            found = await store.find(connection, call_id, principal.customer_id, lock=True)
            if found is None:
                raise not_found("recording")
            _check_there(found)
            if not held and found.held_at is None:
                raise conflict("recording_not_held", "The recording is not held", "No legal hold is on it.")
            if held and found.held_at is not None:
                raise conflict("recording_held", "The recording is held", "It is under a legal hold already.")
            at, sealed = (self._clock(), self._vault.seal(reason)) if held else (None, None)
            await keeping_store.hold(connection, call_id, at, sealed)
            action = Action.RECORDING_HOLD if held else Action.RECORDING_RELEASE
            await self._audit.record(connection, principal, action, thing=call_id, details={"reason": reason})

    async def set_rule(self, principal: Principal, scope_id: str, keep_days: int | None) -> None:
        """Keep the recordings of a customer or pool for so many days, 0: for ever; None: as all others.

        A pool's rule goes before its customer's. Raises Refusal: `not_found`.
        """
        async with self._database.begin() as connection:
            if not await keeping_store.is_scope(connection, scope_id):
                raise not_found("customer or pool")
            await keeping_store.put_rule(connection, scope_id, keep_days, self._clock())
            said = {"keep_days": keep_days}
            await self._audit.record(
                connection, principal, Action.RECORDING_RULE, thing=scope_id, details=said
            )

    async def rules(self, after: str, limit: int) -> list[Rule]:
        """At most `limit` rules, of scopes that come after `after`."""
        async with self._database.read() as connection:
            rows = await keeping_store.rules(connection, after, limit)
        return [
            Rule(row["scope_id"], row["keep_days"], row["changed_at"], row["applied_to"] is None)
            for row in rows
        ]

    def _deletion(self, row: RowMapping) -> Deletion:
        sealed = row["reason_sealed"]
        same = ("call_id", "asked_at", "key_id", "asked_by", "sha256", "stored_bytes", "stored_sha256")
        return Deletion(
            **{name: row[name] for name in (*same, "gone_at")},
            cause=Cause(row["cause"]),
            reason=None if sealed is None else self._vault.open(sealed),
            size=row["bytes"],
        )


def _check_deletable(recording: Recording | None) -> None:
    if recording is None:
        raise not_found("recording")
    _check_there(recording)
    if recording.held_at is not None:
        raise conflict(
            "recording_held", "The recording is held", "It is under a legal hold and cannot be deleted."
        )
    if recording.state is RecordingState.PENDING:
        raise conflict(
            "recording_not_ready", "The recording is not ready", "The call's audio is still being made."
        )


def _check_there(recording: Recording) -> None:
    if recording.state in (RecordingState.DELETING, RecordingState.DELETED):
        raise conflict("recording_deleted", "The recording was deleted", "Nobody can hear it any more.")


class Removal:
    """The worker's side, on the machine where the calls were recorded."""

    def __init__(self, database: Database, settings: Settings, clock: Callable[[], int] = now_us) -> None:
        self._database, self._clock = database, clock
        self._files = RecordingFiles(settings)
        self._edge_id, self._keep_days = settings.edge.id, settings.recording.keep_days
        self._captures = settings.captures_folder
        self._drafts = Path(settings.runtime_folder) / "conversions"

    async def sweep(self) -> int:
        """Apply rules that changed, delete what is due, remove what is left; gives how many are gone now.

        Raises DatabaseUnavailable, OSError. A store that is away is asked again the next time.
        """
        while await self._apply_a_page():
            pass
        while await self._expire():
            pass
        gone = 0
        while count := await self._remove():
            gone += count
        return gone

    async def _apply_a_page(self) -> bool:
        """Give a page of recordings the times that a changed rule wants; whether there was one."""
        async with self._database.begin() as connection:
            rule = await keeping_store.changed_rule(connection)
            if rule is None:
                return False
            scope_id, after = rule["scope_id"], rule["applied_to"]
            rows = await keeping_store.kept_by(connection, scope_id, after, _AT_ONCE)
            scopes = {row[name] for row in rows for name in ("customer_id", "pool_id")} - {None}
            known = await store.rules_of(connection, sorted(scopes))
            moments: defaultdict[int | None, list[str]] = defaultdict(list)
            for row in rows:
                days = known.get(row["pool_id"], known.get(row["customer_id"]))
                moments[store.delete_at(row["ended_at"], days)].append(row["call_id"])
            await keeping_store.put_delete_at(connection, moments)
            done = len(rows) < _AT_ONCE
            await keeping_store.applied(connection, rule, None if done else rows[-1]["call_id"])
        return True

    async def _expire(self) -> bool:
        """Begin the deletion of what is due; whether there may be more of it."""
        now = self._clock()
        before = now - self._keep_days * DAY if self._keep_days else None
        async with self._database.begin() as connection:
            rows = await keeping_store.expired(connection, now, before, _AT_ONCE)
            if rows:
                values = {"asked_at": now, "cause": Cause.RETENTION.value}
                await keeping_store.begin_deletion(connection, rows, values)
        return len(rows) == _AT_ONCE

    async def _remove(self) -> int:
        """Remove what is left of some recordings; gives of how many nothing is left any more."""
        async with self._database.read() as connection:
            rows = await keeping_store.deleting(connection, self._edge_id, _AT_ONCE)
        if not rows:
            return 0
        captures = await asyncio.to_thread(self._scan)
        gone = []
        for call_id, path in rows:
            try:
                if path is not None:
                    await self._files.delete(path)
                    if await self._files.size(path) is not None:
                        _log.error("recording_not_removed", call_id=call_id)
                        continue
            except StoreAway as error:
                _log.warning("recording_not_removed", call_id=call_id, error=str(error))
                break
            await asyncio.to_thread(self._clear, call_id, captures.get(call_id, []))
            gone.append(call_id)
        if gone:
            async with self._database.begin() as connection:
                await keeping_store.put_gone(connection, gone, self._clock())
        return len(gone)

    def _scan(self) -> dict[str, list[capture.Capture]]:
        try:
            return capture.scan(self._captures)
        except FileNotFoundError:
            return {}  # no call was ever recorded here

    def _clear(self, call_id: str, captures: list[capture.Capture]) -> None:
        """Delete what is left in the capture folder, and what a conversion left. Raises OSError."""
        capture.remove(self._captures, captures)
        for left in self._drafts.glob(f"{call_id}-*"):
            left.unlink(missing_ok=True)
