"""Events and CDRs to fetch and to follow, over HTTP; events to have sent again."""

from typing import Any

import httpx
import pytest
from sqlalchemy import update
from tests.api.facts import ended, journal_of, talking
from tests.api.test_problems import problem

from xiaohao.clock import rfc3339
from xiaohao.database.engine import Database
from xiaohao.database.schema import events
from xiaohao.secrecy import Vault
from xiaohao.tenants.service import Tenants

OF_AN_ENDED_CALL = ["call.received", "call.ended", "cdr.created"]


async def fetch(client: httpx.AsyncClient, path: str = "/v1/events", **query: Any) -> dict[str, Any]:
    response = await client.get(path, params=query)
    assert response.status_code == 200, response.text
    page: dict[str, Any] = response.json()
    return page


def types(page: dict[str, Any]) -> list[str]:
    return [item["type"] for item in page["items"]]


async def test_events_are_followed(
    customer: httpx.AsyncClient, customer_id: str, other_id: str, database: Database, vault: Vault
) -> None:
    assert (await fetch(customer))["items"] == []
    async with journal_of(database, vault) as journal:
        first = await ended(journal, customer_id)
        await ended(journal, other_id)
        page = await fetch(customer, limit=2)
        assert types(page) == OF_AN_ENDED_CALL[:2]
        page = await fetch(customer, limit=2, after=page["next"])
        assert types(page) == OF_AN_ENDED_CALL[2:]
        assert page["items"][0]["data"]["cdr"]["call_id"] == first.id
        assert page["items"][0]["delivery"]["state"] == "due"
        assert "customer_id" not in page["items"][0]["delivery"]
        page = await fetch(customer, after=page["next"])
        assert page["items"] == []
        second = await ended(journal, customer_id)
    page = await fetch(customer, after=page["next"])
    assert types(page) == OF_AN_ENDED_CALL
    assert {item["data"]["call_id"] for item in page["items"]} == {second.id}


async def test_the_operator_sees_everybodys(
    operator: httpx.AsyncClient, customer_id: str, other_id: str, database: Database, vault: Vault
) -> None:
    async with journal_of(database, vault) as journal:
        await ended(journal, customer_id)
        await ended(journal, other_id)
    page = await fetch(operator)
    assert types(page) == OF_AN_ENDED_CALL * 2
    owners = [item["delivery"]["customer_id"] for item in page["items"]]
    assert owners == [customer_id] * 3 + [other_id] * 3
    assert len((await fetch(operator, customer_id=other_id))["items"]) == 3


async def test_events_by_kind_state_and_call(
    customer: httpx.AsyncClient, customer_id: str, other_id: str, database: Database, vault: Vault
) -> None:
    async with journal_of(database, vault) as journal:
        await ended(journal, customer_id)
        call = await talking(journal, customer_id)
    chosen = await fetch(customer, kind=["call.answered", "cdr.created"])
    assert types(chosen) == ["cdr.created", "call.answered"]
    assert types(await fetch(customer, call_id=call.id)) == ["call.received", "call.answered"]
    assert types(await fetch(customer, state="dead")) == []
    async with database.begin() as connection:
        dead = update(events).where(events.c.kind == "call.ended")
        await connection.execute(dead.values(state="dead", tries=9, last_error="HTTP 500"))
    (item,) = (await fetch(customer, state="dead"))["items"]
    assert (item["delivery"]["error"], item["delivery"]["tries"]) == ("HTTP 500", 9)
    assert len((await fetch(customer, customer_id=other_id))["items"]) == 5  # one's own, whatever is asked
    async with database.begin() as connection:
        of_a_number = update(events).where(events.c.kind == "call.ended")
        await connection.execute(of_a_number.values(call_id="+861062000001"))
    assert types(await fetch(customer, call_id="+861062000001")) == ["call.ended"]
    for wrong in (
        {"call_id": "86+1062000001"},
        {"kind": "call.vanished"},
        {"state": "lost"},
        {"after": "x"},
        {"limit": 0},
        {"colour": "red"},
    ):
        problem(await customer.get("/v1/events", params=wrong), 422, "validation_failed")


async def test_a_cursor_is_ones_own(
    customer: httpx.AsyncClient, other: httpx.AsyncClient, operator: httpx.AsyncClient
) -> None:
    place = (await fetch(customer))["next"]
    for stranger in (other, operator):
        problem(await stranger.get("/v1/events", params={"after": place}), 422, "validation_failed")
    problem(await customer.get("/v1/cdrs", params={"after": place}), 422, "validation_failed")


