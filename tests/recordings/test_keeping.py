"""How recordings end: on request and by rules, with proof, never under a hold, and nothing is left."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.calls_store.lives import Rows
from tests.recordings.synthetic import simple
from tests.recordings.test_service import CUSTOMER, Studio, on_one_database, written
from xiaohao.audit.model import Filter
from xiaohao.audit.service import Audit
from xiaohao.clock import DAY, SECOND
from xiaohao.database.engine import Database
from xiaohao.database.schema import audit, customers, recording_deletions, recordings
from xiaohao.errors import Refusal
from xiaohao.recordings.keeping import Cause, Keeping, Removal
from xiaohao.recordings.model import RecordingState
from xiaohao.secrecy import Vault
from xiaohao.tenants.model import Principal

OPERATOR = Principal("key_op", None, None)
REASON = "the caller 13800138000 asked for it"


@pytest.fixture
async def studio(database: Database, vault: Vault, tmp_path: Path) -> AsyncIterator[Studio]:
    studio = Studio(database, vault, tmp_path)
    async with database.begin() as connection:
        row = {"id": "cus_1", "name": "one", "state": "active", "created_at": 0, "updated_at": 0}
        await connection.execute(customers.insert().values(**row))
    yield studio
    for conversions in studio.opened:
        await conversions.close()


def keeping_of(studio: Studio) -> Keeping:
    return Keeping(studio.database, studio.vault, Audit(studio.database, studio.vault), studio.clock)


def removal_of(studio: Studio) -> Removal:
    return Removal(studio.database, studio.settings, studio.clock)


async def ready(studio: Studio, count: int = 1) -> list[str]:
    """Calls with finished recordings."""
    ended_at = studio.clock.now - 60 * SECOND
    calls = [written(await studio.ended(ended_at=ended_at)).call_id for _ in range(count)]
    assert await studio.conversions.convert_due() == count
    return calls


def objects(studio: Studio) -> list[Path]:
    return [path for path in (studio.folder / "recordings").rglob("*") if path.is_file()]


async def test_a_deletion_is_proven_and_nothing_is_left(studio: Studio) -> None:
    keeping, removal = keeping_of(studio), removal_of(studio)
    [call_id] = await ready(studio)
    [sealed] = objects(studio)
    digest = hashlib.sha256(sealed.read_bytes()).hexdigest()
    before = await studio.recordings.get(None, call_id)

    with pytest.raises(Refusal, match="not_found"):
        await keeping.delete(Principal("key_2", "cus_2", None), call_id, REASON)
    begun = await keeping.delete(CUSTOMER, call_id, REASON)
    assert begun.gone_at is None
    row = await studio.row(call_id)
    assert (row["state"], row["audio_key_sealed"]) == ("deleting", None)
    for refused in (
        studio.recordings.audio(CUSTOMER, call_id),
        keeping.delete(CUSTOMER, call_id, REASON),
        keeping.hold(OPERATOR, call_id, REASON),
    ):
        with pytest.raises(Refusal, match="recording_deleted"):
            await refused

    studio.clock.forward(3)
    assert await removal.sweep() == 1
    proof = await keeping.deletion("cus_1", call_id)
    assert (proof.cause, proof.key_id, proof.asked_by) == (Cause.REQUEST, "key_1", "cus_1")
    assert (proof.reason, proof.size, proof.sha256) == (REASON, before.size, before.sha256)
    assert (proof.stored_sha256, proof.gone_at) == (digest, studio.clock.now)
    assert objects(studio) == []
    assert (await studio.recordings.get("cus_1", call_id)).state is RecordingState.DELETED
    assert await removal.sweep() == 0
    with pytest.raises(Refusal, match="not_found"):
        await keeping.deletion("cus_2", call_id)
    [entry] = await Audit(studio.database, studio.vault).page("cus_1", None, 10, Filter())
    assert (entry.action, entry.subject) == ("recording_delete", call_id)
    assert entry.details == {"reason": REASON}
    async with studio.database.read() as connection:
        for table in (recordings, recording_deletions, audit):
            for found in await connection.execute(select(table)):
                assert "13800138000" not in str(tuple(found))


@on_one_database
async def test_captures_of_a_failed_one_go_too(studio: Studio) -> None:
    folder = await studio.ended()
    folder.write(b"garbage" * 30, simple(["PCMA"]))
    for _ in range(8):
        assert await studio.conversions.convert_due() == 0
        studio.clock.now = max(studio.clock.now, (await studio.row(folder.call_id))["due_at"])
    assert (await studio.row(folder.call_id))["failure"] == "capture"
    assert len(folder.files()) == 2
    await keeping_of(studio).delete(CUSTOMER, folder.call_id, REASON)
    assert await removal_of(studio).sweep() == 1
    assert studio.left() == []


async def test_a_hold_keeps_it_from_everybody(studio: Studio) -> None:
    keeping, removal = keeping_of(studio), removal_of(studio)
    held, other = await ready(studio, 2)
    await keeping.hold(OPERATOR, held, REASON)
    with pytest.raises(Refusal, match="recording_held"):
        await keeping.delete(CUSTOMER, held, REASON)
    studio.clock.forward(181 * 86_400)
    assert await removal.sweep() == 1
    assert (await studio.recordings.get(None, other)).state is RecordingState.DELETED
    await keeping.release(OPERATOR, held, REASON)
    assert await removal.sweep() == 1
    proof = await keeping.deletion(None, held)
    assert (proof.cause, proof.key_id, proof.reason) == (Cause.RETENTION, None, None)


async def test_rules_reach_what_is_there_and_what_comes(studio: Studio) -> None:
    keeping, removal = keeping_of(studio), removal_of(studio)
    [older] = await ready(studio)
    await keeping.set_rule(OPERATOR, "cus_1", 7)
    assert [rule.is_applied for rule in await keeping.rules("", 10)] == [False]
    assert await removal.sweep() == 0
    [newer] = await ready(studio)
    assert [rule.is_applied for rule in await keeping.rules("", 10)] == [True]
    for call_id in (older, newer):
        row = await studio.row(call_id)
        assert row["delete_at"] == row["ended_at"] + 7 * DAY
    await keeping.set_rule(OPERATOR, "cus_1", 0)
    assert await removal.sweep() == 0
    studio.clock.forward(1000 * 86_400)
    assert await removal.sweep() == 0  # for ever
    await keeping.set_rule(OPERATOR, "cus_1", None)
    assert await removal.sweep() == 2  # as all others
    assert await keeping.rules("", 10) == []
    with pytest.raises(Refusal, match="not_found"):
        await keeping.set_rule(OPERATOR, "cus_of_nobody", 7)


@on_one_database
async def test_a_full_disk_is_told_as_a_failure_and_never_converted(studio: Studio) -> None:
    folder = await studio.ended_unrecorded()
    assert await studio.conversions.convert_due() == 0
    recording = await studio.recordings.get("cus_1", folder.call_id)
    assert (recording.state, recording.failure) == (RecordingState.FAILED, "disk_full")
    events: Any = (await Rows.of(studio.database, folder.call_id)).events
    [told] = [row for row in events if row["kind"] == "recording.failed"]
    assert '"failure":"disk_full"' in studio.vault.open(told["body_sealed"])
    with pytest.raises(Refusal, match="recording_never_made"):
        await studio.recordings.retry(folder.call_id)
    assert objects(studio) == []
