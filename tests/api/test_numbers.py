"""Numbers and pools over HTTP."""

import httpx
from tests.api.conftest import Inventory, created
from tests.api.test_pages import walk
from tests.api.test_problems import problem

PERSON = "+8613800138000"


async def test_a_thousand_at_once_and_no_more(operator: httpx.AsyncClient) -> None:
    numbers = [{"number": f"+86106300{n:04d}"} for n in range(1001)]
    problem(await operator.post("/v1/numbers", json={"numbers": numbers}), 422, "validation_failed")
    answer = await created(operator, "/v1/numbers", {"numbers": numbers[:1000]})
    assert len(answer["items"]) == 1000
    assert {item["kind"] for item in answer["items"]} == {"landline"}
    assert {item["city"] for item in answer["items"]} == {"10"}
    assert [item["number"] for item in await walk(operator, "/v1/numbers", 499)] == [
        number["number"] for number in numbers[:1000]
    ]


async def test_all_or_none(operator: httpx.AsyncClient) -> None:
    numbers = [{"number": "01062000100"}, {"number": "01062000101", "pool_id": "pool_0"}]
    document = problem(
        await operator.post("/v1/numbers", json={"numbers": numbers}), 422, "validation_failed"
    )
    assert document["errors"] == [{"field": "numbers.1.pool_id", "detail": "there is no such pool"}]
    assert (await operator.get("/v1/numbers")).json()["items"] == []


async def test_states(operator: httpx.AsyncClient, inventory: Inventory) -> None:
    path = f"/v1/numbers/{inventory.xs[0]}"
    assert (await operator.get(path)).json()["state"] == "available"
    for action, state in (("suspend", "suspended"), ("resume", "available"), ("retire", "retired")):
        response = await operator.post(f"{path}/{action}")
        assert response.status_code == 200
        assert response.json()["state"] == state
    problem(await operator.post(f"{path}/resume"), 409, "number_retired")
    filtered = (await operator.get("/v1/numbers?state=retired")).json()["items"]
    assert [item["number"] for item in filtered] == inventory.xs[:1]


async def test_the_trunk_of_a_number(operator: httpx.AsyncClient, inventory: Inventory) -> None:
    path = f"/v1/numbers/{inventory.ys[0]}"
    problem(await operator.patch(path, json={"trunk_id": "trk_0"}), 422, "validation_failed")
    assert (await operator.patch(path, json={})).json()["trunk_id"] == inventory.trunk_id
    problem(await operator.delete(f"/v1/trunks/{inventory.trunk_id}"), 409, "trunk_in_use")
    assert (await operator.patch(path, json={"trunk_id": None})).json()["trunk_id"] is None
    query = f"/v1/numbers?trunk_id={inventory.trunk_id}"
    assert len((await operator.get(query)).json()["items"]) == 5


async def test_a_fixed_x(
    customer: httpx.AsyncClient, operator: httpx.AsyncClient, inventory: Inventory
) -> None:
    path = f"/v1/numbers/{inventory.xs[0]}"
    response = await customer.put(f"{path}/person", json={"person": "138 0013 8000"})
    assert response.status_code == 200, response.text
    assert response.json()["assigned_to"] == PERSON
    assert response.json()["fixed"]
    assert (await customer.get(path)).json()["assigned_to"] == PERSON
    assert (await operator.get(path)).json()["assigned_to"] == "138****8000"
    taken = await customer.put(f"{path}/person", json={"person": "13900139000"})
    problem(taken, 409, "number_taken")
    body = {"a": PERSON, "b": "13900139000", "y_pool": inventory.y_pool}
    assert (await created(customer, "/v1/bindings", body))["x"] == inventory.xs[0]
    assert (await customer.delete(f"{path}/person")).json()["fixed"] is False


async def test_what_a_customer_sees(
    operator: httpx.AsyncClient, customer: httpx.AsyncClient, inventory: Inventory
) -> None:
    await created(operator, "/v1/numbers", {"numbers": [{"number": "01063000000"}]})
    shared = await created(operator, "/v1/pools", {"name": "everybody's", "recycle_s": 60})
    mine = await walk(customer, "/v1/numbers", 4)
    assert {item["number"] for item in mine} == {*inventory.xs, *inventory.ys}
    assert {item["trunk_id"] for item in mine} == {None}
    assert {pool["id"] for pool in await walk(customer, "/v1/pools", 2)} == {
        inventory.x_pool,
        inventory.y_pool,
        shared["id"],
    }
    problem(await customer.get("/v1/numbers/+861063000000"), 404, "not_found")


async def test_pools(operator: httpx.AsyncClient, inventory: Inventory) -> None:
    path = f"/v1/pools/{inventory.x_pool}"
    assert (await operator.patch(path, json={"recycle_s": 0})).json()["recycle_s"] == 0
    assert (await operator.patch(path, json={"name": "taxis"})).json()["name"] == "taxis"
    pool = (await operator.get(path)).json()
    assert (pool["name"], pool["recycle_s"]) == ("taxis", 0)
    policy = {"kind": "mobile", "choice": "sticky", "city_rule": "nearest", "fallback_cities": ["755"]}
    changed = (await operator.patch(path, json=policy)).json()
    assert {name: changed[name] for name in policy} == policy
    for field in ("kind", "fallback_cities"):
        assert (await operator.patch(path, json={field: None})).json()[field] is None
    problem(await operator.patch(path, json={"choice": None}), 422, "validation_failed")
    problem(await operator.patch(path, json={"kind": "landline"}), 409, "pool_has_other_numbers")
    problem(await operator.patch(path, json={"cities": ["11"]}), 422, "validation_failed")
    wrong = {"name": "x", "recycle_s": 0, "customer_id": "cus_0"}
    problem(await operator.post("/v1/pools", json=wrong), 404, "not_found")
