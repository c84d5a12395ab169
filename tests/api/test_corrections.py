"""CDRs put right: another record that points to the old one, told to the customer, billed and noted."""

from typing import Any

import httpx
import pytest
from sqlalchemy import select
from tests.api.conftest import created
from tests.api.facts import ended, journal_of
from tests.api.test_pages import walk
from tests.api.test_problems import problem

from xiaohao.billing import calendar
from xiaohao.billing.closing import Closing
from xiaohao.billing.rater import Rater
from xiaohao.billing.rerating import Reratings
from xiaohao.calls.model import Call, Reason
from xiaohao.clock import SECOND, now_us, rfc3339
from xiaohao.database.billing_tables import usage_sums, usages
from xiaohao.database.engine import Database
from xiaohao.secrecy import Vault


@pytest.fixture
async def call(customer_id: str, database: Database, vault: Vault) -> Call:
    """A call that lasted three seconds and ended a minute ago."""
    async with journal_of(database, vault) as journal:
        return await ended(journal, customer_id, received_at=now_us() - 60 * SECOND)


async def seconds_of(database: Database, call: Call) -> int:
    async with database.read() as connection:
        rows = await connection.execute(select(usages.c.seconds).where(usages.c.call_id == call.id))
        return sum(rows.scalars())


async def test_a_correction_is_a_record_of_its_own(
    operator: httpx.AsyncClient, customer: httpx.AsyncClient, call: Call
) -> None:
    before = (await customer.get(f"/v1/cdrs/{call.id}")).json()
    path = f"/v1/cdrs/{call.id}/corrections"
    later = rfc3339((call.ended_at or 0) + 7 * SECOND)
    first = await created(operator, path, {"ended_at": later, "note": "the BYE came late"})
    assert (first["number"], first["corrects"]) == (1, call.id)
    assert first["changes"] == {"ended_at": {"from": before["ended_at"], "to": later}}
    assert first["cdr"]["talk_ms"] == before["talk_ms"] + 7_000
    second = await created(operator, path, {"reason": "max_duration", "note": "as the carrier says"})
    assert (second["number"], second["corrects"]) == (2, first["id"])
    assert (second["cdr"]["reason"], second["cdr"]["ended_at"]) == ("max_duration", later)

    after = (await customer.get(f"/v1/cdrs/{call.id}")).json()
    assert after == {**before, "corrected_by": second["id"]}
    assert (await customer.get("/v1/cdrs")).json()["items"] == [after]
    listed = (await customer.get(path)).json()
    assert [one["id"] for one in listed] == [first["id"], second["id"]]
    assert "trunk_in" not in listed[0]["cdr"]
    assert "trunk_in" in first["cdr"]
    pages = await walk(customer, "/v1/cdr-corrections", 1)
    assert pages == listed[::-1]
    (entry, *_) = (await operator.get("/v1/audit?action=correct_cdr")).json()["items"]
    assert entry["details"]["correction_id"] == second["id"]
    assert entry["details"]["note"] == "as the carrier says"
    assert entry["details"]["changes"] == {"reason": "max_duration"}


async def test_the_customer_is_told(
    operator: httpx.AsyncClient, customer: httpx.AsyncClient, call: Call
) -> None:
    path = f"/v1/cdrs/{call.id}/corrections"
    made = await created(operator, path, {"answered_at": None, "reason": "callee_no_answer", "note": "x"})
    found = (await customer.get("/v1/events?limit=500")).json()["items"]
    (event,) = [one for one in found if one["type"] == "cdr.corrected"]
    assert (event["sequence"], event["data"]["call_id"]) == (101, call.id)
    assert event["data"]["correction"]["id"] == made["id"]
    cdr = event["data"]["correction"]["cdr"]
    assert (cdr["answered_at"], cdr["talk_ms"]) == (None, 0)
    assert "trunk_in" not in cdr
    assert "cdr" not in event["data"]


async def test_what_cannot_be_right(
    operator: httpx.AsyncClient, customer: httpx.AsyncClient, call: Call
) -> None:
    path = f"/v1/cdrs/{call.id}/corrections"
    wrong: list[dict[str, Any]] = [
        {"note": "nothing"},
        {"note": "as it was", "q850_cause": 16},
        {"note": "x", "ended_at": rfc3339(call.received_at - SECOND)},
        {"note": "x", "answered_at": rfc3339(call.received_at)},
        {"note": "x", "ended_at": rfc3339(now_us() + 60 * SECOND)},
        {"note": "x", "ended_at": None},
        {"note": "x", "reason": None},
        {"note": "x", "reason": "bad_luck"},
        {"note": "x", "reason": "callee_busy"},
        {"note": "x", "answered_at": None},
        {"note": "x", "caller": "+8613700137000"},
        {"sip_code": 486},
    ]
    for body in wrong:
        problem(await operator.post(path, json=body), 422, "validation_failed")
    absent = "/v1/cdrs/01990000-0000-7000-8000-000000000000/corrections"
    problem(await operator.post(absent, json={"note": "x", "sip_code": 486}), 404, "not_found")
    problem(await customer.post(path, json={"note": "x", "sip_code": 486}), 403, "operator_key_required")
    assert (await customer.get(path)).json() == []


async def test_billing_charges_what_is_right(
    operator: httpx.AsyncClient, call: Call, customer_id: str, database: Database, vault: Vault
) -> None:
    path = f"/v1/cdrs/{call.id}/corrections"
    two_minutes = rfc3339((call.answered_at or 0) + 50 * SECOND)
    made = await created(operator, path, {"ended_at": two_minutes, "note": "before it was measured"})
    assert made["billing"] == "not_measured_yet"
    assert await Rater(database, vault).rate_due() == 1
    assert await seconds_of(database, call) == 60
    made = await created(
        operator, path, {"reason": "platform_error", "answered_at": None, "note": "nobody talked"}
    )
    assert made["billing"] == "measured_anew"
    assert await seconds_of(database, call) == 0
    async with database.read() as connection:
        (total,) = (await connection.execute(select(usage_sums.c.seconds))).scalars()
    assert total == 0
    assert await Rater(database, vault).rate_due() == 0


async def test_a_closed_month_is_rated_anew(
    operator: httpx.AsyncClient, call: Call, customer_id: str, database: Database, vault: Vault
) -> None:
    """The bill stands; what it should have been is found by rating the month anew."""
    month = calendar.month_of(call.received_at)

    def later() -> int:
        return calendar.end_of(month) + 10 * SECOND

    await Closing(database, Rater(database, vault, later), clock=later).close(customer_id, month)
    billed = await seconds_of(database, call)
    path = f"/v1/cdrs/{call.id}/corrections"
    made = await created(
        operator, path, {"reason": "platform_error", "answered_at": None, "note": "nobody talked"}
    )
    assert made["billing"] == "month_closed"
    assert await seconds_of(database, call) == billed == 60
    rerating = await Reratings(database, Rater(database, vault, later), clock=later).prepare(
        customer_id, month
    )
    assert [(one["call_id"], one["after"]["seconds"]) for one in rerating.report["changes"]] == [(call.id, 0)]


async def test_a_call_of_nobody(operator: httpx.AsyncClient, database: Database, vault: Vault) -> None:
    async with journal_of(database, vault) as journal:
        stray = await ended(journal, None, reason=Reason.UNKNOWN_NUMBER)
    made = await created(operator, f"/v1/cdrs/{stray.id}/corrections", {"sip_code": 404, "note": "x"})
    assert made["billing"] == "nobody"
