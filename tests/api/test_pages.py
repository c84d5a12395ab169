"""Cursors: every item once, whatever the page size, and nothing to be read or made up."""

from base64 import urlsafe_b64decode, urlsafe_b64encode

import httpx
import pytest
from tests.api.test_problems import problem

from xiaohao.tenants.service import Tenants


async def walk(client: httpx.AsyncClient, path: str, limit: int) -> list[dict[str, object]]:
    items: list[dict[str, object]] = []
    query: dict[str, str | int] = {"limit": limit}
    while True:
        page = (await client.get(path, params=query)).json()
        assert len(page["items"]) <= limit
        items += page["items"]
        if page["next"] is None:
            return items
        assert len(page["items"]) == limit
        query["after"] = page["next"]


@pytest.mark.parametrize("limit", [1, 2, 5, 6, 500])
async def test_every_item_once(operator: httpx.AsyncClient, tenants: Tenants, limit: int) -> None:
    made = {(await tenants.create_customer(f"c{i}")).id for i in range(5)}
    items = await walk(operator, "/v1/customers", limit)
    assert len(items) == 5
    assert {item["id"] for item in items} == made


async def test_a_cursor_is_of_one_list_only(operator: httpx.AsyncClient, tenants: Tenants) -> None:
    for name in ("a", "b"):
        await tenants.create_customer(name)
    cursor = (await operator.get("/v1/customers?limit=1")).json()["next"]
    problem(await operator.get(f"/v1/trunks?after={cursor}"), 422, "validation_failed")


async def test_a_cursor_cannot_be_made_up(operator: httpx.AsyncClient, tenants: Tenants) -> None:
    made = sorted([(await tenants.create_customer(name)).id for name in ("a", "b")])
    cursor = (await operator.get("/v1/customers?limit=1")).json()["next"]
    raw = bytearray(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    assert made[0].encode() not in raw
    assert cursor != (await operator.get("/v1/customers?limit=1")).json()["next"]
    raw[-1] ^= 1
    forged = urlsafe_b64encode(raw).decode().rstrip("=")
    for wrong in (forged, cursor[:-3], "x", "AAAA", urlsafe_b64encode(b"customers\n").decode().rstrip("=")):
        problem(await operator.get("/v1/customers", params={"after": wrong}), 422, "validation_failed")
