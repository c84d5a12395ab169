"""Prompts over the API: made of files and texts, heard, replaced, restored, chosen, deleted, paid for."""

import asyncio
import hashlib
import io
import wave
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from tests.api.conftest import Inventory, created
from tests.api.test_problems import problem
from tests.prompts.sounds import encoded, pitch, tone_file

from xiaohao.database.engine import Database
from xiaohao.prompts import desk
from xiaohao.prompts.model import ONLY_IF_CHOSEN, SITUATIONS, Situation
from xiaohao.prompts.service import Prompts
from xiaohao.settings import Settings

TEXTS = {"zh": "您好，这是快递员的来电。", "en": "This is a call from your courier."}
WAV = {"Content-Type": "audio/wav"}


async def uploaded(
    client: httpx.AsyncClient, name: str = "welcome", content: bytes | None = None, **query: Any
) -> dict[str, Any]:
    body = tone_file() if content is None else content
    answer = await client.post(
        "/v1/prompts:upload", params={"name": name, **query}, content=body, headers=WAV
    )
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def lay_out(settings: Settings, default_prompts: Path) -> None:
    """The default set has been made on this machine."""
    folder = Path(settings.prompts.folder)
    folder.mkdir()
    (folder / default_prompts.name).symlink_to(default_prompts)


@pytest.fixture
async def played(database: Database, settings: Settings, default_prompts: Path) -> Prompts:
    """What a switch on this machine would play."""
    lay_out(settings, default_prompts)
    prompts = Prompts(database, Path(settings.prompts.folder))
    await prompts.keep_up()
    return prompts


