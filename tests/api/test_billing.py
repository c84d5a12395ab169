"""Billing over HTTP: contracts, usage, limits, invoices and their files, months rated anew."""

from typing import Any

import httpx
import pytest
from tests.api.conftest import created
from tests.api.facts import ended, journal_of

from xiaohao.billing import calendar
from xiaohao.billing.rater import Rater
from xiaohao.clock import now_us
from xiaohao.database.engine import Database
from xiaohao.secrecy import Vault

THIS = calendar.month_of(now_us())
LAST = calendar.before(THIS)
TERMS = {"rates": [{"kinds": ["landline", "mobile"], "tiers": [{"price": "0.5"}]}]}


@pytest.fixture
async def call_id(database: Database, vault: Vault, customer_id: str) -> str:
    """A call of three seconds in the last month, rated."""
    async with journal_of(database, vault) as journal:
        at = calendar.start_of(LAST) + 3600_000_000
        call = await ended(journal, customer_id, order_ref="ride 1", received_at=at)
    await Rater(database, vault).rate_due()
    return call.id


async def got(client: httpx.AsyncClient, path: str, **query: Any) -> dict[str, Any]:
    response = await client.get(path, params=query)
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.json()
    return document


async def test_from_contract_to_invoice(
    operator: httpx.AsyncClient,
    customer: httpx.AsyncClient,
    other: httpx.AsyncClient,
    customer_id: str,
    call_id: str,
) -> None:
    month = calendar.month_text(LAST)
    assert (await got(operator, "/v1/billing/standard-tariff"))["terms"]["vat"]["percent"] == "6"
    contract = {"from_month": month, "terms": TERMS, "note": "first"}
    made = await created(operator, f"/v1/customers/{customer_id}/contracts", contract)
    assert (made["version"], made["from_month"]) == (1, month)
    listed = await got(operator, f"/v1/customers/{customer_id}/contracts")
    assert listed["items"] == [made]
    assert (await got(customer, "/v1/billing/terms", month=month))["contract_id"] == made["id"]
    usage = await got(customer, "/v1/billing/usage", month=month)
    assert usage["gross"] == "0.50"
    assert usage == await got(operator, "/v1/billing/usage", month=month, customer_id=customer_id)
    (charges,) = (await got(customer, f"/v1/billing/calls/{call_id}"))["items"]
    assert (charges["total"], charges["order_ref"]) == ("0.50", "ride 1")
    assert (await other.get(f"/v1/billing/calls/{call_id}")).status_code == 404

    closed = await operator.post(f"/v1/customers/{customer_id}/months/{month}/close")
    invoice_id = closed.json()["invoice_id"]
    path = f"/v1/invoices/{invoice_id}"
    assert (await customer.get(path)).status_code == 404  # a draft
    assert (await got(customer, "/v1/invoices"))["items"] == []
    issued = (await operator.post(f"{path}/issue")).json()
    assert issued["number"].endswith("-000001")
    assert (await got(customer, "/v1/invoices"))["items"] == [issued]
    seen = await got(customer, path)
    assert seen["document"]["gross"] == "0.50"
    assert (await other.get(path)).status_code == 404
    for name, begins in (
        ("pdf", b"%PDF"),
        ("xlsx", b"PK"),
        ("calls.csv", b"\xef\xbb\xbfcall_id,"),
        ("orders.csv", b"\xef\xbb\xbforder_ref,"),
    ):
        file = await customer.get(f"{path}/{name}")
        assert file.status_code == 200
        assert file.content.startswith(begins)
        assert (await other.get(f"{path}/{name}")).status_code == 404
    paid = (await operator.post(f"{path}/pay")).json()
    assert paid["state"] == "paid"
    deeds = (await got(operator, "/v1/audit", action="billing"))["items"]
    assert [one["details"]["did"] for one in deeds] == ["pay", "issue", "contract"]
    assert deeds[1]["details"]["invoice_id"] == invoice_id
    note = await created(operator, f"{path}/credit-notes", {"amount": "0.10", "note": "an apology"})
    assert note["gross"] == "-0.10"
    assert (await operator.post(f"{path}/void", json={"note": "no"})).status_code == 409


