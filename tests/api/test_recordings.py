"""A call's recording over HTTP: what is known of it, and its audio in ranges."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import update
from tests.api.facts import ended, journal_of
from tests.api.test_problems import problem

from xiaohao.clock import now_us
from xiaohao.database.engine import Database
from xiaohao.database.schema import recordings
from xiaohao.recordings.http import RecordingView
from xiaohao.secrecy import Vault
from xiaohao.settings import Settings

AUDIO = bytes(range(256)) * 40


@pytest.fixture
async def call_id(database: Database, vault: Vault, customer_id: str) -> str:
    async with journal_of(database, vault) as journal:
        return (await ended(journal, customer_id, record=True)).id


async def finish(database: Database, call_id: str, **values: Any) -> None:
    async with database.begin() as connection:
        await connection.execute(update(recordings).where(recordings.c.call_id == call_id).values(**values))


@pytest.fixture
async def ready(database: Database, settings: Settings, call_id: str) -> str:
    """A recording whose conversion is done."""
    path = f"2026/11/23/{call_id}.wav"
    file = Path(settings.recording.folder) / path
    file.parent.mkdir(parents=True)
    file.write_bytes(AUDIO)
    facts = {"bytes": len(AUDIO), "sha256": "0" * 64, "duration_ms": 320, "ready_at": now_us()}
    await finish(database, call_id, state="ready", path=path, format="wav", **facts)
    return f"/v1/recordings/{call_id}"


def remove_files(folder: Path) -> None:
    for file in folder.rglob("*.wav"):
        file.unlink()


async def test_before_it_is_ready(customer: httpx.AsyncClient, call_id: str) -> None:
    cdr = (await customer.get(f"/v1/cdrs/{call_id}")).json()
    document = (await customer.get(cdr["recording"])).json()
    assert document["state"] == "pending"
    assert document["url"] is None
    assert "error" not in document
    problem(await customer.get(f"{cdr['recording']}/audio"), 409, "recording_not_ready")
    problem(await customer.get(f"/v1/recordings/{call_id[:-1]}"), 404, "not_found")


async def test_when_it_is_ready(customer: httpx.AsyncClient, ready: str) -> None:
    document = (await customer.get(ready)).json()
    assert document["state"] == "ready"
    assert document["duration_ms"] == 320
    assert document["url"] == f"{ready}/audio"
    response = await customer.get(document["url"])
    assert response.status_code == 200
    assert response.content == AUDIO
    assert response.headers["content-type"] == document["media_type"] == "audio/wav"
    assert response.headers["accept-ranges"] == "bytes"
    assert response.headers["cache-control"] == "no-store"
    assert document["call_id"] in response.headers["content-disposition"]
    head = await customer.head(document["url"])
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["content-length"] == str(len(AUDIO))


async def test_ranges(customer: httpx.AsyncClient, ready: str) -> None:
    end = len(AUDIO) - 1
    for asked, first, last in (
        ("bytes=0-99", 0, 99),
        ("bytes=100-", 100, end),
        ("bytes=-100", end - 99, end),
        ("bytes=0-999999", 0, end),
        ("Bytes = 5-5", 5, 5),
        ("bytes=-999999", 0, end),
    ):
        response = await customer.get(f"{ready}/audio", headers={"Range": asked})
        assert response.status_code == 206, asked
        assert response.headers["content-range"] == f"bytes {first}-{last}/{len(AUDIO)}"
        assert response.content == AUDIO[first : last + 1]


async def test_ranges_behind_the_end(customer: httpx.AsyncClient, ready: str) -> None:
    for asked in ("bytes=10240-", "bytes=10240-10250", "bytes=-0"):
        response = await customer.get(f"{ready}/audio", headers={"Range": asked})
        problem(response, 416, "range_not_satisfiable")
        assert response.headers["content-range"] == f"bytes */{len(AUDIO)}"


async def test_other_ranges_are_ignored(customer: httpx.AsyncClient, ready: str) -> None:
    others = ["bytes=9-5", "bytes=-", "bytes=a-b", "bytes", "lines=0-1", "bytes=0-1,5-6", "bytes=0-1,,"]
    for asked in [*others, ""]:
        response = await customer.get(f"{ready}/audio", headers={"Range": asked})
        assert response.status_code == 200, asked
        assert response.content == AUDIO


async def test_going_on_with_another_file(customer: httpx.AsyncClient, ready: str) -> None:
    etag = (await customer.head(f"{ready}/audio")).headers["etag"]
    same = await customer.get(f"{ready}/audio", headers={"Range": "bytes=0-9", "If-Range": etag})
    other = await customer.get(f"{ready}/audio", headers={"Range": "bytes=0-9", "If-Range": '"x"'})
    assert (same.status_code, other.status_code) == (206, 200)


async def test_a_file_that_is_gone(customer: httpx.AsyncClient, ready: str, settings: Settings) -> None:
    remove_files(Path(settings.recording.folder))
    problem(await customer.get(f"{ready}/audio"), 404, "recording_file_missing")


async def test_a_failed_one_is_tried_again(
    customer: httpx.AsyncClient, operator: httpx.AsyncClient, database: Database, call_id: str
) -> None:
    path = f"/v1/recordings/{call_id}"
    problem(await operator.post(f"{path}/retry"), 404, "not_found")
    await finish(database, call_id, state="failed", error="no packets", tries=8)
    problem(await customer.get(f"{path}/audio"), 409, "recording_failed")
    assert "error" not in (await customer.get(path)).json()
    assert (await operator.get(path)).json()["error"] == "no packets"
    problem(await customer.post(f"{path}/retry"), 403, "operator_key_required")
    response = await operator.post(f"{path}/retry")
    assert response.status_code == 202
    assert response.json()["state"] == "pending"


async def test_the_description_names_every_member(operator: httpx.AsyncClient, call_id: str) -> None:
    document = (await operator.get(f"/v1/recordings/{call_id}")).json()
    assert set(document) == set(RecordingView.model_fields)
