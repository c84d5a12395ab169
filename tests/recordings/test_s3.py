"""Recordings in a real S3 store: whole, encrypted, and none lost while it is killed, hung or away."""

import hashlib
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.calls_store.lives import Rows
from tests.recordings import s3
from tests.recordings.s3 import Swift, swift
from tests.recordings.test_keeping import keeping_of, removal_of
from tests.recordings.test_service import CUSTOMER, Studio, written
from tests.recordings.unseal import unsealed
from xiaohao.database.engine import Database
from xiaohao.recordings.model import RecordingState, StoreAway
from xiaohao.secrecy import Vault
from xiaohao.settings import ObjectStore

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
MARKER = "13800138000"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swift]:
    with swift(tmp_path_factory.mktemp("swift")) as store:
        (store.folder / "secret").write_text(s3.SECRET)
        yield store


@pytest.fixture
def studio(
    store: Swift, database: Database, vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Studio:
    for name in ("_FIRST_PAUSE_S", "_LONGEST_PAUSE_S"):
        monkeypatch.setattr(f"xiaohao.recordings.gate.{name}", 0.0)
    monkeypatch.setattr("xiaohao.recordings.files._REQUEST_S", 2)
    settings = ObjectStore(
        bucket=s3.BUCKET,
        prefix="one/two",
        endpoint=store.endpoint,
        access_key_id=s3.ACCESS_KEY,
        secret_file=str(store.folder / "secret"),
    )
    return Studio(database, vault, tmp_path, object_store=settings)


def object_of(store: Swift, path: str | None) -> Any:
    """What a stranger gets of the store."""
    return store.request("GET", f"/{s3.BUCKET}/one/two/{path}")


async def test_there_and_back(store: Swift, studio: Studio) -> None:
    call_id = written(await studio.ended()).call_id
    assert await studio.conversions.convert_due() == 1
    recording = await studio.recordings.get(None, call_id)
    audio = await studio.recordings.audio(CUSTOMER, call_id)
    body = b"".join([piece async for piece in audio.stream(0, audio.length)])
    assert hashlib.sha256(body).hexdigest() == recording.sha256
    assert await audio.read(44, 100) == body[44:144]
    found = object_of(store, recording.path)
    assert recording.stored is not None
    assert hashlib.sha256(found.content).hexdigest() == recording.stored.sha256
    assert body[44:444] not in found.content
    assert recording.key_sealed is not None
    key = b64decode(studio.vault.open(recording.key_sealed))
    assert unsealed(found.content, key)[: len(body)] == body
    assert (await studio.recordings.waveform(CUSTOMER, call_id, 10))["length"] == 10

    await keeping_of(studio).delete(CUSTOMER, call_id, f"{MARKER} asked")
    assert await removal_of(studio).sweep() == 1
    assert object_of(store, recording.path).status_code == 404
    assert MARKER.encode() not in store.files()
    assert not (studio.folder / "recordings").exists()
    await studio.conversions.close()


async def test_nothing_is_lost_while_the_store_is_killed_or_hangs(store: Swift, studio: Studio) -> None:
    calls = [written(await studio.ended()).call_id for _ in range(3)]
    store.kill("proxy")
    assert await studio.conversions.convert_due() == 0
    assert not studio.conversions.gate.was_open
    store.start("proxy")
    store.kill("object")
    assert await studio.conversions.convert_due() == 0
    with pytest.raises(StoreAway):
        await studio.conversions._files.check("test")
    store.start("object")
    store.pause("proxy", True)
    assert await studio.conversions.convert_due() == 0
    store.pause("proxy", False)
    for call_id in calls:
        assert (await studio.recordings.get(None, call_id)).state is RecordingState.PENDING
    assert len(list(studio.settings.captures_folder.rglob("*.pcap"))) == 3

    studio.clock.forward(600)
    assert await studio.conversions.convert_due() == 3
    assert studio.conversions.gate.was_open
    for call_id in calls:
        recording = await studio.recordings.get(None, call_id)
        assert recording.stored is not None
        body = object_of(store, recording.path).content
        assert hashlib.sha256(body).hexdigest() == recording.stored.sha256
        assert (await Rows.of(studio.database, call_id)).kinds.count("recording.ready") == 1
    assert studio.left() == []
    await studio.conversions.close()


async def test_a_deletion_waits_for_the_store(store: Swift, studio: Studio) -> None:
    call_id = written(await studio.ended()).call_id
    assert await studio.conversions.convert_due() == 1
    path = (await studio.recordings.get(None, call_id)).path
    keeping, removal = keeping_of(studio), removal_of(studio)
    store.kill("proxy")
    await keeping.delete(CUSTOMER, call_id, "no longer needed")
    assert await removal.sweep() == 0
    assert (await keeping.deletion(None, call_id)).gone_at is None
    store.start("proxy")
    assert object_of(store, path).status_code == 200  # there still, and nobody has its key
    assert await removal.sweep() == 1
    assert object_of(store, path).status_code == 404
    assert (await keeping.deletion(None, call_id)).gone_at is not None
    await studio.conversions.close()


async def test_a_wrong_secret_is_said_plainly(store: Swift, studio: Studio, tmp_path: Path) -> None:
    folder = written(await studio.ended())
    (tmp_path / "wrong").write_text("wrong")
    studio.settings.object_store.secret_file = str(tmp_path / "wrong")
    other = studio.another()
    assert await other.convert_due() == 0
    assert (await studio.row(folder.call_id))["error"] == "the store refuses us"
    await other.close()
    await studio.conversions.close()
