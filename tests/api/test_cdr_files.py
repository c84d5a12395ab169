"""CDRs searched by everything, written into files, kept for as long as they are to be kept."""

import csv
import io
from pathlib import Path
from typing import Any

import httpx
import pytest
from pyarrow import parquet
from sqlalchemy import update
from tests.api.conftest import created
from tests.api.facts import CALLEE, CALLER, DIALLED, DISPLAYED, ended, journal_of
from tests.api.test_pages import walk
from tests.api.test_problems import problem

from xiaohao.audit.service import Audit
from xiaohao.calls import exporting, records
from xiaohao.calls.model import Call, Reason
from xiaohao.calls.retention import Retention
from xiaohao.clock import SECOND, now_us, rfc3339
from xiaohao.database.engine import Database
from xiaohao.database.schema import cdrs
from xiaohao.secrecy import Vault

DAY = 86_400 * SECOND


@pytest.fixture
async def calls(customer_id: str, database: Database, vault: Vault) -> list[Call]:
    """Five calls, a second apart, written in another order than they arrived in."""
    start = now_us() // SECOND * SECOND - 100 * SECOND
    facts: list[dict[str, Any]] = [
        {},
        {"caller": CALLEE, "callee": CALLER, "trunk_in": "trk_3"},
        {"caller": "+8613700137000", "reason": Reason.CALLEE_BUSY, "order_ref": "=1+1"},
        {"dialled": DISPLAYED, "displayed": DIALLED, "trunk_out": "trk_3"},
        {"caller": CALLER, "callee": CALLER, "displayed": DIALLED, "user_data": 'äöü, "quoted"\n2'},
    ]
    async with journal_of(database, vault) as journal:
        made = {}
        for n in (3, 0, 4, 2, 1):
            made[n] = await ended(journal, customer_id, received_at=start + n * SECOND, **facts[n])
    return [made[n] for n in sorted(made)]


def ids(found: list[dict[str, Any]]) -> list[str]:
    return [cdr["call_id"] for cdr in found]


async def found_by(client: httpx.AsyncClient, limit: int, **query: Any) -> list[str]:
    """Call ids of every page."""
    found: list[str] = []
    after = ""
    while after is not None:
        answer = await client.get("/v1/cdrs", params={"limit": limit, "after": after, **query})
        assert answer.status_code == 200, answer.text
        found += ids(answer.json()["items"])
        after = answer.json()["next"]
    return found


async def test_newest_is_by_arrival(customer: httpx.AsyncClient, calls: list[Call]) -> None:
    newest = [call.id for call in reversed(calls)]
    for limit in (1, 2, 5):
        assert await found_by(customer, limit) == newest
        assert await found_by(customer, limit, number=DIALLED) == newest
        assert await found_by(customer, limit, number=DISPLAYED) == [calls[n].id for n in (3, 2, 1, 0)]


async def test_a_person_in_either_role_once(
    customer: httpx.AsyncClient, operator: httpx.AsyncClient, calls: list[Call]
) -> None:
    wanted = [calls[n].id for n in (4, 3, 1, 0)]
    for client in (customer, operator):
        found: list[str] = []
        after = ""
        while True:
            body = {"person": CALLER, "limit": 1, "after": after}
            page = (await client.post("/v1/cdrs/search", json=body)).json()
            found += ids(page["items"])
            after = page["next"]
            if after is None:
                break
        assert found == wanted
    (entry, *more) = (await customer.get("/v1/audit?action=search_cdrs")).json()["items"]
    assert (entry["subject"], len(more)) == ("138****8000", 3)
    body = {"person": CALLER, "number": DISPLAYED, "limit": 10}
    assert ids((await customer.post("/v1/cdrs/search", json=body)).json()["items"]) == [
        calls[n].id for n in (3, 1, 0)
    ]


async def test_by_cause_and_trunk(
    customer: httpx.AsyncClient, operator: httpx.AsyncClient, calls: list[Call], database: Database
) -> None:
    async with database.begin() as connection:
        where = cdrs.c.call_id == calls[2].id
        await connection.execute(update(cdrs).where(where).values(sip_code=486, q850_cause=17))
    assert await found_by(customer, 5, sip_code=486) == [calls[2].id]
    assert await found_by(customer, 5, q850_cause=17) == [calls[2].id]
    assert await found_by(operator, 1, trunk_id="trk_3") == [calls[3].id, calls[1].id]
    problem(await customer.get("/v1/cdrs?q850_cause=128"), 422, "validation_failed")


