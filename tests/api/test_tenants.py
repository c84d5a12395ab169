"""Customers, keys and webhooks over HTTP."""

import asyncio
import time

import httpx
import pytest
from fastapi import FastAPI
from tests.api.conftest import client_of, created
from tests.api.test_problems import problem

from xiaohao.api import auth
from xiaohao.api.app import create_app
from xiaohao.clock import SECOND, parse_rfc3339
from xiaohao.database.engine import Database
from xiaohao.secrecy import Vault
from xiaohao.settings import Settings
from xiaohao.tenants.service import Tenants


async def test_a_customer(operator: httpx.AsyncClient) -> None:
    wanted = {"name": "搜谷出行", "webhook_url": "https://example.com/e"}
    made = await created(operator, "/v1/customers", wanted)
    path = f"/v1/customers/{made['id']}"
    assert made["state"] == "active"
    assert (await operator.get(path)).json() == made
    assert (await operator.patch(path, json={})).json()["name"] == "搜谷出行"
    changed = (await operator.patch(path, json={"name": "Sougu", "webhook_url": None})).json()
    assert (changed["name"], changed["webhook_url"]) == ("Sougu", None)
    assert (await operator.patch(path, json={"state": "suspended"})).json()["state"] == "suspended"
    assert (await operator.patch(path, json={"state": "active"})).json()["state"] == "active"
    # One wrong field and nothing is changed.
    refused = await operator.patch(path, json={"name": "x", "webhook_url": "http://:0"})
    problem(refused, 422, "validation_failed")
    assert (await operator.get(path)).json()["name"] == "Sougu"


async def test_a_key_is_shown_once_and_revoked_at_once(
    app: FastAPI, operator: httpx.AsyncClient, customer_id: str
) -> None:
    path = f"/v1/customers/{customer_id}/keys"
    made = await created(operator, path, {"label": "back end"})
    text = made.pop("key")
    assert text.startswith("xk_cus_")
    assert (await operator.get(path)).json() == {"items": [made]}
    async with client_of(app, text) as client:
        assert (await client.get("/v1/webhook")).status_code == 200
        revoked = (await operator.delete(f"{path}/{made['id']}")).json()
        assert revoked["revoked_at"]
        problem(await client.get("/v1/webhook"), 401, "unauthenticated")
    assert (await operator.delete(f"{path}/{made['id']}")).json() == revoked
    problem(await operator.delete(f"/v1/operator-keys/{made['id']}"), 404, "not_found")
    problem(await operator.get("/v1/customers/cus_0/keys"), 404, "not_found")
    problem(await operator.post("/v1/customers/cus_0/keys", json={"label": "x"}), 404, "not_found")


async def test_a_key_revoked_by_another_process(
    app: FastAPI, tenants: Tenants, customer_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "FRESH_S", 0.2)
    key, text = await tenants.create_key(customer_id, "x")
    async with client_of(app, text) as client:
        assert (await client.get("/v1/webhook")).status_code == 200
        await tenants.revoke_key(customer_id, key.id)
        await asyncio.sleep(0.25)
        problem(await client.get("/v1/webhook"), 401, "unauthenticated")


async def test_keys_of_the_operator(app: FastAPI, operator: httpx.AsyncClient) -> None:
    made = await created(operator, "/v1/operator-keys", {"label": "console"})
    assert len((await operator.get("/v1/operator-keys")).json()["items"]) == 2
    async with client_of(app, made["key"]) as second:
        assert (await second.get("/v1/customers")).status_code == 200
        assert (await operator.delete(f"/v1/operator-keys/{made['id']}")).status_code == 200
        problem(await second.get("/v1/customers"), 401, "unauthenticated")


