"""Calls in progress, hang-up and CDRs over HTTP."""

import httpx
from tests.api.facts import CALLEE, CALLER, DIALLED, DISPLAYED, ended, journal_of, talking
from tests.api.test_pages import walk
from tests.api.test_problems import problem

from xiaohao.calls.http import CdrView, LiveCallView
from xiaohao.calls.model import Reason
from xiaohao.calls.wire import cdr_of_call, live_document
from xiaohao.clock import SECOND, now_us, rfc3339
from xiaohao.database.engine import Database
from xiaohao.secrecy import Vault


async def test_live_calls_and_hang_up(
    customer: httpx.AsyncClient,
    operator: httpx.AsyncClient,
    customer_id: str,
    database: Database,
    vault: Vault,
) -> None:
    async with journal_of(database, vault) as journal:
        calls = [await talking(journal, customer_id, binding_id=f"bnd_{n}") for n in range(3)]
        stranger = await talking(journal, None, binding_id=None)
        mine = await walk(customer, "/v1/calls", 2)
        assert [call["call_id"] for call in mine] == [call.id for call in calls]
        assert mine[0] == live_document(calls[0])
        assert "trunk_in" not in mine[0]
        everybodys = await walk(operator, "/v1/calls", 2)
        assert [call["call_id"] for call in everybodys] == [call.id for call in [*calls, stranger]]
        assert everybodys[0] == live_document(calls[0], for_operator=True)
        assert len((await customer.get("/v1/calls?binding_id=bnd_1")).json()["items"]) == 1
        assert (await customer.get("/v1/calls?state=ringing")).json()["items"] == []
        query = f"/v1/calls?customer_id={customer_id}"
        assert len((await operator.get(query)).json()["items"]) == 3
        assert (await customer.get(f"/v1/calls/{calls[0].id}")).json() == mine[0]

        response = await customer.post(f"/v1/calls/{calls[1].id}/hang-up")
        assert response.status_code == 202
        assert response.json() == {"call_id": calls[1].id}
        assert (await operator.post(f"/v1/calls/{stranger.id}/hang-up")).status_code == 202
        assert await journal.take_commands() == [(calls[1].id, "hang_up"), (stranger.id, "hang_up")]


async def test_hang_up_too_late(
    customer: httpx.AsyncClient, customer_id: str, database: Database, vault: Vault
) -> None:
    async with journal_of(database, vault) as journal:
        call = await ended(journal, customer_id)
        problem(await customer.post(f"/v1/calls/{call.id}/hang-up"), 409, "call_ended")
        problem(await customer.get(f"/v1/calls/{call.id}"), 404, "not_found")
        assert await journal.take_commands() == []


async def test_cdrs(
    customer: httpx.AsyncClient,
    operator: httpx.AsyncClient,
    customer_id: str,
    database: Database,
    vault: Vault,
) -> None:
    start = now_us() // SECOND * SECOND
    async with journal_of(database, vault) as journal:
        calls = [
            await ended(
                journal,
                customer_id,
                received_at=start + n * SECOND,
                binding_id=f"bnd_{n}",
                caller=None if n == 2 else CALLER,
                reason=Reason.CALLEE_BUSY if n == 1 else None,
                dialled=f"+86106200010{n}",
            )
            for n in range(3)
        ]
        unknown = await ended(journal, None, received_at=start + 10 * SECOND, callee=None, displayed=None)
    newest_first = [call.id for call in reversed(calls)]
    listed = await walk(customer, "/v1/cdrs", 2)
    assert [cdr["call_id"] for cdr in listed] == newest_first
    assert listed[0] == cdr_of_call(calls[2], recorded=False)
    assert (await customer.get(f"/v1/cdrs/{calls[1].id}")).json() == listed[1]
    seen = await walk(operator, "/v1/cdrs", 3)
    assert [cdr["call_id"] for cdr in seen] == [unknown.id, *newest_first]
    assert seen[1] == cdr_of_call(calls[2], recorded=False, for_operator=True)

    async def ids(client: httpx.AsyncClient = customer, **query: str) -> list[str]:
        response = await client.get("/v1/cdrs", params=query)
        assert response.status_code == 200, response.text
        return [cdr["call_id"] for cdr in response.json()["items"]]

    assert await ids(since=rfc3339(start + SECOND)) == newest_first[:2]
    assert await ids(until=rfc3339(start + SECOND)) == newest_first[2:]
    assert await ids(binding_id="bnd_1") == [calls[1].id]
    assert await ids(reason="callee_busy") == [calls[1].id]
    assert await ids(number="+861062000102") == [calls[2].id]
    assert await ids(number=DISPLAYED) == newest_first
    assert await ids(operator, customer_id=customer_id) == newest_first
    assert await ids(customer_id="cus_0") == newest_first


async def test_cdrs_of_a_person(
    customer: httpx.AsyncClient, customer_id: str, database: Database, vault: Vault
) -> None:
    async with journal_of(database, vault) as journal:
        first = await ended(journal, customer_id)
        second = await ended(journal, customer_id, caller=CALLEE, callee=CALLER)
        await ended(journal, customer_id, caller="+8613700137000", callee="+8613700137001")
    problem(await customer.get("/v1/cdrs?person=13800138000"), 422, "validation_failed")
    page = (await customer.post("/v1/cdrs/search", json={"person": "138 0013 8000", "limit": 1})).json()
    assert [cdr["call_id"] for cdr in page["items"]] == [second.id]
    rest = await customer.post("/v1/cdrs/search", json={"person": CALLER, "limit": 1, "after": page["next"]})
    assert [cdr["call_id"] for cdr in rest.json()["items"]] == [first.id]
    assert rest.json()["next"] is None
    assert (await customer.post("/v1/cdrs/search", json={"person": DIALLED})).json()["items"] == []


async def test_wrong_conditions(customer: httpx.AsyncClient) -> None:
    for query in ("since=today", "since=2026-01-01", "reason=why", "number=x", "until=2026-01-01T00:00:00"):
        problem(await customer.get(f"/v1/cdrs?{query}"), 422, "validation_failed")


async def test_the_description_names_every_member(database: Database, vault: Vault) -> None:
    async with journal_of(database, vault) as journal:
        call = await ended(journal, None)
    made = {*cdr_of_call(call, recorded=True, for_operator=True), "corrected_by"}
    assert made == set(CdrView.model_fields)
    assert set(live_document(call, for_operator=True)) == set(LiveCallView.model_fields)