@pytest.mark.parametrize("page", [2, 100])
async def test_csv(
    customer: httpx.AsyncClient, calls: list[Call], page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "PAGE", page)
    answer = await customer.post("/v1/cdrs:export", json={})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="cdrs.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    listed = {cdr["call_id"]: cdr for cdr in await walk(customer, "/v1/cdrs", 5)}
    assert [row["call_id"] for row in rows] == [call.id for call in calls]
    for row in rows:
        cdr = listed[row["call_id"]]
        shown = {name: "" if cdr.get(name) is None else str(cdr[name]) for name in row}
        shown["in_grace"] = "false"
        if cdr["order_ref"] == "=1+1":  # to a spreadsheet it would be a formula
            shown["order_ref"] = "'=1+1"
        assert row == shown
    (entry, *_) = (await customer.get("/v1/audit?action=export_cdrs")).json()["items"]
    assert entry["details"] == {"format": "csv"}


async def test_parquet(
    operator: httpx.AsyncClient,
    calls: list[Call],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exporting, "_GROUP", 2)
    monkeypatch.setattr(records, "PAGE", 1)
    body = {"format": "parquet", "until": rfc3339(calls[4].received_at)}
    answer = await operator.post("/v1/cdrs:export", json=body)
    file = tmp_path / "cdrs.parquet"
    file.write_bytes(answer.content)
    found = parquet.ParquetFile(file)
    assert (found.num_row_groups, found.metadata.num_rows) == (2, 4)
    rows = found.read().to_pylist()
    assert [row["call_id"] for row in rows] == [call.id for call in calls[:4]]
    first = rows[0]
    assert (first["caller"], first["trunk_in"], first["talk_ms"]) == (CALLER, "trk_in", 3000)
    assert round(first["answered_at"].timestamp() * 1000) == (calls[0].answered_at or 0) // 1000
    assert first["in_grace"] is False


async def test_an_empty_file(customer: httpx.AsyncClient) -> None:
    for body in ({}, {"format": "parquet"}):
        answer = await customer.post("/v1/cdrs:export", json=body)
        assert answer.status_code == 200
        assert answer.content
    problem(await customer.post("/v1/cdrs:export", json={"format": "pdf"}), 422, "validation_failed")


async def test_how_long_they_are_kept(
    operator: httpx.AsyncClient,
    customer: httpx.AsyncClient,
    customer_id: str,
    other_id: str,
    calls: list[Call],
    database: Database,
    vault: Vault,
) -> None:
    now = now_us()
    async with journal_of(database, vault) as journal:
        old = await ended(journal, customer_id, received_at=now - 10 * DAY)
        theirs = await ended(journal, other_id, received_at=now - 10 * DAY)
        nobodys = await ended(journal, None, received_at=now - 10 * DAY)
    await created(operator, f"/v1/cdrs/{old.id}/corrections", {"sip_code": 486, "note": "x"})
    audit = Audit(database, vault)
    path = f"/v1/customers/{customer_id}/cdr-retention"
    assert (await operator.get(path)).json() == {"days": None, "platform_days": 0}
    assert await Retention(database, audit, 0).forget_old() == 0
    assert (await operator.put(path, json={"days": 11})).json() == {"days": 11, "platform_days": 0}
    assert await Retention(database, audit, 9).forget_old() == 2
    seen = ids(await walk(operator, "/v1/cdrs", 100))
    assert old.id in seen
    assert not {theirs.id, nobodys.id} & {*seen}
    await operator.put(path, json={"days": 9})
    assert await Retention(database, audit, 0).forget_old() == 1
    assert ids(await walk(customer, "/v1/cdrs", 100)) == [call.id for call in reversed(calls)]
    assert await walk(customer, "/v1/cdr-corrections", 10) == []
    await operator.put(path, json={"days": None})
    assert (await operator.get(path)).json()["days"] is None
    (entry, *_) = (await operator.get("/v1/audit?action=keep_cdrs")).json()["items"]
    assert entry["details"] == {"customer_id": customer_id, "days": None}
    absent = "/v1/customers/cus_0/cdr-retention"
    problem(await operator.get(absent), 404, "not_found")
    problem(await operator.put(absent, json={"days": 1}), 404, "not_found")
