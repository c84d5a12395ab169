"""Reserving, reading and releasing over HTTP."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from tests.api.conftest import Inventory, created
from tests.api.test_pages import walk
from tests.api.test_problems import problem

from xiaohao.clock import parse_rfc3339

A, B = "+8613800138000", "+8613900139000"


def wish(inventory: Inventory, **more: Any) -> dict[str, Any]:
    return {"a": A, "b": B, "x_pool": inventory.x_pool, "y_pool": inventory.y_pool, **more}


async def test_reserve_read_release(customer: httpx.AsyncClient, inventory: Inventory) -> None:
    order = {"order_ref": "T-1", "user_data": '{"n":1}\n', "record": False, "max_duration_s": 600}
    spelled = wish(inventory, a="138 0013 8000", b="0086-139-0013-9000", expires_in_s=60, **order)
    response = await customer.post("/v1/bindings", json=spelled)
    binding = response.json()
    assert response.status_code == 201, response.text
    assert response.headers["location"] == f"/v1/bindings/{binding['id']}"
    assert binding["a"] == A
    assert binding["b"] == B
    assert binding["x"] in inventory.xs
    assert binding["y"] in inventory.ys
    assert binding["dial"] == binding["y"]
    assert binding["state"] == "live"
    assert binding["mode"] == "axyb"
    assert {name: binding[name] for name in order} == order
    assert parse_rfc3339(binding["expires_at"]) - parse_rfc3339(binding["created_at"]) == 60_000_000

    path = f"/v1/bindings/{binding['id']}"
    assert (await customer.get(path)).json() == binding
    released = (await customer.delete(path)).json()
    assert released["state"] == "released"
    assert released["ended_at"] and released["recycle_until"]
    assert (await customer.delete(path)).json() == released
    assert (await customer.get(path)).json() == released


async def test_expires_at(customer: httpx.AsyncClient, inventory: Inventory) -> None:
    """It is the very moment named, so that a request sent again changes nothing."""
    moment = (datetime.now(UTC) + timedelta(seconds=90)).replace(microsecond=250_000)
    binding = await created(customer, "/v1/bindings", wish(inventory, expires_at=moment.isoformat()))
    assert parse_rfc3339(binding["expires_at"]) == parse_rfc3339(moment.isoformat())
    path, later = f"/v1/bindings/{binding['id']}", {"expires_at": "2030-01-01T00:00:00Z"}
    extended = [(await customer.post(f"{path}:extend", json=later)).json() for _ in range(2)]
    assert extended[0]["expires_at"] == "2030-01-01T00:00:00.000Z"
    assert extended[0] == extended[1]
    changed = await customer.patch(path, json={"expires_at": moment.isoformat()})
    assert changed.json()["expires_at"] == binding["expires_at"]
    past = datetime(2020, 1, 1, tzinfo=UTC).isoformat()
    for wrong in ({"expires_at": past}, {"expires_at": moment.isoformat(), "expires_in_s": 1}):
        response = await customer.post("/v1/bindings", json=wish(inventory, **wrong))
        problem(response, 422, "validation_failed")


async def test_a_pair_once(customer: httpx.AsyncClient, inventory: Inventory) -> None:
    first = await created(customer, "/v1/bindings", wish(inventory))
    refused = problem(await customer.post("/v1/bindings", json=wish(inventory)), 409, "pair_taken")
    assert refused["binding_id"] == first["id"]
    again = await customer.post("/v1/bindings", json=wish(inventory, reuse=True))
    assert again.status_code == 200
    assert again.json() == first


async def test_twice_with_a_key(customer: httpx.AsyncClient, inventory: Inventory) -> None:
    headers = {"Idempotency-Key": "order-1"}
    first = await customer.post("/v1/bindings", json=wish(inventory), headers=headers)
    again = await customer.post("/v1/bindings", json=wish(inventory), headers=headers)
    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotency-replayed"] == "true"
    assert len(await walk(customer, "/v1/bindings", 10)) == 1


async def test_a_crowd_with_keys(customer: httpx.AsyncClient, inventory: Inventory) -> None:
    """More at once than there are connections to the database, each sent twice."""
    bodies = [wish(inventory, a=f"138001380{n:02d}", b=f"139001390{n // 3:02d}") for n in range(24)]

    async def send() -> list[httpx.Response]:
        posts = [
            customer.post("/v1/bindings", json=body, headers={"Idempotency-Key": f"order-{n}"})
            for n, body in enumerate(bodies)
        ]
        return await asyncio.gather(*posts)

    first, again = await send(), await send()
    made = [response for response in first if response.status_code == 201]
    # Three X are lent to three of the 24 people of side A; nobody gets another one's.
    assert len(made) == 3
    assert len({response.json()["x"] for response in made}) == 3
    for before, after in zip(first, again, strict=True):
        assert after.status_code == before.status_code
        if before.status_code == 201:
            assert after.json() == before.json()
            assert after.headers["idempotency-replayed"] == "true"
        else:
            problem(after, 409, "number_pool_exhausted")
    assert len(await walk(customer, "/v1/bindings", 100)) == 3


async def test_no_number_left(customer: httpx.AsyncClient, inventory: Inventory) -> None:
    for n in range(3):
        await created(customer, "/v1/bindings", wish(inventory, b=f"1390013900{n}"))
    response = await customer.post("/v1/bindings", json=wish(inventory, b="13900139009"))
    refused = problem(response, 409, "number_pool_exhausted")
    assert refused["pool_id"] == inventory.y_pool
    # The same key works as soon as there is a number again: a refusal is not kept.
    headers = {"Idempotency-Key": "order-9"}
    body = wish(inventory, b="13900139009")
    problem(await customer.post("/v1/bindings", json=body, headers=headers), 409, "number_pool_exhausted")


WRONG: list[dict[str, Any]] = [
    {"a": "anonymous"},
    {"a": "1380013800"},
    {"a": 13800138000},
    {"b": A},
    {"x": "+8617000000999"},
    {"x_pool": "pool_0"},
    {"x_pool": "pool\u0000"},
    {"expires_in_s": 0},
    {"expires_in_s": True},
    {"expires_in_s": "60"},
    {"expires_in_s": 10**30},
    {"max_duration_s": 1.5},
    {"record": "yes"},
    {"order_ref": "a\nb"},
    {"order_ref": "x" * 201},
    {"user_data": "\u0000"},
    {"user_data": {"a": 1}},
    {"expires_at": "tomorrow"},
    {"expires_at": "9999-12-31T23:59:59Z"},
    {"expires_at": "0001-01-01T00:00:00+14:00"},
    {"unknown": 1},
]


async def test_wrong_wishes(customer: httpx.AsyncClient, inventory: Inventory) -> None:
    for wrong in WRONG:
        response = await customer.post("/v1/bindings", json=wish(inventory, **wrong))
        assert response.status_code in (404, 422), (wrong, response.text)
        assert response.headers["content-type"] == "application/problem+json"
        assert "13800138000" not in response.text
    assert (await customer.get("/v1/bindings")).json()["items"] == []


async def test_lists(customer: httpx.AsyncClient, inventory: Inventory) -> None:
    made = [
        await created(customer, "/v1/bindings", wish(inventory, b=f"1390013900{n}", order_ref=f"T-{n}"))
        for n in range(3)
    ]
    await customer.delete(f"/v1/bindings/{made[0]['id']}")

    async def ids(query: str) -> list[str]:
        return [item["id"] for item in (await customer.get(f"/v1/bindings?{query}")).json()["items"]]

    newest_first = [binding["id"] for binding in reversed(made)]
    assert await ids("") == newest_first
    assert [item["id"] for item in await walk(customer, "/v1/bindings", 2)] == newest_first
    assert await ids("state=live") == newest_first[:2]
    assert await ids("order_ref=T-1") == [made[1]["id"]]
    assert await ids(f"number=%2B{made[2]['y'][1:]}") == [made[2]["id"]]
    problem(await customer.get("/v1/bindings?a=13800138000"), 422, "validation_failed")

    async def found(**search: Any) -> list[str]:
        response = await customer.post("/v1/bindings/search", json=search)
        assert response.status_code == 200, response.text
        return [item["id"] for item in response.json()["items"]]

    assert await found(a="13800138000") == newest_first
    assert await found(a=A, state="released") == [made[0]["id"]]
    assert await found(b="13900139001") == [made[1]["id"]]
    assert await found(b=A) == []


async def test_a_suspended_customer_reads_but_does_not_reserve(
    operator: httpx.AsyncClient, customer: httpx.AsyncClient, customer_id: str, inventory: Inventory
) -> None:
    await operator.patch(f"/v1/customers/{customer_id}", json={"state": "suspended"})
    problem(await customer.post("/v1/bindings", json=wish(inventory)), 403, "customer_suspended")
    assert (await customer.get("/v1/bindings")).status_code == 200
    await operator.patch(f"/v1/customers/{customer_id}", json={"state": "active"})
    await created(customer, "/v1/bindings", wish(inventory))
