"""Digests over HTTP."""

import httpx
from tests.api.facts import ended, journal_of
from tests.api.test_problems import problem

from xiaohao.clock import rfc3339
from xiaohao.database.engine import Database
from xiaohao.digests.model import HOUR
from xiaohao.digests.service import Digests
from xiaohao.secrecy import Vault

#: an hour long ago
HOUR_AT = 1_795_492_800_000_000


async def test_digests(
    customer: httpx.AsyncClient, operator: httpx.AsyncClient, customer_id: str, other_id: str,
    database: Database, vault: Vault,
) -> None:  # fmt: skip
    async with journal_of(database, vault) as journal:
        for owner in (customer_id, other_id):
            await ended(journal, owner, received_at=HOUR_AT)
            await ended(journal, owner, received_at=HOUR_AT + HOUR)
    await Digests(database, vault, clock=lambda: HOUR_AT + 10 * HOUR).make_due()
    page = (await customer.get("/v1/digests")).json()
    assert page["next"] is None
    assert [item["hour"] for item in page["items"]] == [rfc3339(HOUR_AT), rfc3339(HOUR_AT + HOUR)]
    assert [(item["count"], item["billable_s"]) for item in page["items"]] == [(1, 3)] * 2
    assert "customer_id" not in page["items"][0]
    span = {"from": rfc3339(HOUR_AT + HOUR), "to": rfc3339(HOUR_AT + 2 * HOUR)}
    assert (await customer.get("/v1/digests", params=span)).json()["items"] == page["items"][1:]
    first = (await customer.get("/v1/digests?limit=1")).json()
    rest = (await customer.get("/v1/digests", params={"limit": 1, "after": first["next"]})).json()
    assert first["items"] + rest["items"] == page["items"]
    everybodys = (await operator.get("/v1/digests")).json()["items"]
    assert sorted(item["customer_id"] for item in everybodys) == sorted([customer_id, other_id] * 2)
    theirs = (await operator.get("/v1/digests", params={"customer_id": other_id})).json()["items"]
    assert {item["customer_id"] for item in theirs} == {other_id}
    problem(await customer.get("/v1/digests", params={"from": "yesterday"}), 422, "validation_failed")
