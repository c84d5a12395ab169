"""Many bindings in one request: a result a row."""

import asyncio
from typing import Any

import httpx
import pytest
from tests.api.conftest import Inventory, created
from tests.api.test_idempotency import keyed
from tests.api.test_problems import problem

from xiaohao.database.engine import Database


def pair(place: int, inventory: Inventory, **more: Any) -> dict[str, Any]:
    """The first driver with the n-th passenger."""
    pools = {"x_pool": inventory.x_pool, "y_pool": inventory.y_pool}
    return {"a": "+8613800138000", "b": f"+86139{place:08}", **pools, **more}


async def batch(client: httpx.AsyncClient, rows: list[Any], **options: Any) -> list[dict[str, Any]]:
    response = await client.post("/v1/bindings:batch", json={"bindings": rows}, **options)
    assert response.status_code == 200, response.text
    results: list[dict[str, Any]] = response.json()["results"]
    assert len(results) == len(rows)
    return results


async def test_each_row_for_itself(customer: httpx.AsyncClient, inventory: Inventory) -> None:
    rows = [
        pair(1, inventory),
        pair(2, inventory, b="nobody"),
        "no object",
        pair(1, inventory),
        pair(3, inventory, y_pool="pool_no"),
        pair(4, inventory, expires_at="2020-01-01T00:00:00Z"),
        pair(5, inventory, colour="red"),
        pair(1, inventory, reuse=True),
        pair(6, inventory),
    ]
    results = await batch(customer, rows)
    assert [result["status"] for result in results] == [201, 422, 422, 409, 404, 422, 422, 200, 201]
    codes = [result["problem"] and result["problem"]["code"] for result in results]
    assert codes[3:5] == ["pair_taken", "pool_not_found"]
    assert {codes[place] for place in (1, 2, 5, 6)} == {"validation_failed"}
    assert [fault["field"] for fault in results[1]["problem"]["errors"]] == ["b"]
    made = [result["binding"] for result in results if result["binding"]]
    assert made[0]["id"] == made[1]["id"] == results[3]["problem"]["binding_id"]
    for binding in made:
        assert (await customer.get(f"/v1/bindings/{binding['id']}")).json() == binding


async def test_the_last_numbers_of_a_pool(customer: httpx.AsyncClient, inventory: Inventory) -> None:
    results = await batch(customer, [pair(place, inventory) for place in range(5)])
    assert [result["status"] for result in results] == [201, 201, 201, 409, 409]
    assert results[4]["problem"]["code"] == "number_pool_exhausted"
    assert {result["binding"]["y"] for result in results[:3]} == set(inventory.ys)


async def test_the_same_again_with_reuse(customer: httpx.AsyncClient, inventory: Inventory) -> None:
    rows = [pair(place, inventory, reuse=True) for place in range(3)]
    first, again = await batch(customer, rows), await batch(customer, rows)
    assert {result["status"] for result in first} == {201}
    assert {result["status"] for result in again} == {200}
    assert [result["binding"] for result in first] == [result["binding"] for result in again]


async def test_an_idempotency_key(customer: httpx.AsyncClient, inventory: Inventory) -> None:
    rows = [pair(place, inventory) for place in range(5)]
    first = await batch(customer, rows, headers=keyed("k"))
    assert [result["status"] for result in first] == [201, 201, 201, 409, 409]
    assert await batch(customer, rows, headers=keyed("k")) == first
    page = (await customer.get("/v1/bindings")).json()
    assert len(page["items"]) == 3


async def test_how_many(customer: httpx.AsyncClient, inventory: Inventory) -> None:
    for rows in ([], [pair(1, inventory)] * 1001):
        problem(await customer.post("/v1/bindings:batch", json={"bindings": rows}), 422, "validation_failed")
    for ids in ([], ["bnd_1"] * 1001):
        problem(await customer.post("/v1/bindings:release", json={"ids": ids}), 422, "validation_failed")


async def test_release_many(
    customer: httpx.AsyncClient, other: httpx.AsyncClient, inventory: Inventory
) -> None:
    made = [result["binding"]["id"] for result in await batch(customer, [pair(n, inventory) for n in (1, 2)])]
    ids = [made[0], "bnd_no", made[1], made[0]]
    stranger = (await other.post("/v1/bindings:release", json={"ids": ids})).json()["results"]
    assert [result["status"] for result in stranger] == [404] * 4
    results = (await customer.post("/v1/bindings:release", json={"ids": ids})).json()["results"]
    assert [result["status"] for result in results] == [200, 404, 200, 200]
    assert [result["binding"]["state"] for result in results if result["binding"]] == ["released"] * 3
    again = (await customer.post("/v1/bindings:release", json={"ids": made})).json()["results"]
    assert [result["binding"] for result in again] == [results[0]["binding"], results[2]["binding"]]


@pytest.fixture
async def many(operator: httpx.AsyncClient, inventory: Inventory) -> Inventory:
    """The same with so many Y that a driver can have a thousand passengers."""
    ys = [{"number": f"+86106300{n:04d}", "pool_id": inventory.y_pool} for n in range(1000)]
    await created(operator, "/v1/numbers", {"numbers": ys})
    return inventory


async def test_a_thousand_while_others_bind(
    customer: httpx.AsyncClient, many: Inventory, database: Database
) -> None:
    single = [customer.post("/v1/bindings", json=pair(n, many)) for n in range(2000, 2003)]
    results, *others = await asyncio.gather(batch(customer, [pair(n, many) for n in range(1000)]), *single)
    assert {result["status"] for result in results} == {201}
    assert {response.status_code for response in others} == {201}
    ys = [result["binding"]["y"] for result in results] + [response.json()["y"] for response in others]
    assert len(set(ys)) == 1003


async def test_an_explanation(customer: httpx.AsyncClient, inventory: Inventory) -> None:
    wish = pair(1, inventory)
    told = (await customer.post("/v1/bindings:explain", json=wish)).json()
    assert (told["possible"], told["problem"], told["binding"]) == (True, None, None)
    assert told["y"] | {"number": ""} == {
        "number": "",
        "kind": "landline",
        "city": "10",
        "pool_id": inventory.y_pool,
        "rule": "least_recently_used",
        "fallback": False,
        "candidates": 3,
    }
    binding = await created(customer, "/v1/bindings", wish)
    assert (binding["x"], binding["y"]) == (told["x"]["number"], told["y"]["number"])
    taken = (await customer.post("/v1/bindings:explain", json=wish)).json()
    assert (taken["possible"], taken["problem"]["code"]) == (False, "pair_taken")
    past = {**pair(2, inventory), "expires_at": "2020-01-01T00:00:00Z"}
    wrong = (await customer.post("/v1/bindings:explain", json=past)).json()
    assert (wrong["possible"], wrong["problem"]["status"]) == (False, 422)