async def test_cdrs_are_followed(
    customer: httpx.AsyncClient, customer_id: str, other_id: str, database: Database, vault: Vault
) -> None:
    page = await fetch(customer, "/v1/cdrs", order="oldest")
    assert page["items"] == []
    made = []
    async with journal_of(database, vault) as journal:
        for _ in range(5):
            made.append((await ended(journal, customer_id)).id)
            await ended(journal, other_id)
        seen = []
        for _ in range(4):
            page = await fetch(customer, "/v1/cdrs", order="oldest", limit=2, after=page["next"])
            seen += [item["call_id"] for item in page["items"]]
        assert seen == made
        made.append((await ended(journal, customer_id)).id)
    page = await fetch(customer, "/v1/cdrs", order="oldest", after=page["next"])
    assert [item["call_id"] for item in page["items"]] == made[-1:]
    searched = await customer.post(
        "/v1/cdrs/search", json={"person": "13800138000", "order": "oldest", "limit": 1}
    )
    assert [item["call_id"] for item in searched.json()["items"]] == made[:1]


async def test_cdrs_come_newest_first_as_ever(
    customer: httpx.AsyncClient, customer_id: str, database: Database, vault: Vault
) -> None:
    async with journal_of(database, vault) as journal:
        made = [(await ended(journal, customer_id)).id for _ in range(3)]
    page = await fetch(customer, "/v1/cdrs", limit=2)
    assert [item["call_id"] for item in page["items"]] == made[:0:-1]
    assert (await fetch(customer, "/v1/cdrs", after=page["next"], order="newest"))["next"] is None
    wrong = await customer.get("/v1/cdrs", params={"after": page["next"], "order": "oldest"})
    problem(wrong, 422, "validation_failed")


@pytest.fixture
async def at_rest(
    tenants: Tenants, customer_id: str, other_id: str, database: Database, vault: Vault
) -> list[dict[str, Any]]:
    """Two customers with a webhook and an ended call each, told long ago."""
    for owner in (customer_id, other_id):
        await tenants.set_webhook(owner, "https://example.com/")
    async with journal_of(database, vault) as journal:
        calls = [await ended(journal, owner) for owner in (customer_id, other_id)]
    async with database.begin() as connection:
        await connection.execute(update(events).values(state="delivered", tries=1, delivered_at=5))
    return [{"id": call.id, "at": call.received_at} for call in calls]


async def replay(client: httpx.AsyncClient, **body: Any) -> int:
    response = await client.post("/v1/events:replay", json=body)
    assert response.status_code == 200, response.text
    assert response.json()["dry_run"] == body.get("dry_run", False)
    count: int = response.json()["count"]
    return count


async def test_events_are_sent_again(
    customer: httpx.AsyncClient, operator: httpx.AsyncClient, other_id: str, at_rest: list[dict[str, Any]]
) -> None:
    ids = [item["id"] for item in (await fetch(customer))["items"]]
    theirs = [item["id"] for item in (await fetch(operator, customer_id=other_id))["items"]]
    assert await replay(customer, ids=[*ids[:2], *theirs], dry_run=True) == 2
    assert types(await fetch(customer, state="due")) == []
    assert await replay(customer, ids=[*ids[:2], *theirs]) == 2
    page = await fetch(customer, state="due")
    assert [item["id"] for item in page["items"]] == ids[:2]
    assert [item["sequence"] for item in page["items"]] == [1, 4]
    assert page["items"][0]["delivery"]["tries"] == 0
    assert page["items"][0]["delivery"]["delivered_at"] is None
    assert await replay(customer, ids=ids) == 1  # the others are on their way already
    assert await replay(customer, kinds=["cdr.created"], customer_id=other_id) == 0
    span = {"since": rfc3339(at_rest[1]["at"] // 1000 * 1000), "kinds": ["call.received"]}
    assert await replay(operator, state="delivered", customer_id=other_id, **span) == 1
    assert await replay(operator, call_id=at_rest[1]["id"]) == 2


async def test_a_replay_with_a_key_is_carried_out_once(
    customer: httpx.AsyncClient, at_rest: list[dict[str, Any]], database: Database
) -> None:
    headers = {"Idempotency-Key": "again"}
    body = {"state": "delivered"}
    first = await customer.post("/v1/events:replay", json=body, headers=headers)
    async with database.begin() as connection:
        await connection.execute(update(events).values(state="delivered"))
    second = await customer.post("/v1/events:replay", json=body, headers=headers)
    assert first.json() == second.json() == {"count": 3, "dry_run": False}
    assert types(await fetch(customer, state="due")) == []


async def test_a_replay_that_is_refused(customer: httpx.AsyncClient, operator: httpx.AsyncClient) -> None:
    problem(await customer.post("/v1/events:replay", json={"state": "dead"}), 409, "webhook_missing")
    for wrong in ({}, {"dry_run": True}, {"ids": []}, {"kinds": ["x"]}, {"state": "lost"}, {"since": "now"}):
        problem(await operator.post("/v1/events:replay", json=wrong), 422, "validation_failed")
    backwards = {"since": "2026-11-24T00:00:00Z", "until": "2026-11-23T00:00:00Z", "dry_run": True}
    problem(await operator.post("/v1/events:replay", json=backwards), 422, "validation_failed")
    nobodys = {"state": "dead", "customer_id": "cus_nobody"}
    problem(await operator.post("/v1/events:replay", json=nobodys), 404, "not_found")