async def test_a_webhook(customer: httpx.AsyncClient, tenants: Tenants, customer_id: str) -> None:
    first = (await customer.get("/v1/webhook")).json()
    assert first["url"] is None
    assert first["secret"].startswith("whsec_")
    put = (await customer.put("/v1/webhook", json={"url": "http://198.18.0.256.example:9/e?x=1"})).json()
    assert put == {**first, "url": "http://198.18.0.256.example:9/e?x=1"}
    assert (put["kinds"], put["cdr_batch"], put["old_secret_until"]) == (None, 1, None)
    rotated = (await customer.post("/v1/webhook/secret", json={})).json()
    assert rotated["secret"] != first["secret"]
    assert 86_300 < parse_rfc3339(rotated["old_secret_until"]) / SECOND - time.time() <= 86_400
    both = await tenants.webhook(customer_id)
    assert both is not None
    assert both.secrets == (rotated["secret"], first["secret"])
    own = "whsec_" + "QUJD" * 8
    at_once = (await customer.post("/v1/webhook/secret", json={"secret": own, "overlap_s": 0})).json()
    assert (at_once["secret"], at_once["old_secret_until"]) == (own, None)
    stored = await tenants.webhook(customer_id)
    assert stored is not None
    assert (stored.url, stored.secrets) == (put["url"], (own,))
    refused = await customer.post("/v1/webhook/secret", json={"secret": "whsec_QUJD"})
    problem(refused, 422, "validation_failed")
    assert (await customer.put("/v1/webhook", json={"url": None})).json()["url"] is None
    problem(await customer.put("/v1/webhook", json={}), 422, "validation_failed")


async def test_a_webhook_for_some_kinds_and_several_cdrs_at_once(
    customer: httpx.AsyncClient, tenants: Tenants, customer_id: str
) -> None:
    wanted = {"url": "https://example.com/", "kinds": ["cdr.created", "call.ended"], "cdr_batch": 50}
    put = (await customer.put("/v1/webhook", json=wanted)).json()
    assert (put["kinds"], put["cdr_batch"]) == (["call.ended", "cdr.created"], 50)
    assert (await customer.get("/v1/webhook")).json() == put
    stored = await tenants.webhook(customer_id)
    assert stored is not None
    assert (stored.kinds, stored.cdr_batch) == ({"call.ended", "cdr.created"}, 50)
    plain = (await customer.put("/v1/webhook", json={"url": "https://example.com/"})).json()
    assert (plain["kinds"], plain["cdr_batch"]) == (None, 1)
    for wrong in ({"kinds": []}, {"kinds": ["call.vanished"]}, {"cdr_batch": 51}, {"cdr_batch": 0}):
        answer = await customer.put("/v1/webhook", json={"url": "https://example.com/", **wrong})
        problem(answer, 422, "validation_failed")


async def test_urls_into_private_networks_need_the_operators_leave(
    customer: httpx.AsyncClient, operator: httpx.AsyncClient, customer_id: str, database: Database,
    settings: Settings, vault: Vault,
) -> None:  # fmt: skip
    for host in (
        "127.0.0.1",
        "localhost",
        "a.localhost",
        "10.1.2.3",
        "169.254.169.254",
        "[::1]",
        "[fd00::1]",
        *("2130706433", "0x7f.1", "017700000001", "10.0.0.1.", "[::ffff:10.0.0.1]", "a.internal"),
        "me:secret@example.com",
    ):
        url = f"http://{host}:8080/hook"
        put = problem(await customer.put("/v1/webhook", json={"url": url}), 422, "validation_failed")
        asking = await customer.put("/v1/routing", json={"url": "https://example.com/", "second_url": url})
        patched = await operator.patch(f"/v1/customers/{customer_id}", json={"webhook_url": url})
        answers = {
            "url": put,
            "second_url": problem(asking, 422, "validation_failed"),
            "webhook_url": problem(patched, 422, "validation_failed"),
        }
        for field, answer in answers.items():
            assert [error["field"] for error in answer["errors"]] == [field]
            assert "secret" not in str(answer)
    settings.notifications.allow_private_urls = True
    open_app = create_app(settings, database, vault)
    async with client_of(open_app, customer.headers["authorization"].removeprefix("Bearer ")) as client:
        assert (await client.put("/v1/webhook", json={"url": url})).json()["url"] == url


async def test_urls_that_cannot_be_used(customer: httpx.AsyncClient) -> None:
    for url in ("ftp://x/", "https://", "http://a b/", "http://x/\u0000", "http://é/", "javascript:1", "",
                "http://[v1.x]/", "http://1.2.3.4.5/", "http://a..b/"):  # fmt: skip
        problem(await customer.put("/v1/webhook", json={"url": url}), 422, "validation_failed")


async def test_another_master_key(
    customer: httpx.AsyncClient, database: Database, settings: Settings
) -> None:
    """A process with the wrong key serves nothing that it cannot read, and says so."""
    wrong = create_app(settings, database, Vault(bytes(32)))
    key = customer.headers["authorization"].removeprefix("Bearer ")
    async with client_of(wrong, key) as client:
        problem(await client.get("/v1/webhook"), 500, "internal_error")
