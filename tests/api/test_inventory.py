"""Numbers in bulk, their lives, real names and complaints over HTTP."""

import io

import httpx
import openpyxl
from tests.api.conftest import Inventory, created
from tests.api.test_pages import walk
from tests.api.test_problems import problem

from xiaohao.inventory.files import MEDIA_TYPES, Format

PERSON = "+8613800138000"
FILE = "号码,号码池\n13900000001,{pool}\n13900000002,{pool}\n"


async def test_import_and_export(operator: httpx.AsyncClient, inventory: Inventory) -> None:
    text = FILE.format(pool=inventory.x_pool).encode()
    dry = await operator.post("/v1/numbers:import?dry_run=true&rows=true", content=text)
    assert dry.status_code == 200, dry.text
    assert (dry.json()["added"], dry.json()["written"]) == (2, False)
    assert [row["line"] for row in dry.json()["told"]] == [2, 3]
    for added in (2, 0):
        report = (await operator.post("/v1/numbers:import", content=text)).json()
        assert (report["added"], report["unchanged"]) == (added, 2 - added)
    history = (await operator.get("/v1/numbers/+8613900000001/history")).json()["items"]
    assert [(entry["reason"], entry["changed_by"][:4]) for entry in history] == [("imported", "key_")]
    table = await operator.get("/v1/numbers:export")
    assert table.headers["content-type"].startswith("text/csv")
    assert 'filename="numbers.csv"' in table.headers["content-disposition"]
    assert len(table.text.splitlines()) == 1 + 8
    sheet = await operator.get("/v1/numbers:export?format=xlsx&what=inventory")
    cells = openpyxl.load_workbook(io.BytesIO(sheet.content)).active
    assert cells is not None
    assert [cell.value for cell in next(cells.iter_rows(min_row=cells.max_row))][-1] == 8
    again = await operator.post("/v1/numbers:import?format=xlsx", content=sheet.content)
    problem(again, 422, "file_header_wrong")
    stock = (await operator.get("/v1/numbers:inventory")).json()
    assert (stock["total"], stock["states"]["available"]) == (8, 8)


async def test_files_that_cannot_be_taken(operator: httpx.AsyncClient, inventory: Inventory) -> None:
    problem(await operator.post("/v1/numbers:import", content=b"colour\nred\n"), 422, "file_header_wrong")
    problem(await operator.post("/v1/numbers:import?format=xlsx", content=b"no"), 400, "file_malformed")
    problem(await operator.post("/v1/numbers:import?format=pdf"), 422, "validation_failed")
    problem(await operator.post("/v1/numbers:import", content=b"PK\x03\x04"), 400, "file_malformed")
    unclosed = b'number,carrier\n13900000001,"abc\n13900000002,x\n'
    told = problem(
        await operator.post("/v1/numbers:import?take=valid", content=unclosed), 400, "file_malformed"
    )
    assert told["detail"] == "Line 2: a quoted cell does not end on its line."
    bad = b"number\n12\n13900000001\n"
    report = (await operator.post("/v1/numbers:import", content=bad)).json()
    assert (report["refused"], report["written"]) == (1, False)
    assert report["faults"][0] == {
        "line": 2,
        "outcome": "refused",
        "number": None,
        "field": "number",
        "detail": "is not a telephone number that the platform knows",
    }
    report = (await operator.post("/v1/numbers:import?take=valid", content=bad)).json()
    assert (report["refused"], report["written"]) == (1, True)


async def test_a_workbook_is_known_by_its_content_type(operator: httpx.AsyncClient) -> None:
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    assert sheet is not None
    sheet["A1"], sheet["A2"] = "number", "13900000001"
    content = io.BytesIO()
    workbook.save(content)
    xlsx = {"content-type": MEDIA_TYPES[Format.XLSX]}
    path = "/v1/numbers:import"
    problem(
        await operator.post(f"{path}?format=csv", content=content.getvalue(), headers=xlsx),
        422,
        "validation_failed",
    )
    json = {"content-type": "application/json"}
    problem(await operator.post(path, content=b"{}", headers=json), 415, "media_type_not_supported")
    far = io.BytesIO()
    sheet["XFD1048576"] = " "
    workbook.save(far)
    refused = await operator.post(path, content=far.getvalue(), headers=xlsx)
    assert "far away" in str(problem(refused, 400, "file_malformed")["detail"])
    assert (await operator.post(path, content=content.getvalue(), headers=xlsx)).json()["added"] == 1
    problem(await operator.get("/v1/numbers:inventory?format=csv"), 422, "validation_failed")


