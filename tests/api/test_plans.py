"""Plans and the standing of pools over HTTP."""

import asyncio
import os
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
from tests.api.conftest import Inventory
from tests.api.server import serving
from tests.conftest import migrate

from xiaohao.database.engine import Database
from xiaohao.planning import service
from xiaohao.secrecy import Vault
from xiaohao.tenants.service import Tenants

#: what asks no database is tested on one only
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
DEMAND: dict[str, Any] = {
    "cities": [{"city": "北京", "drivers": 100, "orders_a_day": 1000}],
    "call_probability": 0.5,
}


@on_sqlite
async def test_a_plan(customer: httpx.AsyncClient, operator: httpx.AsyncClient) -> None:
    for client in (customer, operator):
        response = await client.post("/v1/plans", json=DEMAND)
        assert response.status_code == 200, response.text
    plan = response.json()
    (city,) = plan["cities"]
    assert (city["city"], city["drivers"], city["reservations"]) == ("北京", 100, 500.0)
    assert plan["x"] == city["x"] >= 100
    assert plan["y"] == city["y"] >= 10
    assert [choice["recycle_s"] for choice in plan["choices"]][:2] == [0.0, 3600.0]


@on_sqlite
async def test_a_plan_s_picture(customer: httpx.AsyncClient) -> None:
    response = await customer.post("/v1/plans/picture?format=svg&language=zh", json=DEMAND)
    assert response.headers["content-type"] == "image/svg+xml"
    assert "号码需求" in "".join(ET.fromstring(response.content).itertext())
    response = await customer.post("/v1/plans/picture?format=png", json=DEMAND)
    assert response.headers["content-type"] == "image/png"
    assert response.content.startswith(b"\x89PNG")


@on_sqlite
async def test_what_cannot_be_planned(customer: httpx.AsyncClient, stranger: httpx.AsyncClient) -> None:
    city = DEMAND["cities"][0]
    for body, status in (
        ({}, 422),
        (DEMAND | {"cities": [city | {"orders": [1] * 24}]}, 422),
        (DEMAND | {"cities": [city] * 1000}, 422),
        (DEMAND | {"recycle_s": 1e7, "cities": [city | {"orders_a_day": 1e6}]}, 422),
        (DEMAND | {"x": 1}, 422),
    ):
        response = await customer.post("/v1/plans", json=body)
        assert (response.status_code, response.json()["code"]) == (status, "validation_failed")
    assert (await customer.post("/v1/plans/picture?format=gif", json=DEMAND)).status_code == 422
    assert (await stranger.post("/v1/plans", json=DEMAND)).status_code == 401


