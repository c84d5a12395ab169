"""A database that is locked: a clear answer, nothing half done, and everything as before afterwards."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import psycopg
from sqlalchemy import func, select
from tests.api.conftest import Inventory, client_of
from tests.api.test_problems import problem

from xiaohao.api.app import create_app
from xiaohao.database.engine import Database
from xiaohao.database.schema import bindings, idempotency, legs
from xiaohao.secrecy import Vault
from xiaohao.settings import Settings


@asynccontextmanager
async def locked(database: Database) -> AsyncIterator[None]:
    """Somebody else holds on to what a reservation has to write last."""
    if database.is_sqlite:
        holder = sqlite3.connect(str(database.url.database), isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        yield
        holder.close()
        return
    url = database.url.render_as_string(hide_password=False)
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute("LOCK TABLE bindings IN SHARE MODE")
        yield
        await connection.rollback()


async def rows(database: Database) -> list[int]:
    async with database.read() as connection:
        tables = (bindings, legs, idempotency)
        return [
            (await connection.execute(select(func.count()).select_from(table))).scalar_one()
            for table in tables
        ]


async def test_a_locked_database(
    customer: httpx.AsyncClient, inventory: Inventory, database: Database
) -> None:
    pools = {"x_pool": inventory.x_pool, "y_pool": inventory.y_pool}
    wishes = [{"a": "13800138000", "b": f"1390013900{n}", **pools} for n in range(2)]
    headers = [{}, {"Idempotency-Key": "order-1"}]
    async with locked(database):
        posts = [
            customer.post("/v1/bindings", json=wish, headers=header)
            for wish, header in zip(wishes, headers, strict=True)
        ]
        for response in await asyncio.gather(*posts):
            problem(response, 503, "database_unavailable")
            assert int(response.headers["retry-after"]) > 0
        assert (await customer.get("/v1/bindings")).json()["items"] == []
    assert await rows(database) == [0, 0, 0]
    for wish, header in zip(wishes, headers, strict=True):
        response = await customer.post("/v1/bindings", json=wish, headers=header)
        assert response.status_code == 201
        assert "idempotency-replayed" not in response.headers
    assert await rows(database) == [2, 4, 1]


async def test_a_database_that_is_not_there(settings: Settings, vault: Vault) -> None:
    """Not even the key can be looked up: still a problem document that says to try again."""
    for url in ("postgresql://nobody@127.0.0.1:1/nothing", "sqlite:////nowhere/at/all.db"):
        database = Database(url)
        async with client_of(create_app(settings, database, vault), f"xk_op_{'0' * 64}") as client:
            problem(await client.get("/v1/customers"), 503, "database_unavailable")
            assert (await client.get("/readyz")).status_code == 503
            assert (await client.get("/healthz")).status_code == 200
        await database.close()
