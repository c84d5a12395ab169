"""A POST that is sent twice is carried out once."""

import asyncio

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select, text, update
from tests.api.conftest import client_of
from tests.api.test_problems import problem

from xiaohao.api.app import create_app
from xiaohao.api.idempotency import KEPT_US, Idempotency
from xiaohao.clock import now_us
from xiaohao.database.engine import Database
from xiaohao.database.schema import customers, idempotency
from xiaohao.secrecy import Vault
from xiaohao.settings import Settings
from xiaohao.tenants.service import Tenants


async def count(database: Database) -> int:
    async with database.read() as connection:
        return len((await connection.execute(select(customers.c.id))).all())


def keyed(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


async def test_the_same_again(operator: httpx.AsyncClient, database: Database) -> None:
    first = await operator.post("/v1/customers", json={"name": "x"}, headers=keyed("k"))
    again = await operator.post("/v1/customers", json={"name": "x"}, headers=keyed('"k"'))
    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["content-type"] == "application/json"
    assert await count(database) == 1


async def test_another_request_with_the_same_key(operator: httpx.AsyncClient, database: Database) -> None:
    made = await operator.post("/v1/customers", json={"name": "x"}, headers=keyed("k"))
    problem(
        await operator.post("/v1/customers", json={"name": "y"}, headers=keyed("k")),
        422,
        "idempotency_key_reused",
    )
    path = f"/v1/customers/{made.json()['id']}/keys"
    problem(await operator.post(path, json={"name": "x"}, headers=keyed("k")), 422, "idempotency_key_reused")
    assert await count(database) == 1


async def test_keys_of_different_owners_are_different(
    customer: httpx.AsyncClient, other: httpx.AsyncClient
) -> None:
    first = await customer.post("/v1/webhook/secret", json={}, headers=keyed("k"))
    second = await other.post("/v1/webhook/secret", json={}, headers=keyed("k"))
    assert first.json()["secret"] != second.json()["secret"]
    again = await customer.post("/v1/webhook/secret", json={}, headers=keyed("k"))
    assert again.json() == first.json()


async def test_unusable_keys(operator: httpx.AsyncClient, database: Database) -> None:
    for key in ("", " ", "a b", '"', '"a', "a\\b", "x" * 256, "ü"):
        headers = {"Idempotency-Key": key.encode()}
        response = await operator.post("/v1/customers", json={"name": "x"}, headers=headers)
        problem(response, 400, "idempotency_key_invalid")
    assert await count(database) == 0


async def test_a_refused_request_may_be_tried_again(operator: httpx.AsyncClient, database: Database) -> None:
    trunk = {"name": "t", "spec": {"carrier": "c", "targets": [{"host": "192.0.2.1"}]}}
    taken = (await operator.post("/v1/trunks", json=trunk)).json()["id"]
    problem(await operator.post("/v1/trunks", json=trunk, headers=keyed("k")), 409, "trunk_name_taken")
    problem(await operator.post("/v1/trunks", json={}, headers=keyed("k")), 422, "validation_failed")
    assert (await operator.delete(f"/v1/trunks/{taken}")).status_code == 204
    assert (await operator.post("/v1/trunks", json=trunk, headers=keyed("k"))).status_code == 201


async def test_many_at_once_in_one_process(operator: httpx.AsyncClient, database: Database) -> None:
    posts = [operator.post("/v1/customers", json={"name": "x"}, headers=keyed("k")) for _ in range(8)]
    answers = await asyncio.gather(*posts)
    made = [answer for answer in answers if answer.status_code == 201]
    assert made
    assert len({answer.json()["id"] for answer in made}) == 1
    for answer in answers:
        if answer not in made:
            problem(answer, 409, "request_at_work")
            assert answer.headers["retry-after"] == "1"
    assert await count(database) == 1


async def test_many_at_once_in_several_processes(
    database_url: str, operator: httpx.AsyncClient, vault: Vault, settings: Settings
) -> None:
    """Several applications with connections of their own stand for several processes."""
    databases = [Database(database_url) for _ in range(4)]
    key = operator.headers["authorization"].removeprefix("Bearer ")
    clients = [client_of(create_app(settings, database, vault), key) for database in databases]
    try:
        answers = await asyncio.gather(
            *(client.post("/v1/customers", json={"name": "x"}, headers=keyed("k")) for client in clients)
        )
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert sum("idempotency-replayed" in answer.headers for answer in answers) == 3
        assert await count(databases[0]) == 1
    finally:
        for client, database in zip(clients, databases, strict=True):
            await client.aclose()
            await database.close()


async def test_a_crash_before_the_answer_leaves_nothing(
    operator: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(*_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr("xiaohao.api.store.finish", crash)
        response = await operator.post("/v1/customers", json={"name": "x"}, headers=keyed("k"))
        problem(response, 500, "internal_error")
        assert await count(database) == 0
    response = await operator.post("/v1/customers", json={"name": "x"}, headers=keyed("k"))
    assert response.status_code == 201
    assert "idempotency-replayed" not in response.headers
    assert await count(database) == 1


async def test_after_a_day_the_key_is_new(operator: httpx.AsyncClient, database: Database) -> None:
    await operator.post("/v1/customers", json={"name": "x"}, headers=keyed("k"))
    async with database.begin() as connection:
        await connection.execute(update(idempotency).values(created_at=now_us() - KEPT_US - 1))
    response = await operator.post("/v1/customers", json={"name": "y"}, headers=keyed("k"))
    assert response.json()["name"] == "y"
    assert await count(database) == 2


async def test_old_keys_are_forgotten(
    app: FastAPI, operator: httpx.AsyncClient, database: Database, vault: Vault
) -> None:
    await operator.post("/v1/customers", json={"name": "x"}, headers=keyed("old"))
    async with database.begin() as connection:
        await connection.execute(update(idempotency).values(created_at=now_us() - KEPT_US - 1))
    await operator.post("/v1/customers", json={"name": "x"}, headers=keyed("new"))
    assert await Idempotency(database, vault).forget_old() == 1
    async with database.read() as connection:
        kept = (await connection.execute(select(idempotency.c.key))).scalars().all()
    assert kept == [vault.index("idempotency new").hex()]


async def test_answers_are_sealed(operator: httpx.AsyncClient, tenants: Tenants, database: Database) -> None:
    customer = (await tenants.create_customer("x")).id
    path = f"/v1/customers/{customer}/keys"
    made = (await operator.post(path, json={"label": "l"}, headers=keyed("k"))).json()["key"]
    async with database.read() as connection:
        (stored,) = (await connection.execute(text("SELECT body_sealed FROM idempotency"))).one()
    assert made.encode() not in bytes(stored)
