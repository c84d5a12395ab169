"""Every mode, changes and releases over HTTP."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from tests.api.conftest import Inventory, created
from tests.api.test_problems import problem

from xiaohao.clock import parse_rfc3339
from xiaohao.database.engine import Database
from xiaohao.database.schema import binding_versions, call_commands

A, B, C = "+8613800138000", "+8613900139000", "+8613700137000"


@pytest.mark.parametrize(
    ("mode", "more", "dial"),
    [
        ("axb", {"a": A, "b": B}, "x"),
        ("ax", {"a": A}, "x"),
        ("ax", {"a": A, "b": B}, "x"),
        ("axe", {"a": A, "extension": "0042"}, None),
        ("x", {}, None),
    ],
)
async def test_a_mode_with_one_number(
    customer: httpx.AsyncClient, inventory: Inventory, mode: str, more: dict[str, Any], dial: str | None
) -> None:
    prompts = {"to_callee": "delivery", "refused": "sorry_1"}
    terms = {"direction": "both", "prompts": prompts, "record": False}
    made = await created(
        customer, "/v1/bindings", {"mode": mode, "x_pool": inventory.x_pool, **more, **terms}
    )
    assert made["x"] in inventory.xs
    assert {name: made[name] for name in ("mode", "y", "y_on_demand", "parent_id", "prompts")} == {
        "mode": mode,
        "y": None,
        "y_on_demand": False,
        "parent_id": None,
        "prompts": prompts,
    }
    assert {name: made[name] for name in ("a", "b", "extension")} == {
        name: more.get(name) for name in ("a", "b", "extension")
    }
    assert made["dial"] == (made["x"] if dial else None)
    assert (await customer.get(f"/v1/bindings/{made['id']}")).json() == made
    listed = (await customer.get(f"/v1/bindings?mode={mode}&state=live")).json()["items"]
    assert listed == [made]
    for question in ({"number": made["x"]}, {"person": A}):
        kind = next(iter(question))
        assert (await customer.post(f"/v1/lookups/{kind}", json=question)).status_code == 200
    evidence = {"number": made["x"], "at": made["created_at"], "reason": "a complaint"}
    behind = await customer.post("/v1/lookups/evidence", json=evidence)
    assert behind.status_code == 200, behind.text
    other_mode = "axb" if mode == "ax" else "ax"
    assert (await customer.get(f"/v1/bindings?mode={other_mode}")).json()["items"] == []


WRONG: list[dict[str, Any]] = [
    {"mode": "axyb", "a": A},
    {"mode": "axb", "a": A, "b": B, "y": "+861062000100"},
    {"mode": "axe", "a": A, "extension": "12a"},
    {"mode": "axe", "a": A, "direction": "a_to_b"},
    {"mode": "x", "b": B},
    {"mode": "axz", "a": A},
    {"mode": "ax", "a": A, "prompts": {"whenever": "x"}},
    {"mode": "ax", "a": A, "prompts": {"refused": "No Name"}},
    {"a": A, "b": B, "y_on_demand": True, "y_pool": "pool_1"},
    {"a": A, "b": B, "y_life_s": 5},
]


async def test_what_does_not_fit(customer: httpx.AsyncClient, inventory: Inventory) -> None:
    for wrong in WRONG:
        response = await customer.post("/v1/bindings", json={"x_pool": inventory.x_pool, **wrong})
        assert problem(response, 422, "validation_failed")["errors"][0]["field"], wrong


async def pair(customer: httpx.AsyncClient, inventory: Inventory, **more: Any) -> dict[str, Any]:
    body = {"a": A, "b": B, "x_pool": inventory.x_pool, "y_pool": inventory.y_pool, **more}
    return await created(customer, "/v1/bindings", body)


async def test_changing_and_extending(
    customer: httpx.AsyncClient, inventory: Inventory, database: Database
) -> None:
    made = await pair(customer, inventory, expires_in_s=60, user_data="u")
    path = f"/v1/bindings/{made['id']}"
    changed = await customer.patch(
        path, json={"b": "137 0013 7000", "direction": "a_to_b", "user_data": None}
    )
    assert changed.status_code == 200, changed.text
    same = {"b": C, "direction": "a_to_b", "user_data": None}
    assert changed.json() == {**made, **same, "updated_at": changed.json()["updated_at"]}
    assert (await customer.patch(path, json=same)).json() == changed.json()
    assert (await customer.patch(path, json={})).json() == changed.json()
    async with database.read() as connection:
        (version,) = (await connection.execute(select(binding_versions))).mappings()
    assert version["binding_id"] == made["id"]
    assert version["changed_by"].startswith("key_")

    moment = datetime.now(UTC) + timedelta(seconds=600)
    longer = (await customer.post(f"{path}:extend", json={"expires_at": moment.isoformat()})).json()
    # rounded up to whole seconds from now, shown with milliseconds
    assert parse_rfc3339(longer["expires_at"]) > parse_rfc3339(moment.isoformat()) - 1000
    again = (await customer.post(f"{path}:extend", json={"expires_in_s": 5})).json()
    assert again["expires_at"] == longer["expires_at"]
    endless = (await customer.patch(path, json={"expires_at": None})).json()
    assert endless["expires_at"] is None

    await customer.delete(path)
    problem(await customer.patch(path, json={"record": False}), 409, "binding_ended")
    problem(await customer.post(f"{path}:extend", json={"expires_in_s": 5}), 409, "binding_ended")


async def test_what_is_never_null(customer: httpx.AsyncClient, inventory: Inventory) -> None:
    made = await pair(customer, inventory)
    for key in ("mode", "a", "direction", "record", "extension", "x", "y_pool", "y_city"):
        answer = await customer.patch(f"/v1/bindings/{made['id']}", json={key: None})
        assert problem(answer, 422, "validation_failed")["errors"][0]["field"] == key


async def test_what_cannot_be_changed(customer: httpx.AsyncClient, inventory: Inventory) -> None:
    path = f"/v1/bindings/{(await pair(customer, inventory))['id']}"
    for wrong in ("x", "y", "state"):
        problem(await customer.patch(path, json={wrong: "axb"}), 422, "validation_failed")
    kept = problem(await customer.patch(path, json={"mode": "axb"}), 409, "mode_unchangeable")
    assert kept["mode"] == "axyb"
    assert (await customer.patch(path, json={"mode": "axyb"})).status_code == 200
    problem(await customer.post(f"{path}:extend", json={}), 422, "validation_failed")
    foreign = {"y_pool": "pool_00000000000000000000000000000000"}
    problem(await customer.patch(path, json=foreign), 404, "pool_not_found")


async def test_x_and_y_are_other_numbers(customer: httpx.AsyncClient, inventory: Inventory) -> None:
    made = await pair(customer, inventory)
    path = f"/v1/bindings/{made['id']}"
    wish = {"instead_of_x": made["x"], "instead_of_y": made["y"], "order_ref": "4711"}
    before = datetime.now(UTC).isoformat()
    changed = (await customer.patch(path, json=wish)).json()
    assert {changed["x"], changed["y"]}.isdisjoint({made["x"], made["y"]})
    assert (changed["dial"], changed["order_ref"]) == (changed["y"], "4711")
    assert (await customer.patch(path, json=wish)).json() == changed
    named = (await customer.patch(path, json={"y": made["y"]})).json()
    assert (named["x"], named["y"]) == (changed["x"], made["y"])
    # who was behind which number at which second
    after = datetime.now(UTC).isoformat()
    for number, at, standing in (
        (made["x"], before, "live"),
        (made["x"], after, "quarantined"),
        (changed["x"], after, "live"),
    ):
        question = {"number": number, "at": at, "window_s": 1, "reason": "ticket"}
        found = (await customer.post("/v1/lookups/evidence", json=question)).json()
        assert [(one["person"], one["standing"]) for one in found["relations"]] == [(made["a"], standing)]


async def test_a_y_on_demand(customer: httpx.AsyncClient, inventory: Inventory) -> None:
    body = {"a": A, "x_pool": inventory.x_pool, "y_on_demand": True, "y_pool": inventory.y_pool}
    made = await created(customer, "/v1/bindings", {**body, "y_life_s": 60})
    assert (made["b"], made["y"], made["dial"], made["y_life_s"]) == (None, None, None, 60)
    path = f"/v1/bindings/{made['id']}"
    foreign = {"y_pool": "pool_00000000000000000000000000000000"}
    problem(await customer.patch(path, json=foreign), 404, "pool_not_found")
    assert (await customer.patch(path, json={"y_life_s": None})).json()["y_life_s"] is None
    problem(await customer.patch(path, json={"b": B}), 422, "validation_failed")


@pytest.mark.parametrize(("query", "ended"), [("", 0), ("?hang_up=false", 0), ("?hang_up=true", 1)])
async def test_releasing_with_live_calls(
    customer: httpx.AsyncClient,
    inventory: Inventory,
    database: Database,
    query: str,
    ended: int,
) -> None:
    made = await pair(customer, inventory)
    for _ in range(2):
        assert (await customer.delete(f"/v1/bindings/{made['id']}{query}")).json()["state"] == "released"
    async with database.read() as connection:
        asked = list((await connection.execute(select(call_commands.c.call_id))).scalars())
    assert asked == [made["id"]] * 2 * ended


async def test_bindings_of_a_city(customer: httpx.AsyncClient, inventory: Inventory) -> None:
    made = await pair(customer, inventory)
    assert (await customer.get("/v1/bindings?city=10")).json()["items"] == [made]
    assert (await customer.get("/v1/bindings?city=21")).json()["items"] == []
    found = await customer.post("/v1/bindings/search", json={"b": B, "city": "10", "mode": "axyb"})
    assert found.json()["items"] == [made]


@pytest.mark.parametrize(
    "more", [{"mode": "x"}, {"mode": "axe", "a": A}, {"mode": "ax", "a": A}, {"mode": "axb", "a": A, "b": B}]
)
async def test_what_is_said_where_no_number_is_left(
    customer: httpx.AsyncClient, inventory: Inventory, more: dict[str, Any]
) -> None:
    body = {"x_pool": inventory.x_pool, **more}
    would = await customer.post("/v1/bindings:explain", json=body)
    assert would.status_code == 200, would.text
    for _ in inventory.xs:
        await created(customer, "/v1/bindings", {"mode": "x", "x_pool": inventory.x_pool})
    told = problem(await customer.post("/v1/bindings", json=body), 409, "number_pool_exhausted")
    assert (told["field"], told["assigned"]) == ("x_pool", len(inventory.xs))
