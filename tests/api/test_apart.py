"""What is another customer's looks exactly like what is not there, on every route."""

from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from tests.api.conftest import Inventory, created
from tests.api.facts import ended, journal_of, talking

from xiaohao.api.auth import AUDIENCES
from xiaohao.database.engine import Database
from xiaohao.secrecy import Vault

#: a body that each route accepts, so that the id alone decides
BODIES = {"/v1/numbers/{number}/person": {"person": "13700137000"}}


def anonymous(response: httpx.Response) -> tuple[int, dict[str, str], dict[str, Any]]:
    document = response.json()
    document.pop("instance")
    return response.status_code, dict(response.headers), document


@pytest.fixture
async def foreign(
    customer: httpx.AsyncClient,
    customer_id: str,
    inventory: Inventory,
    database: Database,
    vault: Vault,
) -> dict[str, dict[str, str]]:
    """For each name of a path's parameter: ids of the customer's things, and one that is nobody's."""
    wish = {"a": "13800138000", "b": "13900139000", "x_pool": inventory.x_pool, "y_pool": inventory.y_pool}
    binding = await created(customer, "/v1/bindings", wish)
    async with journal_of(database, vault) as journal:
        live = await talking(journal, customer_id)
        over = await ended(journal, customer_id, record=True)
    return {
        "binding_id": {"binding": binding["id"]},
        "call_id": {"live": live.id, "over": over.id},
        "number": {"number": inventory.xs[0]},
        "pool_id": {"pool": inventory.x_pool},
    }


ABSENT = {
    "binding_id": "bnd_00000000000000000000000000000000",
    "call_id": "01990000-0000-7000-8000-000000000000",
    "number": "+8617000009999",
    "pool_id": "pool_00000000000000000000000000000000",
}


def routes_for_customers(app: FastAPI) -> list[tuple[str, str, str]]:
    found = []
    for route in app.state.api_routes:
        audience = next(AUDIENCES[d.call] for d in route.dependant.dependencies if d.call in AUDIENCES)
        if audience.customer and route.dependant.path_params:
            (parameter,) = route.dependant.path_params
            found += [(method, route.path, parameter.name) for method in route.methods]
    return found


async def test_every_route_with_a_foreign_id(
    app: FastAPI, other: httpx.AsyncClient, foreign: dict[str, dict[str, str]]
) -> None:
    routes = routes_for_customers(app)
    assert len(routes) >= 12
    for method, path, parameter in routes:
        body = BODIES.get(path)
        absent = await other.request(method, path.replace(f"{{{parameter}}}", ABSENT[parameter]), json=body)
        assert absent.status_code == 404, (method, path, absent.text)
        for identity in foreign[parameter].values():
            answer = await other.request(method, path.replace(f"{{{parameter}}}", identity), json=body)
            if method == "HEAD":
                assert (answer.status_code, answer.headers) == (404, absent.headers), path
            else:
                assert anonymous(answer) == anonymous(absent), (method, path)


async def test_the_owner_reaches_them(
    customer: httpx.AsyncClient, foreign: dict[str, dict[str, str]]
) -> None:
    """The other test would pass, too, if these ids were wrong."""
    for path in (
        f"/v1/bindings/{foreign['binding_id']['binding']}",
        f"/v1/calls/{foreign['call_id']['live']}",
        f"/v1/cdrs/{foreign['call_id']['over']}",
        f"/v1/recordings/{foreign['call_id']['over']}",
        f"/v1/numbers/{foreign['number']['number']}",
        f"/v1/pools/{foreign['pool_id']['pool']}",
    ):
        response = await customer.get(path)
        assert response.status_code == 200, (path, response.text)


async def test_lists_and_searches(
    app: FastAPI, other: httpx.AsyncClient, foreign: dict[str, dict[str, str]], customer_id: str
) -> None:
    for path in ("/v1/bindings", "/v1/calls", "/v1/cdrs", "/v1/numbers", "/v1/pools"):
        assert (await other.get(path)).json()["items"] == [], path
    for path in ("/v1/calls", "/v1/cdrs", "/v1/numbers"):
        assert (await other.get(f"{path}?customer_id={customer_id}")).json()["items"] == [], path
    for path, body in (
        ("/v1/bindings/search", {"a": "13800138000"}),
        ("/v1/cdrs/search", {"person": "13800138000"}),
        ("/v1/cdrs/search", {"customer_id": customer_id}),
    ):
        assert (await other.post(path, json=body)).json()["items"] == [], path


async def test_numbers_and_pools_of_others_cannot_be_used(
    other: httpx.AsyncClient, inventory: Inventory
) -> None:
    base = {"a": "13800138000", "b": "13900139000"}
    pairs = (
        ({"x": inventory.xs[0], "y": inventory.ys[0]}, {"x": "+8617000009999", "y": "+861062009999"}),
        (
            {"x_pool": inventory.x_pool, "y_pool": inventory.y_pool},
            {"x_pool": ABSENT["pool_id"], "y_pool": ABSENT["pool_id"]},
        ),
    )
    for theirs, nobodys in pairs:
        first = await other.post("/v1/bindings", json={**base, **theirs})
        second = await other.post("/v1/bindings", json={**base, **nobodys})
        assert first.status_code == 404
        assert anonymous(first) == anonymous(second)


async def test_a_cursor_of_another_customer(
    customer: httpx.AsyncClient,
    other: httpx.AsyncClient,
    customer_id: str,
    database: Database,
    vault: Vault,
) -> None:
    async with journal_of(database, vault) as journal:
        for _ in range(2):
            await ended(journal, customer_id)
    cursor = (await customer.get("/v1/cdrs?limit=1")).json()["next"]
    assert (await customer.get(f"/v1/cdrs?after={cursor}")).status_code == 200
    foreign = await other.get(f"/v1/cdrs?after={cursor}")
    made_up = await other.get(f"/v1/cdrs?after={cursor[:-2]}")
    assert foreign.status_code == 422
    assert anonymous(foreign) == anonymous(made_up)
