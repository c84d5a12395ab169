"""Look-ups over HTTP: masked for the operator, in full as evidence and for their owner; the audit log."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from tests.api.conftest import Inventory, created
from tests.api.facts import ended, journal_of, talking
from tests.api.test_problems import problem

from xiaohao.clock import now_us, rfc3339
from xiaohao.database.engine import Database
from xiaohao.secrecy import Vault

A, B = "+8613800138000", "+8613900139000"
MASKED_A, MASKED_B = "138****8000", "139****9000"


@pytest.fixture
async def binding(
    customer: httpx.AsyncClient, customer_id: str, inventory: Inventory, database: Database, vault: Vault
) -> AsyncIterator[dict[str, Any]]:
    """A binding of A and B with a call in progress and one that has ended."""
    wish = {"a": A, "b": B, "x_pool": inventory.x_pool, "y_pool": inventory.y_pool}
    made = await created(customer, "/v1/bindings", wish)
    seen = {"dialled": made["y"], "displayed": made["x"], "binding_id": made["id"]}
    async with journal_of(database, vault) as journal:
        await talking(journal, customer_id, **seen)
        await ended(journal, customer_id, record=True, **seen)
    yield made


async def ask(client: httpx.AsyncClient, what: str, **body: Any) -> dict[str, Any]:
    response = await client.post(f"/v1/lookups/{what}", json=body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def test_the_operator_sees_masked_numbers(operator: httpx.AsyncClient, binding: dict[str, Any]) -> None:
    number = await ask(operator, "number", number=binding["x"])
    (relation,) = number["relations"]
    assert (relation["person"], relation["a"], relation["b"]) == (MASKED_A, MASKED_A, MASKED_B)
    assert (relation["binding_id"], relation["standing"], relation["stands_for"]) == (
        *(binding["id"], "live", "a"),
    )
    assert number["number"]["person"] == MASKED_A
    (call,) = number["live_calls"]
    assert (call["caller"], call["callee"], call["state"]) == (MASKED_A, MASKED_B, "answered")
    person = await ask(operator, "person", person=A)
    assert person["own_numbers"] == [binding["x"]]
    assert [(dial["number"], dial["reaches"]) for dial in person["dials"]] == [(binding["y"], MASKED_B)]
    pair = await ask(operator, "pair", a=B, b=A)
    assert [relation["binding_id"] for relation in pair["relations"]] == [binding["id"]]
    for answer in (number, person, pair):
        assert A[3:] not in str(answer)
        assert B[3:] not in str(answer)


async def test_the_customer_sees_its_people_s_numbers(
    customer: httpx.AsyncClient, binding: dict[str, Any]
) -> None:
    (relation,) = (await ask(customer, "number", number=binding["y"]))["relations"]
    assert (relation["person"], relation["stands_for"]) == (B, "b")
    (dial,) = (await ask(customer, "person", person=A))["dials"]
    assert (dial["reaches"], dial["shows"]) == (B, binding["x"])


async def test_evidence_is_in_full_for_a_reason(
    operator: httpx.AsyncClient, customer: httpx.AsyncClient, binding: dict[str, Any]
) -> None:
    asked = {"number": binding["x"], "at": rfc3339(now_us()), "person": B}
    for client in (operator, customer):
        found = await ask(client, "evidence", **asked, reason="police 2026-11")
        assert found["at"] == asked["at"]
        assert [relation["person"] for relation in found["relations"]] == [A]
        (call,) = found["calls"]
        assert (call["caller"], call["callee"], call["reason"]) == (A, B, "callee_hung_up")
        assert call["recording"] == f"/v1/recordings/{call['call_id']}"
    for reason in ({}, {"reason": " a "}, {"reason": None}):
        problem(
            await operator.post("/v1/lookups/evidence", json={**asked, **reason}), 422, "validation_failed"
        )


async def test_who_asked_what(
    operator: httpx.AsyncClient,
    customer: httpx.AsyncClient,
    other: httpx.AsyncClient,
    customer_id: str,
    binding: dict[str, Any],
) -> None:
    before = rfc3339(now_us())
    await ask(operator, "evidence", number=binding["x"], at=before, reason="police")
    await ask(operator, "person", person=A)
    await ask(customer, "pair", a=A, b=B)
    await ask(customer, "number", number=binding["x"])
    await other.post("/v1/lookups/number", json={"number": binding["x"]})

    async def entries(client: httpx.AsyncClient, query: str = "") -> list[tuple[str, str]]:
        items = (await client.get(f"/v1/audit{query}")).json()["items"]
        return [(item["action"], item["subject"]) for item in items]

    mine = [("lookup_number", binding["x"]), ("lookup_pair", MASKED_A)]
    assert await entries(customer) == mine
    assert await entries(operator, f"?customer_id={customer_id}") == mine
    # what the other customer must not learn of may be anybody's number, and is masked like one
    assert await entries(other) == [("lookup_number", f"{binding['x'][3:6]}****{binding['x'][-4:]}")]
    assert len(await entries(operator)) == 5
    assert await entries(operator, "?action=evidence") == [("evidence", binding["x"])]
    assert len(await entries(operator, f"?since={before}")) == 5
    assert await entries(operator, f"?until={before}") == []
    first = (await operator.get("/v1/audit?limit=3")).json()
    second = (await operator.get(f"/v1/audit?limit=3&after={first['next']}")).json()
    assert (len(first["items"]), len(second["items"]), second["next"]) == (3, 2, None)
    (evidence,) = (await operator.get("/v1/audit?action=evidence")).json()["items"]
    assert evidence["details"] == {"found": 1, "reason": "police", "at": before, "window_s": 60}
    assert evidence["customer_id"] is None
    assert evidence["key_id"].startswith("key_")


async def test_no_answer_leaves_without_its_entry(
    operator: httpx.AsyncClient, binding: dict[str, Any], database: Database
) -> None:
    async with database.begin() as connection:
        await connection.execute(text("ALTER TABLE audit RENAME TO elsewhere"))
    try:
        answer = await operator.post("/v1/lookups/number", json={"number": binding["x"]})
    finally:
        async with database.begin() as connection:
            await connection.execute(text("ALTER TABLE elsewhere RENAME TO audit"))
    assert answer.status_code >= 500
    assert MASKED_A not in answer.text