async def test_only_the_operator(customer: httpx.AsyncClient) -> None:
    problem(await customer.post("/v1/numbers:import", content=b"number\n"), 403, "operator_key_required")
    for path in ("/v1/numbers:export", "/v1/numbers:inventory"):
        problem(await customer.get(path), 403, "operator_key_required")


async def test_a_life_and_its_history(
    operator: httpx.AsyncClient, customer: httpx.AsyncClient, other: httpx.AsyncClient, inventory: Inventory
) -> None:
    path = f"/v1/numbers/{inventory.ys[0]}"
    body = {"reason": "carrier", "until": "2100-01-01T00:00:00Z", "note": "their letter of today"}
    shut = (await operator.post(f"{path}/suspend", json=body)).json()
    assert (shut["state_reason"], shut["suspended_until"]) == ("carrier", "2100-01-01T00:00:00.000Z")
    problem(await operator.post(f"{path}/suspend", json={"reason": "moved"}), 422, "validation_failed")
    problem(await operator.post(f"{path}/take-to-stock"), 409, "number_in_another_state")
    assert (await operator.post(f"{path}/resume")).json()["suspended_until"] is None
    assert (await operator.post(f"{path}/take-to-stock", json={"note": "spare"})).json()[
        "state"
    ] == "in_stock"
    assert (await operator.post(f"{path}/release")).json()["state"] == "available"
    lines = await walk(operator, f"{path}/history", 2)
    assert [line["reason"] for line in lines] == [
        "released_to_pool",
        "taken_to_stock",
        "resumed",
        "carrier",
        "imported",
    ]
    assert (lines[3]["note"], lines[3]["changed_by"][:4]) == ("their letter of today", "key_")
    mine = await walk(customer, f"{path}/history", 2)
    assert [line["reason"] for line in mine] == [line["reason"] for line in lines]
    assert {(line["note"], line["changed_by"]) for line in mine} == {(None, None)}
    problem(await other.get(f"{path}/history"), 404, "not_found")
    moved = await operator.patch(path, json={"pool_id": None, "carrier": "Unicom"})
    assert (moved.json()["pool_id"], moved.json()["carrier"]) == (None, "Unicom")