@on_sqlite
async def test_many_who_plan_at_once_are_sent_away(customer: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(customer.post("/v1/plans", json=DEMAND) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 503, 503]
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert (refused.json()["code"], refused.headers["retry-after"]) == ("planning_busy", "5")


@on_sqlite
async def test_a_plan_without_end_is_ended(
    customer: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spy = tmp_path / "python"
    spy.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 60\n")
    spy.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(spy))
    monkeypatch.setattr(service, "_TIMEOUT_S", 1.0)
    response = await customer.post("/v1/plans", json=DEMAND)
    assert (response.status_code, response.json()["code"]) == (503, "planning_busy")
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@on_sqlite
async def test_the_process_apart_knows_no_key(
    customer: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spy = tmp_path / "python"
    spy.write_text(f"#!/bin/sh\nenv > {tmp_path}/environment\ncat > {tmp_path}/task\nexit 1\n")
    spy.chmod(0o755)
    monkeypatch.setenv("XIAOHAO_MASTER_KEY", "ab" * 32)
    monkeypatch.setattr("sys.executable", str(spy))
    response = await customer.post("/v1/plans", json=DEMAND)
    assert (response.status_code, response.json()["code"]) == (500, "internal_error")
    assert "ab" * 32 not in (tmp_path / "environment").read_text()


async def test_how_a_pool_stands_and_what_it_needs(
    customer: httpx.AsyncClient,
    other: httpx.AsyncClient,
    operator: httpx.AsyncClient,
    inventory: Inventory,
) -> None:
    path = f"/v1/pools/{inventory.y_pool}"
    assert (await customer.get(f"{path}/plan")).json()["code"] == "pool_without_history"
    people = {"x_pool": inventory.x_pool, "y_pool": inventory.y_pool, "a": "13800000001"}
    for b in ("13900000002", "13900000003"):
        assert (await customer.post("/v1/bindings", json=people | {"b": b})).status_code == 201
    for client in (customer, operator):
        usage = (await client.get(f"{path}/usage")).json()
        figures = {name: usage[name] for name in ("total", "usable", "used", "resting", "free", "peak")}
        assert figures == {"total": 3, "usable": 3, "used": 2, "resting": 0, "free": 1, "peak": 2}
        assert usage["days_left"] is None
        answer = (await client.get(f"{path}/plan?days=3")).json()
        assert (answer["bindings"], answer["days"], answer["people_share"]) == (2, 3, 1.0)
        assert answer["request"]["recycle_s"] == 3600.0
        assert answer["plan"]["drivers"] == 1
        assert {one["held"] for one in answer["busiest"]} == {2}
        again = await client.post("/v1/plans", json=answer["request"])
        assert again.json() == answer["plan"]
    for sub in ("usage", "plan"):
        assert (await other.get(f"{path}/{sub}")).status_code == 404
    shared = (await operator.post("/v1/pools", json={"name": "all", "recycle_s": 60})).json()["id"]
    assert (await customer.get(f"/v1/pools/{shared}/usage")).json()["code"] == "pool_shared"
    assert (await operator.get(f"/v1/pools/{shared}/usage")).json()["total"] == 0


async def test_the_page_in_a_browser(tmp_path: Path) -> None:
    """The form is filled in and sent by the page's own script; nothing but the server is reached."""
    url, key = f"sqlite:///{tmp_path}/x.db", bytes(range(32))
    migrate(url)
    secret = await _operator_key(url, key)
    fill = f"""(async () => {{
      const form = document.getElementById("form");
      form.elements.key.value = "{secret}";
      form.elements.drivers.value = 100;
      form.elements.orders_a_day.value = 1000;
      form.elements.orders_per_driver.value = 10;
      form.querySelector("button").click();
      while (form.querySelector("button").disabled) await new Promise((done) => setTimeout(done, 50));
      return {{ said: document.getElementById("said").textContent, width: document.images[0]?.naturalWidth,
        cells: [...document.querySelectorAll("td")].map((cell) => cell.textContent) }};
    }})()"""
    with serving(tmp_path, url, key) as server:
        found = await asyncio.to_thread(asyncio.run, in_a_browser(f"{server.url}/plan", fill, tmp_path))
    assert found["said"] == ""
    assert found["cells"][:2] == ["北京", "100"]
    assert found["width"] > 500


#: a browser says that it is at an address before it has left its blank page
_LOADED = 'document.readyState === "complete" && document.getElementById("form") !== null'


async def in_a_browser(url: str, script: str, folder: Path, loaded: str = _LOADED) -> Any:
    """What a script gives on a page that has been loaded, over the browser's DevTools protocol."""
    browser = shutil.which("chromium")
    assert browser, "chromium is missing: make install-test"
    command = [
        *(
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
        ),
        *("--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
        *(f"--user-data-dir={folder}/browser", "--remote-debugging-port=0", url),
    ]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(200), aiohttp.ClientSession() as session:
            port, pages = folder / "browser" / "DevToolsActivePort", []
            while not pages:
                await asyncio.sleep(0.1)
                if not port.exists() or not port.read_text().strip():
                    continue
                async with session.get(f"http://127.0.0.1:{port.read_text().split()[0]}/json/list") as answer:
                    pages = [page for page in await answer.json() if page["url"] == url]
            async with session.ws_connect(pages[0]["webSocketDebuggerUrl"]) as page:

                async def evaluated(expression: str) -> Any:
                    wanted = {"expression": expression, "awaitPromise": True, "returnByValue": True}
                    await page.send_json({"id": 1, "method": "Runtime.evaluate", "params": wanted})
                    result = (await page.receive_json())["result"]
                    assert "exceptionDetails" not in result, result
                    return result["result"].get("value")

                for _ in range(600):
                    if await evaluated(loaded):
                        break
                    await asyncio.sleep(0.1)
                return await evaluated(script)
    finally:
        process.kill()
        await process.wait()


async def _operator_key(url: str, key: bytes) -> str:
    database = Database(url)
    try:
        return await Tenants(database, Vault(key)).bootstrap_operator_key()
    finally:
        await database.close()