async def test_limits_and_payments(
    operator: httpx.AsyncClient, customer: httpx.AsyncClient, customer_id: str
) -> None:
    path = f"/v1/customers/{customer_id}"
    limited = await operator.put(f"{path}/limits", json={"prepaid": True, "warn_below": "5"})
    assert limited.json()["left"] == "0.00"
    assert (await got(operator, path))["state"] == "exhausted"
    await created(operator, f"{path}/payments", {"amount": "20.5", "note": "transfer"})
    account = await got(customer, "/v1/billing/account")
    assert (account["left"], account["stopped_at"], account["funds"]) == ("20.50", None, "20.50")
    entry = {"month": calendar.month_text(THIS), "item": "prompt", "quantity": "0.2", "note": "short"}
    await created(operator, f"{path}/billing-entries", entry)
    assert (await got(customer, "/v1/billing/account"))["left"] == "0.50"
    (payment,) = (await got(operator, f"{path}/payments"))["items"]
    assert (payment["amount"], payment["note"]) == ("20.50", "transfer")
    (known,) = (await got(operator, f"{path}/billing-entries", month=entry["month"]))["items"]
    assert (known["item"], known["quantity"], known["price"]) == ("prompt", "0.2", "100")
    assert (await operator.delete(f"{path}/billing-entries/{known['id']}")).status_code == 204
    assert (await operator.delete(f"{path}/billing-entries/{known['id']}")).status_code == 404
    assert (await got(customer, "/v1/billing/account"))["left"] == "20.50"
    assert (await operator.patch(path, json={"state": "exhausted"})).status_code == 422


async def test_rated_anew(operator: httpx.AsyncClient, customer_id: str, call_id: str) -> None:
    month = calendar.month_text(LAST)
    assert call_id
    body = {"from_month": month, "terms": {**TERMS, "signal": "received"}}
    await created(operator, f"/v1/customers/{customer_id}/contracts", body)
    made = await created(operator, "/v1/reratings", {"customer_id": customer_id, "month": month})
    assert (made["state"], made["report"]["calls"]) == ("ready", 1)
    assert await got(operator, f"/v1/reratings/{made['id']}") == made
    assert (await got(operator, "/v1/reratings", month=month, state="ready"))["items"] == [made]
    assert (await got(operator, "/v1/reratings", state="dismissed"))["items"] == []
    accepted = await operator.post(f"/v1/reratings/{made['id']}/accept")
    assert accepted.json()["state"] == "accepted"
    assert (await operator.post(f"/v1/reratings/{made['id']}/dismiss")).status_code == 409
    what_if = {"month": month, "terms": {**TERMS, "minimum": "100"}}
    found = await operator.post(f"/v1/customers/{customer_id}/what-if", json=what_if)
    assert found.json()["difference"] == "99.50"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("contracts", {"from_month": "2026-11", "terms": {"rates": [{}]}}),
        ("contracts", {"from_month": "2026-13", "terms": TERMS}),
        ("payments", {"amount": "1e3", "note": "x"}),
        ("payments", {"amount": 5, "note": "x"}),
        ("billing-entries", {"month": "2026-11", "item": "air", "quantity": "1", "note": "x"}),
        ("billing-entries", {"month": "2026-11", "item": "adjustment", "quantity": "1", "note": "x"}),
        ("months/2026-1/close", None),
    ],
)
async def test_what_is_refused(
    operator: httpx.AsyncClient, customer_id: str, path: str, body: dict[str, Any] | None
) -> None:
    response = await operator.post(f"/v1/customers/{customer_id}/{path}", json=body)
    assert response.status_code == 422, response.text


async def test_customers_may_not(customer: httpx.AsyncClient, customer_id: str) -> None:
    for path in ("contracts", "payments", "billing-entries", "what-if"):
        response = await customer.post(f"/v1/customers/{customer_id}/{path}", json={})
        assert response.status_code == 403
    assert (await customer.put(f"/v1/customers/{customer_id}/limits", json={})).status_code == 403


async def test_a_carriers_file(operator: httpx.AsyncClient, customer: httpx.AsyncClient) -> None:
    spec = {"carrier": "c", "targets": [{"host": "192.0.2.1"}]}
    trunk = await created(operator, "/v1/trunks", {"name": "east", "spec": spec})
    body = {
        "trunk_id": trunk["id"],
        "since": "2026-11-01T00:00:00+08:00",
        "until": "2026-12-01T00:00:00+08:00",
        "mapping": {"leg": "in", "caller": "from", "called": "to", "begins_at": "at", "seconds": "s"},
        "file": "from,to,at,s\n13800138000,4001234567,2026-11-02 08:00:00,61\n",
    }
    made = await created(operator, "/v1/reconciliations", body)
    assert made["summary"]["missing_here"] == 1
    path = f"/v1/reconciliations/{made['id']}"
    assert await got(operator, path) == made
    assert (await got(operator, "/v1/reconciliations"))["items"] == [made]
    (item,) = (await got(operator, f"{path}/items"))["items"]
    assert (item["person"], item["their_seconds"]) == ("+8613800138000", 61)
    assert (await customer.get(path)).status_code == 403
    spoilt = {**body, "mapping": {**body["mapping"], "seconds": "duration"}}
    assert (await operator.post("/v1/reconciliations", json=spoilt)).status_code == 422