async def test_a_file_is_made_a_prompt_and_heard(
    customer: httpx.AsyncClient, customer_id: str, tmp_path: Path
) -> None:
    content = encoded(tmp_path, "mp3", "-ar", "44100")
    answer = await customer.post(
        "/v1/prompts:upload?name=welcome&languages=zh&languages=en",
        content=content,
        headers={"Content-Type": "audio/mpeg"},
    )
    made = answer.json()
    present = made.pop("present")
    assert (made["customer_id"], made["name"]) == (customer_id, "welcome")
    assert {name: present[name] for name in ("version", "source", "languages", "texts")} == {
        "version": 1,
        "source": "upload",
        "languages": ["zh", "en"],
        "texts": None,
    }
    assert abs(present["loudness_lufs"] + 23) < 1
    assert abs(present["duration_ms"] - 2000) < 100
    heard = await customer.get(f"/v1/prompts/{made['id']}/audio")
    assert heard.headers["content-type"] == "audio/wav"
    with wave.open(io.BytesIO(heard.content)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
    assert abs(pitch(heard.content) - 440) < 2
    assert hashlib.sha256(heard.content).hexdigest() == present["sha256"]


async def test_texts_are_said(customer: httpx.AsyncClient) -> None:
    made = await created(customer, "/v1/prompts", {"name": "courier", "texts": TEXTS})
    present = made["present"]
    assert (present["source"], present["languages"], present["texts"]) == ("text", ["zh", "en"], TEXTS)
    assert 4_000 < present["duration_ms"] < 12_000
    english = await created(customer, "/v1/prompts", {"name": "short", "texts": {"en": TEXTS["en"]}})
    assert english["present"]["duration_ms"] < present["duration_ms"] - 1_500
    again = await customer.put(f"/v1/prompts/{made['id']}/texts", json={"texts": {"en": TEXTS["en"]}})
    assert again.json()["present"]["sha256"] == english["present"]["sha256"]


async def test_versions_are_kept_and_restored(
    customer: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "VERSIONS_KEPT", 3)
    made = await uploaded(customer)
    path = f"/v1/prompts/{made['id']}"
    for place in range(2, 6):
        answer = await customer.put(
            f"{path}/audio?languages=zh", content=tone_file(0.5, 400 + 20 * place), headers=WAV
        )
        assert answer.json()["present"]["version"] == place
    versions = (await customer.get(f"{path}/versions")).json()["items"]
    assert [one["version"] for one in versions] == [5, 4, 3]
    assert {one["created_by"] for one in versions} == {versions[0]["created_by"]} != {None}
    assert abs(pitch((await customer.get(f"{path}/audio")).content) - 500) < 3
    assert abs(pitch((await customer.get(f"{path}/audio?version=3")).content) - 460) < 3
    problem(await customer.get(f"{path}/audio?version=1"), 404, "not_found")
    problem(await customer.post(f"{path}:restore", json={"version": 1}), 404, "not_found")
    restored = await customer.post(f"{path}:restore", json={"version": 3})
    assert restored.json()["present"]["version"] == 3
    assert abs(pitch((await customer.get(f"{path}/audio")).content) - 460) < 3
    # what comes next is a new version, not a second fourth
    last = await customer.put(f"{path}/audio", content=tone_file(0.5), headers=WAV)
    assert last.json()["present"]["version"] == 6
    audit = (await customer.get("/v1/audit?action=prompt")).json()["items"]
    assert [one["details"]["did"] for one in audit[:3]] == ["replaced", "restored", "replaced"]
    assert audit[1]["details"] == {"did": "restored", "prompt": "welcome", "version": 3}


async def test_what_is_chosen_is_played_within_a_second(
    customer: httpx.AsyncClient,
    operator: httpx.AsyncClient,
    customer_id: str,
    other_id: str,
    inventory: Inventory,
    played: Prompts,
) -> None:
    async def heard(wanted: str, pool: str | None = None, binding: str | None = None, by: str = "") -> float:
        await played.load()
        prompt = played.chosen(by or customer_id, pool, binding, wanted)
        assert prompt is not None
        assert 0 <= prompt.path.stat().st_size - 44 - prompt.duration_ms * 16 < 16
        return pitch(prompt.path.read_bytes())

    assert await heard("unknown_caller") > 0  # the default set
    tones = {"own": 500, "pool": 700, "all": 900, "binding": 1100}
    ids = {}
    for name, hertz in tones.items():
        maker = operator if name == "all" else customer
        ids[name] = (await uploaded(maker, name, tone_file(0.5, hertz)))["id"]

    async def choose(client: httpx.AsyncClient, name: str | None, **where: Any) -> None:
        body = {"situation": "unknown_caller", "prompt_id": None if name is None else ids[name], **where}
        answer = await client.put("/v1/announcements", json=body)
        assert answer.status_code == 200, answer.text

    await choose(operator, "all")
    assert abs(await heard("unknown_caller") - 900) < 3
    await choose(customer, "own")
    assert abs(await heard("unknown_caller") - 500) < 3
    assert abs(await heard("unknown_caller", by=other_id) - 900) < 3
    await choose(customer, "pool", pool_id=inventory.x_pool)
    assert abs(await heard("unknown_caller", inventory.x_pool) - 700) < 3
    assert abs(await heard("unknown_caller", inventory.y_pool) - 500) < 3
    assert abs(await heard("unknown_caller", inventory.x_pool, '{"refused": "binding"}') - 1100) < 3
    assert abs(await heard("unknown_caller", None, '{"refused": "nobody_s", "ringing": "own"}') - 500) < 3
    # by name and by id: one's own and the operator's, nobody else's
    assert abs(await heard("own") - 500) < 3
    assert abs(await heard(ids["own"]) - 500) < 3
    assert abs(await heard("all", by=other_id) - 900) < 3
    assert played.chosen(other_id, None, None, "own") is None
    assert played.chosen(other_id, None, None, ids["own"]) is None
    assert played.chosen(other_id, None, '{"refused": "own"}', "unknown_caller") != played.chosen(
        customer_id, None, None, "own"
    )
    shown = {one["situation"]: one for one in (await customer.get("/v1/announcements")).json()["items"]}
    assert {(one["pool_id"], one["prompt_id"]) for one in shown["unknown_caller"]["chosen"]} == {
        (None, ids["own"]),
        (inventory.x_pool, ids["pool"]),
    }
    problem(await customer.delete(f"/v1/prompts/{ids['own']}"), 409, "prompt_in_use")
    await customer.put(f"/v1/prompts/{ids['own']}/audio", content=tone_file(0.5, 1300), headers=WAV)
    assert abs(await heard("unknown_caller") - 1300) < 3
    await choose(customer, None)
    assert abs(await heard("unknown_caller") - 900) < 3
    assert (await customer.delete(f"/v1/prompts/{ids['own']}")).status_code == 204
    await played.load()
    assert played.chosen(customer_id, None, None, "own") is None
    # the name is free again
    await uploaded(customer, "own", tone_file(0.5, 1500))
    assert abs(await heard("own") - 1500) < 3


async def test_silence_and_the_default_set_can_be_chosen(
    customer: httpx.AsyncClient, customer_id: str, played: Prompts
) -> None:
    async def chosen(situation: str, choice: str | None, binding: str | None = None) -> str | None:
        body = {"situation": situation, "prompt_id": choice}
        assert (await customer.put("/v1/announcements", json=body)).status_code == 200
        await played.load()
        prompt = played.chosen(customer_id, None, binding, situation)
        return None if prompt is None else prompt.id

    assert await chosen("whisper", None) is None
    assert await chosen("whisper", "default") == "whisper"
    assert await chosen("whisper", "default", '{"to_callee": "none"}') is None
    assert await chosen("unknown_caller", None) == "unknown_caller"
    assert await chosen("unknown_caller", "none") is None
    assert await chosen("unknown_caller", "none", '{"refused": "default"}') == "unknown_caller"
    assert await chosen("waiting", None, '{"ringing": "waiting"}') == "waiting"
    for situation in Situation:
        assert (played.chosen(None, None, None, situation) is None) == (situation in ONLY_IF_CHOSEN)


async def test_a_switch_that_starts_later_knows_the_same(
    customer: httpx.AsyncClient, customer_id: str, database: Database, tmp_path: Path
) -> None:
    made = await uploaded(customer)
    gone = await uploaded(customer, "gone")
    await customer.delete(f"/v1/prompts/{gone['id']}")
    await customer.put("/v1/announcements", json={"situation": "whisper", "prompt_id": made["id"]})
    later = Prompts(database, tmp_path / "another machine")
    await later.load()
    prompt = later.chosen(customer_id, None, None, "whisper")
    assert prompt is not None and prompt.id == made["id"]
    assert prompt.path.is_relative_to(tmp_path / "another machine")
    assert later.chosen(customer_id, None, None, "gone") is None
    assert sum(1 for _ in (tmp_path / "another machine" / "uploaded").iterdir()) == 1


async def test_the_default_set_is_shown_and_heard(
    customer: httpx.AsyncClient, settings: Settings, default_prompts: Path
) -> None:
    lay_out(settings, default_prompts)
    shown = {one["situation"]: one for one in (await customer.get("/v1/announcements")).json()["items"]}
    assert shown.keys() == SITUATIONS
    assert "{" not in shown["whisper"]["texts"]["zh"]
    heard = await customer.get("/v1/announcements/audio?situation=goodbye")
    with wave.open(io.BytesIO(heard.content)) as file:
        assert file.getframerate() == 8000
    problem(await customer.get("/v1/announcements/audio?situation=nonsense"), 404, "not_found")


async def test_the_operator_makes_them_for_a_customer(
    operator: httpx.AsyncClient, customer: httpx.AsyncClient, customer_id: str, other_id: str
) -> None:
    made = await uploaded(operator, customer_id=customer_id)
    assert (await customer.get(f"/v1/prompts/{made['id']}")).json()["customer_id"] == customer_id
    body = {"situation": "whisper", "prompt_id": made["id"]}
    for owner, status in ((other_id, 404), (None, 404), (customer_id, 200)):
        answer = await operator.put("/v1/announcements", json={**body, "customer_id": owner})
        assert answer.status_code == status, owner
    shared = await uploaded(operator, "shared")
    assert shared["customer_id"] is None
    names = [one["name"] for one in (await customer.get("/v1/prompts")).json()["items"]]
    assert sorted(names) == ["shared", "welcome"]
    problem(await customer.delete(f"/v1/prompts/{shared['id']}"), 404, "not_found")
    problem(await customer.put(f"/v1/prompts/{shared['id']}/audio", content=tone_file()), 404, "not_found")
    nobody = "cus_00000000000000000000000000000000"
    answer = await operator.post(f"/v1/prompts:upload?name=x&customer_id={nobody}", content=tone_file())
    problem(answer, 404, "not_found")


async def test_a_prompt_costs_what_the_contract_says(
    customer: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    async def lines() -> list[tuple[str, Decimal]]:
        found = (await customer.get("/v1/billing/usage")).json()["lines"]
        return [(one["quantity"], Decimal(one["amount"])) for one in found if one["item"] == "prompt"]

    made = await uploaded(customer)
    assert await lines() == [("1", Decimal(100))]
    await customer.put(f"/v1/prompts/{made['id']}/audio", content=tone_file(1, 500), headers=WAV)
    await uploaded(operator, "shared")
    assert await lines() == [("1", Decimal(100))]
    await created(customer, "/v1/prompts", {"name": "second", "texts": TEXTS})
    assert await lines() == [("1", Decimal(100))] * 2


REFUSED: list[tuple[bytes, dict[str, str], int, str]] = [
    (b"hello", WAV, 422, "audio_not_supported"),
    (tone_file()[:20], WAV, 422, "audio_malformed"),
    (tone_file(level=0.0), WAV, 422, "audio_silent"),
    (tone_file(0.02), WAV, 422, "audio_too_short"),
    (tone_file(121), WAV, 422, "audio_too_long"),
    (b"{}", {"Content-Type": "application/json"}, 415, "media_type_not_supported"),
]


@pytest.mark.parametrize(("content", "headers", "status", "code"), REFUSED)
async def test_files_that_are_no_prompts(
    customer: httpx.AsyncClient, content: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    answer = await customer.post("/v1/prompts:upload?name=welcome", content=content, headers=headers)
    problem(answer, status, code)
    assert (await customer.get("/v1/prompts")).json()["items"] == []


async def test_names_and_texts_that_cannot_be(customer: httpx.AsyncClient) -> None:
    for name in ("whisper", "none", "unknown_caller", "prm_1", "Upper", ""):
        answer = await customer.post("/v1/prompts", json={"name": name, "texts": TEXTS})
        problem(answer, 422, "validation_failed")
    for texts in ({}, {"fr": "Bonjour"}, {"zh": "。。"}, {"en": "x" * 501}, {"zh": "重{chong2拨"}):
        answer = await customer.post("/v1/prompts", json={"name": "welcome", "texts": texts})
        problem(answer, 422, "validation_failed")
    await uploaded(customer)
    answer = await customer.post("/v1/prompts:upload?name=welcome", content=tone_file(), headers=WAV)
    problem(answer, 409, "prompt_name_taken")


async def test_a_text_is_no_command(customer: httpx.AsyncClient, tmp_path: Path) -> None:
    file = tmp_path / "made"
    text = f"-w {file} hello; touch {file} $(touch {file}) <audio src='{file}'/>"
    made = await created(customer, "/v1/prompts", {"name": "odd", "texts": {"en": text}})
    assert made["present"]["duration_ms"] > 1000
    assert not file.exists()


async def test_the_web_answers_others_while_prompts_are_made(
    app: FastAPI, customer: httpx.AsyncClient
) -> None:
    """More at once than are worked on: they wait, or are told to come again; nobody else waits."""
    work = [
        asyncio.create_task(
            customer.post("/v1/prompts", json={"name": f"p{place}", "texts": {"en": "Hello"}}, timeout=60)
        )
        for place in range(12)
    ]
    await asyncio.sleep(0.1)
    for _ in range(10):
        assert (await customer.get("/v1/pools")).status_code == 200
    assert not all(task.done() for task in work)  # all ten were answered before these were made
    answers = await asyncio.gather(*work)
    assert {answer.status_code for answer in answers} == {201, 503}
    for answer in answers:
        if answer.status_code == 503:
            problem(answer, 503, "prompts_busy")
    assert sum(answer.status_code == 201 for answer in answers) >= 8
