"""The API on a fresh database, and clients with keys of the operator and of two customers."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from xiaohao.api.app import create_app
from xiaohao.database.engine import Database
from xiaohao.numbers.model import Kind, kind_of
from xiaohao.planning import service as planning
from xiaohao.secrecy import Vault
from xiaohao.settings import Settings
from xiaohao.tenants.service import Tenants


@pytest.fixture(autouse=True)
def plans_may_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are made at a low priority, and the machine may have much else to do."""
    monkeypatch.setattr(planning, "_TIMEOUT_S", 120.0)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings()
    settings.recording.folder = str(tmp_path / "recordings")
    settings.prompts.folder = str(tmp_path / "prompts")
    return settings


@pytest.fixture
def app(settings: Settings, database: Database, vault: Vault) -> FastAPI:
    return create_app(settings, database, vault)


def client_of(app: FastAPI, key: str | None = None) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    # Errors that nobody caught are answers, too: what a real server sends is what is tested.
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers)


@asynccontextmanager
async def _clients(app: FastAPI, *keys: str | None) -> AsyncIterator[list[httpx.AsyncClient]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(client_of(app, key)) for key in keys]


@pytest.fixture
def tenants(database: Database, vault: Vault) -> Tenants:
    return Tenants(database, vault)


@pytest.fixture
async def stranger(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Without any key."""
    async with _clients(app, None) as (client,):
        yield client


@pytest.fixture
async def operator(app: FastAPI, tenants: Tenants) -> AsyncIterator[httpx.AsyncClient]:
    async with _clients(app, await tenants.bootstrap_operator_key()) as (client,):
        yield client


@pytest.fixture
async def customer_id(tenants: Tenants) -> str:
    return (await tenants.create_customer("Sougu")).id


@pytest.fixture
async def other_id(tenants: Tenants) -> str:
    return (await tenants.create_customer("Another")).id


@pytest.fixture
async def customer(app: FastAPI, tenants: Tenants, customer_id: str) -> AsyncIterator[httpx.AsyncClient]:
    _, key = await tenants.create_key(customer_id, "test")
    async with _clients(app, key) as (client,):
        yield client


@pytest.fixture
async def other(app: FastAPI, tenants: Tenants, other_id: str) -> AsyncIterator[httpx.AsyncClient]:
    _, key = await tenants.create_key(other_id, "test")
    async with _clients(app, key) as (client,):
        yield client


@dataclass(frozen=True)
class Inventory:
    """What the operator set up: a pool of mobiles for A, one of landlines for B, both of one customer."""

    trunk_id: str
    x_pool: str
    y_pool: str
    xs: list[str]
    ys: list[str]


@pytest.fixture
async def inventory(operator: httpx.AsyncClient, customer_id: str) -> Inventory:
    spec = {
        "carrier": "Test Telecom",
        "targets": [{"host": "127.0.0.1", "port": 5070}],
        "sources": ["127.0.0.1"],
    }
    trunk = (await created(operator, "/v1/trunks", {"name": "east", "spec": spec}))["id"]
    pools = []
    for name in ("drivers", "passengers"):
        pool = {"name": name, "recycle_s": 3600, "customer_id": customer_id}
        pools.append((await created(operator, "/v1/pools", pool))["id"])
    xs = [f"+8617000000{n:03d}" for n in range(3)]
    ys = [f"+86106200{n:04d}" for n in range(100, 103)]
    for pool_id, numbers in zip(pools, (xs, ys), strict=True):
        wanted = [inventory_entry(number, pool_id=pool_id, trunk_id=trunk) for number in numbers]
        await created(operator, "/v1/numbers", {"numbers": wanted})
    return Inventory(trunk, pools[0], pools[1], xs, ys)


def inventory_entry(number: str, **fields: Any) -> dict[str, Any]:
    """A number for the inventory, verified if it is a mobile one."""
    proof = {"verification": {"documents": ["archive 1"]}} if kind_of(number) is Kind.MOBILE else {}
    return {"number": number, **fields, **proof}


async def created(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    response = await client.post(path, json=body)
    assert response.status_code == 201, response.text
    document: dict[str, Any] = response.json()
    return document