async def test_real_names(
    operator: httpx.AsyncClient,
    customer: httpx.AsyncClient,
    other: httpx.AsyncClient,
    customer_id: str,
    inventory: Inventory,
) -> None:
    await created(
        operator, "/v1/numbers", {"numbers": [{"number": "13900000001", "pool_id": inventory.x_pool}]}
    )
    wanted = {"number": "13900000001", "documents": ["archive 1"]}
    proof = await created(customer, "/v1/verifications", wanted)
    assert (proof["state"], proof["documents"]) == ("pending", ["archive 1"])
    path = f"/v1/verifications/{proof['id']}"
    problem(await customer.post(f"{path}/verify"), 403, "operator_key_required")
    problem(await other.get(path), 404, "not_found")
    assert (await operator.post(f"{path}/reject", json={"reason": "blurred"})).json()["reason"] == "blurred"
    assert (await customer.get("/v1/numbers/+8613900000001")).json()["verification"] == "rejected"
    await created(customer, "/v1/verifications", wanted)
    good = await operator.post(f"{path}/verify", json={"valid_until": "2100-01-01T00:00:00Z"})
    assert good.json()["valid_until"] == "2100-01-01T00:00:00.000Z"
    number = (await customer.get("/v1/numbers/+8613900000001")).json()
    assert (number["verification"], number["verified_until"]) == ("verified", "2100-01-01T00:00:00.000Z")

    asked = await operator.patch(f"/v1/customers/{customer_id}", json={"real_names": True})
    assert asked.json()["real_names"] is True
    wish = {"a": PERSON, "b": "13900139000", "x_pool": inventory.x_pool, "y_pool": inventory.y_pool}
    refused = await customer.post("/v1/bindings", json=wish)
    assert problem(refused, 409, "person_not_verified")["field"] == "a"
    problem(await operator.post("/v1/verifications", json={"documents": ["1"]}), 422, "validation_failed")
    body = {"person": PERSON, "documents": ["archive 2"]}
    problem(await operator.post("/v1/verifications", json=body), 422, "validation_failed")
    await created(operator, "/v1/verifications", {**body, "customer_id": customer_id})
    assert (await created(customer, "/v1/bindings", wish))["a"] == PERSON
    (found,) = (await customer.post("/v1/verifications/search", json={"person": PERSON})).json()["items"]
    assert (found["person"], found["state"]) == (PERSON, "verified")
    assert (await other.post("/v1/verifications/search", json={"person": PERSON})).json()["items"] == []
    masked = (await operator.get(f"/v1/verifications/{found['id']}")).json()
    assert masked["person"] == "138****8000"
    assert len(await walk(customer, "/v1/verifications?state=verified", 1)) == len(inventory.xs) + 2


async def test_complaints(
    operator: httpx.AsyncClient, customer: httpx.AsyncClient, other: httpx.AsyncClient, inventory: Inventory
) -> None:
    policy = {"complaints_limit": 2, "complaint_rest_s": 3600}
    await operator.patch(f"/v1/pools/{inventory.y_pool}", json=policy)
    body = {"number": inventory.ys[0], "note": "calls at night"}
    problem(await other.post("/v1/complaints", json=body), 404, "not_found")
    mine = await created(customer, "/v1/complaints", body)
    assert mine["source"] == "customer"
    await created(operator, "/v1/complaints", {**body, "source": "carrier"})
    number = (await customer.get(f"/v1/numbers/{inventory.ys[0]}")).json()
    assert (number["state"], number["state_reason"]) == ("suspended", "complaint")
    assert len(await walk(customer, "/v1/complaints", 1)) == 2
    assert (await other.get("/v1/complaints")).json()["items"] == []


async def test_what_proves_a_name_stays_with_the_customer_who_named_it(
    operator: httpx.AsyncClient,
    customer: httpx.AsyncClient,
    other: httpx.AsyncClient,
    other_id: str,
    inventory: Inventory,
) -> None:
    """A number that goes to the next customer stays verified, and says nothing of the one before."""
    number = {"number": "13900000001", "pool_id": inventory.x_pool}
    await created(operator, "/v1/numbers", {"numbers": [number]})
    named = {"number": "13900000001", "documents": ["archive 1"]}
    proof = await created(customer, "/v1/verifications", named)
    path = f"/v1/verifications/{proof['id']}"
    await operator.post(f"{path}/verify")
    await created(customer, "/v1/verifications", {**named, "documents": ["archive 2"]})
    pool = await created(operator, "/v1/pools", {"name": "next", "recycle_s": 60, "customer_id": other_id})
    moved = await operator.patch("/v1/numbers/+8613900000001", json={"pool_id": pool["id"]})
    assert moved.json()["verification"] == "verified"
    problem(await customer.get(path), 404, "not_found")
    seen = (await other.get(path)).json()
    assert (seen["state"], seen["documents"], seen["reason"], seen["renewal"]) == ("verified", [], None, None)
    assert (await operator.get(path)).json()["documents"] == ["archive 1"]
    renewed = await created(other, "/v1/verifications", {**named, "documents": ["archive 3"]})
    assert (renewed["documents"], renewed["renewal"]["documents"]) == ([], ["archive 3"])
    await operator.post(f"{path}/verify")
    assert (await other.get(path)).json()["documents"] == ["archive 3"]
