"""A call's recording over HTTP: what is known of it, and its audio in ranges."""

import random
from base64 import b64encode
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import update
from tests.api.facts import ended, journal_of
from tests.api.test_problems import problem
from tests.recordings.unseal import KEY

from xiaohao.clock import now_us
from xiaohao.database.engine import Database
from xiaohao.database.schema import recordings
from xiaohao.recordings.http import RecordingView
from xiaohao.recordings.links import Link
from xiaohao.recordings.picture import Picture
from xiaohao.recordings.seal import seal
from xiaohao.secrecy import Vault
from xiaohao.settings import Settings

#: more than three chunks of what is sealed
AUDIO = random.Random(5).randbytes(200_000)
PICTURE = Picture(8000, 1200, bytes([250, 5, 0, 0] * 2 + [200, 9, 1, 2]), ([(50, 120)], []))


@pytest.fixture
async def call_id(database: Database, vault: Vault, customer_id: str) -> str:
    async with journal_of(database, vault) as journal:
        return (await ended(journal, customer_id, record=True)).id


async def finish(database: Database, call_id: str, **values: Any) -> None:
    async with database.begin() as connection:
        await connection.execute(update(recordings).where(recordings.c.call_id == call_id).values(**values))


@pytest.fixture
async def ready(database: Database, vault: Vault, settings: Settings, call_id: str) -> str:
    """A recording whose conversion is done."""
    path = f"2026/11/23/{call_id}.wav.sealed"
    file = Path(settings.recording.folder) / path
    file.parent.mkdir(parents=True)
    plain = file.with_name("plain")
    plain.write_bytes(AUDIO)
    stored = seal(plain, PICTURE.packed(), file, KEY)
    plain.unlink()
    facts = {"bytes": len(AUDIO), "sha256": "0" * 64, "duration_ms": 320, "ready_at": now_us(), "rate": 8000}
    facts["cut_off"] = True
    facts |= {"picture_bytes": len(PICTURE.packed()), "stored_bytes": stored.bytes}
    facts |= {"stored_sha256": stored.sha256, "audio_key_sealed": vault.seal(b64encode(KEY).decode())}
    facts |= {"codecs_a": "PCMA,AMR", "voice_ms_a": 120, "level_a": -20.5, "codecs_b": "", "voice_ms_b": 0}
    await finish(database, call_id, state="ready", path=path, format="wav", **facts)
    return f"/v1/recordings/{call_id}"


def remove_files(folder: Path) -> None:
    for file in folder.rglob("*.sealed"):
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
    assert (document["duration_ms"], document["cut_off"]) == (320, True)
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
        ("bytes=65530-131080", 65530, 131080),
        ("bytes=65536-131071", 65536, 131071),
        ("bytes=199999-", end, end),
        ("Bytes = 5-5", 5, 5),
        ("bytes=-999999", 0, end),
    ):
        response = await customer.get(f"{ready}/audio", headers={"Range": asked})
        assert response.status_code == 206, asked
        assert response.headers["content-range"] == f"bytes {first}-{last}/{len(AUDIO)}"
        assert response.content == AUDIO[first : last + 1]


async def test_ranges_behind_the_end(customer: httpx.AsyncClient, ready: str) -> None:
    for asked in ("bytes=200000-", "bytes=200000-200010", "bytes=-0"):
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


async def test_what_a_player_draws(customer: httpx.AsyncClient, ready: str) -> None:
    drawn = (await customer.get((await customer.get(ready)).json()["waveform_url"])).json()
    assert drawn == {
        **{"version": 2, "channels": 2, "sample_rate": 8000, "samples_per_pixel": 400, "bits": 8},
        **{"length": 3, "data": [-6, 5, 0, 0, -6, 5, 0, 0, -56, 9, 1, 2]},
        "voice": {"caller": [[50, 120]], "callee": []},
    }
    few = (await customer.get(f"{ready}/waveform?pixels=1")).json()
    assert few["data"] == [-56, 9, 0, 2]
    problem(await customer.get(f"{ready}/waveform?pixels=0"), 422, "validation_failed")
    document = (await customer.get(ready)).json()
    assert document["caller"] == {"codecs": ["PCMA", "AMR"], "voice_ms": 120, "level_dbfs": -20.5}
    assert document["callee"] == {"codecs": [], "voice_ms": 0, "level_dbfs": None}


