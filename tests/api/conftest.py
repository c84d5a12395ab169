"""The API on a fresh database, and clients with keys of the operator and of two customers."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from xiaohao.api.app import create_app
from xiaohao.database.engine import Database
from xiaohao.secrecy import Vault
from xiaohao.settings import Settings
from xiaohao.tenants.service import Tenants


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings()
    settings.recording.folder = str(tmp_path / "recordings")
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