async def test_a_link_needs_no_key_and_ends(
    app: FastAPI, customer: httpx.AsyncClient, operator: httpx.AsyncClient, ready: str, vault: Vault
) -> None:
    made = await customer.post(f"{ready}/links", json={"expires_in_s": 60})
    assert made.status_code == 201
    url = made.json()["url"]
    assert url.startswith("/v1/audio/")
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url=customer.base_url) as stranger:
        whole = await stranger.get(url)
        assert (whole.status_code, whole.content) == (200, AUDIO)
        part = await stranger.get(url, headers={"Range": "bytes=100-199"})
        assert (part.status_code, part.content) == (206, AUDIO[100:200])
        assert part.headers["content-type"] == "audio/wav"
        assert (await stranger.head(url)).headers["content-length"] == str(len(AUDIO))
        changed = url[:-1] + ("A" if url[-1] != "A" else "B")
        other = Link(ready.rsplit("/", 1)[1], "key_1", None, now_us() - 1).token(vault)
        forged = Link(ready.rsplit("/", 1)[1], "key_1", None, now_us() + 10**9).token(Vault(bytes(32)))
        for wrong in (changed, f"/v1/audio/{other}", f"/v1/audio/{forged}", "/v1/audio/x", "/v1/audio/é"):
            problem(await stranger.get(wrong), 403, "link_invalid")

        entries = (await customer.get("/v1/audit")).json()["items"]
        said = [(one["action"], one["details"]) for one in entries]
        assert said[-1] == ("recording_link", {"expires_in_s": 60})
        assert said[-3] == (
            "recording_audio",
            {"by": "link", "method": "GET", "range": "bytes=100-199"},
        )
        assert {one["subject"] for one in entries} == {ready.rsplit("/", 1)[1]}
        key_id = entries[0]["key_id"]
        customer_id = entries[0]["customer_id"]
        await operator.delete(f"/v1/customers/{customer_id}/keys/{key_id}")
        problem(await stranger.get(url), 403, "link_invalid")


async def test_who_heard_it_stands_in_the_audit_log(customer: httpx.AsyncClient, ready: str) -> None:
    await customer.get(f"{ready}/audio", headers={"Range": "bytes=0-9"})
    await customer.get(f"{ready}/waveform")
    items = (await customer.get("/v1/audit")).json()["items"]
    assert [one["action"] for one in items] == ["recording_waveform", "recording_audio"]
    assert items[1]["details"] == {"method": "GET", "range": "bytes=0-9"}


async def test_what_was_touched_in_the_store_is_not_given_out(
    customer: httpx.AsyncClient, ready: str, settings: Settings
) -> None:
    [file] = Path(settings.recording.folder).rglob("*.sealed")  # noqa: ASYNC240 - one file
    body = bytearray(file.read_bytes())
    body[1000] ^= 1
    file.write_bytes(body)
    problem(await customer.get(f"{ready}/audio"), 500, "recording_damaged")
    late = await customer.get(f"{ready}/audio", headers={"Range": "bytes=150000-150010"})
    assert late.content == AUDIO[150_000:150_011]
    for cut in (140_000, 0):
        file.write_bytes(body[:cut])
        problem(
            await customer.get(f"{ready}/audio", headers={"Range": "bytes=150000-"}), 500, "recording_damaged"
        )


async def test_the_list(
    customer: httpx.AsyncClient,
    operator: httpx.AsyncClient,
    database: Database,
    vault: Vault,
    customer_id: str,
) -> None:
    async with journal_of(database, vault) as journal:
        calls = [(await ended(journal, customer_id, record=True)).id for _ in range(3)]
    await finish(database, calls[1], state="failed", failure="capture", error="no packets")
    first = (await customer.get("/v1/recordings?limit=2")).json()
    second = (await customer.get(f"/v1/recordings?limit=2&after={first['next']}")).json()
    found = [one["call_id"] for one in first["items"] + second["items"]]
    assert found == sorted(calls, reverse=True)
    for who, shown in ((customer, None), (operator, "no packets")):
        [failed] = (await who.get("/v1/recordings?state=failed")).json()["items"]
        assert (failed["call_id"], failed["failure"], failed.get("error")) == (calls[1], "capture", shown)
    assert (await operator.get("/v1/recordings?customer_id=cus_x")).json()["items"] == []


async def test_deletion_hold_and_rules(
    customer: httpx.AsyncClient, operator: httpx.AsyncClient, ready: str, customer_id: str
) -> None:
    why = {"reason": "the court asked"}
    problem(await customer.post(f"{ready}:hold", json=why), 403, "operator_key_required")
    assert (await operator.post(f"{ready}:hold", json=why)).status_code == 204
    assert (await customer.get(ready)).json()["held"]
    problem(await customer.post(f"{ready}:delete", json=why), 409, "recording_held")
    problem(await operator.post(f"{ready}:hold", json=why), 409, "recording_held")
    problem(await operator.post(f"{ready}:release"), 422, "validation_failed")
    assert (await operator.post(f"{ready}:release", json=why)).status_code == 204
    problem(await operator.post(f"{ready}:release", json=why), 409, "recording_not_held")
    problem(await customer.get(f"{ready}/deletion"), 404, "not_found")
    proof = await customer.post(f"{ready}:delete", json=why)
    assert proof.status_code == 202
    assert proof.json() == (await customer.get(f"{ready}/deletion")).json()
    assert (proof.json()["bytes"], proof.json()["by_operator"]) == (len(AUDIO), False)
    problem(await customer.get(f"{ready}/audio"), 409, "recording_deleted")

    rules = "/v1/recording-rules"
    assert (await operator.put(f"{rules}/{customer_id}", json={"keep_days": 30})).status_code == 204
    [rule] = (await operator.get(rules)).json()["items"]
    assert (rule["scope_id"], rule["keep_days"], rule["applied"]) == (customer_id, 30, False)
    assert (await operator.delete(f"{rules}/{customer_id}")).status_code == 204
    assert (await operator.get(rules)).json()["items"] == []
    problem(await operator.put(f"{rules}/cus_x", json={"keep_days": 30}), 404, "not_found")
    problem(
        await customer.put(f"{rules}/{customer_id}", json={"keep_days": 30}), 403, "operator_key_required"
    )
